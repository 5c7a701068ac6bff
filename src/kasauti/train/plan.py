"""Tokens, steps, memory, time and cost, before a run.

Walks in: a task, its training rows, a frozen template, and a way to load the model. Walks out: a `Plan`. Nothing
stays on disk, and it never sees a test row.

Tokens are exact: every row is made into ids as training makes them. Parameters are counted on a model without
weights. Time and memory are measured in a few seconds (`train.calibrate`); where nothing is run, memory is a sum over
the network's shape (`train.memory`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kasauti.chat.frozen import FrozenTemplate
from kasauti.core.progress import Progress, silent
from kasauti.core.types import Example, Task
from kasauti.model.load import Loaded, window_of, without_weights
from kasauti.train.calibrate import Judged, calibrate
from kasauti.train.constant import constant_for
from kasauti.train.memory import COMMON_GPU, Fit, Memory, checkpointing, memory_of, shape_of, what_fits
from kasauti.train.memory import free as memory_free
from kasauti.train.recipe import Recipe, recipe_for
from kasauti.train.run import proved_rows, trainable
from kasauti.train.watch import Evaluate


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What training would need."""

    rows: int
    validation_rows: int
    tokens: int
    """Of all training rows, once."""
    supervised_tokens: int
    longest: int
    """Tokens of the longest row."""
    shortened: int
    """Rows whose input is cut to the recipe's length."""
    steps: int
    """Optimizer steps of the whole run."""
    parameters: int
    trainable: int
    recipe: dict[str, Any]
    memory: Memory
    """A sum over the network's shape."""
    peak: int | None
    """Bytes that were held at the most while steps were timed; None where nothing was timed."""
    free: int
    """Bytes that this machine has free, what this process holds included."""
    fits: bool
    fits_with: Fit | None
    """What fits this machine; None where no change of the recipe would."""
    common_gpu: Fit | None
    """What fits a GPU of 16 GB, whether or not there is one here."""
    device: str
    """cpu or gpu."""
    tokens_per_second: float | None
    """Measured, padding included; None where nothing was timed."""
    seconds: float | None
    cost: float | None
    price_per_hour: float


def make_plan(
    task: Task,
    train: Sequence[Example],
    choose: Sequence[Example],
    frozen: FrozenTemplate,
    tokenizer: Any,
    *,
    load: Callable[[], Loaded] | None = None,
    evaluation: Callable[[Loaded, Sequence[Example]], Evaluate] | None = None,
    judged: int = 0,
    progress: Progress = silent,
) -> Plan:
    """The plan of `kasauti train` on these rows.

    Args:
        load: gives a fresh copy of the model to time steps with; None, or a model that does not fit, times nothing.
        evaluation: what the run would ask after each epoch, for the rows given.
        judged: validation rows that it would ask.

    Raises:
        SupervisionError: a row would be taught wrongly.
        ModelError: the model's configuration cannot be read.
    """
    import torch

    empty = without_weights(task.model, task.folder)
    parameters = sum(p.numel() for p in empty.parameters())
    recipe = recipe_for(task.train, parameters, task.seed, window=window_of(empty), rows=len(train))
    shape = shape_of(trainable(empty, recipe))
    progress("plan", 0, 2, "count tokens")
    made, proof = proved_rows(task, train, frozen, tokenizer, recipe)
    held_out, _ = proved_rows(task, choose, frozen, tokenizer, recipe)
    device = "gpu" if torch.cuda.is_available() else "cpu"
    free = memory_free(device)
    recipe = checkpointing(shape, recipe, proof.longest, device, free, loaded=False)
    memory = memory_of(shape, recipe, proof.longest, device)
    steps, measured = total_steps(len(train), recipe), None
    if load is not None and memory.total <= free and made and held_out:
        progress("plan", 1, 2, "time training steps")
        loaded = load()
        judged_rows = None if evaluation is None else Judged(partial(evaluation, loaded), choose, judged)
        constant = constant_for(task, frozen, tokenizer, [*made, *held_out]) if recipe.constant_prefix else None
        measured = calibrate(loaded, made, held_out, recipe, (frozen.frame.end_id,), judged_rows, constant)
    progress("plan", 2, 2)
    seconds = None if measured is None else measured.seconds(recipe.epochs, steps)
    price = task.business.gpu_per_hour if device == "gpu" else task.business.cpu_per_hour
    need = memory.total if measured is None else measured.peak
    return Plan(
        rows=len(train),
        validation_rows=len(choose),
        tokens=proof.tokens,
        supervised_tokens=proof.supervised_tokens,
        longest=proof.longest,
        shortened=proof.shortened_rows,
        steps=steps,
        parameters=parameters,
        trainable=shape.trainable,
        recipe=dataclasses.asdict(recipe),
        memory=memory,
        peak=None if measured is None else measured.peak,
        free=free,
        fits=need <= free,
        fits_with=what_fits(shape, recipe, proof.longest, device, free),
        common_gpu=what_fits(shape, recipe, proof.longest, "gpu", COMMON_GPU),
        device=device,
        tokens_per_second=None if measured is None else measured.tokens_per_second,
        seconds=seconds,
        cost=None if seconds is None else seconds / 3600 * price,
        price_per_hour=price,
    )


def total_steps(rows: int, recipe: Recipe) -> int:
    """Optimizer steps of a whole run: the last step of an epoch may have fewer rows."""
    return math.ceil(math.ceil(rows / recipe.batch) * recipe.epochs)
