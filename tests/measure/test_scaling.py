"""A richer calibration is taken where it helps on rows it has not seen, and nowhere else."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import KasautiError
from kasauti.measure import scaling as s
from kasauti.measure import selective
from kasauti.measure.calibrate import apply_temperature, fit_temperature, log_softmax
from kasauti.measure.conformal import fit_conformal


def drawn(rows, labels, seed, spoil):
    """Log-probabilities spoiled by a function of the honest logits, and labels drawn by the honest ones."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 2, (rows, labels))
    honest = np.exp(log_softmax(logits))
    truth = (draw.random((rows, 1)) > honest.cumsum(axis=1)).sum(axis=1).clip(max=labels - 1)
    return log_softmax(spoil(logits)), truth


def loss(logs, truth):
    return float(-logs[np.arange(len(truth)), truth].mean())


SPOILS = {
    "temperature": lambda z: 2.5 * z,
    "vector": lambda z: 1.5 * z + np.array([2.0, 0.0, 0.0, -1.5]),
    "isotonic": lambda z: log_softmax(z) + 4 * (np.exp(log_softmax(z)) > 0.5),
}


@pytest.mark.parametrize("kind", SPOILS)
def test_what_spoiled_the_probabilities_is_found_and_mended(kind):
    logs, truth = drawn(1500, 4, 0, SPOILS[kind])
    fitted = s.choose_calibration(logs, truth)
    assert fitted.calibration.method == kind
    new, wanted = drawn(20_000, 4, 1, SPOILS[kind])
    honest, _ = drawn(20_000, 4, 1, lambda z: z)
    assert loss(fitted.calibration.apply(new), wanted) <= loss(honest, wanted) + 0.04
    if kind != "temperature":
        assert fitted.calibration.gains[kind]["low"] > 0
        alone = s.fit_scaled(logs, truth)
        assert loss(fitted.calibration.apply(new), wanted) < loss(alone.apply(new), wanted) - 0.01


def test_where_a_temperature_is_all_there_is_to_find_it_stays_in_nearly_every_draw():
    chosen = [
        s.choose_calibration(*drawn(rows, 6, [rows, seed], lambda z: 1.7 * z), seed).calibration
        for rows in (60, 400)
        for seed in range(30)
    ]
    assert sum(one.method != "temperature" for one in chosen) <= 4
    assert all(set(one.losses) >= {"temperature", "isotonic"} for one in chosen)


def test_few_rows_get_a_temperature_and_nothing_else_is_tried():
    logs, truth = drawn(40, 4, 0, SPOILS["vector"])
    one = s.choose_calibration(logs, truth).calibration
    assert (one.method, set(one.losses)) == ("temperature", {"temperature"})
    assert one.temperature == fit_temperature(logs, truth).value
    many = drawn(100, 50, 0, lambda z: z)
    assert "vector" not in s.choose_calibration(*many).calibration.losses


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_handful_of_rows_still_gives_a_calibration(rows):
    logs, truth = drawn(rows, 3, 0, lambda z: z)
    fitted = s.choose_calibration(logs, truth)
    assert fitted.held_out.shape == (rows, 3)
    assert np.isfinite(fitted.calibration.apply(logs)).all()


@given(st.integers(50, 150), st.integers(2, 6), st.integers(0, 10**6))
@settings(max_examples=25)
def test_probabilities_sum_to_one_and_only_a_vector_may_change_the_answer(rows, labels, seed):
    logs, truth = drawn(rows, labels, seed, lambda z: 1.5 * z)
    for fit in (s.fit_scaled, s.fit_isotonic, s.fit_vector):
        made = fit(logs, truth)
        out = made.apply(logs)
        assert np.exp(out).sum(axis=1) == pytest.approx(np.ones(rows))
        if made.method != "vector":
            assert (np.take_along_axis(out, logs.argmax(axis=1)[:, None], 1)[:, 0] >= out.max(axis=1) - 1e-12).all()
        again = s.Calibration.of(json.loads(json.dumps(made.document())))
        assert again == made
        assert (again.apply(logs) == out).all()


def test_a_temperature_is_that_of_apply_temperature():
    logs, truth = drawn(80, 4, 2, lambda z: 3 * z)
    one = s.fit_scaled(logs, truth)
    assert np.exp(one.apply(logs)) == pytest.approx(apply_temperature(logs, one.temperature))


def test_an_impossible_label_stays_impossible_and_the_loss_finite():
    logs = np.tile([[np.log(0.7), np.log(0.3), -np.inf]], (60, 1))
    for truth, least in ((np.array([0, 1] * 30), 0.0), (np.array([0, 1, 2] * 20), 0.2)):
        for fit in (s.fit_scaled, s.fit_isotonic, s.fit_vector):
            assert not np.isnan(fit(logs, truth).apply(logs)).any()
        # what was stated as impossible and came true in a third of the rows is no longer stated so
        assert np.exp(s.fit_isotonic(logs, truth).apply(logs)[0, 2]) >= least
        assert np.isfinite(list(s.choose_calibration(logs, truth).calibration.losses.values())).all()
    assert np.exp(s.fit_isotonic(logs, np.array([0, 1] * 30)).apply(logs)[0, 2]) == 0


@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), st.integers(2, 5))
def test_folds_are_even_overall_and_for_each_label(truth, parts):
    number = s.folds(np.array(truth), parts, 0)
    sizes = np.bincount(number, minlength=parts)
    assert sizes.max() - sizes.min() <= 1
    for label in set(truth):
        of_label = np.bincount(number[np.array(truth) == label], minlength=parts)
        assert of_label.max() - of_label.min() <= 1


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(KasautiError):
        s.choose_calibration(np.zeros((3, 2)), np.array([0, 1]))


@pytest.mark.parametrize("kind", SPOILS)
def test_promises_made_on_the_held_out_probabilities_are_kept_with_every_calibration(kind):
    """Thresholds and sets stand on the rows that the calibration was fitted on, each seen by the other folds' only."""
    wanted, fits, missed, covered = 0.85, 80, 0, []
    new, truth = drawn(6000, 4, 99, SPOILS[kind])
    fit = {"temperature": s.fit_scaled, "vector": s.fit_vector, "isotonic": s.fit_isotonic}[kind]
    for seed in range(fits):
        logs, index = drawn(150, 4, seed, SPOILS[kind])
        held = s._held_out(fit, logs, index, s.folds(index, 5, seed))
        right, sure = held.argmax(axis=1) == index, np.exp(held.max(axis=1))
        made = np.exp(fit(logs, index).apply(new))
        chosen = selective.exact_threshold(sure, right, wanted)
        accepted = made.max(axis=1) >= (2.0 if chosen.value is None else chosen.value)
        missed += accepted.any() and (made.argmax(axis=1) == truth)[accepted].mean() < wanted
        sets = made >= np.array(fit_conformal(np.exp(held), index, 0.9).least)
        covered.append(sets[np.arange(len(truth)), truth].mean())
    assert missed / fits <= 0.05 + 3 * (0.05 * 0.95 / fits) ** 0.5
    assert np.mean(covered) >= 0.9 - 3 * np.std(covered) / fits**0.5
