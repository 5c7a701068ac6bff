"""How right every row is, and the fields of `trial.json` that follow from it whatever the kind.

Walks in: a score from 0 to 1 for every row, given by a kind. Walks out: the deciding figure with its interval, the
calibration, and the fields that all kinds without labels share. It does not know what made an answer right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kasauti.core.types import Ended, Example, Measurement, Prediction, Task
from kasauti.measure import metrics
from kasauti.measure.calibrate import reliability_bins
from kasauti.measure.statistics import ece_measurement, is_binary, score_measurement

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Grades:
    """What a kind says of one approach's answers."""

    scores: NDArray[np.float64]
    """[n] the deciding figure of every row, 0 to 1; whatever was not answered has 0."""
    metric: str
    """Its name."""
    invalid: int = 0
    """Rows that were answered with something that the kind refuses to read."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Further fields for `trial.json`, ready for JSON."""


Grade = Callable[[Task, Sequence[Example], Sequence[Prediction]], Grades]


def fields_of(
    task: Task, examples: Sequence[Example], predictions: Sequence[Prediction], seed: int, grades: Grades, grade: Grade
) -> dict[str, Any]:
    """The contract's fields of one approach; those that need a list of labels are None or empty.

    Args:
        grades: what `grade` said of these predictions.
        grade: grades the fallback where the caller would receive it.
    """
    truth = metrics.truth_of(examples)
    metrics.check_lengths(truth, predictions)
    nothing = {"ece": None, "ece_plain": None, "reliability": None}
    right_or_wrong = is_binary(grades.scores)
    sure = calibration(truth, predictions, grades.scores == 1, seed) if right_or_wrong else nothing
    return {
        "metric": grades.metric,
        "rows": len(truth),
        "accuracy": interval(score_measurement(grades.scores, grades.metric, seed)),
        "accuracy_with_fallback": _with_fallback(task, examples, predictions, grades, grade),
        "invalid_rate": metrics.invalid_rate(predictions) + grades.invalid / len(truth),
        "macro_f1": None,
        "log_loss": None,
        **sure,
        "per_class": {},
        "endings": metrics.ending_rates(predictions),
        "latency_ms": metrics.latency_ms(predictions),
        **grades.about,
    }


def _with_fallback(
    task: Task, examples: Sequence[Example], predictions: Sequence[Prediction], grades: Grades, grade: Grade
) -> float:
    """The mean score of what the caller receives: the fallback stands in where nothing valid was answered."""
    received = metrics.answers_with_fallback(predictions, task.fallback)
    changed = [i for i, p in enumerate(predictions) if p.ended is not Ended.ANSWERED and received[i] is not None]
    if not changed:
        return float(grades.scores.mean())
    stand_ins = [replace(predictions[i], answer=received[i], ended=Ended.ANSWERED) for i in changed]
    scores = grades.scores.copy()
    scores[changed] = grade(task, [examples[i] for i in changed], stand_ins).scores
    return float(scores.mean())


def calibration(
    truth: Sequence[str], predictions: Sequence[Prediction], right: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    """`ece` with its interval, `ece_plain` and the `reliability` diagram; None where no row has a confidence."""
    confidence, hits = metrics.confidences(truth, predictions, right)
    if len(confidence) == 0:
        return {"ece": None, "ece_plain": None, "reliability": None}
    return {
        "ece": interval(ece_measurement(confidence, hits, seed)),
        "ece_plain": metrics.ece(confidence, hits),
        "reliability": reliability_bins(confidence, hits),
    }


def interval(measurement: Measurement) -> dict[str, float]:
    """A measurement as the contract writes it."""
    return {"value": measurement.value, "low": measurement.low, "high": measurement.high}
