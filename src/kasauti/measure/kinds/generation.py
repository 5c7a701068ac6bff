"""Free-form generation: right is the expected text after a stated normalisation.

Walks in: the task, examples with answers, one `Prediction` each. Walks out: the fields of one approach in `trial.json`.
Normalisation: Unicode NFKC (one spelling for full-width and composed letters), case folded, every run of white space
one space, none at the ends. Punctuation, articles and digits count as written: taking those off, as for English
question answering, would call wrong amounts and wrong Hindi right.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kasauti.core.types import Ended, Example, Prediction, Task
from kasauti.measure import metrics
from kasauti.measure.kinds.classification import calibration, interval
from kasauti.measure.statistics import accuracy_measurement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METRIC = "exact_match"


def normalise(text: str) -> str:
    """The text as it is compared; applying it twice changes nothing."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def correct(truth: Sequence[str], predictions: Sequence[Prediction]) -> NDArray[np.bool_]:
    """Equality after normalisation of every answered row, [n]."""
    import numpy as np

    metrics.check_lengths(truth, predictions)
    return np.array(
        [
            p.ended is Ended.ANSWERED and p.answer is not None and normalise(p.answer) == normalise(t)
            for t, p in zip(truth, predictions, strict=True)
        ],
        dtype=bool,
    )


def judge(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction], seed: int) -> dict[str, Any]:
    """The contract's fields of one approach; those that need a list of labels are None or empty.

    `accuracy` is exact match after normalisation, `accuracy_strict` letter for letter. Where the task has a fallback,
    `accuracy_with_fallback` counts it for rows that were not answered.
    """
    truth = metrics.truth_of(examples)
    right = correct(truth, predictions)
    received = metrics.answers_with_fallback(predictions, task.fallback)
    hits = [a is not None and normalise(a) == normalise(t) for a, t in zip(received, truth, strict=True)]
    return {
        "metric": METRIC,
        "rows": len(truth),
        "accuracy": interval(accuracy_measurement(right, METRIC)),
        "accuracy_strict": metrics.accuracy(truth, predictions),
        "accuracy_with_fallback": sum(hits) / len(hits),
        "invalid_rate": metrics.invalid_rate(predictions),
        "macro_f1": None,
        "log_loss": None,
        **calibration(truth, predictions, right, seed),
        "per_class": {},
        "endings": metrics.ending_rates(predictions),
        "latency_ms": metrics.latency_ms(predictions),
    }
