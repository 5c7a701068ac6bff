"""Every setting of training, its default and why.

Walks in: the `train` mapping of the task file and the model's size. Walks out: a frozen `Recipe`. It knows no data.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from kasauti.core.errors import TaskError
from kasauti.core.names import suggestion

METHODS = ("lora", "qlora", "full")
SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt")
AUTO = "auto"
SHARING = (AUTO, "never")
TRACKERS = ("tensorboard", "mlflow", "wandb")
SMALL_MODEL = 100_000_000
"""Parameters under which a model is small: it needs a higher learning rate and more passes than one of billions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How an adapter is trained. The defaults are for models of billions of parameters; `recipe_for` adapts them to
    small ones."""

    method: str = "lora"
    """lora; qlora: the same on a base model in 4 bit, for what would not fit; or full: every weight (rarely right:
    about 95% of its quality costs LoRA about 10% of the work)."""
    r: int = 16
    """Rank of the adapter."""
    alpha: int = 32
    """The adapter's update is scaled by alpha / r."""
    dropout: float = 0.05
    """Share of the adapter's inputs that are dropped in training."""
    targets: tuple[str, ...] = ("all-linear",)
    """Modules that get an adapter: all-linear (every attention and MLP projection), query-value, or names."""
    rslora: bool = False
    """Scale by alpha / sqrt(r) (Kalajdzievski 2023)."""
    dora: bool = False
    """Decompose into magnitude and direction (Liu et al. 2024)."""
    constant_prefix: bool = False
    """Leave the adapter off on what every prompt begins with, which the base model then computes once a run (activated
    LoRA, Greenewald et al. 2025): quicker, another model, and never to be merged."""
    epochs: float = 3
    """Passes over the training rows."""
    batch: int = 16
    """Rows in one optimizer step, over all accumulation."""
    micro_batch: int = 4
    """Rows in one forward pass; batch must be a multiple of it. Where rows share a prefix, as many as take no more
    tokens than so many plain ones."""
    prefix_sharing: str = "auto"
    """auto: what rows begin with is computed once for all of them, where the network allows it exactly; or never."""
    learning_rate: float = 2e-4
    """At its peak; for LoRA about ten times that of full fine-tuning."""
    schedule: str = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = 0.0
    """Share of every weight, times the learning rate, that a step takes off."""
    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this; 0: never."""
    label_smoothing: float = 0.0
    """Probability that is spread over all tokens but the true one."""
    token_noise: float = 0.0
    """Share of the tokens of a row's own text that are left out or replaced in training, anew in every epoch (word
    dropout, Iyyer et al. 2015)."""
    embeddings: float = 0.0
    """Token embeddings are trained too, at so many times the learning rate; 0: they are left as they are (with method
    full: trained like the rest)."""
    length: int = 512
    """Tokens of one row; a longer input is shortened in the middle of the user's text, never the answer."""
    gradient_checkpointing: bool | str = "auto"
    """Recompute activations in the backward pass: less memory, a third more work. auto: where they do not fit."""
    seed: int = 42
    """Decides the fresh adapter, the order of the rows and what dropout drops; the task's where it is not set."""
    patience: int = 2
    """Epochs without a better validation loss or metric after which training stops; 0: never."""
    keep: int = 2
    """Checkpoints kept beside the best one."""
    trackers: tuple[str, ...] = ("tensorboard",)
    """Where figures are sent while it trains: tensorboard (where it is installed), mlflow, wandb, or none."""


KNOWN = (("method", METHODS), ("schedule", SCHEDULES), ("prefix_sharing", SHARING), ("trackers", (*TRACKERS, "none")))
FIELDS = tuple(field.name for field in dataclasses.fields(Recipe))
SEARCH = "search"
"""The one key under `train` that is no field: lists of values to choose from, see `train.search`."""
KEYS = (*FIELDS, SEARCH)
POSITIVE = ("r", "alpha", "epochs", "batch", "micro_batch", "learning_rate", "length", "keep")
SHARES = ("dropout", "warmup", "label_smoothing", "token_noise")

# Measured on kasauti/nano with the bundled task (NOTES.md): at 2e-4 a model this small has hardly moved after three
# epochs, its embeddings are where it lacks most, and without noise it learns the rows by heart.
SMALL: Mapping[str, Any] = {
    "epochs": 6,
    "learning_rate": 1e-3,
    "embeddings": 6.0,
    "token_noise": 0.3,
    "label_smoothing": 0.1,
    "micro_batch": 16,
    "patience": 3,
}
FULL_LEARNING_RATE = 0.1
"""Full fine-tuning takes this share of LoRA's learning rate."""
FEW = 500
"""Training rows under which an adapter of full size learns the rows by heart."""
FEW_ROWS: Mapping[str, Any] = {
    "r": 8,
    "alpha": 16,
    "targets": ("query-value",),
    "dropout": 0.1,
    "epochs": 2,
    "label_smoothing": 0.1,
    "patience": 1,
}
"""Less room to learn rows by heart, and an end as soon as validation says so. For models of `SMALL_MODEL` parameters
and more: a small one has hardly moved after two epochs (`SMALL`), so it keeps its recipe, and is only warned about."""


