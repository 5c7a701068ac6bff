"""Watches a run while it trains: figures for whoever draws them, metrics without generation, guards that stop it.

Walks in: a recipe, a folder, `evaluate`, a progress. Walks out: a callback for the trainer's loop, and what it knows at
the end. It does not know TRL, and draws nothing.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from kasauti.core import ranks
from kasauti.core.errors import TrainingError
from kasauti.core.files import read_json, write_json
from kasauti.core.progress import Progress
from kasauti.core.types import Finding
from kasauti.train import together
from kasauti.train.guard import Log, choice, diverged, impatient, review
from kasauti.train.recipe import Recipe

Evaluate = Callable[[Any], dict[str, float]]
"""Figures on the validation rows, from the network in eval mode; `validation_accuracy` decides which checkpoint is
kept."""
CHOICE = "eval_choice"
"""Name of the figure that is highest at the best checkpoint (`guard.choice`)."""
SHOWN = ("validation_loss", "validation_accuracy", "validation_macro_f1")
"""Figures of an epoch that are told with the progress."""


class Meter:
    """Counts the tokens that pass a collator, and where the seconds go: steps, validation loss, saving."""

    def __init__(self, collate: Callable[[Any], dict[str, Any]]) -> None:
        self.collate = collate
        self.passed = 0
        """Tokens, padding included, of training and evaluation."""
        self.tokens = 0
        """Of training steps."""
        self.seconds = 0.0
        """Of training steps."""
        self.last_step = 0.0
        self.evaluating = 0.0
        """Seconds of the last pass for the validation loss."""
        self.saving = 0.0
        """Seconds of the last checkpoint."""
        self._mark = (time.perf_counter(), 0)

    def __call__(self, rows: Any) -> dict[str, Any]:
        batch = self.collate(rows)
        self.passed += int(batch["input_ids"].numel())
        return batch

    def begin(self) -> float:
        """From here on it is training again; seconds since the last mark."""
        before, self._mark = self._mark[0], (time.perf_counter(), self.passed)
        return self._mark[0] - before

    def step(self) -> None:
        """A step has ended."""
        passed = self._mark[1]
        self.last_step = self.begin()
        self.seconds += self.last_step
        self.tokens += self.passed - passed

    @property
    def rate(self) -> float | None:
        """Tokens a second of training; None before the first step."""
        return self.tokens / self.seconds if self.seconds > 0 and self.tokens else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """How fast this machine could train at most: every product at the rate of one large matrix product."""

    flops_per_second: float
    """Measured."""
    flops_per_token: float
    """Of a training step."""

    def share(self, tokens_per_second: float) -> float:
        """What these tokens a second are of it, 0 to 1."""
        return tokens_per_second * self.flops_per_token / self.flops_per_second


def machine_limit(model: Any, recipe: Recipe, *, seconds: float = 0.2) -> Limit:
    """The limit for a network, from a matrix product of 1,024 x 1,024 (4,096 on a GPU) that is timed for `seconds`.

    A token costs 2 operations a weight forward, 2 backward, 2 more for the weights' own gradient where they are
    trained, and 2 to compute activations again with checkpointing (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
    Embeddings and the output layer, which sees supervised positions only, are left out.
    """
    import torch

    from kasauti.model import quantise

    size = 4096 if model.device.type == "cuda" else 1024
    skipped = {id(p) for part in _ends(model) for p in part.parameters()}
    weights = sum(quantise.weights_of(p) for p in model.parameters() if p.dim() > 1 and id(p) not in skipped)
    dtype = model.dtype if model.dtype.is_floating_point else torch.float32
    left = torch.randn(size, size, device=model.device).to(dtype)
    left @ left
    done, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or not done:
        left @ left
        done += 1
        if model.device.type == "cuda":
            torch.cuda.synchronize()
    passes = 4 + 2 * (recipe.method == "full") + 2 * bool(recipe.gradient_checkpointing)
    return Limit(flops_per_second=done * 2 * size**3 / spent, flops_per_token=passes * weights)


def _ends(model: Any) -> list[Any]:
    return [part for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part is not None]


def curve_of(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The trainer's log as one entry an epoch: mean training loss of its steps, validation loss, other figures."""
    curve: list[dict[str, float]] = []
    total, steps, before = 0.0, 0, 0
    for entry in history:
        if "loss" in entry:  # the mean of the steps since the last such line
            total += float(entry["loss"]) * (int(entry["step"]) - before)
            steps, before = steps + int(entry["step"]) - before, int(entry["step"])
        if "eval_loss" in entry:
            row = {
                "epoch": float(entry["epoch"]),
                "step": float(entry["step"]),
                "validation_loss": float(entry["eval_loss"]),
            }
            if steps:
                row["train_loss"] = total / steps
            total, steps = 0.0, 0
            curve.append(row)
        elif curve and any(name.startswith("validation_") for name in entry):
            curve[-1] |= {k: float(v) for k, v in entry.items() if k.startswith("validation_")}
    return curve


def add_seconds(folder: Path, seconds: float) -> float:
    """Add to the seconds that a run has taken over all the processes that worked on it; the sum so far."""
    path = folder / "seconds.json"
    spent = float(read_json(path)["seconds"]) if path.exists() else 0.0
    write_json(path, {"seconds": spent + seconds})
    return spent + seconds


def log_of(history: Sequence[Mapping[str, Any]], begun: Log, stopped: Finding | None = None) -> Log:
    """What the guards read: the log of a run that has begun, with what the trainer wrote since."""
    losses = [float(e["loss"]) for e in history if "loss" in e]
    return dataclasses.replace(begun, losses=losses, epochs=curve_of(history), stopped=stopped)


class Watcher(TrainerCallback):  # type: ignore[misc]
    """The callback of the loop.

    Args:
        begun: the log of the run, nothing in it yet.
        evaluate: figures of an epoch.
        limit: of this machine; None tells no share of it.
    """

    trainer: Any
    """Set by who owns it, to log the figures of an epoch."""
    stopped: Finding | None = None
    """What ended the run early."""

    def __init__(
        self, folder: Path, meter: Meter, begun: Log, evaluate: Evaluate | None, progress: Progress, limit: Limit | None
    ) -> None:
        self.folder, self.meter, self.begun, self.evaluate = folder, meter, begun, evaluate
        self.progress, self.limit, self.recipe = progress, limit, begun.recipe
        self.began = time.monotonic()
        self.newest: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.newest = next(reversed(curve_of(state.log_history)), {})
        self.meter.begin()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == 0:
            _check_gradient(model)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.meter.step()
        self.progress("train", state.global_step, state.max_steps, self._figures(state.log_history))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" in (logs or {}) and self.stopped is None:
            losses = [float(e["loss"]) for e in state.log_history if "loss" in e]
            self.stopped = diverged(losses, self.recipe)
            if self.stopped is not None and state.best_model_checkpoint is None:
                raise TrainingError(self.stopped.what, where="train", mend=self.stopped.mend)
        if self.stopped is not None:
            control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The running sum of the loss goes into the log before the checkpoint, which would not keep it.
        control.should_log = True
        if self.stopped is not None:  # what diverged is neither judged nor kept
            control.should_evaluate = control.should_save = False

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.meter.saving = self.meter.begin()
        if ranks.first():
            add_seconds(self.folder, time.monotonic() - self.began)
        self.began = time.monotonic()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, model: Any = None, metrics: Any = None, **kwargs: Any
    ) -> None:
        self.meter.evaluating = self.meter.begin()
        loss = float(metrics["eval_loss"])
        if not math.isfinite(loss):
            self._not_a_number(loss, state)
            control.should_training_stop = True
        figures: dict[str, float] = {}
        if self.evaluate is not None:
            was_training = model.training
            model.eval()
            figures = together.agree(self.evaluate(model))
            model.train(was_training)
            self.trainer.log(figures)
        # The loop reads the choice from this very mapping, after this call.
        metrics[CHOICE] = choice(loss, figures.get("validation_accuracy"))
        epochs = curve_of(state.log_history)
        self.newest = epochs[-1]
        if impatient(epochs, self.recipe.patience):
            control.should_training_stop = True
        said = review(log_of(state.log_history, self.begun))
        warned = [one.what for one in said if one.check == "overfitting"]
        if warned:
            self.progress("train", state.global_step, state.max_steps, warned[0])
        self.meter.begin()

    def _not_a_number(self, loss: float, state: Any) -> None:
        """The validation loss too: a short run ends before its training loss shows it."""
        losses = [float(e["loss"]) for e in state.log_history if "loss" in e]
        self.stopped = diverged([*losses, loss], self.recipe)
        if state.best_model_checkpoint is None:
            raise TrainingError(
                f"the validation loss is {loss} at step {state.global_step}",
                where="train",
                mend=f"lower train.learning_rate (it is {self.recipe.learning_rate:g}) and run again",
            )

    def _figures(self, history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        told: dict[str, float] = {}
        loss = next((e["loss"] for e in reversed(history) if "loss" in e), None)
        if loss is not None:
            told["loss"] = float(loss)
        told |= {name: self.newest[name] for name in SHOWN if name in self.newest}
        if self.meter.rate is not None:
            told["tokens_per_second"] = self.meter.rate
            if self.limit is not None:
                told["share_of_limit"] = self.limit.share(self.meter.rate)
        return told


def _check_gradient(model: Any) -> None:
    """A first step that would change nothing.

    Raises:
        TrainingError: no trainable weight has a gradient other than zero.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not any(p.grad is not None and bool(p.grad.any()) for p in trained):
        raise TrainingError(
            f"the gradient of all {len(trained)} trainable tensors is zero at step 1: nothing would be learnt",
            where="train",
            mend="check train.targets, and with `kasauti audit` what is supervised",
        )
