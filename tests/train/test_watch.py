"""Real runs that need a guard, and one that needs none; figures while it trains; the best checkpoint by the metric."""

from __future__ import annotations

import importlib.util
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import END, fresh_network, word_tokenizer
from tests.train.test_trainer import row

from kasauti.core.errors import SupervisionError, TrainingError
from kasauti.core.types import Supervised
from kasauti.model.adapters import LoraSettings, attach
from kasauti.train import watch
from kasauti.train.recipe import Recipe
from kasauti.train.rows import IGNORED, Collator
from kasauti.train.trainer import Trained, run_training

LABELS = (30, 31, 32, 33)
PRIOR = math.log(len(LABELS))


def examples(rows: int, *, shuffled: bool = False, seed: int = 0) -> list[Supervised]:
    """The first word decides the label, or nothing does."""
    draw = random.Random(seed)
    made = []
    for _ in range(rows):
        word = draw.randrange(len(LABELS))
        label = draw.randrange(len(LABELS)) if shuffled else word
        made.append(row([5 + word, draw.randrange(12, 20), 6], [LABELS[label]]))
    return made


def judged(rows: list[Supervised]) -> Any:
    """The figures that a classification gives: from the probability of every label."""

    def evaluate(network: Any) -> dict[str, float]:
        with torch.no_grad():
            logits_bv = network(input_ids=torch.tensor([r.ids[:3] for r in rows])).logits[:, -1]
        logs_bk = logits_bv[:, list(LABELS)].log_softmax(-1).double().numpy()
        truth = np.array([LABELS.index(r.ids[3]) for r in rows])
        return {
            "validation_accuracy": float((logs_bk.argmax(1) == truth).mean()),
            "validation_log_loss": float(-logs_bk[np.arange(len(rows)), truth].mean()),
            "validation_majority": float(np.bincount(truth).max() / len(truth)),
            "validation_prior_loss": PRIOR,
            "validation_rows": float(len(rows)),
        }

    return evaluate


HEALTHY: dict[str, Any] = {
    "epochs": 3,
    "batch": 16,
    "micro_batch": 16,
    "learning_rate": 1e-2,
    "gradient_checkpointing": False,
    "trackers": (),
}


def run(
    folder: Path, *, rows: list[Supervised] | None = None, shuffled: bool = False, progress: Any = None, **settings: Any
) -> Trained:
    held_out = examples(60, shuffled=shuffled, seed=9)
    torch.manual_seed(0)
    return run_training(
        attach(fresh_network("llama"), LoraSettings(r=8), seed=0),
        rows if rows is not None else examples(520, shuffled=shuffled),
        held_out,
        Recipe(**HEALTHY | settings),
        folder,
        tokenizer=word_tokenizer(),
        end_ids=(END,),
        evaluate=judged(held_out),
        **({"progress": progress} if progress else {}),
    )


def said(trained: Trained) -> dict[str, str]:
    return {one.check: one.what for one in trained.findings}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, list[Any]]:
    told: list[Any] = []

    def progress(stage: str, done: int, total: int, remark: Any = "") -> None:
        told.append((stage, done, total, remark))

    return run(tmp_path_factory.mktemp("healthy"), progress=progress), told


def test_no_guard_speaks_on_a_healthy_run(healthy):
    trained, _ = healthy
    assert trained.findings == []
    assert trained.best["validation_accuracy"] > 0.9


def test_figures_are_handed_to_the_progress_and_none_is_drawn_by_the_library(healthy, capsys):
    trained, told = healthy
    remarks = [remark for stage, _, _, remark in told if stage == "train"]
    assert len(remarks) == trained.steps
    last = remarks[-1]
    assert {"loss", "validation_loss", "validation_accuracy", "tokens_per_second", "share_of_limit"} <= set(last)
    assert last["tokens_per_second"] > 0
    assert 0 < last["share_of_limit"] < 2
    assert capsys.readouterr().out == ""


def test_100_rows_are_said_to_be_few(tmp_path):
    trained = run(tmp_path, rows=examples(100))
    assert said(trained).keys() == {"small data"}
    assert "100 training rows are few" in said(trained)["small data"]


def test_a_learning_rate_of_1_is_said_to_be_too_high(tmp_path):
    found = said(run(tmp_path, learning_rate=1.0, epochs=2))
    assert found.keys() == {"learning rate"}
    assert "the learning rate is too high: at 1 (1,000 times the recipe's) " in found["learning rate"]


def test_a_learning_rate_that_moves_nothing_is_said(tmp_path):
    assert "the learning rate is too low: at 1e-07" in said(run(tmp_path, learning_rate=1e-7))["learning rate"]


