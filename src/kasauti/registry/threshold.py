"""The confidence from which on an answer is accepted.

Walks in: a fitted approach, and validation rows that neither trained it nor chose its settings. Walks out: a
`Threshold`. It does not know versions.

The rule is the plain one: the lowest confidence whose accepted rows were at least `WANTED` right. Where no confidence
reaches that, the threshold is None and nothing is accepted: every answer is then for a person to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kasauti.core.types import Approach, Example, Prediction

if TYPE_CHECKING:
    from kasauti.measure.calibrate import Threshold

WANTED = 0.95
"""Accuracy that accepted answers shall have."""


def choose_threshold(approach: Approach, calibrate: Sequence[Example], wanted: float = WANTED) -> Threshold:
    """The threshold on the calibration half of the validation rows: the other half chose settings, and would flatter
    it.
    """
    import numpy as np

    from kasauti.measure.calibrate import plain_threshold

    given = approach.predict([replace(row, answer=None) for row in calibrate])
    confidence = np.array([p.confidence or 0.0 for p in given])
    right = np.array([p.answer == row.answer for p, row in zip(given, calibrate, strict=True)], dtype=bool)
    return plain_threshold(confidence, right, wanted)


def is_accepted(prediction: Prediction, threshold: float | None) -> bool:
    """Whether a valid answer came with at least that confidence; never without a threshold or without a confidence."""
    if threshold is None or prediction.answer is None or prediction.confidence is None:
        return False
    return prediction.confidence >= threshold
