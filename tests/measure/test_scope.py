"""The area under the curve, and how sure it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import KasautiError
from kasauti.measure.scope import auroc, auroc_measurement

scores = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=25)


@given(scores, scores)
@settings(max_examples=60)
def test_it_is_the_share_of_pairs_in_the_right_order(inside, outside):
    a, b = np.array(inside), np.array(outside)
    pairs = (a[:, None] > b[None]).mean() + (a[:, None] == b[None]).mean() / 2
    measured = auroc_measurement(a, b)
    assert measured.value == auroc(a, b) == pytest.approx(pairs)
    assert 0 <= measured.low <= measured.value <= measured.high <= 1


def test_it_equals_scikit_learns():
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(0)
    a, b = draw.normal(1, 1, 50).round(1), draw.normal(0, 1, 80).round(1)
    assert auroc(a, b) == pytest.approx(roc_auc_score([1] * 50 + [0] * 80, [*a, *b]))


@pytest.mark.parametrize(("apart", "rows"), [(0.0, 60), (1.5, 60), (2.5, 200)])
def test_the_interval_holds_the_true_value_as_often_as_it_says(apart, rows):
    from scipy.stats import norm

    draw, true, held = np.random.default_rng(1), float(norm.cdf(apart / 2**0.5)), 0
    for _ in range(400):
        one = auroc_measurement(draw.normal(apart, 1, rows), draw.normal(0, 1, rows * 2))
        held += one.low <= true <= one.high
    assert 0.92 <= held / 400 <= 0.98


def test_sides_that_do_not_overlap_are_sure_and_not_certain():
    one = auroc_measurement(np.arange(10.0) + 100, np.arange(30.0))
    assert (one.value, one.high) == (1.0, 1.0)
    assert 0.6 < one.low < 0.9


def test_a_side_without_rows_is_refused():
    with pytest.raises(KasautiError, match="0 rows in scope and 2 out of it"):
        auroc(np.array([]), np.array([1.0, 2.0]))
