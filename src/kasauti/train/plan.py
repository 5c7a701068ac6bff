"""Tokens, steps, memory, time and cost, before a run.

Walks in: a task, its training rows, a frozen template, and a way to load the model. Walks out: a `Plan`. Nothing
stays on disk, and it never sees a test row.

Tokens are exact: every row is made into ids as training makes them. Parameters are counted on a model without
weights. Time is measured: `STEPS` real training steps of the real trainer on this machine. Memory is a sum of

    weights      parameters x bytes of a weight
    gradients    trainable parameters x 4 bytes
    optimizer    trainable parameters x 8 bytes (the two moments of AdamW)
    activations  what the backward pass needs of a forward pass over `micro_batch` of the longest rows (`activations`)
    process      what Python and the libraries take by themselves

and counts one copy of the model. After Korthikanti et al. 2022 (arXiv 2205.05198), section 4, with a gated MLP.
"""

from __future__ import annotations

import dataclasses
import math
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.chat.frozen import FrozenTemplate
from kasauti.core.progress import Progress, silent
from kasauti.core.types import Example, Supervised, Task
from kasauti.model import adapters
from kasauti.model.load import LARGE, Loaded, bf16_in_hardware, window_of, without_weights
from kasauti.train.recipe import Recipe, recipe_for
from kasauti.train.run import proved_rows

STEPS = 4
"""Training steps that are timed; the first is a warm-up and does not count."""
EVALUATIONS = 2.0
"""Passes over the validation rows at the end of an epoch: loss and accuracy."""
FORWARD = 1 / 3
"""Share of a training step that is its forward pass: the backward pass is about twice as much work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    process: int
    total: int


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
    free: int
    """Bytes that this machine has free, what this process holds included."""
    fits: bool
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
    progress: Progress = silent,
) -> Plan:
    """The plan of `kasauti train` on these rows.

    Args:
        load: gives a fresh copy of the model to time steps with; None, or a model that does not fit, times nothing.

    Raises:
        SupervisionError: a row would be taught wrongly.
        ModelError: the model's configuration cannot be read.
    """
    import torch

    empty = without_weights(task.model, task.folder)
    parameters = adapters.count(empty)[1]
    recipe = recipe_for(task.train, parameters, task.seed, window=window_of(empty))
    trainable = adapters.count(_trained(empty, recipe))[0]
    progress("plan", 0, 2, "count tokens")
    made, proof = proved_rows(task, train, frozen, tokenizer, recipe)
    held_out, _ = proved_rows(task, choose, frozen, tokenizer, recipe)
    device = "gpu" if torch.cuda.is_available() else "cpu"
    memory = _memory(empty.config.get_text_config(), parameters, trainable, recipe, proof.longest, device)
    free = _free(device)
    rate = None
    if load is not None and memory.total <= free:
        progress("plan", 1, 2, f"time {STEPS} training steps")
        rate = _tokens_per_second(load(), made, held_out, recipe, frozen)
    progress("plan", 2, 2)
    seconds = None if rate is None else _work(made, held_out, recipe) / rate
    price = task.business.gpu_per_hour if device == "gpu" else task.business.cpu_per_hour
    return Plan(
        rows=len(train),
        validation_rows=len(choose),
        tokens=proof.tokens,
        supervised_tokens=proof.supervised_tokens,
        longest=proof.longest,
        shortened=proof.shortened_rows,
        steps=total_steps(len(train), recipe),
        parameters=parameters,
        trainable=trainable,
        recipe=dataclasses.asdict(recipe),
        memory=memory,
        free=free,
        fits=memory.total <= free,
        device=device,
        tokens_per_second=rate,
        seconds=seconds,
        cost=None if seconds is None else seconds / 3600 * price,
        price_per_hour=price,
    )


def total_steps(rows: int, recipe: Recipe) -> int:
    """Optimizer steps of a whole run: the last step of an epoch may have fewer rows."""
    return math.ceil(math.ceil(rows / recipe.batch) * recipe.epochs)


def padded(lengths: Sequence[int], batch: int) -> int:
    """Tokens that the network sees for rows of these lengths, longest first in batches, each as long as its longest."""
    ordered = sorted(lengths, reverse=True)
    return sum(ordered[at] * len(ordered[at : at + batch]) for at in range(0, len(ordered), batch))


def activations(config: Any, tokens: int, length: int, bytes: int, checkpointing: bool) -> int:
    """Bytes that the backward pass needs of a forward pass over `tokens` tokens in rows of `length`.

    A layer keeps, for each token: the inputs of both norms and of the projections, queries and the attention's output
    (8 x hidden), keys and values, gate, up, their activation and product (4 x MLP), and the attention's weights
    before and after the softmax (2 x heads x length, for the kernel that keeps them). With checkpointing only its
    input is kept, and one layer is recomputed at a time. The logits of supervised positions, which are few, are left
    out; the vocabulary is counted once for them.

    Args:
        config: of the text model; missing sizes count as the hidden size would make them.
        bytes: of one number.
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    heads = getattr(config, "num_attention_heads", 1)
    keys = getattr(config, "num_key_value_heads", None) or heads
    head_size = getattr(config, "head_dim", None) or hidden // heads
    mlp = getattr(config, "intermediate_size", None) or 4 * hidden
    layer = tokens * (8 * hidden + 2 * keys * head_size + 4 * mlp + 2 * heads * length) * bytes
    logits = 2 * 4 * getattr(config, "vocab_size", 0) * math.ceil(tokens / max(1, length)) * 8
    if checkpointing:
        return int(layers * tokens * hidden * bytes + layer + logits)
    return int(layers * layer + logits)


