"""From log-probabilities over the labels to predictions with a calibrated confidence.

Walks in: log-probabilities, the true labels of the calibration rows. Walks out: a calibration, predictions. It knows no
model. Log-probabilities need not be normalised over the labels; what they come to together is a prediction's
`log_mass`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kasauti.core.types import Example, Prediction
from kasauti.measure.metrics import confidences, ece, log_loss, macro_f1
from kasauti.measure.scaling import Calibration, choose_calibration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def calibrate(
    logs: NDArray[np.float64], rows: Sequence[Example], labels: Sequence[str]
) -> tuple[Calibration, list[Prediction]]:
    """The calibration under which these rows' true labels are most probable, and predictions for the rows, each by one
    that was not fitted on it; no change, and no predictions, where there are no rows."""
    import numpy as np

    if not rows:
        return Calibration(), []
    place = {label: at for at, label in enumerate(labels)}
    fitted = choose_calibration(logs, np.array([place[row.answer or ""] for row in rows], dtype=np.intp))
    return fitted.calibration, _predictions(fitted.held_out, logs, labels)


def about(calibration: Calibration) -> dict[str, Any]:
    """What a report says of a calibration."""
    return {
        "temperature": calibration.temperature,
        "calibration": {
            "method": calibration.method,
            "rows": calibration.rows,
            "held_out_log_loss": dict(calibration.losses),
            "gain_over_temperature": {name: dict(gain) for name, gain in calibration.gains.items()},
        },
    }


def accuracy_of(logs: NDArray[np.float64], rows: Sequence[Example], labels: Sequence[str]) -> float | None:
    """Share of rows whose most probable label is the true one; None without rows."""
    if not rows:
        return None
    best = logs.argmax(axis=1)
    return float(sum(labels[int(b)] == row.answer for b, row in zip(best, rows, strict=True))) / len(rows)


def figures_of(logs: NDArray[np.float64], rows: Sequence[Example], labels: Sequence[str]) -> dict[str, float]:
    """How good these probabilities are, before any calibration: accuracy, macro-F1, log loss (nats), calibration error,
    and what knowing only the shares of the labels would give; empty without rows."""
    if not rows:
        return {}
    truth = [row.answer or "" for row in rows]
    told = predictions_from(logs, labels, Calibration())
    confidence, right = confidences(truth, told)
    shares = [count / len(rows) for count in Counter(truth).values()]
    return {
        "validation_accuracy": float(right.mean()),
        "validation_macro_f1": macro_f1(truth, [one.answer for one in told]),
        "validation_log_loss": float(log_loss(truth, told) or 0.0),
        "validation_ece": ece(confidence, right),
        "validation_majority": max(shares),
        "validation_prior_loss": -sum(share * math.log(share) for share in shares),
        "validation_rows": float(len(rows)),
    }


def predictions_from(
    logs: NDArray[np.float64],
    labels: Sequence[str],
    calibration: Calibration,
    *,
    seconds: float = 0.0,
    tokens: Sequence[int] | None = None,
) -> list[Prediction]:
    """One prediction a row: the most probable label, its calibrated probability, and those of all labels.

    Args:
        logs: [rows, labels].
        calibration: makes probabilities of them.
        seconds: wall-clock seconds of all rows together.
        tokens: prompt tokens of every row.
    """
    made = _predictions(calibration.apply(logs), logs, labels, keeps_answer=calibration.method != "vector")
    each = seconds / max(1, len(logs))
    return [
        replace(one, seconds=each, input_tokens=tokens[at] if tokens else 0) if each or tokens else one
        for at, one in enumerate(made)
    ]


def _predictions(
    calibrated: NDArray[np.float64], logs: NDArray[np.float64], labels: Sequence[str], *, keeps_answer: bool = False
) -> list[Prediction]:
    """Predictions of calibrated log-probabilities [rows, labels] and those that they were made of."""
    import numpy as np

    if len(logs) == 0:
        return []
    # Where the order is kept the answer is read from what was not calibrated: a temperature may round two labels to one
    # probability.
    best = (logs if keeps_answer else calibrated).argmax(axis=1)
    mass = np.logaddexp.reduce(logs, axis=1)
    return [
        Prediction(
            answer=labels[at],
            confidence=row[at],
            probabilities=dict(zip(labels, row, strict=True)),
            log_mass=total if math.isfinite(total) else None,
        )
        for at, row, total in zip(best.tolist(), np.exp(calibrated).tolist(), mass.tolist(), strict=True)
    ]
