"""Bets against true claims seldom win, however often they are looked at; against false ones they do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.measure.sequential import against_equal_shares, against_even, against_mean


@pytest.mark.parametrize("bound", [0.0, -0.02, 0.5])
def test_a_true_claim_is_seldom_won_against_and_a_false_one_always(bound):
    draw = np.random.default_rng(0)
    shares = [0.05, 0.95 - (0.05 + bound), 0.05 + bound] if bound <= 0 else [0.0, 0.5, 0.5]
    outcomes = draw.choice([-1.0, 0.0, 1.0], p=shares, size=(600, 2000))
    assert (against_mean(outcomes, bound).max(-1) >= np.log(20)).mean() <= 0.08  # 5% at most, and its chance
    better = draw.choice([-1.0, 0.0, 1.0], p=[0.02, 0.1, 0.88], size=(20, 2000))
    assert (against_mean(better, bound)[:, -1] >= np.log(20)).all()


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=50), st.floats(-0.5, 0.5))
def test_no_outcome_takes_more_than_there_is(outcomes, bound):
    assert np.isfinite(against_mean(np.array(outcomes), bound)).all()


def test_equal_arms_seldom_differ_and_unequal_ones_do():
    draw = np.random.default_rng(1)

    def most(rate):
        second = draw.random(4000) < 0.05
        hits = draw.random(4000) < np.where(second, rate, 0.02)
        return against_equal_shares(second, hits).max(initial=0)

    assert np.mean([most(0.02) >= np.log(20) for _ in range(300)]) <= 0.09
    assert np.mean([most(0.3) >= np.log(100) for _ in range(30)]) == 1
    assert most(0.0) < np.log(20)
    assert not len(against_equal_shares(np.zeros(5, dtype=bool), np.ones(5, dtype=bool)))


def test_a_bet_on_even_numbers_is_fair():
    from scipy.stats import binom

    rows = 40
    fair = sum(np.exp(against_even(n, rows - n)) * binom.pmf(n, rows, 0.5) for n in range(rows + 1))
    assert fair == pytest.approx(1)
