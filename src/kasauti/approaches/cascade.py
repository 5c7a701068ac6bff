"""Two approaches in a row: a cheap one answers where it is sure, a dearer one answers the rest.

Walks in: two fitted approaches, or rows to fit them on. Walks out: predictions, each by one of the two. The threshold
is chosen on what both said of the calibration rows without having seen them: the lowest confidence, so the fewest dear
calls, at which the two together lose no more accuracy than the task's margin to the better of them.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches.catalogue import make, members_of
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import read_json, write_json
from kasauti.core.types import Approach, Example, Prediction
from kasauti.measure.metrics import correct

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDS = 5
"""Parts of the calibration rows, each told by a threshold that was chosen on the others."""
FILE = "cascade.json"
PLACES = ("cheap", "dear")
"""Where a saved cascade has its members."""


class Cascade:
    """The pair is `cascade` of the task file, else classical and tuned. What is fitted already is used as it is
    (`Workbench.members`), and fitted here where it is not."""

    name = "cascade"
    family = "cascade"

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.pair: tuple[str, str] | None = None
        self.members: list[Approach] = []
        self.folders: list[Path | None] = []
        self.threshold = math.inf
        self.held_out: list[Prediction] = []
        self.chosen: dict[str, Any] = {}

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        self.pair = members_of(self.bench.task)
        self.members, self.folders, said = [], [], []
        for name, bench in zip(self.pair, self._benches(), strict=True):
            member = make(name, bench)
            ready = self.bench.members.get(name)
            if ready is None:
                member.fit(train, choose, calibrate)
                held_out: Sequence[Prediction] = getattr(member, "held_out", ()) or member.predict(calibrate)
            else:
                member.load(str(ready.folder))
                held_out = ready.held_out
            self.members.append(member)
            self.folders.append(None if ready is None else ready.folder)
            said.append(list(held_out))
        self._choose(calibrate, *said)
        return self

    def _benches(self) -> tuple[Workbench, Workbench]:
        """A bench holds one network at a time, and both members are asked in turn."""
        own = Workbench(self.bench.task, self.bench.progress)
        own.members = self.bench.members
        return own, self.bench

    def _choose(self, rows: Sequence[Example], cheap: Sequence[Prediction], dear: Sequence[Prediction]) -> None:
        import numpy as np

        margin = self.bench.task.business.margin
        truth = [row.answer or "" for row in rows]
        sure = np.array([_sureness(one) for one in cheap])
        right = np.array([correct(truth, cheap), correct(truth, dear)], dtype=bool).reshape(2, len(rows))
        self.threshold = choose_threshold(sure, right[0], right[1], margin)
        fold = np.random.default_rng(self.bench.task.seed).permutation(len(rows)) % FOLDS
        self.held_out = []
        for at, (one, other) in enumerate(zip(cheap, dear, strict=True)):
            rest = fold != fold[at]
            line = choose_threshold(sure[rest], right[0][rest], right[1][rest], margin)
            self.held_out.append(_joined(one, None if sure[at] >= line else other))
        kept = sure >= self.threshold
        self.chosen = {
            "members": list(self.pair or ()),
            "threshold": None if math.isinf(self.threshold) else self.threshold,
            "margin": margin,
            "validation_rows": len(rows),
            "answered_by_the_first": float(kept.mean()) if len(rows) else 0.0,
            "validation_accuracy": _told(right, kept) if len(rows) else {},
        }

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        if not examples:
            return []
        first = self.members[0].predict(examples)
        unsure = [at for at, one in enumerate(first) if _sureness(one) < self.threshold]
        second = dict(zip(unsure, self.members[1].predict([examples[at] for at in unsure]), strict=True))
        return [_joined(one, second.get(at)) for at, one in enumerate(first)]

    def save(self, folder: str) -> None:
        for place, member, there in zip(PLACES, self.members, self.folders, strict=True):
            target = Path(folder) / place
            if there is None:
                target.mkdir()
                member.save(str(target))
            else:
                shutil.copytree(there, target)
        kept = {"pair": list(self.pair or ()), "chosen": self.chosen}
        write_json(Path(folder) / FILE, {**kept, "threshold": self.chosen["threshold"]})

    def load(self, folder: str) -> Self:
        kept = read_json(Path(folder) / FILE)
        first, second = kept["pair"]
        self.pair, self.chosen = (first, second), dict(kept["chosen"])
        self.threshold = math.inf if kept["threshold"] is None else float(kept["threshold"])
        self.folders = [Path(folder) / place for place in PLACES]
        self.members = [
            make(name, bench).load(str(place))
            for name, bench, place in zip(self.pair, self._benches(), self.folders, strict=True)
        ]
        return self

    def about(self) -> Mapping[str, Any]:
        return self.chosen


def _joined(first: Prediction, second: Prediction | None) -> Prediction:
    """The answer that counts, with the time and the money of both; what the labels have together is not comparable
    between two approaches, and left out."""
    if second is None:
        return replace(first, log_mass=None)
    return replace(second, seconds=first.seconds + second.seconds, cost=first.cost + second.cost, log_mass=None)


def _sureness(prediction: Prediction) -> float:
    """Its confidence; -inf for what is no answer, so that the dear one is asked."""
    if prediction.answer is None or prediction.confidence is None:
        return -math.inf
    return prediction.confidence


def _told(right: NDArray[np.bool_], kept: NDArray[np.bool_]) -> dict[str, float]:
    import numpy as np

    together = np.where(kept, right[0], right[1])
    return {"first": float(right[0].mean()), "second": float(right[1].mean()), "together": float(together.mean())}


def choose_threshold(
    sure: NDArray[np.float64], cheap: NDArray[np.bool_], dear: NDArray[np.bool_], margin: float
) -> float:
    """The lowest confidence from which on the cheap answer is kept, such that both together are right on at least as
    many of these rows as the better of the two alone, less the margin.

    Args:
        sure: [rows] confidence of the cheap answers; -inf is never kept.
        cheap: [rows] whether the cheap answer is right.
        dear: [rows] whether the dear one is.
        margin: share of the rows that may be lost.

    Returns:
        A confidence of these rows, or inf where no cheap answer may be kept.
    """
    import numpy as np

    rows = len(sure)
    if not rows:
        return math.inf
    least = max(int(cheap.sum()), int(dear.sum())) - margin * rows
    order = np.argsort(-sure, kind="stable")
    kept = np.cumsum(cheap[order]) + (int(dear.sum()) - np.cumsum(dear[order]))  # the first 1, 2, … n kept
    for last in range(rows - 1, -1, -1):
        line = sure[order[last]]
        whole_tie = last == rows - 1 or sure[order[last + 1]] < line
        if whole_tie and math.isfinite(line) and kept[last] >= least - 1e-9:
            return float(line)
    return math.inf
