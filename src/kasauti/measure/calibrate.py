"""Probabilities that mean what they say, and the confidence under which an answer is not accepted.

Walks in: arrays from validation rows: log-probabilities [n, k] with the index of the true label [n], or confidence [n]
with correctness [n]. Walks out: a temperature, thresholds, curves. It does not know models; nothing here is ever fitted
on test rows. numpy and scipy are imported inside functions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kasauti.core.errors import KasautiError, UsageError
from kasauti.measure.metrics import ECE_BINS, equal_mass_bins
from kasauti.measure.statistics import clopper_pearson_low, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TEMPERATURES = (0.05, 20.0)
"""Bounds of the search; a fit that ends at one of them is marked."""

_LEAST_LOG = -745.0
"""Log-probabilities are raised to this (the smallest that exp keeps above 0): -inf has no finite loss."""

GRID = (0.999, 0.998, 0.995, *(g / 100 for g in range(99, 0, -1)), 0.0)
"""Thresholds that the exact rule walks through, strictest first; fixed before any data is seen, which it needs."""


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
        scaled = _log_softmax(logs / math.exp(log_temperature))
        return float(-np.maximum(scaled[np.arange(len(index)), index], _LEAST_LOG).mean())

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
    scaled: NDArray[np.float64] = np.exp(_log_softmax(np.asarray(log_probabilities, dtype=float) / temperature))
    return scaled


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """The confidence from which on an answer is accepted."""

    value: float | None
    """None: no threshold keeps the wanted accuracy, so nothing is accepted."""
    coverage: float
    """Share of the validation rows that it accepts, 0 to 1."""
    accuracy: float | None
    """Accuracy of those rows as measured; None when there are none."""
    rows: int
    """Validation rows that it was chosen on."""
    wanted: float
    """The accuracy that was asked for."""
    rule: str
    """`plain` (as measured) or `exact` (guaranteed to hold with probability 1 - error)."""


def plain_threshold(confidence: NDArray[np.float64], right: NDArray[np.bool_], accuracy: float) -> Threshold:
    """The lowest threshold whose accepted rows were as accurate as wanted on these rows.

    Optimistic: it picks the luckiest cut, so in simulation it missed its target on new rows in 22% to 59% of fits where
    the target lay above the accuracy of all rows. Use `exact_threshold` where a promise is made.
    """
    ordered, hits = _most_confident_first(confidence, right, accuracy)
    best = 0
    for kept in range(1, len(ordered) + 1):
        whole_tie = kept == len(ordered) or ordered[kept] < ordered[kept - 1]
        if whole_tie and hits[kept - 1] / kept >= accuracy:
            best = kept
    return _threshold(float(ordered[best - 1]) if best else None, confidence, right, accuracy, "plain")


def exact_threshold(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], accuracy: float, error: float = 0.05
) -> Threshold:
    """A threshold whose accepted answers are at least as accurate as wanted, except in `error` of all fits.

    Fixed-sequence testing over `GRID` (Angelopoulos et al. 2021, Learn then Test, arXiv 2110.01052): from the strictest
    threshold on, each is kept while the one-sided Clopper-Pearson lower bound of its accuracy is at least the wanted
    one, and the walk stops at the first that fails. It begins where 1.6 times the rows are accepted that an error-free
    sample would need: at fewer, one mistake ends the walk. The promise holds for new rows like these whose accuracy
    rises with confidence. In simulation it missed in 0% to 6% of fits (150 each). Certainty costs coverage: where 51%
    of the rows could at best be accepted at 0.9, it accepted 9% with 200 rows, 18% with 500 and 42% with 3,000.

    Raises:
        UsageError: the wanted accuracy or the error is not strictly between 0 and 1.
    """
    import numpy as np

    if not 0 < error < 1:
        raise UsageError(f"an error of {error} is not between 0 and 1", where="threshold")
    ordered, hits = _most_confident_first(confidence, right, accuracy)
    least = 1.6 * math.log(error) / math.log(accuracy)
    best: float | None = None
    for threshold in GRID:
        kept = int(np.searchsorted(-ordered, -threshold, "right"))
        if kept < least:
            continue
        if clopper_pearson_low(int(hits[kept - 1]), kept, error) < accuracy:
            break
        best = threshold
    return _threshold(best, confidence, right, accuracy, "exact")


def risk_coverage(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """For every distinct confidence as threshold: `threshold`, `coverage` and `accuracy` of the rows accepted.

    Most confident first; coverage rises to 1 (El-Yaniv & Wiener 2010).
    """
    ordered, hits = _most_confident_first(confidence, right, 0.5)
    rows = len(ordered)
    return [
        {"threshold": float(ordered[i]), "coverage": (i + 1) / rows, "accuracy": float(hits[i]) / (i + 1)}
        for i in range(rows)
        if i + 1 == rows or ordered[i + 1] < ordered[i]
    ]


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


def _most_confident_first(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], accuracy: float
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Confidence sorted downwards [n], and the number of right rows among the first 1, 2, … n."""
    import numpy as np

    if not 0 < accuracy < 1:
        raise UsageError(
            f"a wanted accuracy of {accuracy} is not between 0 and 1",
            where="threshold",
            mend="Give a share, for example 0.95.",
        )
    if len(confidence) != len(right) or len(confidence) == 0:
        raise KasautiError(f"{len(confidence)} confidences for {len(right)} rows", where="threshold")
    order = np.argsort(-confidence, kind="stable")
    return confidence[order], np.cumsum(right[order])


def _threshold(
    value: float | None, confidence: NDArray[np.float64], right: NDArray[np.bool_], wanted: float, rule: str
) -> Threshold:
    kept = confidence >= (math.inf if value is None else value)
    return Threshold(
        value=value,
        coverage=float(kept.mean()),
        accuracy=float(right[kept].mean()) if kept.any() else None,
        rows=len(confidence),
        wanted=wanted,
        rule=rule,
    )


def _log_softmax(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    shifted = logs - logs.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
