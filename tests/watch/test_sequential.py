"""A bettor against a constant accuracy does not get rich, and against a fallen one does."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.watch.sequential import WEEKS, fallen, floor_of, fortune, reviews_needed


def test_the_fortune_does_not_grow_on_average_while_accuracy_holds():
    outcomes = np.array(list(itertools.product([0.0, 1.0], repeat=9)))  # one answer a week: every course of events
    chance = 0.9 ** outcomes.sum(-1) * 0.1 ** (9 - outcomes.sum(-1))
    wealth = np.exp(fortune(outcomes, np.ones_like(outcomes), 0.9))
    assert chance @ wealth == pytest.approx(np.ones(9))


def test_it_seldom_gets_rich_while_accuracy_holds():
    right = np.random.default_rng(0).binomial(30, 0.9, (2000, 20)).astype(float)
    wealth = fortune(right, np.full_like(right, 30.0), 0.9)
    assert (wealth.max(-1) >= np.log(20)).mean() <= 0.05


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=10), st.floats(0.3, 0.99))
def test_more_wrong_answers_never_make_it_poorer(weeks, p0):
    right = np.array([min(pair) for pair in weeks], dtype=float)
    read = np.array([max(pair) for pair in weeks], dtype=float)
    worse = np.maximum(right - 1, 0)
    assert (fortune(worse, read, p0) >= fortune(right, read, p0) - 1e-9).all()


def test_a_fall_after_a_good_time_is_found():
    right = [94] * 20 + [80] * 6
    found = fallen(right, [100] * 26, 0.93, 0.002)
    assert found.alarm is not None
    assert 20 <= found.alarm <= 23


def test_a_steady_accuracy_is_not():
    assert fallen([94, 92, 95, 93] * 6, [100] * 24, 0.93, 0.002).alarm is None
    assert fallen([], [], 0.9, 0.01).alarm is None


def test_the_test_begins_anew_with_each_year():
    bad = fallen([60] + [95] * (WEEKS - 1) + [95] * 3, [100] * (WEEKS + 3), 0.93, 0.002)
    assert bad.alarm is None


def test_a_baseline_of_few_rows_is_worth_less():
    assert floor_of(188, 200, 0.008) < floor_of(1880, 2000, 0.008) < 0.94


def test_a_smaller_fall_takes_more_reviews():
    assert reviews_needed(0.93, 0.85, 0.002) < reviews_needed(0.93, 0.9, 0.002)
    assert reviews_needed(0.93, 0.95, 0.002) is None
