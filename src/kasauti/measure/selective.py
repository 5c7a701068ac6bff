"""Which answers to accept: thresholds on the confidence, and what accepting only the surest is worth.

Walks in: confidence [n] and correctness [n] of validation rows (for a threshold) or of test rows (for a curve). Walks
out: thresholds that say what they promise, curves and areas with intervals. It does not know models. A threshold is
chosen on rows on which nothing else was fitted. numpy and scipy are imported inside functions.

Each goal has two rules. The plain one is what the rows showed; the exact one holds with probability 1 - error over the
draw of those rows, and pays for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.types import Measurement, Prediction
from kasauti.measure.statistics import bootstrap, clopper_pearson_low, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRID = (0.999, 0.998, 0.995, *(g / 100 for g in range(99, 0, -1)), 0.0)
"""Thresholds that the exact rule for accuracy walks through, strictest first; fixed before any data is seen, which it
needs."""


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
    """The accuracy or the coverage that was asked for."""
    rule: str
    """`plain` (as measured) or `exact` (guaranteed to hold with probability 1 - error)."""
    goal: str = "accuracy"
    """What is wanted: `accuracy` of the accepted answers, or `coverage`, the share that is accepted."""
    error: float | None = None
    """Probability that an exact one misses its goal; None for a plain one."""

    @property
    def promise(self) -> str:
        """What it promises, in one sentence."""
        if self.value is None:
            few = (
                f", and it takes {least_accepted(self.wanted, self.error)} accepted ones to tell" if self.error else ""
            )
            return f"nothing is accepted: no confidence shows enough on {self.rows} validation rows{few}"
        share = f"{100 * self.wanted:g}%"
        goal = f"{share} of the accepted answers are right"
        if self.goal == "coverage":
            goal = f"{share} of the answers are accepted"
        if self.error is None:
            return f"on {self.rows} validation rows at least {goal}; new rows may miss it"
        sure = f"{100 * (1 - self.error):g}%"
        return f"on new rows like the {self.rows} validation rows at least {goal}, with {sure} certainty"


def is_accepted(prediction: Prediction, threshold: float | None) -> bool:
    """Whether a valid answer came with at least that confidence; never without a threshold or without a confidence."""
    if threshold is None or prediction.answer is None or prediction.confidence is None:
        return False
    return prediction.confidence >= threshold


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

    _check_error(error)
    ordered, hits = _most_confident_first(confidence, right, accuracy)
    least = least_accepted(accuracy, error)
    best: float | None = None
    for threshold in GRID:
        kept = int(np.searchsorted(-ordered, -threshold, "right"))
        if kept < least:
            continue
        if clopper_pearson_low(int(hits[kept - 1]), kept, error) < accuracy:
            break
        best = threshold
    return _threshold(best, confidence, right, accuracy, "exact", error=error)


def least_accepted(accuracy: float, error: float) -> int:
    """Rows that have to be accepted before the exact rule can say anything: 1.6 times those that would do if all of
    them were right."""
    return math.ceil(1.6 * math.log(error) / math.log(accuracy))


def plain_coverage(confidence: NDArray[np.float64], right: NDArray[np.bool_], coverage: float) -> Threshold:
    """The highest threshold that accepted at least the wanted share of these rows; on new ones it is as often less."""
    ordered, _ = _most_confident_first(confidence, right, coverage)
    kept = math.ceil(coverage * len(ordered) - 1e-9)
    return _threshold(float(ordered[kept - 1]), confidence, right, coverage, "plain", goal="coverage")


def exact_coverage(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], coverage: float, error: float = 0.05
) -> Threshold:
    """The highest threshold that accepts at least the wanted share of new rows, except in `error` of all fits.

    The share of new rows above the j-th highest of n confidences is Beta(j, n + 1 - j) whatever their distribution
    (Wilks 1941), more where confidences tie; j is the least with which that is at least the wanted share often enough.
    Where no j is (too few rows), all is accepted. It accepts more, and so less sure, answers than the plain rule.
    """
    from scipy.stats import binom

    _check_error(error)
    ordered, _ = _most_confident_first(confidence, right, coverage)
    place = int(binom.ppf(1 - error, len(ordered), coverage)) + 1
    value = float(ordered[place - 1]) if place <= len(ordered) else 0.0
    return _threshold(value, confidence, right, coverage, "exact", goal="coverage", error=error)


def choose(
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    *,
    goal: str,
    wanted: float,
    rule: str,
    error: float = 0.05,
) -> Threshold:
    """The threshold of one goal (`accuracy`, `coverage`) by one rule (`plain`, `exact`)."""
    if rule == "plain":
        return {"accuracy": plain_threshold, "coverage": plain_coverage}[goal](confidence, right, wanted)
    return {"accuracy": exact_threshold, "coverage": exact_coverage}[goal](confidence, right, wanted, error)


def risk_coverage(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """For every distinct confidence as threshold: `threshold`, `coverage`, and `accuracy` of the rows accepted with
    Wilson's 95% `low` and `high`, each point by itself.

    Most confident first; coverage rises to 1 (El-Yaniv & Wiener 2010).
    """
    ordered, hits = _most_confident_first(confidence, right, 0.5)
    rows = len(ordered)
    curve = []
    for i in range(rows):
        if i + 1 == rows or ordered[i + 1] < ordered[i]:
            right_ones = int(hits[i])
            low, high = wilson(right_ones, i + 1)
            point = {"threshold": float(ordered[i]), "coverage": (i + 1) / rows, "accuracy": right_ones / (i + 1)}
            curve.append({**point, "low": low, "high": high})
    return curve


def aurc(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Area under the curve of risk over coverage, 0 to 1, less is better (Geifman et al. 2019, arXiv 1805.08206).

    The mean, over all rows, of the share of errors among the rows that are at least as sure. Equally sure rows are
    accepted together, so the order of the rows does not count.
    """
    return aurc_measurement(confidence, right, 0, resamples=0).value


