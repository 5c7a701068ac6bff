"""Probabilities that mean what they say: one temperature, and the diagram that shows what it is worth.

Walks in: arrays from validation rows: log-probabilities [n, k] with the index of the true label [n], or confidence [n]
with correctness [n]. Walks out: a temperature, the bins of a reliability diagram. It does not know models; nothing here
is ever fitted on test rows. numpy and scipy are imported inside functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kasauti.core.errors import KasautiError, UsageError
from kasauti.measure.metrics import ECE_BINS, equal_mass_bins
from kasauti.measure.statistics import wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEMPERATURES = (0.05, 20.0)
"""Bounds of the search; a fit that ends at one of them is marked."""

LEAST_LOG = -745.0
"""Log-probabilities are raised to this (the smallest that exp keeps above 0): -inf has no finite loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """One number that every log-probability is divided by; over 1 it makes an answerer less sure."""

    value: float
    nll_before: float
    """Mean negative log-likelihood of the true labels at temperature 1, nats."""
    nll_after: float
    """The same at `value`; never above `nll_before`."""
    rows: int
    """Rows that it was fitted on."""
    at_bound: bool
    """The search ended at a border of `TEMPERATURES`: the rows are all right, all wrong or too few."""


def fit_temperature(log_probabilities: NDArray[np.float64], truth: NDArray[np.intp]) -> Temperature:
    """The temperature that minimises the negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    Args:
        log_probabilities: [n, k] log-probability of every label on validation rows; need not be normalised.
        truth: [n] index of the true label.

    Raises:
        KasautiError: the shapes do not fit, there is no row, or a value is not a number.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    logs, index = np.asarray(log_probabilities, dtype=float), np.asarray(truth, dtype=int)
    if logs.ndim != 2 or index.shape != logs.shape[:1] or logs.size == 0:
        raise KasautiError(
            f"log-probabilities of shape {logs.shape} do not fit {index.shape} true labels",
            where="temperature",
            mend="Give one row of log-probabilities and one index per validation row.",
        )
    if np.isnan(logs).any() or not np.isfinite(logs.max(axis=1)).all():
        raise KasautiError("a log-probability is not a number, or a row has no possible label", where="temperature")
    if index.min() < 0 or index.max() >= logs.shape[1]:
        raise KasautiError(f"a label index is not in 0 to {logs.shape[1] - 1}", where="temperature")

    def nll(log_temperature: float) -> float:
        scaled = log_softmax(logs / math.exp(log_temperature))
        return float(-np.maximum(scaled[np.arange(len(index)), index], LEAST_LOG).mean())

    bounds = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))

    def penalised(log_temperature: float) -> float:
        # A log-normal prior around 1 that weighs as much as one row: without it a handful of rows that are all right,
        # or all wrong, drive the temperature to the end of its range.
        return nll(log_temperature) + log_temperature**2 / (2 * len(index))

    found = float(minimize_scalar(penalised, bounds=bounds, method="bounded", options={"xatol": 1e-5}).x)
    best = min((found, 0.0), key=penalised)  # the search never makes it worse than leaving it alone
    return Temperature(
        value=math.exp(best),
        nll_before=nll(0.0),
        nll_after=nll(best),
        rows=len(index),
        at_bound=min(best - bounds[0], bounds[1] - best) < 1e-3,
    )


def apply_temperature(log_probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probabilities [n, k] at that temperature; rows sum to 1, their order by size does not change.

    Raises:
        UsageError: the temperature is not above 0.
    """
    import numpy as np

    if not temperature > 0:
        raise UsageError(f"a temperature of {temperature} is not above 0", mend="Fit it on validation rows.")
    scaled: NDArray[np.float64] = np.exp(log_softmax(np.asarray(log_probabilities, dtype=float) / temperature))
    return scaled


def reliability_bins(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = ECE_BINS
) -> list[dict[str, float]]:
    """The bins of `metrics.ece`: mean `confidence`, `accuracy` with Wilson's 95% `low` and `high`, and `count`."""
    import numpy as np

    number = equal_mass_bins(confidence, bins)
    diagram = []
    for inside in (number == b for b in np.unique(number)):
        hits, count = int(right[inside].sum()), int(inside.sum())
        low, high = wilson(hits, count)
        mean = float(confidence[inside].mean())
        diagram.append({"confidence": mean, "accuracy": hits / count, "low": low, "high": high, "count": count})
    return diagram


def log_softmax(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms [n, k] moved so that each row's exponentials sum to 1."""
    import numpy as np

    shifted = logs - logs.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
