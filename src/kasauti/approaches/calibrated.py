"""From log-probabilities over the labels to predictions with a calibrated confidence.

Walks in: log-probabilities, the true labels of the calibration rows. Walks out: a temperature, predictions. It knows
no model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kasauti.core.types import Example, Prediction
from kasauti.measure.calibrate import apply_temperature, fit_temperature
from kasauti.measure.metrics import confidences, ece, log_loss, macro_f1

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def temperature_for(logs: NDArray[np.float64], rows: Sequence[Example], labels: Sequence[str]) -> float:
    """The temperature under which these rows' true labels are most probable; 1 where there are no rows."""
    import numpy as np

    if not rows:
        return 1.0
    place = {label: at for at, label in enumerate(labels)}
    return float(fit_temperature(logs, np.array([place[row.answer or ""] for row in rows], dtype=np.intp)).value)


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
    told = predictions_from(logs, labels, 1.0)
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
    temperature: float,
    *,
    seconds: float = 0.0,
    tokens: Sequence[int] | None = None,
) -> list[Prediction]:
    """One prediction a row: the most probable label, its calibrated probability, and those of all labels.

    Args:
        logs: [rows, labels].
        temperature: divides them before they are normalised.
        seconds: wall-clock seconds of all rows together.
        tokens: prompt tokens of every row.
    """
    probabilities = apply_temperature(logs, temperature)
    each = seconds / max(1, len(logs))
    made = []
    # From the logits: a temperature may round two labels to one probability, and never changes the answer.
    for at, (row, best) in enumerate(zip(probabilities, logs.argmax(axis=1).tolist(), strict=True)):
        made.append(
            Prediction(
                answer=labels[best],
                confidence=float(row[best]),
                seconds=each,
                input_tokens=tokens[at] if tokens else 0,
                probabilities={label: float(p) for label, p in zip(labels, row, strict=True)},
            )
        )
    return made
