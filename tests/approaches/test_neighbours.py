"""The nearest rows: by words, by meaning, by both; the same whatever they are asked together with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.approaches.neighbours import BOTH, MEANING, RANK, WAYS, WORDS, Neighbours, distinct, fuse, terms
from kasauti.core.types import Example

TEXTS = [
    "my refund is late", "card blocked at the atm", "parcel never came", "refund promised last week",
    "पैसा वापस नहीं आया", "card declined", "the parcel is late",
]  # fmt: skip


def rows(texts: list[str], answers: str = "abcdefghijkl") -> list[Example]:
    return [
        Example(id=str(at), fields={"text": text}, template="{text}", answer=answers[at % len(answers)])
        for at, text in enumerate(texts)
    ]


def unit(seed: int, count: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("text", TEXTS)
def test_a_row_is_its_own_nearest(text):
    index = Neighbours(rows(TEXTS))
    assert index.rows[index.nearest([text], 1)[0][0]].text == text


@pytest.mark.parametrize(("asked", "found"), [("refnud late", 0), ("वापस", 4), ("CARDS are being declined", 5)])
def test_misspelt_words_other_scripts_and_other_endings_are_found(asked, found):
    assert Neighbours(rows(TEXTS)).nearest([asked], 3)[0][0] == found


@given(st.lists(st.sampled_from([*TEXTS, "", "!!!", "zebra"]), max_size=6), st.integers(1, 12), st.sampled_from(WAYS))
def test_every_text_gets_so_many_different_rows_as_if_it_were_asked_alone(asked, count, way):
    index = Neighbours(rows(TEXTS), unit(1, len(TEXTS)))
    vectors = unit(2, len(asked))
    found = index.nearest(asked, count, way, vectors)
    assert len(found) == len(asked)
    for at, places in enumerate(found):
        assert len(places) == len(set(places)) == min(count, len(TEXTS))
        assert places == index.nearest([asked[at]], count, way, vectors[at : at + 1])[0]
        assert places == index.nearest([asked[at]], len(TEXTS), way, vectors[at : at + 1])[0][:count]


def test_meaning_is_the_order_of_cosines():
    vectors, asked = unit(3, len(TEXTS)), unit(4, 2)
    found = Neighbours(rows(TEXTS), vectors).nearest(["", ""], len(TEXTS), MEANING, asked)
    for places, one in zip(found, asked, strict=True):
        assert places == sorted(places, key=lambda place: -float(vectors[place] @ one))


def test_both_stand_where_the_two_lists_agree():
    index = Neighbours(rows(TEXTS), unit(5, len(TEXTS)))
    asked = index.vectors[[6]]
    assert index.ways == WAYS
    assert index.nearest(["the parcel is late"], 1, BOTH, asked) == [[6]]
    assert Neighbours(rows(TEXTS)).ways == (WORDS,)


@given(st.lists(st.permutations(range(5)), min_size=1, max_size=3))
def test_fused_scores_are_sums_of_reciprocal_ranks(rankings):
    found = fuse(rankings)
    score = {place: sum(1 / (RANK + ranking.index(place) + 1) for ranking in rankings) for place in range(5)}
    assert sorted(found) == list(range(5))
    assert all(score[a] >= score[b] - 1e-12 for a, b in pairwise(found))


def test_copies_are_kept_once_and_other_answers_to_the_same_text_stay():
    made = rows(["a b", "a b", "c d", "a b"], "xxyz")
    assert [(row.id, row.answer) for row in distinct(made)] == [("0", "x"), ("2", "y"), ("3", "z")]
    assert len(Neighbours(made).rows) == 3


def test_rows_without_a_word_are_an_index_all_the_same():
    index = Neighbours(rows(["!!!", "??"]))
    assert index.nearest(["refund", "!!!"], 2) == [[0, 1], [0, 1]]
    assert Neighbours(()).nearest(["refund"], 2) == [[]]


def test_terms_are_words_and_their_pieces_with_marked_ends():
    assert terms("Refund!")[:1] == ["refund"]
    assert {" re", "nd ", "efund"} <= set(terms("Refund!"))
    assert terms("...") == []
