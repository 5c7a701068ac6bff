"""Sets of labels hold the true one as often as promised, whatever the probabilities are worth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import KasautiError, UsageError
from kasauti.measure import conformal as c
from kasauti.measure.calibrate import log_softmax


def drawn(rows, labels, seed, sharpness=1.0, shares=None):
    """Probabilities that claim `sharpness` times what is true, and true labels."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(labels, rows, p=shares)
    logits = generator.normal(0, 1, (rows, labels))
    logits[np.arange(rows), truth] += 1.5
    return np.exp(log_softmax(sharpness * logits)), truth


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
@pytest.mark.parametrize(("rows", "promised"), [(40, 0.9), (200, 0.8)])
def test_over_many_draws_the_true_label_is_in_as_often_as_promised_and_hardly_more(rows, promised, sharpness):
    covered, fits = [], 250
    for seed in range(fits):
        rule = c.fit_conformal(*drawn(rows, 6, [1, seed], sharpness), promised)
        new, truth = drawn(400, 6, [2, seed], sharpness)
        covered.append((new >= np.array(rule.least))[np.arange(400), truth].mean())
    error = 3 * np.std(covered) / fits**0.5
    assert promised - error <= np.mean(covered) <= promised + 1 / (rows + 1) + error


def test_without_the_row_more_that_the_correction_counts_the_promise_would_be_broken():
    rows, fits, corrected, plain = 15, 1500, [], []
    for seed in range(fits):
        given_, truth = drawn(rows, 4, [3, seed])
        new, wanted = drawn(60, 4, [4, seed])
        of_truth = new[np.arange(60), wanted]
        corrected.append((of_truth >= c.fit_conformal(given_, truth, 0.8).least[0]).mean())
        plain.append((of_truth >= np.quantile(given_[np.arange(rows), truth], 0.2)).mean())
    assert np.mean(corrected) >= 0.8 - 0.01
    assert np.mean(plain) < 0.8 - 0.01


def test_by_label_each_label_with_rows_enough_is_covered_and_the_rare_ones_together_too():
    shares = [0.5, 0.3, 0.14, 0.03, 0.03]
    by_label, together, fits = np.zeros((2, 5)), np.zeros(2), 200
    counts = np.zeros(5)
    for seed in range(fits):
        given_, truth = drawn(250, 5, [5, seed], 2.0, shares)
        new, wanted = drawn(500, 5, [6, seed], 2.0, shares)
        counts += np.bincount(wanted, minlength=5)
        for at, fit in enumerate((c.fit_class_conformal, c.fit_conformal)):
            inside = fit(given_, truth, 0.9).sets(new)[np.arange(500), wanted]
            by_label[at] += np.bincount(wanted, weights=inside, minlength=5)
            together[at] += inside.mean() / fits
    assert (by_label[0] / counts)[:3].min() >= 0.89
    assert together.min() >= 0.89
    assert (by_label[0] / counts).min() > (by_label[1] / counts).min()  # what one figure for all does to rare labels


def test_the_spread_that_is_told_holds_95_of_100_files():
    inside, fits = 0, 400
    for seed in range(fits):
        rule = c.fit_conformal(*drawn(150, 5, [7, seed]), 0.9)
        new, truth = drawn(300, 5, [8, seed])
        low, high = c.expected_coverage(150, 0.9, 300)
        inside += low <= (new >= np.array(rule.least))[np.arange(300), truth].mean() <= high
    assert 0.92 <= inside / fits <= 0.99


def test_it_equals_crepes():
    crepes = pytest.importorskip("crepes")
    given_, truth = drawn(120, 5, 0)
    new, _ = drawn(60, 5, 1)
    oracle = crepes.ConformalClassifier().fit(1 - given_[np.arange(120), truth])
    theirs = oracle.predict_set(1 - new, confidence=0.9, smoothing=False)
    ours = new >= np.array(c.fit_conformal(given_, truth, 0.9).least)
    assert (ours == theirs.astype(bool)).all()


@given(st.integers(1, 60), st.integers(2, 7), st.floats(0.05, 0.99), st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_set_is_never_empty_and_grows_with_the_promise(rows, labels, promised, seed):
    given_, truth = drawn(rows, labels, seed)
    for fit in (c.fit_conformal, c.fit_class_conformal):
        small, large = (fit(given_, truth, share).sets(given_) for share in (promised * 0.9, promised))
        assert small.any(axis=1).all()
        assert (fit(given_, truth, promised).probable(given_) <= large).all()
        assert fit is c.fit_class_conformal or (small <= large).all()


@given(st.integers(1, 200), st.floats(0.5, 0.999))
def test_as_many_of_its_own_rows_are_covered_as_the_corrected_promise_asks(rows, promised):
    given_, truth = drawn(rows, 3, rows)
    covered = (given_ >= np.array(c.fit_conformal(given_, truth, promised).least))[np.arange(rows), truth].mean()
    assert covered >= promised - 1e-9


def test_too_few_rows_put_every_label_in():
    given_, truth = drawn(8, 4, 0)
    assert c.fit_conformal(given_, truth, 0.9).sets(given_).all()
    assert c.fit_class_conformal(given_, truth, 0.9).own == ()


def test_figures_of_sets():
    sets, truth = np.array([[1, 0, 1], [0, 1, 0]], dtype=bool), np.array([0, 2])
    assert c.coverage_measurement(sets, truth).value == 0.5
    assert c.size_measurement(sets, 0).value == 1.5


def test_promises_that_cannot_be_are_refused():
    given_, truth = drawn(8, 4, 0)
    with pytest.raises(UsageError, match="promised coverage of 1"):
        c.fit_conformal(given_, truth, 1.0)
    with pytest.raises(KasautiError, match="for 7 rows"):
        c.fit_conformal(given_, truth[:7], 0.9)
