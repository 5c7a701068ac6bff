"""Tokens, steps, memory, time and cost, before a run.

Walks in: a task, its training rows, a frozen template, and a way to load the model. Walks out: a `Plan`. Nothing
stays on disk, and it never sees a test row.

Tokens are exact: every row is made into ids as training makes them. Parameters are counted on a model without
weights. Time is measured: real training steps of the real trainer on this machine, an evaluation with them, and the
tokens of a whole epoch counted in the batches that it would make. Memory is measured at the same time, on the longest
rows; where nothing is run it is a sum over the network's shape (`train.memory`).
"""

from __future__ import annotations

import dataclasses
import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.chat.frozen import FrozenTemplate
from kasauti.core.progress import Progress, silent
from kasauti.core.types import Example, Supervised, Task
from kasauti.model.load import Loaded, window_of, without_weights
from kasauti.train.memory import COMMON_GPU, CUDA_CONTEXT, Fit, Memory, memory_of, resident, shape_of, what_fits
from kasauti.train.recipe import Recipe, recipe_for
from kasauti.train.run import proved_rows, trainable
from kasauti.train.watch import Evaluate

SECONDS = 5.0
"""About how long steps are timed; at least `LEAST` of them, at most `MOST`."""
LEAST, MOST = 3, 40
JUDGED = 48
"""Validation rows on which an evaluation is timed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """What was measured on this machine."""

    tokens_per_second: float
    """Of training steps, padding included."""
    tokens_per_epoch: int
    """That the network sees, padding included; what rows share counts once a pass."""
    seconds_per_evaluation: float
    peak: int
    """Bytes held at the most: on a CPU by the process, on a GPU by its memory."""


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
    shape = shape_of(empty, recipe)
    progress("plan", 0, 2, "count tokens")
    made, proof = proved_rows(task, train, frozen, tokenizer, recipe)
    held_out, _ = proved_rows(task, choose, frozen, tokenizer, recipe)
    device = "gpu" if torch.cuda.is_available() else "cpu"
    memory = memory_of(shape, recipe, proof.longest, device)
    free = _free(device)
    measured = None
    if load is not None and memory.total <= free and made and held_out:
        progress("plan", 1, 2, "time training steps")
        loaded = load()
        judge = None if evaluation is None else evaluation(loaded, choose[:JUDGED])
        measured = _calibrate(loaded, made, held_out, recipe, frozen, judge, judged / min(JUDGED, len(choose)))
    progress("plan", 2, 2)
    seconds = None if measured is None else _seconds(measured, recipe)
    price = task.business.gpu_per_hour if device == "gpu" else task.business.cpu_per_hour
    need = memory.total if measured is None else measured.peak
    return Plan(
        rows=len(train),
        validation_rows=len(choose),
        tokens=proof.tokens,
        supervised_tokens=proof.supervised_tokens,
        longest=proof.longest,
        shortened=proof.shortened_rows,
        steps=total_steps(len(train), recipe),
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


def _free(device: str) -> int:
    """Bytes that may be used: free ones and those that this process holds already; a container's limit counts."""
    if device == "gpu":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024 + resident())
    except OSError:
        import os

        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text("ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits)


def _seconds(measured: Calibration, recipe: Recipe) -> float:
    """The whole run; an early stop would make it shorter."""
    steps = recipe.epochs * measured.tokens_per_epoch / measured.tokens_per_second
    return steps + math.ceil(recipe.epochs) * measured.seconds_per_evaluation


def _calibrate(
    loaded: Loaded,
    made: Sequence[Supervised],
    held_out: Sequence[Supervised],
    recipe: Recipe,
    frozen: FrozenTemplate,
    judge: Evaluate | None,
    times: float,
) -> Calibration:
    """Two short runs of the real trainer: one to warm up, on the longest rows, and one on rows drawn at random.

    Args:
        judge: the figures of an epoch, on some of the rows.
        times: how many times as many rows the run asks.
    """
    import torch
    from transformers import set_seed

    from kasauti.train.trainer import epoch_tokens, run_training

    set_seed(recipe.seed)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    model = trainable(loaded.model, recipe)
    spent: list[float] = []

    def timed(network: Any) -> dict[str, float]:
        began = time.perf_counter()
        figures = judge(network) if judge is not None else {}
        spent.append(time.perf_counter() - began)
        return figures

    given = {"tokenizer": loaded.tokenizer, "end_ids": (frozen.frame.end_id,)}
    short = dataclasses.replace(recipe, epochs=1.0, patience=0, trackers=(), keep=1)
    longest = sorted(made, key=lambda row: -len(row.ids))[: 2 * recipe.batch]
    with tempfile.TemporaryDirectory(prefix="kasauti-plan-") as folder:
        first = run_training(model, longest, held_out[:JUDGED], short, Path(folder, "1"), evaluate=timed, **given)
        step = first.meter.last_step
        count = min(MOST, max(LEAST, round(SECONDS / step)))
        drawn = random.Random(recipe.seed).sample(list(made), min(len(made), count * recipe.batch))
        second = run_training(model, drawn, held_out[:JUDGED], short, Path(folder, "2"), evaluate=timed, **given)
        tokens = epoch_tokens(model, made, recipe, Path(folder, "3"), **given)
    share = sum(len(r.ids) for r in held_out) / sum(len(r.ids) for r in held_out[:JUDGED])
    return Calibration(
        tokens_per_second=second.meter.rate or math.nan,
        tokens_per_epoch=tokens,
        seconds_per_evaluation=second.meter.evaluating * share + spent[-1] * times + second.meter.saving,
        peak=int(torch.cuda.max_memory_reserved()) + CUDA_CONTEXT if torch.cuda.is_available() else resident(),
    )
