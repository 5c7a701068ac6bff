"""How often the verdict is wrong: simulated trials whose truth is known.

Walks in: nothing. Walks out: `benchmarks/results/verdict.json`: how often approaches that are equally good are told
apart, how often a true difference is found, how often approaches that differ by the margin are called equal.

A row is one that all approaches find equally hard with probability `shared`, else each finds it hard by itself: that is
what makes their errors overlap. The rule of `decide` is computed here for all trials at once, and compared with
`decide` and `compare_all` themselves on some of them.

Run it with `python benchmarks/decide/simulate.py`; it takes about a minute on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

sys.path.insert(0, str(Path(__file__).parents[1]))
from kasauti.core.files import write_json
from kasauti.core.types import Business, DataFiles, Prediction, Task
from kasauti.decide.verdict import SIGNIFICANT, Judged, decide
from kasauti.measure.compare import compare_all
from kasauti.measure.metrics import correct
from kasauti.measure.statistics import accuracy_measurement, wilson
from run import RESULTS, machine

TRIALS = 2000
NAMES = ("classical", "prompt", "retrieval", "tuned", "cascade")
"""Five approaches, from simple to complex, each of the family of its name: ten pairs, over which Holm corrects."""
CHECKED = 25
"""Trials of every case on which the real `decide` is asked too."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What came of many simulated trials."""

    difference: NDArray[np.float64]
    """[trials, approaches, approaches] accuracy of one minus the other."""
    adjusted: NDArray[np.float64]
    """[trials, approaches, approaches] p-values after Holm's correction."""
    ship: NDArray[np.intp]
    """[trials] which ships."""
    margin: float

    @property
    def beats(self) -> NDArray[np.bool_]:
        """[trials, approaches, approaches] whether one beats the other."""
        found: NDArray[np.bool_] = (self.adjusted < SIGNIFICANT) & (self.difference > self.margin)
        return found


def drawn(accuracies: Sequence[float], rows: int, shared: float, trials: int, seed: int) -> NDArray[np.bool_]:
    """[trials, approaches, rows] whether an approach is right."""
    draw = np.random.default_rng(seed)
    common = draw.random((trials, 1, rows), dtype=np.float32)
    own = draw.random((trials, len(accuracies), rows), dtype=np.float32)
    hard = np.where(draw.random((trials, 1, rows), dtype=np.float32) < shared, common, own)
    right: NDArray[np.bool_] = hard < np.array(accuracies, dtype=np.float32)[:, None]
    return right


