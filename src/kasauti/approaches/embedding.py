"""Sentence embeddings with a logistic regression on top: a classifier that knows words which no training row has.

The embedding model is the one that the task file names; nothing of it is trained. The regularisation is chosen on the
choose rows; the chosen model is then fitted once more on train and choose together. Calibration rows are kept out of
both, for the confidence.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches import calibrated
from kasauti.approaches.embedder import Embedder
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import atomic_write, read_json, write_json
from kasauti.core.types import Example, Prediction
from kasauti.data.conversation import content
from kasauti.measure.scaling import Calibration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STRENGTHS = (3.0, 10.0, 30.0, 100.0)
"""Values of C that are tried. Vectors of length 1 want more of it than the usual 1: their numbers are small."""
ITERATIONS = 1000


class ClassicalEmbedding:
    """Multinomial logistic regression (L2, L-BFGS) on unit vectors."""

    name = "classical_embedding"
    family = "classical"

    def __init__(self, bench: Workbench, strengths: Sequence[float] = STRENGTHS) -> None:
        self.bench = bench
        self.strengths = tuple(strengths)
        self.labels = tuple(bench.task.labels)
        self.calibration = Calibration()
        self.held_out: list[Prediction] = []
        self.chosen: dict[str, Any] = {}
        self.weights: Any = None
        """[labels, size + 1], the last column the intercepts, in the task's order; -inf for a label without rows."""

    @property
    def embedder(self) -> Embedder:
        """The task's embedding model. Raises `TaskError` where it names none."""
        return self.bench.needed_embedder

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        x_train, x_choose = (self._vectors(rows) for rows in (train, choose))
        tried: dict[float, float] = {}
        for at, strength in enumerate(self.strengths if choose else ()):
            self.bench.progress("embedding: choose", at, len(self.strengths), f"C = {strength:g}")
            self.weights = self._fitted(x_train, train, strength)
            tried[strength] = calibrated.accuracy_of(self._scores(x_choose), choose, self.labels) or 0.0
        # Of equally good ones the strongest regularisation, which is the smallest C.
        best = max(tried, key=lambda c: (tried[c], -c)) if tried else self.strengths[0]
        self.weights = self._fitted(self._vectors([*train, *choose]), [*train, *choose], best)
        logs = self._scores(self._vectors(calibrate))
        self.calibration, self.held_out = calibrated.calibrate(logs, calibrate, self.labels)
        self.bench.progress("embedding: choose", len(self.strengths), len(self.strengths), f"chosen C = {best:g}")
        self.chosen = {
            "embedding_model": self.embedder.name,
            "C": best,
            "validation_accuracy": {f"{c:g}": a for c, a in tried.items()},
            **calibrated.about(self.calibration),
            "features": int(self.weights.shape[1]) - 1,
        }
        return self

    def _vectors(self, rows: Sequence[Example]) -> NDArray[np.float32]:
        texts = [content(row) for row in rows]
        return self.embedder.embed(texts, self.bench.progress, "embedding: embed", remember=True)

    def _fitted(self, x: NDArray[np.float32], rows: Sequence[Example], strength: float) -> NDArray[np.float64]:
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=strength, max_iter=ITERATIONS).fit(x, [row.answer for row in rows])
        heads = np.concatenate([model.coef_, model.intercept_[:, None]], axis=1)
        if len(heads) == 1:  # two labels: one head, of the second
            heads = np.concatenate([np.zeros_like(heads), heads])
        weights = np.zeros((len(self.labels), heads.shape[1]))
        weights[:, -1] = -np.inf
        place = {label: at for at, label in enumerate(self.labels)}
        for label, head in zip(model.classes_, heads, strict=True):
            weights[place[str(label)]] = head
        return weights

    def _scores(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits [rows, labels]; a label that no row had gets the lowest of its row, less one."""
        import numpy as np

        if not len(x):
            return np.zeros((0, len(self.labels)))
        scores: NDArray[np.float64] = x.astype(np.float64) @ self.weights[:, :-1].T + self.weights[:, -1]
        known = np.isfinite(self.weights[:, -1])
        scores[:, ~known] = scores[:, known].min(axis=1, keepdims=True) - 1.0
        return scores

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        self.embedder.ready()  # loading it is not part of an answer's time
        began = time.perf_counter()
        logs = self._scores(self.embedder.embed([content(row) for row in examples]))
        return calibrated.predictions_from(logs, self.labels, self.calibration, seconds=time.perf_counter() - began)

    def save(self, folder: str) -> None:
        import numpy as np

        stream = io.BytesIO()
        np.save(stream, self.weights)
        atomic_write(Path(folder) / "embedding.npy", stream.getvalue())
        kept = {"calibration": self.calibration.document(), "chosen": self.chosen, "model_sha256": self.embedder.sha256}
        write_json(Path(folder) / "embedding.json", kept)

    def load(self, folder: str) -> Self:
        import numpy as np

        kept = read_json(Path(folder) / "embedding.json")
        self.embedder.check(kept["model_sha256"])
        self.weights = np.load(Path(folder) / "embedding.npy")
        self.calibration, self.chosen = Calibration.of(kept["calibration"]), dict(kept["chosen"])
        return self

    def about(self) -> Mapping[str, Any]:
        return self.chosen