def aurc_measurement(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], seed: int, resamples: int = 1000
) -> Measurement:
    """`aurc` with its 95% percentile bootstrap interval over rows."""
    import numpy as np

    _most_confident_first(confidence, right, 0.5)
    order = np.argsort(-confidence, kind="stable")
    wrong, ordered = (~right[order]).astype(float), confidence[order]
    last = np.searchsorted(-ordered, -ordered, "right") - 1  # [n] the last row that is accepted with each

    def area(drawn: NDArray[np.intp]) -> NDArray[np.float64]:
        draws, rows = drawn.shape
        cells = (drawn + rows * np.arange(draws)[:, None]).ravel()
        times = np.bincount(cells, minlength=draws * rows).reshape(draws, rows)
        kept, errors = times.cumsum(axis=1)[:, last], (times * wrong).cumsum(axis=1)[:, last]
        found: NDArray[np.float64] = (times * errors / np.maximum(kept, 1)).sum(axis=1) / rows
        return found

    value = float(area(np.arange(len(wrong))[None])[0])
    if not resamples:
        return Measurement(metric="aurc", value=value, low=0.0, high=1.0, rows=len(wrong))
    low, high = bootstrap(area, len(wrong), seed, resamples)
    return Measurement(metric="aurc", value=value, low=min(low, value), high=max(high, value), rows=len(wrong))


def _most_confident_first(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], wanted: float
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Confidence sorted downwards [n], and the number of right rows among the first 1, 2, … n."""
    import numpy as np

    if not 0 < wanted < 1:
        raise UsageError(
            f"a wanted share of {wanted} is not between 0 and 1",
            where="threshold",
            mend="Give a share, for example 0.95.",
        )
    if len(confidence) != len(right) or len(confidence) == 0:
        raise KasautiError(f"{len(confidence)} confidences for {len(right)} rows", where="threshold")
    order = np.argsort(-confidence, kind="stable")
    return confidence[order], np.cumsum(right[order])


def _threshold(
    value: float | None,
    confidence: NDArray[np.float64],
    right: NDArray[np.bool_],
    wanted: float,
    rule: str,
    *,
    goal: str = "accuracy",
    error: float | None = None,
) -> Threshold:
    kept = confidence >= (math.inf if value is None else value)
    return Threshold(
        value=value,
        coverage=float(kept.mean()),
        accuracy=float(right[kept].mean()) if kept.any() else None,
        rows=len(confidence),
        wanted=wanted,
        rule=rule,
        goal=goal,
        error=error,
    )


def _check_error(error: float) -> None:
    if not 0 < error < 1:
        raise UsageError(f"an error of {error} is not between 0 and 1", where="threshold")
