"""TF-IDF of words and characters with a linear model: the baseline that a language model has to be worth its cost
against.

The regularisation is chosen on the choose rows; the chosen model is then fitted once more on train and choose
together. Calibration rows are kept out of both, for the confidence.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches import calibrated
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import atomic_write, read_json, write_json
from kasauti.core.types import Example, Prediction
from kasauti.data.conversation import content
from kasauti.measure.scaling import Calibration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD = r"[\w\u0900-\u0dff\u200c\u200d]+"
"""A word; `\\w` alone leaves out the vowel signs of Devanagari and its sister scripts, and tears their words apart."""
STRENGTHS = (0.3, 0.6, 1.2)
"""Values of the support vector machine's C that are tried."""


class Classical:
    """Word 1- to 2-grams and character 1- to 5-grams within words, sublinear TF-IDF, one-vs-rest linear SVM
    (liblinear).

    Its margins are taken as logits for the confidence, and calibrated.
    """

    name = "classical"
    family = "classical"

    def __init__(self, bench: Workbench, strengths: Sequence[float] = STRENGTHS) -> None:
        self.bench = bench
        self.strengths = tuple(strengths)
        self.labels = tuple(bench.task.labels)
        self.calibration = Calibration()
        self.held_out: list[Prediction] = []
        self.chosen: dict[str, Any] = {}
        self.features: Any = None
        self.model: Any = None

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        if choose:
            features = _features().fit([content(row) for row in train])
            x_train = features.transform([content(r) for r in train])
            x_choose = features.transform([content(r) for r in choose])
        tried: dict[float, float] = {}
        for at, strength in enumerate(self.strengths if choose else ()):
            self.bench.progress("classical: choose", at, len(self.strengths), f"C = {strength:g}")
            self.model = _linear(strength).fit(x_train, [r.answer for r in train])
            tried[strength] = calibrated.accuracy_of(self._margins(x_choose), choose, self.labels) or 0.0
        # Of equally good ones the strongest regularisation, which is the smallest C.
        best = max(tried, key=lambda c: (tried[c], -c)) if tried else self.strengths[0]
        rows = [*train, *choose]
        self.features = _features().fit([content(row) for row in rows])
        self.model = _linear(best).fit(self.features.transform([content(r) for r in rows]), [r.answer for r in rows])
        self.calibration, self.held_out = calibrated.calibrate(self._logs(calibrate), calibrate, self.labels)
        self.bench.progress("classical: choose", len(self.strengths), len(self.strengths), f"chosen C = {best:g}")
        self.chosen = {
            "C": best,
            "validation_accuracy": {f"{c:g}": a for c, a in tried.items()},
            **calibrated.about(self.calibration),
            "features": int(self.model.coef_.shape[1]),
        }
        return self

    def _logs(self, rows: Sequence[Example]) -> NDArray[np.float64]:
        return self._margins(self.features.transform([content(row) for row in rows])) if rows else self._margins(None)

    def _margins(self, x: Any) -> NDArray[np.float64]:
        """Margins by label in the task's order; a label that no row of train had gets the lowest margin of its row,
        less one."""
        import numpy as np

        if x is None or x.shape[0] == 0:
            return np.zeros((0, len(self.labels)))
        margins = self.model.decision_function(x)
        if margins.ndim == 1:  # two labels: one margin
            margins = np.stack([-margins, margins], axis=1)
        out: NDArray[np.float64] = np.repeat(margins.min(axis=1, keepdims=True) - 1.0, len(self.labels), axis=1)
        place = {label: at for at, label in enumerate(self.labels)}
        for column, label in enumerate(self.model.classes_):
            out[:, place[str(label)]] = margins[:, column]
        return out

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        began = time.perf_counter()
        logs = self._logs(examples)
        return calibrated.predictions_from(logs, self.labels, self.calibration, seconds=time.perf_counter() - began)

    def save(self, folder: str) -> None:
        import io

        import joblib

        stream = io.BytesIO()
        joblib.dump((self.features, self.model), stream)
        atomic_write(Path(folder) / "classical.joblib", stream.getvalue())
        write_json(Path(folder) / "classical.json", {"calibration": self.calibration.document(), "chosen": self.chosen})

    def load(self, folder: str) -> Self:
        import joblib

        # A joblib file runs code when it is loaded; it comes from this task's own folder.
        self.features, self.model = joblib.load(Path(folder) / "classical.joblib")
        kept = read_json(Path(folder) / "classical.json")
        self.calibration, self.chosen = Calibration.of(kept["calibration"]), dict(kept["chosen"])
        return self

    def about(self) -> Mapping[str, Any]:
        return self.chosen


def _features() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import FeatureUnion

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True, min_df=2)
    return FeatureUnion([("words", words), ("characters", characters)])


def _linear(strength: float) -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC(C=strength, random_state=0, max_iter=5000)
