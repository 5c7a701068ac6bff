"""A small search over the recipe: `train.search`, each variant a run of its own, the best on validation rows kept.

Walks in: the `train` mapping of the task file, what trains by one recipe. Walks out: the best `Run` and a log. It does
not know models or rows. A finished run is found, never done twice, so a search that was cut off goes on; what runs took
is read from the runs, so it stops where it would have stopped uninterrupted.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.core import ranks
from kasauti.core.errors import TaskError
from kasauti.core.files import STATE, append_line, content_hash, read_json_lines
from kasauti.core.names import suggestion
from kasauti.core.progress import Progress, silent
from kasauti.train.recipe import SEARCH, Recipe

if TYPE_CHECKING:
    from kasauti.train.run import Run

NUMBERS = (
    "learning_rate", "r", "alpha", "dropout", "epochs", "batch", "weight_decay", "label_smoothing", "token_noise",
    "embeddings",
)  # fmt: skip
"""Fields of the recipe that may be searched over."""
MINUTES = "minutes"
FOLDER = "searches"
WHERE = "task.yaml: train.search"


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One recipe of a search."""

    varied: Mapping[str, float]
    """Field → value; empty for the recipe of the task file."""
    recipe: Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class Searched:
    """What a search ended with."""

    run: Run
    """The best."""
    chosen: Mapping[str, float]
    """What its recipe sets beside the task file's."""
    tried: Sequence[Mapping[str, Any]]
    """One entry a variant, in order: what was varied, the run's id and figures, `seconds`."""
    untried: int
    """Variants that the minutes had no room for."""

    def about(self) -> dict[str, Any]:
        """What a report says of it; empty where there was one variant alone."""
        if len(self.tried) + self.untried < 2:
            return {}
        return {"search": {"chosen": dict(self.chosen), "tried": list(self.tried), "not_tried_for_time": self.untried}}


def variants_of(train: Mapping[str, Any], recipe_of: Callable[[Mapping[str, Any]], Recipe]) -> list[Variant]:
    """The task file's recipe, then every combination of the values under `search`, each recipe once.

    Where `r` is varied and `alpha` is not, alpha keeps its ratio to r, so that a learning rate means the same.

    Args:
        train: the `train` mapping of the task file.
        recipe_of: the recipe for such a mapping.

    Raises:
        TaskError: an unknown field, a value that the recipe does not allow, no minutes.
    """
    plain = {name: value for name, value in train.items() if name != SEARCH}
    first = recipe_of(plain)
    found = [Variant(varied={}, recipe=first)]
    values = _values(train)
    for combination in product(*values.values()):
        varied = dict(zip(values, combination, strict=True))
        if "r" in varied and "alpha" not in varied:
            varied["alpha"] = max(1, round(first.alpha / first.r * varied["r"]))
        recipe = recipe_of({**plain, **varied})
        if all(recipe != one.recipe for one in found):
            found.append(Variant(varied=varied, recipe=recipe))
    return found


def minutes_of(train: Mapping[str, Any]) -> float:
    """What the search may take. Raises `TaskError` where that is no number above 0."""
    given = (train.get(SEARCH) or {}).get(MINUTES, math.inf)
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise TaskError(f"{MINUTES} is {given!r}", where=WHERE, mend="give a number above 0, or leave it out")
    return float(given)


def _values(train: Mapping[str, Any]) -> dict[str, list[Any]]:
    search = train.get(SEARCH)
    if search is None:
        return {}
    if not isinstance(search, Mapping):
        raise TaskError(f"search is {search!r}", where=WHERE, mend="give it lists: {learning_rate: [1e-4, 2e-4]}")
    minutes_of(train)
    values = {}
    for name, listed in search.items():
        if name == MINUTES:
            continue
        if name not in NUMBERS:
            raise TaskError(f"unknown field {name!r}", where=WHERE, mend=suggestion(name, (*NUMBERS, MINUTES)))
        if not isinstance(listed, list | tuple) or not listed:
            raise TaskError(f"{name} is {listed!r}", where=WHERE, mend="give it a list of values")
        values[name] = list(listed)
    if not values:
        raise TaskError("search varies nothing", where=WHERE, mend=f"give lists for some of {', '.join(NUMBERS)}")
    return values


def search(
    folder: str | Path,
    variants: Sequence[Variant],
    train: Callable[[Recipe], Run],
    minutes: float = math.inf,
    progress: Progress = silent,
) -> Searched:
    """Train every variant that there is time for, and take the best.

    The best is the one with the highest validation accuracy, the lowest validation log loss among equals; where
    accuracy is not measured, the lowest validation loss. A variant is begun only where one that takes as long as the
    longest so far would still fit; the first always is.

    Args:
        folder: the task's, below which `.kasauti/searches/<id>.jsonl` gets a line a variant.
        train: the finished run of a recipe: found, resumed or made.
        minutes: what all runs together may take.
    """
    id = content_hash([[dict(one.varied), dataclasses.asdict(one.recipe)] for one in variants])[:12]
    log = Path(folder) / STATE / FOLDER / f"{id}.jsonl"
    tried: list[dict[str, Any]] = []
    best: tuple[tuple[float, ...], Run, Variant] | None = None
    spent = longest = 0.0
    for at, one in enumerate(variants):
        if best is not None and spent + longest > 60 * minutes:
            break
        if len(variants) > 1:
            told = ", ".join(f"{name} {value:g}" for name, value in one.varied.items()) or "the task's recipe"
            progress("search", at, len(variants), told)
        run = train(one.recipe)
        seconds = float(run.summary["seconds"])
        spent, longest = spent + seconds, max(longest, seconds)
        tried.append(_entry(one, run))
        if len(variants) > 1 and ranks.first() and all(line["run"] != run.id for line in read_json_lines(log)):
            append_line(log, json.dumps(tried[-1]))
        rank = _rank(run.summary)
        if best is None or rank > best[0]:
            best = rank, run, one
    if best is None:
        raise ValueError("a search needs at least one variant")
    if len(variants) > 1:
        progress("search", len(variants), len(variants), f"{len(tried)} of {len(variants)} tried")
    _, run, chosen = best
    return Searched(run=run, chosen=chosen.varied, tried=tuple(tried), untried=len(variants) - len(tried))


_FIGURES = ("validation_accuracy", "validation_log_loss", "validation_loss", "epoch")


def _entry(one: Variant, run: Run) -> dict[str, Any]:
    best = run.summary["best"]
    figures = {name: best[name] for name in _FIGURES if name in best}
    return {**one.varied, "run": run.id, **figures, "seconds": run.summary["seconds"]}


def _rank(summary: Mapping[str, Any]) -> tuple[float, ...]:
    """Higher is better."""
    best = summary["best"]
    if "validation_accuracy" in best:
        return float(best["validation_accuracy"]), -float(best["validation_log_loss"])
    return (-float(best["validation_loss"]),)