def recipe_for(
    settings: Mapping[str, Any], parameters: int, seed: int, *, window: int | None = None, rows: int | None = None
) -> Recipe:
    """The recipe for a model of `parameters`, with what the task file sets.

    Args:
        settings: the `train` mapping of the task file.
        parameters: of the model.
        seed: the task's.
        window: tokens that the model can take; no row is trained at positions that could not be asked.
        rows: training rows; under `FEW` the defaults are more careful. None: enough.

    Raises:
        TaskError: an unknown field, a wrong type, or values that cannot go together; one line.
    """
    defaults = dict(SMALL) if parameters < SMALL_MODEL else {}
    if rows is not None and rows < FEW and parameters >= SMALL_MODEL:
        defaults |= FEW_ROWS
    if settings.get("method") == "full" and "learning_rate" not in settings:
        defaults["learning_rate"] = FULL_LEARNING_RATE * defaults.get(
            "learning_rate", Recipe.__dataclass_fields__["learning_rate"].default
        )
    if settings.get("constant_prefix") or settings.get("method") in ("full", "qlora"):
        defaults.pop("embeddings", None)  # a base model's prefix, or all of it, or one in 4 bit: see `Recipe`
    wanted = {name: _typed(name, value) for name, value in settings.items() if name != SEARCH}
    if "batch" in wanted and "micro_batch" not in wanted:
        defaults["micro_batch"] = _largest_divisor(wanted["batch"], defaults.get("micro_batch", 4))
    recipe = Recipe(**{"seed": seed, **defaults, **wanted})
    _check(recipe)
    return dataclasses.replace(recipe, length=min(recipe.length, window)) if window else recipe


def _typed(name: str, value: Any) -> Any:
    hints = get_type_hints(Recipe)
    if name not in hints:
        raise TaskError(f"unknown field {name!r}", where="task.yaml: train", mend=suggestion(name, KEYS))
    hint = hints[name]
    if get_origin(hint) is UnionType:
        if isinstance(value, bool) or value == AUTO:
            return value
        raise TaskError(f"{name} is {value!r}", where="task.yaml: train", mend="give it true, false or auto")
    if get_origin(hint) is tuple:
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list | tuple) and all(isinstance(v, str) for v in values):
            return tuple(values)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    kind = "a list of names" if get_args(hint) else hint.__name__
    raise TaskError(f"{name} is {value!r}", where="task.yaml: train", mend=f"give it a value of type {kind}")


def _check(recipe: Recipe) -> None:
    where = "task.yaml: train"
    for name, known in KNOWN:
        value = getattr(recipe, name)
        for one in (value,) if isinstance(value, str) else value:
            if one not in known:
                raise TaskError(f"unknown {name.removesuffix('s')} {one!r}", where=where, mend=suggestion(one, known))
    if not recipe.targets:
        raise TaskError("targets is an empty list", where=where, mend="name modules, or leave it out")
    for name in (f for f in FIELDS if isinstance(getattr(recipe, f), int | float)):
        value = getattr(recipe, name)
        if not math.isfinite(value) or value < 0 or (value == 0 and name in POSITIVE):
            least = "above 0" if name in POSITIVE else "from 0 up"
            raise TaskError(f"{name} is {value}", where=where, mend=f"give a number {least}")
        if value >= 1 and name in SHARES:
            raise TaskError(f"{name} is {value}", where=where, mend="give a share from 0 to below 1")
    if recipe.constant_prefix:
        others = {"method": ("full",), "dora": (True,), "prefix_sharing": ("never",)}
        against = [name for name, values in others.items() if getattr(recipe, name) in values]
        if recipe.embeddings:  # the prefix would not be the base model's
            against.append("embeddings")
        for name in against:
            value = str(getattr(recipe, name)).lower()
            raise TaskError(f"constant_prefix cannot go with {name}: {value}", where=where, mend="leave one out")
    if recipe.seed >= 2**32:
        raise TaskError(f"seed is {recipe.seed}", where=where, mend="give a whole number under 4294967296")
    if recipe.batch % recipe.micro_batch:
        raise TaskError(
            f"batch {recipe.batch} is no multiple of micro_batch {recipe.micro_batch}", where=where, mend="make it one"
        )


def _largest_divisor(batch: Any, most: int) -> int:
    return next(n for n in range(min(most, max(1, int(batch))), 0, -1) if int(batch) % n == 0)
