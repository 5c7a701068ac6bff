"""Claims about temperatures, thresholds and curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import KasautiError, UsageError
from kasauti.measure import calibrate as c

confidence_rows = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80)


def softmax_rows(rows: int, labels: int, sharpness: float, seed: int):
    """Log-probabilities whose true labels are drawn at temperature `sharpness` of what they claim."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (rows, labels))
    honest = c.apply_temperature(logits, 1.0)
    truth = np.array([generator.choice(labels, p=p) for p in honest])
    claimed = logits * sharpness
    return claimed - np.log(np.exp(claimed).sum(axis=1, keepdims=True)), truth


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_that_spoiled_the_probabilities_is_found_again(sharpness):
    logs, truth = softmax_rows(3000, 5, sharpness, seed=0)
    fitted = c.fit_temperature(logs, truth)
    assert fitted.value == pytest.approx(sharpness, rel=0.08)
    assert fitted.nll_after <= fitted.nll_before
    assert not fitted.at_bound
    assert fitted.rows == 3000


def test_the_temperature_equals_scikit_learns():
    pytest.importorskip("sklearn")
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Given(ClassifierMixin, BaseEstimator):
        """An estimator whose decision values are its input."""

        def fit(self, features, targets):
            self.classes_ = np.unique(targets)
            return self

        def decision_function(self, features):
            return features

        def predict(self, features):
            return self.classes_[features.argmax(axis=1)]

    logs, truth = softmax_rows(800, 4, 2.5, seed=3)
    oracle = CalibratedClassifierCV(FrozenEstimator(Given().fit(logs, truth)), method="temperature").fit(logs, truth)
    ours = c.apply_temperature(logs, c.fit_temperature(logs, truth).value)
    assert ours == pytest.approx(oracle.predict_proba(logs), abs=2e-3)


@given(st.floats(0.05, 20), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_temperature_keeps_the_order_of_the_labels_and_sums_to_one(temperature, seed):
    logs = np.random.default_rng(seed).normal(0, 4, (6, 5))
    cooled = c.apply_temperature(logs, temperature)
    assert cooled.sum(axis=1) == pytest.approx(np.ones(6))
    assert (cooled.argmax(axis=1) == logs.argmax(axis=1)).all()


def test_impossible_labels_stay_impossible_and_cost_a_finite_loss():
    logs = np.array([[0.0, -np.inf], [np.log(0.9), np.log(0.1)]])
    assert c.apply_temperature(logs, 3.0)[0].tolist() == [1.0, 0.0]
    assert np.isfinite(c.fit_temperature(logs, np.array([1, 0])).nll_after)


def test_a_few_rows_that_are_all_right_make_it_surer_and_not_certain():
    values = []
    for rows in (1, 5, 20, 5000):
        fitted = c.fit_temperature(np.log(np.array([[0.6, 0.4]] * rows)), np.zeros(rows, dtype=int))
        values.append(fitted.value)
    assert values == sorted(values, reverse=True)  # the more rows are right, the surer
    assert 0.5 < values[0] < 1
    assert values[-1] == pytest.approx(c.TEMPERATURES[0], rel=0.5)


def test_one_wrong_row_makes_it_less_sure_and_not_ignorant():
    fitted = c.fit_temperature(np.log(np.array([[0.9, 0.1]])), np.ones(1, dtype=int))
    assert 1 < fitted.value < 4
    assert not fitted.at_bound


def test_log_probabilities_that_cannot_be_are_refused():
    good, truth = np.log(np.array([[0.5, 0.5]])), np.array([0])
    for logs, index in (
        (good, np.array([0, 1])),
        (good[0], truth),
        (np.empty((0, 2)), np.array([])),
        (good * np.nan, truth),
        (good - np.inf, truth),
        (good, np.array([2])),
    ):
        with pytest.raises(KasautiError):
            c.fit_temperature(logs, index)
    with pytest.raises(UsageError, match="not above 0"):
        c.apply_temperature(good, 0.0)


@given(confidence_rows)
@settings(max_examples=60, deadline=None)
def test_the_reliability_bins_hold_every_row_and_give_the_calibration_error(pairs):
    from kasauti.measure.metrics import ece

    confidence, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    bins = c.reliability_bins(confidence, right)
    assert sum(b["count"] for b in bins) == len(pairs)
    error = sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / len(pairs)
    assert error == pytest.approx(ece(confidence, right))
    assert all(b["low"] <= b["accuracy"] <= b["high"] for b in bins)
