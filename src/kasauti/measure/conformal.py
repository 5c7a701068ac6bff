"""Sets of labels that hold the true one as often as promised.

Walks in: calibrated probabilities [n, k] of validation rows with the true labels [n]. Walks out: for each label the
least probability with which it is in a row's set. It does not know models. The rows must be ones on which nothing else
was fitted: the promise is about new rows that could as well have been these. numpy and scipy are imported inside
functions.

Split conformal prediction (Vovk et al. 2005; Sadinle et al. 2019 for this score). With n rows the true labels'
probabilities are sorted, and the floor((n + 1)(1 - promised))-th lowest is the least one that is still in: the n + 1
is the new row itself, without which the sets would be too small. Where that is the 0th, every label is in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.types import Measurement
from kasauti.measure.statistics import Interval, bootstrap_mean, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROMISED = 0.9
"""Share of new rows whose set holds the true label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conformal:
    """A rule that makes a set of labels of every row's probabilities."""

    promised: float
    """Share of new rows whose set holds the true label, at least."""
    least: tuple[float, ...]
    """[k] the probability from which on each label is in the set; 0 puts it into every one."""
    by_label: bool
    """Whether the promise holds for the rows of each label of `own`, not only for all rows together."""
    own: tuple[int, ...]
    """By label: the labels that had rows enough for a figure of their own; the others share one."""
    rows: int
    """Rows that it was fitted on."""

    def probable(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """[n, k] which labels are probable enough for the set of each row: what the promise is about. Where the answer
        is right more often than was promised, some rows have none."""
        import numpy as np

        inside: NDArray[np.bool_] = probabilities >= np.array(self.least)
        return inside

    def sets(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """[n, k] which labels are in the set of each row: the probable ones, and always the most probable."""
        import numpy as np

        inside = self.probable(probabilities)
        inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
        return inside


def fit_conformal(probabilities: NDArray[np.float64], truth: NDArray[np.intp], promised: float = PROMISED) -> Conformal:
    """One least probability for all labels: the promise holds for all rows together.

    Over the draw of these rows the share of new rows that are covered is `promised` to `promised + 1 / (n + 1)` on
    average, where no two probabilities are equal.

    Raises:
        UsageError: the promise is not strictly between 0 and 1.
    """
    given = _of_truth(probabilities, truth, promised)
    least = _least(given, promised)
    labels = probabilities.shape[1]
    return Conformal(promised=promised, least=(least,) * labels, by_label=False, own=(), rows=len(truth))


def fit_class_conformal(
    probabilities: NDArray[np.float64], truth: NDArray[np.intp], promised: float = PROMISED
) -> Conformal:
    """A least probability for each label that has rows enough: the promise holds for the rows of each such label.

    Enough is the least number with which the promise excludes anything, (n + 1)(1 - promised) >= 1. The labels with
    fewer rows share one figure, and the promise holds for their rows together (Mondrian conformal prediction).

    Raises:
        UsageError: the promise is not strictly between 0 and 1.
    """
    import numpy as np

    given = _of_truth(probabilities, truth, promised)
    labels = probabilities.shape[1]
    own = [label for label in range(labels) if _place(int((truth == label).sum()), promised) >= 1]
    others = ~np.isin(truth, own)
    least = np.full(labels, _least(given[others], promised))
    for label in own:
        least[label] = _least(given[truth == label], promised)
    return Conformal(promised=promised, least=tuple(least.tolist()), by_label=True, own=tuple(own), rows=len(truth))


def coverage_measurement(sets: NDArray[np.bool_], truth: NDArray[np.intp]) -> Measurement:
    """Share of rows [n] whose set [n, k] holds the true label, with Wilson's 95% interval."""
    import numpy as np

    inside = sets[np.arange(len(truth)), truth]
    low, high = wilson(int(inside.sum()), len(truth))
    return Measurement(metric="coverage", value=float(inside.mean()), low=low, high=high, rows=len(truth))


def size_measurement(sets: NDArray[np.bool_], seed: int) -> Measurement:
    """Labels in a set on average, with a 95% bootstrap interval."""
    sizes = sets.sum(axis=1).astype(float)
    low, high = bootstrap_mean(sizes, seed)
    value = float(sizes.mean())
    return Measurement(metric="size", value=value, low=min(low, value), high=max(high, value), rows=len(sets))


def expected_coverage(rows: int, promised: float, new: int, level: float = 0.95) -> Interval:
    """Where the coverage of `new` rows lies in 95 of 100 cases if all is as assumed: the luck of the validation rows
    and of the new ones together, a beta-binomial (Angelopoulos & Bates 2021, arXiv 2107.07511)."""
    from scipy.stats import betabinom

    place = _place(rows, promised)
    if place < 1:
        return 1.0, 1.0
    low, high = betabinom.ppf([(1 - level) / 2, (1 + level) / 2], new, rows + 1 - place, place)
    return float(low) / new, float(high) / new


def _of_truth(probabilities: NDArray[np.float64], truth: NDArray[np.intp], promised: float) -> NDArray[np.float64]:
    import numpy as np

    if not 0 < promised < 1:
        mend = "Give a share, for example 0.9."
        raise UsageError(f"a promised coverage of {promised} is not between 0 and 1", where="conformal", mend=mend)
    if probabilities.ndim != 2 or len(probabilities) != len(truth):
        raise KasautiError(f"probabilities of shape {probabilities.shape} for {len(truth)} rows", where="conformal")
    given: NDArray[np.float64] = probabilities[np.arange(len(truth)), truth]
    return given


def _place(rows: int, promised: float) -> int:
    """Which of the sorted probabilities is the least one that is in, counted from 1; 0: none is kept out."""
    return math.floor((rows + 1) * (1 - promised) + 1e-9)


def _least(given: NDArray[np.float64], promised: float) -> float:
    import numpy as np

    place = _place(len(given), promised)
    return float(np.sort(given)[place - 1]) if place >= 1 else 0.0
