"""The most common label of the training rows, for every row: what any other approach has to beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from kasauti.approaches.workbench import Workbench
from kasauti.core.files import read_json, write_json
from kasauti.core.types import Example, Prediction


class Majority:
    """Its probabilities are the labels' shares of the training rows, one added to every count (Laplace)."""

    name = "majority"
    family = "majority"

    def __init__(self, bench: Workbench) -> None:
        self.labels = tuple(bench.task.labels)
        self.shares: dict[str, float] = {}

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        counts = Counter(row.answer for row in train)
        total = len(train) + len(self.labels)
        self.shares = {label: (counts[label] + 1) / total for label in self.labels}
        return self

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        best = max(self.shares, key=self.shares.__getitem__)
        return [Prediction(answer=best, confidence=self.shares[best], probabilities=self.shares) for _ in examples]

    def save(self, folder: str) -> None:
        write_json(Path(folder) / "majority.json", self.shares)

    def load(self, folder: str) -> Self:
        self.shares = {str(k): float(v) for k, v in read_json(Path(folder) / "majority.json").items()}
        return self

    def about(self) -> Mapping[str, Any]:
        return {"label": max(self.shares, key=self.shares.__getitem__)}
