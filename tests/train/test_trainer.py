"""The loop teaches the supervised tokens and nothing else, and stops where going on would be wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import END, fresh_network, word_tokenizer

from kasauti.core.errors import TrainingError
from kasauti.core.types import Supervised
from kasauti.model.adapters import LoraSettings, attach
from kasauti.train.recipe import Recipe
from kasauti.train.rows import IGNORED
from kasauti.train.trainer import Trained, run_training

STILL = Recipe(
    epochs=10,
    batch=8,
    micro_batch=8,
    learning_rate=1e-12,
    dropout=0.0,
    gradient_checkpointing=False,
    max_grad_norm=1e9,
    warmup=0.0,
    patience=0,
)
"""Moves nothing: what is logged at the tenth step is the loss and gradient of the first."""


def row(prompt: list[int], answer: list[int], tail: tuple[int, ...] = ()) -> Supervised:
    ids = (*prompt, *answer, END, *tail)
    labels = (*[IGNORED] * len(prompt), *answer, END, *[IGNORED] * len(tail))
    return Supervised(ids=ids, labels=labels, prefix_length=len(prompt))


# The answers differ in length, so that a mean over rows is not the mean over tokens.
ROWS = [row([5 + n, 6, 7, 9 + n][: 2 + n % 3], [10 + n % 4] * (1 + 3 * (n % 2)), (4,) * (n % 2)) for n in range(8)]
HELD_OUT = [row([20, 6], [10]), row([21, 6, 8], [11, 12, 13, 10]), row([5, 5], [13])]


def tuned(model: Any, recipe: Recipe, folder: Path, train=ROWS, held_out=HELD_OUT, **given: Any) -> Trained:
    torch.manual_seed(0)
    return run_training(model, train, held_out, recipe, folder, tokenizer=word_tokenizer(), end_ids=(END,), **given)


def mean_loss(model: Any, rows: list[Supervised]) -> torch.Tensor:
    """-log P of every supervised token, one row at a time without padding, over their number."""
    total, count = torch.zeros(()), 0
    for one in rows:
        logits_tv = model(input_ids=torch.tensor([one.ids])).logits[0]
        logs_tv = logits_tv.log_softmax(dim=-1)
        for place, label in enumerate(one.labels):
            if label != IGNORED:
                total = total - logs_tv[place - 1, label]
                count += 1
    return total / count


def gradient_norm(model: Any, rows: list[Supervised]) -> float:
    model.zero_grad()
    mean_loss(model, rows).backward()
    return math.sqrt(sum(float(p.grad.pow(2).sum()) for p in model.parameters() if p.grad is not None))


@pytest.mark.parametrize(("micro_batch", "rows"), [(8, 8), (2, 8), (2, 5)])
def test_loss_and_gradient_are_those_of_the_supervised_tokens_however_the_batch_is_cut(tmp_path, micro_batch, rows):
    """In passes of two, five rows are a window of three passes in place of four, and its last pass has one row."""
    model, given = fresh_network("llama"), ROWS[:rows]
    wanted, norm = mean_loss(model, given).item(), gradient_norm(fresh_network("llama"), given)
    recipe = Recipe(**{f: getattr(STILL, f) for f in STILL.__slots__} | {"micro_batch": micro_batch})
    trained = tuned(model, recipe, tmp_path, given)
    assert trained.curve[-1]["train_loss"] == pytest.approx(wanted, rel=1e-5)
    assert trained.best_validation_loss == pytest.approx(mean_loss(model, HELD_OUT).item(), rel=1e-5)
    logged = json.loads((tmp_path / "checkpoints" / "checkpoint-10" / "trainer_state.json").read_text("utf-8"))[
        "log_history"
    ]
    assert next(e["grad_norm"] for e in logged if "grad_norm" in e) == pytest.approx(norm, rel=1e-4)


def test_a_learnable_task_is_learnt_and_the_best_weights_are_left_in_the_model(tmp_path):
    train = [row([5 + n % 5, 6 + n % 7], [30 + n % 5]) for n in range(35)]
    held_out = [row([5 + n, 7 + n], [30 + n]) for n in range(5)]
    model = attach(fresh_network("llama"), LoraSettings(r=8), seed=0)

    def evaluate(network: Any) -> dict[str, float]:
        assert not network.training
        with torch.no_grad():
            best = [int(network(input_ids=torch.tensor([r.ids[:2]])).logits[0, -1].argmax()) for r in held_out]
        return {"validation_accuracy": sum(b == r.ids[2] for b, r in zip(best, held_out, strict=True)) / len(held_out)}

    recipe = Recipe(epochs=8, batch=8, micro_batch=8, learning_rate=2e-2, gradient_checkpointing=False)
    trained = tuned(model, recipe, tmp_path, train, held_out, evaluate=evaluate)
    first, last = trained.curve[0], trained.curve[-1]
    assert [round(e["epoch"]) for e in trained.curve] == list(range(1, 9))
    assert trained.steps == last["step"] == 8 * 5
    losses = [e["train_loss"] for e in trained.curve if "train_loss" in e]
    assert losses[-1] < 0.5 * losses[0]
    assert last["validation_loss"] < first["validation_loss"]
    assert last["validation_accuracy"] >= 0.8 > first["validation_accuracy"]
    assert trained.best == max(trained.curve, key=lambda e: (e["validation_accuracy"], -e["validation_loss"]))
    model.eval()
    assert mean_loss(model, held_out).item() == pytest.approx(trained.best_validation_loss, rel=1e-4)


@pytest.mark.parametrize(("epochs", "rate"), [(12, 1e25), (2, 1e25)])
def test_a_loss_that_is_no_number_stops_the_run_with_what_to_lower(tmp_path, epochs, rate):
    recipe = Recipe(
        epochs=epochs, batch=4, micro_batch=4, learning_rate=rate, gradient_checkpointing=False, max_grad_norm=0.0
    )
    model = fresh_network("llama").requires_grad_(True)
    with pytest.raises(TrainingError, match="learning_rate") as caught:
        tuned(model, recipe, tmp_path)
    assert "\n" not in str(caught.value)
    assert f"{rate:g}" in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_run_that_diverges_after_a_good_epoch_keeps_that_epoch_and_says_so(tmp_path):
    recipe = Recipe(
        epochs=12, batch=4, micro_batch=4, learning_rate=1e6, gradient_checkpointing=False, max_grad_norm=0.0
    )
    model = fresh_network("llama").requires_grad_(True)
    trained = tuned(model, recipe, tmp_path)
    (said,) = [one for one in trained.findings if one.check == "divergence"]
    assert said.severity == "stop"
    assert "nan by step 4" in said.what
    assert "1e+06" in said.mend
    assert [e["epoch"] for e in trained.curve] == [1.0]
    assert mean_loss(model.eval(), HELD_OUT).item() == pytest.approx(trained.best_validation_loss, rel=1e-4)


def test_training_stops_when_validation_has_not_become_better_for_a_while(tmp_path):
    train = [row([5, 6], [30])] * 8
    held_out = [row([5, 6], [31])]  # learning the one unlearns the other
    model = attach(fresh_network("llama"), LoraSettings(r=4), seed=0)
    recipe = Recipe(
        epochs=12, batch=8, micro_batch=8, learning_rate=1e-2, gradient_checkpointing=False, patience=2, warmup=0.0
    )
    trained = tuned(model, recipe, tmp_path, train, held_out)
    losses = [e["validation_loss"] for e in trained.curve]
    assert len(losses) < 12
    assert len(losses) == losses.index(min(losses)) + 3


def test_only_the_checkpoints_that_are_asked_for_are_kept_and_the_best_is_one_of_them(tmp_path):
    recipe = Recipe(epochs=5, batch=8, micro_batch=8, learning_rate=1e-3, gradient_checkpointing=False, keep=1)
    trained = tuned(attach(fresh_network("llama"), LoraSettings(r=2), seed=0), recipe, tmp_path)
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert trained.best_checkpoint in kept
    assert len(kept) <= 2


def test_progress_is_told_at_every_step(tmp_path):
    told: list[tuple[int, int]] = []

    def progress(stage: str, done: int, total: int, remark: str = "") -> None:
        if stage == "train":
            told.append((done, total))

    recipe = Recipe(epochs=3, batch=4, micro_batch=4, learning_rate=1e-3, gradient_checkpointing=False)
    tuned(attach(fresh_network("llama"), LoraSettings(r=2), seed=0), recipe, tmp_path, progress=progress)
    assert told == [(n, 6) for n in range(1, 7)]


def test_gradient_checkpointing_changes_memory_and_not_the_result(tmp_path):
    losses = []
    for at, checkpointing in enumerate((False, True)):
        model = attach(fresh_network("llama"), LoraSettings(r=4, dropout=0.0), seed=0)
        recipe = Recipe(
            epochs=2, batch=4, micro_batch=4, learning_rate=1e-3, gradient_checkpointing=checkpointing, dropout=0.0
        )
        losses.append(tuned(model, recipe, tmp_path / str(at)).best_validation_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
