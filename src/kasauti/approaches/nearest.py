"""The answer of the most similar training row, word for word: what a model that writes has to beat.

Walks in: a bench, rows. Walks out: one `Prediction` a row. Similar is the cosine of TF-IDF vectors of words and of
pairs of words; among equals the first training row.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from kasauti.approaches.classical import WORD
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import read_json, write_json
from kasauti.core.types import Example, Prediction
from kasauti.data.conversation import content

BLOCK = 1024
"""Rows that are compared with all training rows at a time; bounds memory."""


class Nearest:
    """Keeps the training rows; nothing is chosen."""

    name = "nearest"
    family = "classical"

    def __init__(self, bench: Workbench) -> None:
        self.texts: list[str] = []
        self.answers: list[str] = []
        self.vectors: Any = None
        self.matrix: Any = None

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        rows = [*train, *choose]
        self.texts, self.answers = [content(row) for row in rows], [row.answer or "" for row in rows]
        return self._indexed()

    def _indexed(self) -> Self:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
        self.matrix = self.vectors.fit_transform(self.texts).T.tocsr()
        return self

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        made: list[Prediction] = []
        for at in range(0, len(examples), BLOCK):
            began = time.perf_counter()
            part = examples[at : at + BLOCK]
            alike = self.vectors.transform([content(row) for row in part]) @ self.matrix
            found = [int(i) for i in alike.toarray().argmax(axis=1)]
            seconds = (time.perf_counter() - began) / len(part)
            made += [Prediction(answer=self.answers[i], raw=self.answers[i], seconds=seconds) for i in found]
        return made

    def save(self, folder: str) -> None:
        write_json(Path(folder) / "nearest.json", {"texts": self.texts, "answers": self.answers})

    def load(self, folder: str) -> Self:
        kept = read_json(Path(folder) / "nearest.json")
        self.texts, self.answers = list(kept["texts"]), list(kept["answers"])
        return self._indexed()

    def about(self) -> Mapping[str, Any]:
        return {"training_rows": len(self.texts)}
