"""Tails are exact, what differs between days anyway is allowed for, and a quiet history seldom alarms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from kasauti.watch.counts import alarm_at, history, sees, share_above, tail, tails

SHARES = np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04])


def days(number: int, calls: int, rho: float = 0.0, seed: int = 0, rows: int = 1):
    """[rows, number, categories] counts and [rows, number] totals."""
    draw = np.random.default_rng(seed)
    share = np.broadcast_to(SHARES, (rows, number, len(SHARES)))
    if rho:
        share = draw.gamma(SHARES * (1 / rho - 1), size=share.shape)
        share /= share.sum(-1, keepdims=True)
    counts = draw.multinomial(calls, share).astype(float)
    return counts, counts.sum(-1)


@settings(max_examples=30)
@given(st.integers(1, 2000), st.floats(0, 1), st.floats(0.5, 200), st.floats(0.5, 2000))
def test_the_tail_is_that_of_the_beta_binomial(n, place, a, b):
    least = round(place * n)
    ours = tail(np.array([float(n)]), np.array([float(least)]), np.array([a]), np.array([b]))[0]
    assert ours == pytest.approx(betabinom.sf(least - 1, n, a, b), rel=5e-3, abs=5e-3)


@settings(max_examples=15)
@given(st.integers(100, 3000), st.floats(2e-3, 0.3), st.integers(300, 30000))
def test_a_small_tail_is_right_within_a_tenth(n, p, size):
    least = next(k for k in range(int(n * p), n + 1) if betabinom.sf(k - 1, n, p * size, (1 - p) * size) < 1e-3)
    ours = tail(*(np.array([float(x)]) for x in (n, least, p * size, (1 - p) * size)))[0]
    assert ours == pytest.approx(betabinom.sf(least - 1, n, p * size, (1 - p) * size), rel=0.1)


def test_days_that_differ_by_chance_alone_have_next_to_no_correlation():
    usual = history(*(one[0] for one in days(28, 500)))
    assert usual.share == pytest.approx(SHARES, abs=0.01)
    assert (usual.rho < 0.001).all()


def test_days_that_differ_more_are_found_to():
    counts, totals = days(28, 500, rho=0.01, seed=3)
    usual = history(counts[0], totals[0])
    assert (usual.rho > 0.006).all()
    assert (usual.rho < 0.03).all()


def test_a_category_that_moves_more_than_the_others_is_judged_by_itself():
    counts = days(28, 500, seed=4)[0][0]
    counts[::7, 4] *= 4  # one day a week
    usual = history(counts, counts.sum(-1))
    assert usual.rho[4] > 5 * usual.rho[0]


@pytest.mark.parametrize("rho", [0.0, 0.005])
def test_nothing_that_changed_alarms_as_rarely_as_is_said(rho):
    rows, level = 100, 0.02
    counts, totals = days(29, 300, rho=rho, seed=5, rows=rows)
    usual = history(counts[:, :28], totals[:, :28])
    upper, lower = tails(usual, counts[:, 28], totals[:, 28:])
    assert 0.2 < upper.mean() < 0.8
    alarms = ((upper <= level / 12) | (lower <= level / 12)).any(-1).mean()
    assert alarms <= binom.ppf(0.9999, rows, level) / rows


def test_what_would_be_seen_is_seen_as_often_as_promised():
    counts, totals = (one[0] for one in days(28, 400, seed=6))
    usual, level = history(counts, totals), 1e-4
    now = np.array([400.0])
    grown, gone = sees(usual, now, 2.0, level)
    assert grown[2] in (2.5, 3.0)
    assert gone[0]
    assert grown[4] is not None
    least = alarm_at(usual, now, 2.0, level)
    power = betabinom.sf(least[4] - 1, 400, 1e6 * grown[4] * usual.share[4], 1e6 * (1 - grown[4] * usual.share[4]))
    assert power > 0.75
    assert not sees(usual, np.array([20.0]), 2.0, level)[1][5]  # 20 calls cannot show that 4% are gone


def test_a_category_that_never_occurred_can_still_alarm():
    counts = days(28, 300)[0][0]
    counts[:, 5] = 0
    usual = history(counts, counts.sum(-1))
    upper, _ = tails(usual, np.array([0, 0, 0, 0, 0, 30.0]), np.array([300.0]))
    assert upper[5] < 1e-9


@given(st.integers(1, 500), st.integers(0, 500), st.floats(0.01, 0.5))
def test_a_share_is_tested_exactly(calls, hits, bound):
    hits = min(calls, hits)
    assert share_above(calls, hits, bound) == pytest.approx(binom.sf(hits - 1, calls, bound), rel=1e-6, abs=1e-12)
