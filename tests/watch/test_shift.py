"""Inputs like the reference raise nothing; new words, another script and another mix do, with inputs that show it."""

from __future__ import annotations

import random

import pytest

from kasauti.watch.seen import Texts
from kasauti.watch.shift import compare

WORDS = [
    "refund",
    "money",
    "card",
    "blocked",
    "parcel",
    "late",
    "courier",
    "wallet",
    "bank",
    "app",
    "order",
    "please",
    "why",
    "still",
    "my",
    "the",
    "not",
    "yet",
    "help",
]
HINDI = ["mera", "paisa", "wapas", "nahi", "aaya", "kab", "milega", "bhai", "kya", "hua", "card", "block", "ho", "gaya"]


def english(rows: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(6, 12))) for _ in range(rows)]


def hindi(rows: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(HINDI, k=draw.randint(6, 12))) for _ in range(rows)]


def test_texts_of_one_kind_are_alike():
    found = compare(Texts(reference=english(150, 1), called=english(120, 2)), seed=0)
    assert not found.stands
    assert found.p_value > 0.001
    assert 0.35 < found.auc < 0.65


def test_a_quarter_in_another_language_is_found_and_shown():
    called = english(150, 3) + hindi(50, 4)
    found = compare(Texts(reference=english(200, 1), called=called, ids=[f"c{n}" for n in range(200)]), seed=0)
    assert found.stands
    assert found.p_value <= 0.001
    assert {"nahi", "paisa"} & set(found.new)
    assert all(int(id[1:]) >= 150 for id, _ in found.inputs)
    assert ("Hindi in Latin script", 0.0, pytest.approx(0.25, abs=0.05)) in found.moved


def test_another_script_alone_is_found():
    called = english(160, 3) + ["मेरा पैसा वापस नहीं आया", "कार्ड ब्लॉक हो गया है", "पार्सल कब आएगा बताइए"] * 20
    found = compare(Texts(reference=english(200, 1), called=[f"{t} {n}" for n, t in enumerate(called)]), seed=0)
    assert found.stands
    assert "Devanagari script" in {name for name, _, _ in found.moved}


def test_one_text_sent_a_thousand_times_is_one_text():
    called = english(60, 2) + ["kuch naya bolo zara"] * 1000
    assert not compare(Texts(reference=english(200, 1), called=called), seed=0).stands


def test_few_texts_say_nothing():
    assert compare(Texts(reference=english(200, 1), called=english(20, 2)), seed=0) is None


def test_the_same_texts_give_the_same_answer():
    texts = Texts(reference=english(80, 1), called=english(70, 2))
    assert compare(texts, seed=5) == compare(texts, seed=5)


def test_the_level_holds_where_nothing_differs():
    alarms = 0
    for seed in range(60):
        found = compare(Texts(reference=english(60, 2 * seed), called=english(60, 2 * seed + 1)), seed, dealings=199)
        alarms += found.p_value <= 0.05
    assert alarms <= 9  # 3 are expected; 9 or more come once in 300


def test_a_word_in_every_second_call_is_found_though_the_calls_are_copies_of_the_reference():
    texts = english(200, 1)
    called = [f"vanakkam {text}" if at % 2 else text for at, text in enumerate(texts)]
    found = compare(Texts(reference=texts, called=called), seed=0)
    assert found.stands
    assert ("the word vanakkam", 0.0, pytest.approx(0.5)) in found.moved
