"""Whether a count has left its own history: exact tails, with what days differ by anyway.

Walks in: counts and totals of days. Walks out: tail probabilities, and the smallest change that would be found. It
knows no category and no alert.

The model: a day's share is drawn around the long-run share p, and its calls are drawn with that share (beta-binomial).
Two calls of one day then agree with correlation rho, and a count of n calls has the variance n p (1 - p) (1 + (n - 1)
rho) in place of n p (1 - p) (Williams, Applied Statistics 1982). rho comes from the history, from all categories
together, since one alone has a few dozen days to say it with; a category that clearly moves more than the others keeps
its own. The uncertainty of p is in the tail too: it is that of the predictive distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEAST_DAYS = 7
"""Days of history under which nothing is said."""
SURE = 0.1
"""The rho that is used is one that the true one exceeds this rarely: with few days it is taken larger."""
_OWN = 0.01
"""How rarely a category that moves like the others is taken for one that moves more."""
_STEP, _REACH = 0.05, 8.0
"""Nodes of the integral over the share, in standard normal units. Where many calls leave no chance but that of the
share, the integrand is a step, and a tail of 1 in 10,000 is still right within 10%."""
TIMES = (2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0)
"""Changes whose visibility is told."""
POWER = 0.8


@dataclass(frozen=True, slots=True)
class History:
    """What the days before say of each of K categories."""

    share: Array
    """[..., K], 0 to 1."""
    rho: Array
    """[..., K], the correlation of two calls of one day."""
    spread: Array
    """[..., K], the variance of `share` as an estimate, in units of p (1 - p)."""
    calls: Array
    """[..., K], the count of each category."""


def history(counts: Array, totals: Array) -> History:
    """Learn what is usual.

    Args:
        counts: [..., days, K] calls of each category.
        totals: [..., days] calls of each day.

    Returns:
        Shares, correlations and uncertainties; leading axes stay.
    """
    import numpy as np
    from scipy.stats import chi2

    days = counts.shape[-2]
    n = totals[..., None]
    whole = np.maximum(totals.sum(-1), 1)[..., None]
    calls = counts.sum(-2)
    p = calls / whole
    expected = n * p[..., None, :]
    scale = expected * (1 - p[..., None, :])
    squares = np.divide((counts - expected) ** 2, scale, out=np.zeros_like(expected), where=scale > 0)
    x2, freedom = squares.sum(-2), days - 1
    seen = (calls > 0) & (p < 1)
    room = np.maximum((totals - 1).clip(0).mean(-1), 1e-9)[..., None]
    # K shares sum to 1, so K categories move in K - 1 ways
    number = np.maximum(seen.sum(-1, keepdims=True) - 1, 1)
    pooled = x2.sum(-1, keepdims=True) * number / np.maximum(seen.sum(-1, keepdims=True), 1)
    common = np.maximum(pooled / chi2.ppf(SURE, freedom * number), 1.0)
    own = x2 / chi2.ppf(SURE, freedom)
    moves = chi2.sf(x2 / np.maximum(pooled / (freedom * number), 1.0), freedom) < _OWN
    factor = np.where(moves, np.maximum(own, common), common)
    rho = np.clip((factor - 1) / room, 0.0, 0.999)
    weights = totals / whole
    spread = (weights[..., None] ** 2 * (rho[..., None, :] + (1 - rho[..., None, :]) / np.maximum(n, 1))).sum(-2)
    return History(p, rho, spread, calls)


def tails(usual: History, counts: Array, totals: Array) -> tuple[Array, Array]:
    """How probable a count at least so large, and one at most so small, is in days like those before.

    Args:
        usual: the history.
        counts: [..., K] calls of each category in the days that are judged, together.
        totals: [..., days judged] calls of those days.

    Returns:
        `(upper, lower)`, each [..., K]. A category that has never occurred counts as one that has once.
    """
    import numpy as np

    n = totals.sum(-1)[..., None] * np.ones_like(usual.share)
    size = _size(usual, totals)
    p = usual.share
    return tail(n, counts, p * size + 1, (1 - p) * size), tail(n, n - counts, (1 - p) * size + 1, p * size)


def _size(usual: History, totals: Array) -> Array:
    """The size of a beta distribution that varies as a share of these days does around the estimate: [..., K]."""
    import numpy as np

    n = np.maximum(totals.sum(-1), 1)[..., None]
    between = ((totals[..., None, :] / n[..., None]) ** 2).sum(-1) * usual.rho
    size: Array = 1 / np.clip(between + usual.spread, 1e-12, 0.999) - 1
    return size


def tail(n: Array, least: Array, a: Array, b: Array) -> Array:
    """P(X >= least) of a beta-binomial X of n tries with the shape a, b; elementwise, arrays of one shape.

    The binomial tail (a regularised incomplete beta function) is averaged over the share by the trapezoid rule on a
    normal scale, which costs the same for ten calls and ten million.
    """
    import numpy as np
    from scipy.special import betainc, betaincinv, ndtr

    z = np.arange(-_REACH, _REACH + _STEP / 2, _STEP)
    weight = np.exp(-(z**2) / 2)
    weight /= weight.sum()
    n, least, a, b = (np.asarray(one, dtype=float)[..., None] for one in (n, least, a, b))
    a, b = np.maximum(a, 1e-9), np.maximum(b, 1e-9)
    # each half from its own end: 1 - 1e-16 is no number to invert
    share = np.where(z < 0, betaincinv(a, b, ndtr(z)), 1 - betaincinv(b, a, ndtr(-z)))
    inside = (least > 0) & (least <= n)
    up = betainc(np.where(inside, least, 1), np.where(inside, n - least + 1, 1), np.clip(share, 0, 1))
    averaged: Array = (np.where(inside, up, (least <= 0) * 1.0) * weight).sum(-1)
    return averaged


def alarm_at(usual: History, totals: Array, times: float, level: float) -> Array:
    """The smallest count of each category that is an alarm: `times` its share or more, with a tail of `level` at most.

    Returns:
        [K]; more than all calls where no count is one.
    """
    import numpy as np

    n = float(totals.sum())
    low = np.maximum(np.ceil(times * usual.share * n - 1e-9), 1.0)
    high = np.full_like(low, n + 1)
    low = np.minimum(low, high)
    while (low < high).any():
        middle = np.floor((low + high) / 2)
        found = tails(usual, middle, totals)[0] <= level
        low, high = np.where(found, low, middle + 1), np.where(found, middle, high)
        low = np.minimum(low, high)
    return low


def sees(usual: History, totals: Array, times: float, level: float) -> tuple[list[float | None], list[bool]]:
    """What would be found in days with so many calls.

    Args:
        totals: [days judged] calls.

    Returns:
        For each category the smallest of `TIMES` as often that is found with probability `POWER`, None where even the
        largest is not; and whether its ceasing would be.
    """
    import numpy as np

    n, least, size = float(totals.sum()), alarm_at(usual, totals, times, level), _size(usual, totals)
    grown: list[float | None] = [None] * len(least)
    for factor in reversed(TIMES):
        p = np.minimum(usual.share * factor, 1.0)
        power = tail(np.full_like(p, n), least, p * size, (1 - p) * size)
        for at, found in enumerate(power):
            if found >= POWER and least[at] <= n and usual.share[at] > 0 and usual.share[at] * factor <= 1:
                grown[at] = factor
    gone = tails(usual, np.zeros_like(usual.share), totals)[1] <= level
    return grown, [bool(one and share > 0) for one, share in zip(gone, usual.share, strict=True)]


def share_above(calls: int, hits: int, bound: float) -> float:
    """How probable so many hits or more are where each call is one with the probability `bound`: exact binomial tail.

    Calls that are hits less probably, some or all, make it smaller still (Hoeffding 1956).
    """
    from scipy.special import betainc

    return float(betainc(hits, calls - hits + 1, bound)) if hits > 0 else 1.0
