"""What chance in training is worth: the same recipe with other seeds, judged on the same test rows.

Walks in: a tuned approach's answers, and how many seeds. Walks out: accuracies by seed, their spread, and the sentence
that tells it. The first seed's answers are the ones that are judged; the others only say how far they may be off.

Every seed is fitted and asked as an approach of its own, in a folder of its own, so what a kill interrupts is gone on
with. The data's split stays: only the recipe's seed changes.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kasauti.approaches.catalogue import CATALOGUE
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import KasautiError, StorageError
from kasauti.core.types import Split, Task
from kasauti.decide.fitted import Answers, fit_and_answer
from kasauti.measure import kinds

FAMILY = "tuned"
"""The family that chance reaches; all others answer the same for the same rows."""
MOST = 20
"""More seeds than this tell nothing new."""


def seeds_of(first: int, number: int) -> list[int]:
    """The seed of the recipe, and those after it."""
    return [(first + at) % 2**32 for at in range(number)]


def reseeded(task: Task, about: Mapping[str, Any], seed: int) -> Task:
    """The task with another seed for training, and with what a search chose in place of the search."""
    chosen = about.get("search", {}).get("chosen", {})
    train = {name: value for name, value in task.train.items() if name != "search"}
    return dataclasses.replace(task, train={**train, **chosen, "seed": seed})


def spread_of(bench: Workbench, split: Split, one: Answers, number: int) -> dict[str, Any] | None:
    """`seeds` of a tuned approach's entry in `trial.json`; None for other families or a single seed.

    Raises:
        StorageError: the disk is full or may not be written.
    """
    if number < 2 or CATALOGUE[one.name].family != FAMILY:
        return None
    task, grade = bench.task, kinds.load_kind(bench.task.kind).grade
    first = grade(task, split.test, one.predictions)
    values, kept, failed = [float(first.scores.mean())], [int(one.about["recipe"]["seed"])], []
    bench.let_go()
    for at, seed in enumerate(seeds_of(kept[0], number)[1:], 1):
        bench.progress("seeds", at, number, f"{one.name}, seed {seed}")
        other = reseeded(task, one.about, seed)
        try:
            made = fit_and_answer(Workbench(other, bench.progress), split, one.name)
        except StorageError:
            raise
        except KasautiError as error:  # a seed that diverges is told, and does not end the trial
            failed.append({"seed": seed, "why": error.line()})
            continue
        except (OSError, MemoryError):
            raise
        except Exception as error:  # a library's fault
            said = (str(error).strip().splitlines() or [""])[0][:200]
            failed.append({"seed": seed, "why": f"{type(error).__name__}: {said}"})
            continue
        values.append(float(grade(task, split.test, made.predictions).scores.mean()))
        kept.append(seed)
    bench.progress("seeds", number, number)
    return {"metric": first.metric, **summary(kept, values), "failed": failed}


def summary(seeds: Sequence[int], values: Sequence[float]) -> dict[str, Any]:
    """Seeds, their figures, mean and sample standard deviation (0 for one alone)."""
    return {
        "seeds": list(seeds),
        "values": list(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
    }


def range_of(spread: Mapping[str, Any], low: float, high: float) -> tuple[float, float]:
    """Where the figure of one more seed on as many other rows is expected, 95%.

    The half-width of the judged seed's interval over rows and that of a new seed, t * sd * sqrt(1 + 1 / seeds), are
    added as squares: rows and seeds are drawn independently.

    Args:
        low, high: the interval over test rows.
    """
    from scipy.stats import t

    number = len(spread["values"])
    if number < 2:
        return low, high
    of_seeds = float(t.ppf(0.975, number - 1)) * spread["sd"] * math.sqrt(1 + 1 / number)
    half = math.hypot((high - low) / 2, of_seeds)
    return max(0.0, spread["mean"] - half), min(1.0, spread["mean"] + half)


def sentences(entries: Sequence[Mapping[str, Any]], margin: float) -> list[str]:
    """One sentence a tuned approach with several seeds: spread, interval of rows and seeds together, and in how many
    seeds it is over the best other approach by more than the margin."""
    made = []
    for one in entries:
        spread = one.get("seeds")
        if not spread or len(spread["values"]) < 2:
            continue
        low, high = range_of(spread, one["accuracy"]["low"], one["accuracy"]["high"])
        each = ", ".join(f"{100 * value:.1f}" for value in spread["values"])
        told = (
            f"{one['name']} was trained with {len(spread['values'])} seeds: {100 * spread['mean']:.1f}% on average, "
            f"standard deviation {100 * spread['sd']:.1f} points ({each}; the first is judged). With the seeds' "
            f"variance its 95% interval is {100 * low:.1f}\u2013{100 * high:.1f}, not "
            f"{100 * one['accuracy']['low']:.1f}\u2013{100 * one['accuracy']['high']:.1f}."
        )
        others = [other for other in entries if other["name"] != one["name"]]
        if others:
            best = max(others, key=lambda other: float(other["accuracy"]["value"]))
            over = sum(value - best["accuracy"]["value"] > margin for value in spread["values"])
            told += f" It is over {best['name']} by more than the margin in {over} of {len(spread['values'])} seeds."
        if spread.get("failed"):
            told += f" {len(spread['failed'])} more could not be trained: {spread['failed'][0]['why']}"
        made.append(told)
    return made
