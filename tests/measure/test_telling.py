"""The words that separate two labels, and the slices on which an approach is weak."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.types import Example, Prediction
from kasauti.measure.telling import counts, log_odds, separating_words
from kasauti.measure.weak_slices import new_share, script_of, weak_slices

REFUND = ["my refund has not come yet", "the refund was promised", "where is my refund please", "refund not come"]
CHARGE = ["i was charged twice", "charged two times for the same", "the same charge twice", "charged twice again"]


def test_the_words_that_separate_two_labels_are_found_and_words_of_both_are_not():
    background = counts([*REFUND, *CHARGE, *["the my i was is for not"] * 20])
    for_refund, for_charge = separating_words(REFUND * 5, CHARGE * 5, background)
    assert for_refund[0] == "refund"
    assert "twice" in for_charge
    assert "charged" in for_charge
    assert not {"the", "i", "was"} & {*for_refund, *for_charge}


def test_words_of_chance_are_not_told():
    draw = random.Random(0)
    words = [f"word{n}" for n in range(60)]
    a, b = ([" ".join(draw.choices(words, k=8)) for _ in range(100)] for _ in range(2))
    told = log_odds(counts(a), counts(b), counts([*a, *b]))
    assert sum(abs(one.z) >= 1.96 for one in told) <= 0.1 * len(told)


def test_devanagari_words_stay_whole():
    assert separating_words(["रिफंड नहीं मिला"] * 9, ["पैसे कट गए"] * 9, {})[0] != []
    assert "नहीं" in separating_words(["रिफंड नहीं मिला"] * 9, ["पैसे कट गए"] * 9, {})[0]


texts = st.lists(st.text(alphabet="abc ", min_size=1), min_size=1, max_size=12)


@given(a=texts, b=texts)
def test_the_other_way_round_changes_signs_only(a, b):
    both = counts([*a, *b])
    one, other = log_odds(counts(a), counts(b), both), log_odds(counts(b), counts(a), both)
    assert {t.word: pytest.approx(-t.z, abs=1e-9) for t in one} == {t.word: t.z for t in other}


def row(text: str, at: int, group: str | None = None) -> Example:
    return Example(id=f"{at}", fields={"text": text}, template="{text}", answer="a", group=group, row=at)


def rows_of(texts: list[str], groups: list[str | None] | None = None) -> list[Example]:
    return [row(text, at, groups[at] if groups else None) for at, text in enumerate(texts)]


def test_a_slice_that_is_planted_weak_is_found_and_is_the_first():
    draw = random.Random(1)
    texts = [
        ("रिफंड कब आएगा " if at % 4 == 0 else "where is my refund ") + "9 " * draw.randrange(9) for at in range(400)
    ]
    right = np.array([draw.random() < (0.5 if at % 4 == 0 else 0.95) for at in range(400)])
    given = [Prediction(answer="a", confidence=0.9)] * 400
    found = weak_slices(rows_of(texts), right, given)
    assert (found[0]["kind"], found[0]["weak"]) == ("script", True)
    assert found[0]["p_adjusted"] < 0.001
    assert found[0]["rows"] == 100
    assert found[0]["accuracy"]["low"] < found[0]["accuracy"]["value"] < found[0]["rest"]


def test_where_nothing_is_weak_nothing_is_called_so_in_19_of_20_trials():
    draw, wrongly = random.Random(2), 0
    for _ in range(40):
        texts = ["word " * draw.randrange(1, 20) for _ in range(200)]
        groups = [f"g{draw.randrange(6)}" for _ in range(200)]
        right = np.array([draw.random() < 0.8 for _ in range(200)])
        given = [Prediction(answer="a", confidence=draw.random()) for _ in range(200)]
        wrongly += any(one["weak"] for one in weak_slices(rows_of(texts, groups), right, given))
    assert wrongly <= 5  # 40 x 5% is 2; more than 5 happens once in 70


def test_small_slices_are_not_tested_and_groups_and_new_words_are():
    groups: list[str | None] = ["big"] * 30 + ["small"] * 5 + [None] * 65
    texts = ["known words only"] * 60 + ["utterly strange vocabulary"] * 40
    given = [Prediction(answer="a")] * 100
    found = weak_slices(rows_of(texts, groups), np.ones(100, dtype=bool), given, known_words={"known", "words", "only"})
    names = {one["slice"] for one in found}
    assert "of group big" in names
    assert "of group small" not in names
    assert any("in no training row" in name for name in names)
    assert not any(one["kind"] == "confidence" for one in found), "no confidences, no such slice"


@pytest.mark.parametrize(
    ("text", "script"),
    [("refund kab", "Latin"), ("रिफंड कब", "Devanagari"), ("refund रिफंड कब", "mixed"), ("1234 !", "no letters"),
     ("ठीक हाँ एक लंबा वाक्य है जो यहाँ बड़े आराम से लिखा गया ok", "Devanagari")],
)  # fmt: skip
def test_the_script_of_a_text(text, script):
    assert script_of(text) == script


def test_the_share_of_new_words():
    assert new_share("one two three four", {"one", "two", "three"}) == 0.25
    assert new_share("", {"one"}) == 0.0
