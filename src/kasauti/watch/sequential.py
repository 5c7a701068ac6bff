"""Whether accuracy has fallen, looked at as often as one likes: a test by betting.

Walks in: right and read answers, week by week. Walks out: how much a bettor has made who bets that accuracy is lower
than it was. It does not know reviews or versions.

A bettor who starts with 1 and stakes the share lambda of it on each answer being wrong has 1 + lambda (p0 - x) times as
much afterwards (x = 1: right). Where the accuracy is p0 or more, the fortune does not grow on average, so it ever
reaches 1/alpha with probability alpha at most, however often it is looked at (Ville 1939; Waudby-Smith and Ramdas, JRSS
B 2024, arXiv 2010.09686). The lambda that is best against an accuracy p1 makes the factor p1/p0 for a right answer and
(1 - p1)/(1 - p0) for a wrong one; the stake is spread over several p1, and over the weeks at which the fall may have
begun, since a bet that began long before a fall has to make up for a good time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEEKS = 52
"""A stake is laid aside for the beginning of each week of a year; then the test begins anew."""
DROPS = (0.03, 0.05, 0.08, 0.12, 0.2, 0.35)
"""Falls that are bet on, in accuracy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fortune:
    """What the bettor has after each week."""

    log_wealth: Sequence[float]
    """Natural logarithm, one a week; 0 is what it began with."""
    alarm: int | None
    """The first week at which it reached its bound; None where it has not."""


def fortune(right: NDArray[np.float64], read: NDArray[np.float64], p0: float) -> NDArray[np.float64]:
    """Natural logarithm of the wealth after each week.

    Args:
        right: [..., weeks] right answers of each week.
        read: [..., weeks] answers of each week; at most `WEEKS` weeks.
        p0: the accuracy under which it has fallen, more than 0 and less than 1.

    Returns:
        [..., weeks].
    """
    import numpy as np

    p1 = np.array([p0 - drop for drop in DROPS if p0 - drop > 0] or [p0 / 2])
    good, bad = np.log(p1 / p0), np.log((1 - p1) / (1 - p0))
    gain = right[..., None] * good + (read - right)[..., None] * bad  # [..., weeks, drops]
    so_far = np.cumsum(gain, axis=-2)
    begun = np.concatenate([np.zeros_like(so_far[..., :1, :]), so_far[..., :-1, :]], axis=-2)
    weeks, stakes = so_far.shape[-2], len(p1) * WEEKS
    rows = []
    for week in range(weeks):
        bets = so_far[..., week : week + 1, :] - begun[..., : week + 1, :]
        most = np.maximum(bets.max(axis=(-1, -2)), 0.0)
        kept = (WEEKS - week - 1) * len(p1) / stakes  # not bet yet
        made = np.exp(bets - most[..., None, None]).sum(axis=(-1, -2)) / stakes + kept * np.exp(-most)
        rows.append(np.log(made) + most)
    return np.stack(rows, axis=-1)


def fallen(right: Sequence[int], read: Sequence[int], p0: float, level: float) -> Fortune:
    """Bet against an accuracy of `p0`.

    Args:
        right, read: of each week since the version began to answer, the earliest first; of these the year that is
            running.
        level: how probable an alarm within a year may be while accuracy is at `p0` or over it.
    """
    import numpy as np

    begin = (len(read) - 1) // WEEKS * WEEKS if read else 0
    a, n = np.asarray(right[begin:], dtype=float), np.asarray(read[begin:], dtype=float)
    if not len(n):
        return Fortune(log_wealth=(), alarm=None)
    wealth = fortune(a, n, p0)
    over = np.flatnonzero(wealth >= np.log(1 / level))
    return Fortune(log_wealth=wealth.tolist(), alarm=begin + int(over[0]) if len(over) else None)


def floor_of(right: int, rows: int, error: float) -> float:
    """What the accuracy on test rows really was, at least, but for `error`: Clopper and Pearson's lower bound.

    The baseline is measured too: a test set with luck in it would have every later week look worse.
    """
    from kasauti.measure.statistics import clopper_pearson_low

    return clopper_pearson_low(right, rows, error)


def reviews_needed(p0: float, p1: float, level: float) -> int | None:
    """About how many reviews a fall from `p0` to `p1` takes to be found, where it begins with a week; None for none.

    The logarithm of the wealth grows by the divergence of p1 from p0 with every review, and has to make up for the
    bound and for the other stakes.
    """
    import math

    if not 0 < p1 < p0 < 1:
        return None
    growth = p1 * math.log(p1 / p0) + (1 - p1) * math.log((1 - p1) / (1 - p0))
    return math.ceil((math.log(1 / level) + math.log(WEEKS * len(DROPS))) / growth)
