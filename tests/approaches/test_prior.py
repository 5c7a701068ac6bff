"""The prior over labels: estimated without answers, taken off only where that helps, and nothing else moved by it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kasauti.approaches.prior import LEAST_ROWS, PLAIN, Prior, choose_prior, means, without
from kasauti.approaches.prompt import PromptInstructions
from kasauti.core.types import Example
from kasauti.measure.calibrate import log_softmax

LABELS = ("a", "b", "c")
LOGS = arrays(float, st.tuples(st.integers(1, 6), st.just(3)), elements=st.floats(-40, 0))


def rows(truth: np.ndarray) -> list[Example]:
    return [Example(id=str(n), fields={"x": "x"}, template="{x}", answer=LABELS[t]) for n, t in enumerate(truth)]


def biased(number: int, seed: int, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities that know the truth a little, and like the first label `bias` nats too much."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 3, number)
    logs = draw.normal(0, 1, (number, 3)) + 1.5 * np.eye(3)[truth]
    logs[:, 0] += bias
    return log_softmax(logs) - 2.0, truth


def test_a_model_that_prefers_a_label_is_put_right_without_its_answers_being_read():
    logs, truth = biased(300, 1, bias=6.0)
    reference, _ = biased(128, 2, bias=6.0)
    prior = choose_prior(reference, logs, rows(truth), LABELS)
    assert prior.way != PLAIN
    assert prior.losses[prior.way] < prior.losses[PLAIN] - 0.1
    new, found = biased(500, 3, bias=6.0)
    plain, corrected = ((one.argmax(axis=1) == found).mean() for one in (new, prior.apply(new)))
    assert plain < 0.45
    assert corrected > 0.6


def test_where_it_does_not_help_or_cannot_be_told_answers_stay_as_they_are():
    logs, truth = biased(300, 1, bias=0.0)
    skewed, _ = biased(128, 2, bias=6.0)
    assert choose_prior(skewed, logs, rows(truth), LABELS).way == PLAIN
    few = LEAST_ROWS - 1
    assert choose_prior(skewed, logs[:few], rows(truth[:few]), LABELS) == Prior()
    assert choose_prior(skewed[:0], logs, rows(truth), LABELS) == Prior()
    assert Prior().apply(logs) is logs


@given(LOGS, arrays(float, 3, elements=st.floats(-40, 0)))
def test_what_the_labels_have_together_stays_and_ratios_change_by_the_prior(logs, prior):
    made = without(logs, prior)
    assert np.logaddexp.reduce(made, axis=1) == pytest.approx(np.logaddexp.reduce(logs, axis=1), abs=1e-9)
    assert made[:, 0] - made[:, 1] == pytest.approx(logs[:, 0] - logs[:, 1] - prior[0] + prior[1], abs=1e-9)


@given(LOGS)
def test_the_arithmetic_mean_is_the_mean_posterior(logs):
    mean = np.exp(means(logs)["arithmetic"])
    assert mean == pytest.approx(np.exp(log_softmax(logs)).mean(axis=0), abs=1e-12)
    assert mean.sum() == pytest.approx(1)


def test_it_comes_back_from_json_as_it_was():
    logs, truth = biased(300, 1, bias=6.0)
    prior = choose_prior(biased(128, 2, bias=6.0)[0], logs, rows(truth), LABELS)
    assert Prior.of(prior.document()) == prior
    assert sum(prior.about(LABELS)["shares"].values()) == pytest.approx(1)


def test_a_prompt_chooses_its_prior_on_the_validation_rows_and_keeps_it(place, tmp_path):
    """Of the training rows only what they ask is read; what is answered follows from what was kept."""
    here = place()
    rows = [*here.split.train, *here.split.validation]
    train, choose, calibrate = rows[:24], rows[24:50], rows[50:]
    asker = PromptInstructions(here.bench).asker
    best = without(asker.log_probabilities(choose), means(asker.log_probabilities(train))["arithmetic"]).argmax(axis=1)
    choose = [dataclasses.replace(row, answer=asker.labels[at]) for row, at in zip(choose, best, strict=True)]
    approach = PromptInstructions(here.bench).fit(train, choose, calibrate)
    lied = [dataclasses.replace(row, answer="card") for row in train]
    assert PromptInstructions(here.bench).fit(lied, choose, calibrate).prior == approach.prior
    prior = approach.prior
    assert prior.rows == len(train)
    assert set(prior.losses) == {PLAIN, "arithmetic", "geometric"}
    assert prior.losses[prior.way] == min(prior.losses.values())
    assert prior.way != PLAIN  # what is true was made to be what the network says once its likings are taken off
    approach.save(str(tmp_path))
    again = PromptInstructions(here.bench).load(str(tmp_path))
    assert again.prior == prior
    given, raw = approach.predict(here.split.test), approach.asker.log_probabilities(here.split.test)
    assert [p.probabilities for p in again.predict(here.split.test)] == [p.probabilities for p in given]
    assert [p.log_mass for p in given] == pytest.approx(np.logaddexp.reduce(raw, axis=1).tolist(), abs=1e-6)
    assert [p.answer for p in given] == [approach.asker.labels[at] for at in prior.apply(raw).argmax(axis=1)]


def test_what_was_saved_before_there_were_priors_is_read(place, tmp_path):
    here = place()
    PromptInstructions(here.bench).save(str(tmp_path))
    kept = json.loads((tmp_path / "prompt.json").read_text("utf-8"))
    kept.pop("prior")
    (tmp_path / "prompt.json").write_text(json.dumps(kept), "utf-8")
    assert PromptInstructions(here.bench).load(str(tmp_path)).prior == Prior()