def _memory(config: Any, parameters: int, trainable: int, recipe: Recipe, longest: int, device: str) -> Memory:
    bytes = 2 if device == "gpu" or (parameters > LARGE and bf16_in_hardware()) else 4
    parts = {
        "weights": parameters * bytes,
        "gradients": trainable * 4,
        "optimizer": trainable * 8,
        "activations": activations(config, recipe.micro_batch * longest, longest, bytes, recipe.gradient_checkpointing),
        "process": _resident() if device == "cpu" else 500_000_000,  # a CUDA context
    }
    return Memory(**parts, total=sum(parts.values()))


def _resident() -> int:
    """Bytes that this process holds at its most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _free(device: str) -> int:
    """Bytes that may be used: free ones and those that this process holds already; a container's limit counts."""
    if device == "gpu":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024 + _resident())
    except OSError:
        import os

        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text("ascii")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits)


def _trained(model: Any, recipe: Recipe) -> Any:
    """The network with what is trainable in it, as a run makes it."""
    if recipe.method == "full":
        return model.requires_grad_(True)
    targets = recipe.targets[0] if recipe.targets == ("all-linear",) else recipe.targets
    shape = adapters.LoraSettings(
        r=recipe.r, alpha=recipe.alpha, dropout=recipe.dropout, targets=targets, rslora=recipe.rslora, dora=recipe.dora
    )
    return adapters.attach(model, shape, recipe.seed)


def _work(made: Sequence[Supervised], held_out: Sequence[Supervised], recipe: Recipe) -> float:
    """The whole run, in tokens of a training step: forward passes over validation rows count by `FORWARD`."""
    train = padded([len(row.ids) for row in made], recipe.micro_batch)
    evaluation = padded([len(row.ids) for row in held_out], max(recipe.micro_batch, 16)) * EVALUATIONS * FORWARD
    return recipe.epochs * (train + evaluation)


def _tokens_per_second(
    loaded: Loaded, made: Sequence[Supervised], held_out: Sequence[Supervised], recipe: Recipe, frozen: FrozenTemplate
) -> float | None:
    """Padded tokens a second of real training steps; None where there are too few rows for two steps.

    On rows of about the same, middling length, because the trainer decides their order and the first step is not timed.
    """
    from transformers import set_seed

    from kasauti.train.trainer import run_training

    set_seed(recipe.seed)
    ordered = sorted(made, key=lambda row: len(row.ids))
    at = max(0, (len(ordered) - STEPS * recipe.batch) // 2)
    rows = ordered[at : at + STEPS * recipe.batch]
    marks: list[float] = []

    def mark(stage: str, done: int, total: int, remark: str = "") -> None:
        marks.append(time.perf_counter())

    short = dataclasses.replace(recipe, epochs=1.0, patience=0, trackers=(), keep=1)
    with tempfile.TemporaryDirectory(prefix="kasauti-plan-") as folder:
        run_training(
            _trained(loaded.model, recipe),
            rows,
            held_out[:1],
            short,
            Path(folder),
            tokenizer=loaded.tokenizer,
            end_ids=(frozen.frame.end_id,),
            progress=mark,
        )
    if len(marks) < 2:
        return None
    timed = padded([len(row.ids) for row in rows], recipe.micro_batch) * (len(marks) - 1) / len(marks)
    return timed / (marks[-1] - marks[0])