def test_supervised_prompts_stop_before_the_first_step(tmp_path):
    rows = [Supervised(ids=r.ids, labels=r.ids, prefix_length=0) for r in examples(520)]
    with pytest.raises(SupervisionError, match="520 of 520 rows are supervised from their first token on"):
        run(tmp_path, rows=rows)


def test_shuffled_labels_are_said(tmp_path):
    trained = run(tmp_path, shuffled=True, learning_rate=5e-3)
    assert "labels" in said(trained)
    assert "no better than always answering the most common label" in said(trained)["labels"]
    assert "the labels do not follow from the texts" in said(trained)["labels"]


def test_rows_learnt_by_heart_are_said_to_be_overfitted_and_the_best_epoch_is_kept(tmp_path):
    rows = examples(48, shuffled=True)
    trained = run(tmp_path, rows=rows, shuffled=True, epochs=40, learning_rate=2e-2, patience=6, dropout=0.0)
    assert "overfitting: validation loss turned up after epoch" in said(trained)["overfitting"]
    assert len(trained.curve) < 40
    assert trained.best["epoch"] < len(trained.curve)


def test_a_gradient_of_zero_is_an_error_on_the_first_step(tmp_path):
    model = attach(fresh_network("llama"), LoraSettings(r=4), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.zero_()  # with both factors zero neither has a gradient
    with pytest.raises(TrainingError, match="trainable tensors is zero at step 1"):
        run_training(
            model, examples(32), examples(8), Recipe(**HEALTHY), tmp_path, tokenizer=word_tokenizer(), end_ids=(END,)
        )


def test_the_best_checkpoint_is_that_of_the_metric_and_the_loss_decides_among_equals(tmp_path):
    accuracies = iter([0.5, 0.9, 0.9, 0.7])
    held_out = examples(16, seed=9)
    model = attach(fresh_network("llama"), LoraSettings(r=8), seed=0)
    trained = run_training(
        model,
        examples(64),
        held_out,
        Recipe(**HEALTHY | {"epochs": 4, "keep": 1}),
        tmp_path,
        tokenizer=word_tokenizer(),
        end_ids=(END,),
        evaluate=lambda network: {"validation_accuracy": next(accuracies)},
    )
    losses = [e["validation_loss"] for e in trained.curve]
    assert losses[3] < losses[1]  # by loss alone the last would have been kept
    assert trained.best["validation_accuracy"] == 0.9
    assert trained.best["validation_loss"] == min(losses[1:3])
    kept = {path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")}
    assert trained.best_checkpoint in kept


def test_tensorboard_is_written_where_it_is_installed_and_its_absence_is_told(tmp_path, monkeypatch):
    there = run(tmp_path / "a", rows=examples(32), epochs=1, trackers=("tensorboard",))
    assert there.trackers == {"tensorboard": "tensorboard/"}
    assert list((tmp_path / "a" / "tensorboard").glob("events.*"))
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name in MISSING else found(name, *a))
    absent = run(tmp_path / "b", rows=examples(32), epochs=1, trackers=("tensorboard",))
    assert absent.trackers["tensorboard"].startswith("not installed")
    with pytest.raises(TrainingError, match="the tracker 'wandb' is not installed"):
        run(tmp_path / "c", rows=examples(32), epochs=1, trackers=("wandb",))


MISSING = {"tensorboard", "wandb"}


def test_the_meter_counts_what_the_network_sees_in_steps_alone():
    meter = watch.Meter(Collator(0, (END,)))
    rows = [{"input_ids": [5, 6, END], "labels": [IGNORED, 6, END]}, {"input_ids": [5, END], "labels": [IGNORED, END]}]
    meter.begin()
    meter(rows)
    meter.step()
    assert meter.tokens == meter.passed == 6
    meter(rows[:1])  # an evaluation
    meter.begin()
    meter(rows[1:])
    meter.step()
    assert (meter.tokens, meter.passed) == (8, 11)
    assert meter.rate == pytest.approx(8 / meter.seconds)


@pytest.mark.parametrize(("settings", "passes"), [
    ({"gradient_checkpointing": False}, 4), ({}, 6), ({"method": "full"}, 8)
])  # fmt: skip
def test_the_limit_counts_the_passes_over_the_inner_weights(settings, passes):
    model = fresh_network("llama")
    inner = sum(
        p.numel() for n, p in model.named_parameters() if p.dim() > 1 and "embed" not in n and "lm_head" not in n
    )
    limit = watch.machine_limit(model, Recipe(**settings), seconds=0.01)
    assert limit.flops_per_token == passes * inner
    assert limit.flops_per_second > 0
    assert limit.share(limit.flops_per_second / limit.flops_per_token) == pytest.approx(1)
