"""Every guard speaks on the log of a run that needs it, and none on a healthy one."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.types import Severity, Supervised
from kasauti.train import guard
from kasauti.train.guard import Log, choice, diverged, impatient, review
from kasauti.train.recipe import FEW, FEW_ROWS, SMALL_MODEL, Recipe, recipe_for

BILLIONS = 8_000_000_000


def falling(steps: int = 90, start: float = 2.4, end: float = 0.1, noise: float = 0.15, seed: int = 0) -> list[float]:
    """Training losses as a healthy run has them."""
    draw = random.Random(seed)
    return [
        max(0.0, end + (start - end) * math.exp(-4 * at / steps) + draw.gauss(0, noise * start / 4))
        for at in range(steps)
    ]


def epoch(
    number: int, train: float, held: float, accuracy: float | None = None, log_loss: float = 0.3
) -> dict[str, float]:
    figures = {"epoch": float(number), "step": 30.0 * number, "train_loss": train, "validation_loss": held}
    if accuracy is not None:
        figures |= {
            "validation_accuracy": accuracy,
            "validation_log_loss": log_loss,
            "validation_majority": 0.15,
            "validation_prior_loss": 2.3,
            "validation_rows": 100.0,
        }
    return figures


HEALTHY = Log(
    recipe=Recipe(),
    parameters=BILLIONS,
    rows=2000,
    losses=falling(),
    epochs=[epoch(1, 0.9, 0.4, 0.85), epoch(2, 0.3, 0.3, 0.9), epoch(3, 0.15, 0.29, 0.91)],
)


def names(log: Log) -> list[str]:
    return [one.check for one in review(log)]


def changed(**fields: object) -> Log:
    return dataclasses.replace(HEALTHY, **fields)


@given(seed=st.integers(0, 10_000), start=st.floats(0.2, 6), end=st.floats(0, 0.15), noise=st.floats(0, 0.3))
def test_none_speaks_on_a_healthy_run(seed, start, end, noise):
    losses = falling(start=start, end=end, noise=noise, seed=seed)
    assert names(changed(losses=losses)) == []
    assert all(diverged(losses[:at], Recipe()) is None for at in range(1, len(losses) + 1))


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_model_that_gets_surer_and_better_is_not_overfitting(method):
    epochs = [epoch(1, 0.9, 0.4, 0.85), epoch(2, 0.1, 0.5, 0.9)]
    assert names(changed(epochs=epochs, recipe=Recipe(method=method))) == []


def test_few_rows_are_said_with_what_was_done_about_them():
    recipe = recipe_for({}, BILLIONS, 42, rows=96)
    assert {name: getattr(recipe, name) for name in FEW_ROWS} == FEW_ROWS
    (said,) = review(changed(rows=96, recipe=recipe))
    assert said.check == "small data"
    assert said.severity == Severity.WARN
    assert "96 training rows are few" in said.what
    assert "the recipe was made careful: r 8" in said.what
    assert "the rows that are learnt" in said.what


def test_few_rows_never_overrule_the_task_file_and_that_is_said():
    recipe = recipe_for({"r": 32, "epochs": 5}, BILLIONS, 42, rows=FEW - 1)
    assert (recipe.r, recipe.epochs, recipe.dropout) == (32, 5, FEW_ROWS["dropout"])
    (said,) = review(changed(rows=FEW - 1, recipe=recipe))
    assert "the task file keeps r 32, epochs 5" in said.what
    assert recipe_for({}, BILLIONS, 42, rows=FEW) == recipe_for({}, BILLIONS, 42)


def test_a_small_model_keeps_its_recipe_on_few_rows():
    recipe = recipe_for({}, SMALL_MODEL - 1, 42, rows=96)
    assert recipe == recipe_for({}, SMALL_MODEL - 1, 42)
    (said,) = review(changed(rows=96, recipe=recipe, parameters=SMALL_MODEL - 1))
    assert "keeps its own recipe" in said.what


def test_overfitting_is_said_with_the_epoch_and_the_gap():
    epochs = [epoch(1, 0.5, 0.41, 0.8), epoch(2, 0.05, 0.62, 0.79)]
    (said,) = review(changed(epochs=epochs))
    assert said.check == "overfitting"
    assert "after epoch 1 (0.410 → 0.620) while training loss fell to 0.050" in said.what


@pytest.mark.parametrize("last", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_divergence(last):
    said = diverged([2.0, 1.8, last], Recipe(learning_rate=1.0))
    assert said.severity == Severity.STOP
    assert "by step 3, at a learning rate of 1" in said.what


def test_a_loss_that_stays_far_over_its_lowest_level_is_divergence_and_one_bad_batch_is_not():
    calm = falling(40)
    assert diverged([*calm, 9.0], Recipe()) is None
    assert diverged([*calm, 9.0, 9.0, 0.3, 9.0, 9.0], Recipe()) is None
    said = diverged([*calm, *[9.0] * guard.WINDOW], Recipe())
    assert "to 9.00 by step 45" in said.what
    assert said.evidence[-1] == "step 45: 9"


def test_what_ended_a_run_comes_first():
    stop = diverged([math.nan], Recipe())
    assert review(changed(stopped=stop, rows=50))[0] is stop


def test_a_learning_rate_that_is_too_high_is_said_with_the_losses():
    log = changed(losses=[2.0] * 10 + [3.5] * 20, recipe=Recipe(learning_rate=0.01))
    (said,) = review(log)
    assert said.what.startswith(
        "the learning rate is too high: at 0.01 (50 times the recipe's) the training loss rose from 2.000"
    )
    assert "0.0002" in said.mend


def test_a_learning_rate_that_is_too_low_is_said_with_the_losses():
    log = changed(losses=[2.0 - at / 1000 for at in range(60)], recipe=Recipe(learning_rate=1e-6))
    (said,) = review(log)
    assert said.what.startswith(
        "the learning rate is too low: at 1e-06 the training loss only went from 1.998 to 1.943"
    )


@pytest.mark.parametrize(("method", "parameters", "rate"), [
    ("lora", BILLIONS, 2e-4), ("full", BILLIONS, 2e-5), ("lora", 1000, 1e-3), ("full", 1000, 1e-4)
])  # fmt: skip
def test_the_usual_learning_rate_is_the_recipes(method, parameters, rate):
    assert guard.usual_rate(method, parameters) == pytest.approx(rate)
    assert recipe_for({"method": method}, parameters, 1).learning_rate == pytest.approx(rate)


@pytest.mark.parametrize(("tokens", "cause"), [(2, "do not follow from the texts"), (30, "or too little was learnt")])
def test_shuffled_labels_are_said_when_validation_is_no_better_than_the_most_common_label(tokens, cause):
    epochs = [epoch(n, 2.4 - n / 3, 2.6 + n / 5, 0.14, log_loss=2.6) for n in (1, 2, 3)]
    said = [one for one in review(changed(epochs=epochs, answer_tokens=tokens)) if one.check == "labels"]
    assert len(said) == 1
    assert "14.0% at best, no better than always answering the most common label (15.0% of 100 rows)" in said[0].what
    assert cause in said[0].what
    assert ("too little" in said[0].what) == (tokens == 30)


def test_uneven_labels_that_a_model_knows_by_its_probabilities_are_not_taken_for_shuffled():
    epochs = [epoch(n, 0.5 - n / 10, 0.5, 0.16, log_loss=0.9) for n in (1, 2, 3)]
    assert names(changed(epochs=epochs)) == []


def test_full_fine_tuning_says_why_it_is_rarely_right():
    (said,) = review(changed(recipe=Recipe(method="full")))
    assert "95%" in said.what
    assert said.mend.startswith("set train.method to lora")


def test_rows_whose_prompt_is_supervised_are_a_stop_and_others_are_not():
    good = Supervised(ids=(5, 6, 7, 2), labels=(-100, -100, 7, 2), prefix_length=2)
    whole = Supervised(ids=(5, 6, 7, 2), labels=(5, 6, 7, 2), prefix_length=0)
    assert guard.check_rows([good, good]) is None
    said = guard.check_rows([good, whole])
    assert said.severity == Severity.STOP
    assert said.rows == [2]
    assert "1 of 2 rows are supervised from their first token on" in said.what


def test_patience_ends_when_neither_loss_nor_metric_gets_better():
    worse = [epoch(1, 1, 0.4, 0.8), epoch(2, 1, 0.5, 0.8), epoch(3, 1, 0.6, 0.79)]
    assert impatient(worse, 2)
    assert not impatient(worse, 3)
    assert not impatient(worse, 0)
    assert not impatient([*worse[:2], epoch(3, 1, 0.6, 0.81)], 2)
    assert not impatient([*worse[:2], epoch(3, 1, 0.39, 0.7)], 2)
    assert impatient([epoch(1, 1, 0.4), epoch(2, 1, 0.5)], 1)


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_metric_decides_and_the_loss_only_among_equals(a, b, loss_a, loss_b):
    first, second = choice(loss_a, a / 500), choice(loss_b, b / 500)
    if a != b:
        assert (first > second) == (a > b)
    elif loss_a <= loss_b:
        assert first >= second
    assert (choice(loss_a, None) > choice(loss_b, None)) == (loss_a < loss_b)
    assert choice(math.nan, 1.0) == -math.inf