def judged(right: NDArray[np.bool_], margin: float) -> Trials:
    """The verdict of every trial: exact McNemar for all pairs, Holm, the margin, the simplest that none beats."""
    trials, number, rows = right.shape
    as_float = right.astype(np.float32)
    both = np.matmul(as_float, as_float.transpose(0, 2, 1)).round()  # exact: counts are far under 2**24
    hits = both[:, range(number), range(number)]
    only = hits[:, :, None] - both  # [a, b]: rows that a has right and b wrong
    lost, split = np.minimum(only, only.transpose(0, 2, 1)), only + only.transpose(0, 2, 1)
    p = np.where(2 * lost == split, 1.0, np.minimum(1.0, 2 * binom.cdf(lost, split, 0.5)))
    first, second = zip(*combinations(range(number), 2), strict=True)
    adjusted = np.ones_like(p)
    adjusted[:, first, second] = adjusted[:, second, first] = _holm(p[:, first, second])
    difference = (only - only.transpose(0, 2, 1)) / rows
    made = Trials(difference, adjusted, np.zeros(trials, dtype=np.intp), margin)
    beaten: NDArray[np.bool_] = np.logical_or.reduce(made.beats, axis=1)  # [trials, approaches]: somebody beats it
    ship = np.where(beaten.all(axis=1), hits.argmax(axis=1), (~beaten).argmax(axis=1))
    return replace(made, ship=ship)


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values of every line of [trials, pairs]."""
    order = p.argsort(axis=1, kind="stable")
    steps = np.take_along_axis(p, order, axis=1) * np.arange(p.shape[1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(np.minimum(steps, 1.0), axis=1), axis=1)
    return adjusted


def task_of(margin: float) -> Task:
    """A task that says nothing but the margin."""
    return Task(
        folder="/nowhere", name="simulated", kind="classification", instructions="", input="{x}", target="y",
        labels={"yes": "", "no": ""}, fallback=None, data=DataFiles(train="t.csv"), group=None, model="kasauti/nano",
        chat_template=None, train={}, business=Business(margin=margin),
    )  # fmt: skip


def really(right: NDArray[np.bool_], margin: float) -> str:
    """What `compare_all` and `decide` ship in one trial, [approaches, rows]."""
    given = {
        name: [Prediction(answer="yes" if one else "no") for one in line.tolist()]
        for name, line in zip(NAMES, right, strict=True)
    }
    truth = ["yes"] * right.shape[1]
    entries = [
        Judged(name=name, family=name, accuracy=accuracy_measurement(correct(truth, made)))
        for name, made in given.items()
    ]
    return decide(task_of(margin), entries, compare_all(truth, given)).ship


def _share(hit: NDArray[np.bool_]) -> dict[str, float]:
    low, high = wilson(int(hit.sum()), len(hit))
    return {"value": round(float(hit.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


def _agree(right: NDArray[np.bool_], made: Trials, checked: int) -> int:
    return sum(really(right[at], made.margin) == NAMES[made.ship[at]] for at in range(checked))


def equal(rows: int, accuracy: float, shared: float, margin: float, trials: int, seed: int, checked: int) -> Any:
    """Approaches that are equally good: how often one is called a win all the same."""
    right = drawn([accuracy] * len(NAMES), rows, shared, trials, seed)
    made = judged(right, margin)
    return {
        "rows": rows, "accuracy": accuracy, "shared": shared, "margin": margin, "trials": trials,
        "any_pair_called_a_win": _share(np.logical_or.reduce(made.beats, axis=(1, 2))),
        "another_than_the_simplest_ships": _share(made.ship != 0),
        "as_decide_says": [_agree(right, made, checked), checked],
    }  # fmt: skip


def better(rows: int, gap: float, shared: float, margin: float, trials: int, seed: int, checked: int) -> Any:
    """The fourth approach is better by `gap` than all others, which stand at 0.88."""
    accuracies = [0.88] * len(NAMES)
    accuracies[3] += gap
    right = drawn(accuracies, rows, shared, trials, seed)
    made = judged(right, margin)
    return {
        "rows": rows, "difference": gap, "shared": shared, "margin": margin, "trials": trials,
        "discordance": round(float((right[:, 3] != right[:, 0]).mean()), 4),
        "found_against_the_simplest": _share(made.beats[:, 3, 0]),
        "the_better_one_ships": _share(made.ship == 3),
        "as_decide_says": [_agree(right, made, checked), checked],
    }  # fmt: skip


def alike(rows: int, gap: float, shared: float, margin: float, trials: int, seed: int) -> Any:
    """Two approaches `gap` apart: how often the interval of the difference lies inside the margin, so that they are
    called equal. A mistake where the gap is as large as the margin."""
    right = drawn([0.88 + gap, 0.88], rows, shared, trials, seed)
    low, high = _newcombe(right[:, 0], right[:, 1])
    return {
        "rows": rows, "difference": gap, "shared": shared, "margin": margin, "trials": trials,
        "called_equal": _share((low > -margin) & (high < margin)),
    }  # fmt: skip


def _newcombe(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`statistics.paired_difference` of every line of [trials, rows]."""
    rows = a.shape[1]
    hits = [one.sum(axis=1).astype(float) for one in (a, b)]
    both = (a & b).sum(axis=1).astype(float)
    neither = rows - hits[0] - hits[1] + both
    z = float(norm.ppf(0.975))
    ends = []
    for hit in hits:
        p = hit / rows
        centre = (p + z * z / (2 * rows)) / (1 + z * z / rows)
        half = z * np.sqrt(p * (1 - p) / rows + (z / (2 * rows)) ** 2) / (1 + z * z / rows)
        ends.append((p, np.where(hit == 0, 0, centre - half), np.where(hit == rows, 1, centre + half)))
    (pa, la, ha), (pb, lb, hb) = ends
    product = hits[0] * (rows - hits[0]) * hits[1] * (rows - hits[1])
    cross = both * neither - (hits[0] - both) * (hits[1] - both)
    cross = np.where(cross > 0, np.maximum(0, cross - rows / 2), cross)
    phi = np.where(product > 0, cross / np.sqrt(np.maximum(product, 1)), 0)
    down = (pa - la) ** 2 - 2 * phi * (pa - la) * (hb - pb) + (hb - pb) ** 2
    up = (pb - lb) ** 2 - 2 * phi * (pb - lb) * (ha - pa) + (ha - pa) ** 2
    return pa - pb - np.sqrt(np.maximum(0, down)), pa - pb + np.sqrt(np.maximum(0, up))


def run(trials: int = TRIALS, checked: int = CHECKED) -> dict[str, Any]:
    """All cases."""
    no_gap = [
        equal(rows, accuracy, shared, margin, trials, seed, checked)
        for seed, (rows, accuracy, shared, margin) in enumerate(
            [
                (1000, 0.88, 0.5, 0.0), (1000, 0.88, 0.5, 0.02), (1000, 0.88, 0.0, 0.0), (200, 0.7, 0.5, 0.0),
                (200, 0.7, 0.5, 0.02), (450, 0.88, 0.5, 0.02), (3000, 0.88, 0.5, 0.0), (3000, 0.88, 0.5, 0.02),
            ]
        )
    ]  # fmt: skip
    gap = [
        better(rows, size, shared, 0.02, trials, 100 + seed, checked)
        for seed, (rows, size, shared) in enumerate(
            [(1000, 0.04, 0.5), (1000, 0.04, 0.7), (1000, 0.04, 0.0), (450, 0.04, 0.5), (3000, 0.04, 0.5),
             (1000, 0.06, 0.5)]
        )
    ]  # fmt: skip
    same = [
        alike(rows, size, shared, 0.02, trials, 200 + seed)
        for seed, (rows, size, shared) in enumerate(
            [(1000, 0.02, 0.5), (3000, 0.02, 0.5), (3000, 0.02, 0.0), (1000, 0.0, 0.5), (3000, 0.0, 0.5)]
        )
    ]  # fmt: skip
    return {"approaches": list(NAMES), "pairs": 10, "equally_good": no_gap, "one_better": gap, "equivalence": same}


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print, keep; 1 where the rule here and `decide` disagree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=TRIALS, help="simulated trials of every case")
    trials = parser.parse_args(arguments).trials
    began, used = time.perf_counter(), time.process_time()
    figures = run(trials, min(CHECKED, trials))
    kept = {
        "benchmark": "verdict",
        "measures": (__doc__ or "").splitlines()[0],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(time.process_time() - used, 1),
        "machine": machine(),
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "verdict.json", kept)
    print(json.dumps(kept))
    agreed = [one["as_decide_says"] for one in [*figures["equally_good"], *figures["one_better"]]]
    return int(any(same != asked for same, asked in agreed))


if __name__ == "__main__":
    sys.exit(main())
