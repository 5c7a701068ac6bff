"""Numbers are written the same way everywhere, and a missing one is never written as a figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.paper import words

ONE_NUMBER: list[Callable[[Any], str]] = [
    words.percent, words.fraction, words.points, words.count, words.money, words.price, words.milliseconds,
    words.duration, words.p_value, words.times,
]  # fmt: skip


@pytest.mark.parametrize("write", ONE_NUMBER)
@pytest.mark.parametrize("value", [None, math.nan, math.inf, "0.9", True, [1]])
def test_what_is_no_number_is_shown_as_missing(write: Callable[[Any], str], value: Any) -> None:
    assert write(value) == words.MISSING


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.percent(0.9154), "91.5%"),
        (words.percent(1), "100.0%"),
        (words.percent(0.8, 0), "80%"),
        (words.percent(-0.02), "\u22122.0%"),
        (words.points(0.021), "+2.1"),
        (words.points(-0.021), "\u22122.1"),
        (words.points(0.0), "0.0"),
        (words.points(-0.0001), "0.0"),
        (words.count(12345), "12,345"),
        (words.count(0), "0"),
        (words.money(0.01234), "0.012"),
        (words.money(0.00058), "0.00058"),
        (words.money(12.5, "$"), "$12.50"),
        (words.money(-3.2, "€"), "\u2212€3.20"),
        (words.money(1234567.8), "1,234,568"),
        (words.money(0), "0"),
        (words.price(0.001), "0.001"),
        (words.price(10), "10"),
        (words.price(100), "100"),
        (words.milliseconds(0.84), "0.8 ms"),
        (words.milliseconds(24.2), "24 ms"),
        (words.milliseconds(1234), "1.23 s"),
        (words.duration(0.42), "0.4 s"),
        (words.duration(212.6), "3 min 33 s"),
        (words.duration(120), "2 min"),
        (words.duration(4320), "1 h 12 min"),
        (words.duration(7200), "2 h"),
        (words.p_value(0.0123), "0.012"),
        (words.p_value(1e-9), "< 0.001"),
        (words.interval(0.884, 0.938), "88.4\u201393.8%"),
        (words.interval(-0.01, 0.02, share=False), "\u22120.010 to 0.020"),
        (words.interval(None, 0.9), ""),
        (words.points_interval(0.004, 0.062), "+0.4 to +6.2"),
        (words.points_interval(0.004, None), ""),
        (words.times(1), "once"),
        (words.times(2), "twice"),
        (words.times(7), "7 times"),
        (words.plural(1, "row"), "1 row"),
        (words.plural(2, "class", "classes"), "2 classes"),
        (words.when("2026-11-23T14:05:31+00:00"), "23 November 2026, 14:05 UTC"),
        (words.when("2026-11-23T14:05:31+05:30"), "23 November 2026, 14:05"),
        (words.when("yesterday"), "yesterday"),
        (words.when(None), ""),
        (words.ordinary({"r": 16, "on": True, "lr": 0.0002}), "r: 16, on: yes, lr: 0.0002"),
        (words.ordinary(["q", None, math.nan]), "q, \u2013, \u2013"),
        (words.clip("abcdef", 4), "abc…"),
        (words.clip("abcd", 4), "abcd"),
    ],
)  # fmt: skip
def test_a_number_is_written_as_a_reader_expects(written: str, expected: str) -> None:
    assert written == expected


@given(st.floats(-1e12, 1e12))
def test_no_finite_number_is_written_in_powers_of_ten_or_as_a_negative_zero(value: float) -> None:
    for write in (words.percent, words.fraction, words.points, words.count, words.money, words.price):
        text = write(value)
        assert "e" not in text
        assert text.strip("0.,%\u2212+") or "\u2212" not in text


@given(st.floats(1e-9, 1e9))
def test_an_amount_keeps_two_digits_of_what_it_was(value: float) -> None:
    assert float(words.money(value).replace(",", "")) == pytest.approx(value, rel=0.06, abs=1e-11)
