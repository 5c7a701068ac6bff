"""Classification: right is the exact label, letter for letter.

Walks in: the task (labels, fallback), examples with answers, one `Prediction` each. Walks out: the measured fields of
one approach in `trial.json`. It does not know how the answers were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kasauti.core.types import Example, Prediction, Task
from kasauti.measure import metrics
from kasauti.measure.grades import Grades, calibration, interval
from kasauti.measure.metrics import correct
from kasauti.measure.statistics import accuracy_measurement, macro_f1_measurement

METRIC = "exact_match"

__all__ = ["METRIC", "calibration", "correct", "grade", "interval", "judge"]


def grade(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Grades:
    """1 for exactly the expected label, 0 for all else."""
    return Grades(scores=correct(metrics.truth_of(examples), predictions).astype(float), metric=METRIC)


def judge(
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    seed: int,
    grades: Grades | None = None,
) -> dict[str, Any]:
    """All figures of one approach, ready for JSON.

    The contract's fields, with `log_loss` None without probabilities and `ece` None without confidences, and besides:
    `metric`, `rows`, `macro_f1_interval`, `brier`, `ece_plain`, `reliability`, `endings`, `confusion`.

    Raises:
        DataError: there are no rows, or one has no target.
        KasautiError: not one prediction a row, or a confidence outside 0 to 1.
    """
    truth = metrics.truth_of(examples)
    right = correct(truth, predictions)
    given = metrics.given_answers(predictions, task.labels)
    f1 = macro_f1_measurement(truth, given, seed)
    confusion = metrics.confusion(truth, given, task.labels)
    return {
        "metric": METRIC,
        "rows": len(truth),
        "accuracy": interval(accuracy_measurement(right, METRIC)),
        "accuracy_with_fallback": metrics.accuracy_with_fallback(truth, predictions, task.fallback, task.labels),
        "invalid_rate": metrics.invalid_rate(predictions, task.labels),
        "macro_f1": f1.value,
        "macro_f1_interval": interval(f1),
        "log_loss": metrics.log_loss(truth, predictions),
        "brier": metrics.brier(truth, predictions),
        **calibration(truth, predictions, right, seed),
        "per_class": metrics.per_class(truth, given, task.labels),
        "confusion": {
            "truths": list(confusion.truths),
            "answers": list(confusion.answers),
            "counts": [list(row) for row in confusion.counts],
        },
        "endings": metrics.ending_rates(predictions),
        "latency_ms": metrics.latency_ms(predictions),
    }
