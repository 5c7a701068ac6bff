"""How fast this machine trains this model on these rows, found out in a few seconds.

Walks in: a loaded model, proved rows, a recipe. Walks out: a `Calibration`. It keeps nothing on disk, and does not know
prices.

Real passes of the real trainer are run: forward, loss, backward, on the very batches that its first epoch begins
with, and one optimizer step. Everything is bounded by time and not by a number of steps, so that a model of billions
costs one pass and a small one a few dozen. What was measured is then scaled by tokens: those of all the batches of an
epoch, which are made without the network, a sample of them where they are many. So overhead that does not depend on
tokens, which is most of a small model's time on a CPU, is in it.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from kasauti.core.types import Example, Supervised
from kasauti.model.load import Loaded
from kasauti.train.constant import Constant
from kasauti.train.memory import CUDA_CONTEXT, resident
from kasauti.train.recipe import Recipe
from kasauti.train.run import trainable
from kasauti.train.watch import Evaluate

PASSES = 3.0
"""Seconds of passes, after one on the largest batch that is not counted unless it took as long."""
COUNTED = 1.0
"""Seconds of making batches, to count their tokens."""
JUDGED = 2.0
"""Seconds of evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What was measured on this machine."""

    tokens_per_second: float
    """Of passes, padding included."""
    tokens_per_epoch: int
    """That the network sees, padding included; what rows share counts once a pass."""
    seconds_per_step: float
    """Of the optimizer, beside the passes."""
    seconds_per_evaluation: float
    """Validation loss, figures on validation rows, a checkpoint."""
    peak: int
    """Bytes held at the most: on a CPU by the process, on a GPU by its memory."""

    def seconds(self, epochs: float, steps: int) -> float:
        """The whole run; an early stop would make it shorter."""
        passes = epochs * self.tokens_per_epoch / self.tokens_per_second
        return passes + steps * self.seconds_per_step + math.ceil(epochs) * self.seconds_per_evaluation


@dataclass(frozen=True, slots=True)
class Judged:
    """What a run asks after each epoch."""

    evaluation: Callable[[Sequence[Example]], Evaluate]
    """For rows, the figures on them."""
    rows: Sequence[Example]
    wanted: int
    """How many of them it would ask."""

    def seconds(self, network: Any, most: float = JUDGED, clock: Callable[[], float] = time.perf_counter) -> float:
        """Of all wanted rows: twice as many are asked until the time is up; what does not depend on rows, such as the
        prefix, is told apart by the last two."""
        before: tuple[int, float] | None = None
        count = min(8, self.wanted)
        began = clock()
        while True:
            evaluate, start = self.evaluation(self.rows[:count]), clock()
            evaluate(network)
            spent = clock() - start
            if count >= self.wanted or 3 * spent > most - (clock() - began):
                break
            before, count = (count, spent), min(2 * count, self.wanted)
        if count >= self.wanted:
            return spent
        per_row = spent / count
        if before is not None:  # a busy machine may make the difference anything
            per_row = min(per_row, max(0.0, spent - before[1]) / (count - before[0]))
        return spent + (self.wanted - count) * per_row


def calibrate(
    loaded: Loaded,
    rows: Sequence[Supervised],
    held_out: Sequence[Supervised],
    recipe: Recipe,
    end_ids: Sequence[int],
    judged: Judged | None,
    constant: Constant | None = None,
) -> Calibration:
    """Measure.

    Args:
        rows: training rows.
        held_out: validation rows.
        judged: the figures of an epoch; None where there are none.
        constant: where the adapter is off; None where it is on everywhere.
    """
    import torch
    from transformers import set_seed

    from kasauti.train.trainer import rehearsal

    set_seed(recipe.seed)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    model = trainable(loaded.model, recipe)
    with tempfile.TemporaryDirectory(prefix="kasauti-plan-") as folder, ExitStack() as stack:
        given = {"tokenizer": loaded.tokenizer, "end_ids": end_ids, "constant": constant}
        trainer = stack.enter_context(rehearsal(model, rows, held_out, recipe, Path(folder), **given))
        wrapped, optimizer = trainer.accelerator.prepare(trainer.model, trainer.create_optimizer())
        trainer.model_wrapped = wrapped
        tokens, first = epoch_batches(trainer)
        cold = _pass(trainer, wrapped, first)
        cold_step = _step(wrapped, optimizer, recipe)
        passes = _timed(trainer, wrapped, PASSES, cold >= PASSES)
        step = _step(wrapped, optimizer, recipe) if passes else cold_step
        evaluating = _evaluation(trainer, wrapped) + _saving(model, Path(folder))
        wrapped.eval()
        evaluating += 0.0 if judged is None else judged.seconds(model)
    passes = passes or [(_size(first), cold)]
    return Calibration(
        tokens_per_second=sum(size for size, _ in passes) / sum(spent for _, spent in passes),
        tokens_per_epoch=tokens,
        seconds_per_step=step,
        seconds_per_evaluation=evaluating,
        peak=int(torch.cuda.max_memory_reserved()) + CUDA_CONTEXT if torch.cuda.is_available() else resident(),
    )


def _size(batch: Any) -> int:
    return int(batch["input_ids"].numel())


def _pass(trainer: Any, model: Any, batch: Any) -> float:
    """Seconds of one forward and backward pass."""
    _synchronise()
    began = time.perf_counter()
    trainer.training_step(model, batch)
    _synchronise()
    return time.perf_counter() - began


def _timed(trainer: Any, model: Any, seconds: float, enough: bool) -> list[tuple[int, float]]:
    """Tokens and seconds of the first passes of an epoch, two at least, for about so many seconds; none where one pass
    took as long as that."""
    made: list[tuple[int, float]] = []
    end = time.perf_counter() + seconds
    if enough:
        return made
    for batch in trainer.get_train_dataloader():
        made.append((_size(batch), _pass(trainer, model, batch)))
        if time.perf_counter() > end and len(made) > 1:
            break
    return made


def _step(model: Any, optimizer: Any, recipe: Recipe) -> float:
    """Seconds of the optimizer for one step. The learning rate is zero until a schedule raises it; the work is the
    same."""
    import torch

    _synchronise()
    began = time.perf_counter()
    if recipe.max_grad_norm:
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], recipe.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    _synchronise()
    return time.perf_counter() - began


def epoch_batches(trainer: Any) -> tuple[int, Any]:
    """Tokens of all batches of an epoch, and the largest batch, which takes most memory; of a part of them, scaled,
    where they take long to make."""
    batches = trainer.get_train_dataloader()
    seen, tokens, largest, end = 0, 0, None, time.perf_counter() + COUNTED
    for batch in batches:
        seen, tokens = seen + 1, tokens + _size(batch)
        if largest is None or _size(batch) > _size(largest):
            largest = batch
        if time.perf_counter() > end:
            break
    return round(tokens * len(batches) / max(1, seen)), largest


def _evaluation(trainer: Any, model: Any) -> float:
    """Seconds of the validation loss: of its first batches, scaled."""
    import torch

    batches = trainer.held_out if hasattr(trainer, "held_out") else list(islice(trainer.get_eval_dataloader(), 8))
    model.eval()
    spent, seen = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            began = time.perf_counter()
            trainer.compute_loss(model, trainer._prepare_inputs(batch))
            _synchronise()
            spent, seen = spent + time.perf_counter() - began, seen + 1
            if spent > JUDGED:
                break
    model.train()
    whole = len(batches) if hasattr(trainer, "held_out") else len(trainer.get_eval_dataloader())
    return spent * whole / max(1, seen)


def _saving(model: Any, folder: Path) -> float:
    """Seconds of a checkpoint: the adapter and the state of its optimizer. A whole model is not written for a plan: its
    state is two more copies of it, at the rate of what is."""
    import torch

    began = time.perf_counter()
    trained = [p for p in model.parameters() if p.requires_grad]
    bytes, written = sum(p.numel() * 4 for p in trained), 0
    for parameter in trained:
        torch.save(parameter.detach(), folder / "weights.pt")
        written += parameter.numel() * 4
        if written > 2**28:
            break
    return float((time.perf_counter() - began) * 3 * bytes / max(1, written))


def _synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
