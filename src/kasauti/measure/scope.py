"""How well a score tells inputs that belong to no label from those that do.

Walks in: one score for every in-scope and every out-of-scope row, higher for what belongs. Walks out: the area under
the receiver operating characteristic with its interval. It does not know what the score is. numpy and scipy are
imported inside functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from kasauti.core.errors import KasautiError
from kasauti.core.types import Measurement
from kasauti.measure.statistics import Interval, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Probability that an in-scope row [n] has the higher score than an out-of-scope one [m], ties half; 0.5 is chance
    (Mann & Whitney 1947)."""
    from scipy.stats import rankdata

    _check(inside, outside)
    import numpy as np

    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    return float((ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))


def auroc_measurement(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> Measurement:
    """`auroc` with its 95% interval: DeLong's variance (1988; by mid-ranks, Sun & Xu 2014) on the logit scale.

    Where the two do not overlap there is no variance to measure; the interval is then Wilson's for as many rows as the
    smaller side has.
    """
    value = auroc(inside, outside)
    low, high = _interval(value, inside, outside)
    return Measurement(metric="auroc", value=value, low=low, high=high, rows=len(inside) + len(outside))


def _interval(value: float, inside: NDArray[np.float64], outside: NDArray[np.float64]) -> Interval:
    import numpy as np
    from scipy.stats import rankdata

    n, m = len(inside), len(outside)
    if min(n, m) < 2:
        return 0.0, 1.0
    ranks = rankdata(np.concatenate([inside, outside]))
    # for each row, the share of the other side that it beats
    of_inside = (ranks[:n] - rankdata(inside)) / m
    of_outside = 1 - (ranks[n:] - rankdata(outside)) / n
    variance = float(of_inside.var(ddof=1) / n + of_outside.var(ddof=1) / m)
    if variance <= 0 or value in (0.0, 1.0):
        least = min(n, m)
        low, high = wilson(round(value * least), least)
        return min(low, value), max(high, value)
    logit, half = math.log(value / (1 - value)), 1.959964 * math.sqrt(variance) / (value * (1 - value))
    return 1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit))


def _check(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> None:
    if len(inside) == 0 or len(outside) == 0:
        raise KasautiError(f"{len(inside)} rows in scope and {len(outside)} out of it", where="auroc")
