"""Tests that may be looked at after every call: what a bettor has made who bets against a claim.

Walks in: outcomes in the order in which they came, never sorted by how they came out. Walks out: logarithms of wealth.
It does not know versions, or what is done with a verdict.

A bettor who begins with 1 and bets against a true claim has, on average, no more than 1 at any time; so the fortune
ever reaches 1/level with probability `level` at most, however often it is looked at (Ville 1939). Stakes are spread
over a few sizes, as the best one depends on what is not known (Waudby-Smith and Ramdas, JRSS B 2024, arXiv
2010.09686).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STAKES = (0.03, 0.08, 0.2, 0.4, 0.65, 0.9)
"""Shares of the fortune that are staked, an equal part of it with each."""
ODDS = (2.0, 5.0, 20.0)
"""By how much the odds of the second arm are taken to be higher, an equal part of the fortune with each."""


def against_mean(outcomes: NDArray[np.float64], bound: float = 0.0) -> NDArray[np.float64]:
    """The fortune of who bets against "the mean is at most `bound`".

    Args:
        outcomes: [..., calls] between -1 and 1, in order.
        bound: more than -1 and at most 1; below 0, an outcome of 0 speaks against the claim.

    Returns:
        [..., calls] natural logarithm of the wealth after each call.
    """
    import numpy as np
    from scipy.special import logsumexp

    most = 1 / (1 + bound)  # with a larger stake an outcome of -1 would cost more than there is
    made = [np.cumsum(np.log1p(min(1.0, most) * stake * (outcomes - bound)), axis=-1) for stake in STAKES]
    return np.asarray(logsumexp(made, axis=0) - np.log(len(STAKES)))


def against_equal_shares(second: NDArray[np.bool_], hits: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The fortune of who bets against "hits are no more common in the second arm than in the first".

    Calls come in blocks, each of one call of the second arm and those of the first since the last; a block's factor is
    its probability at two shares to that at their mean (Turner, Ly and Grünwald 2024, arXiv 2106.02693). The shares are
    guessed from the blocks before.

    Args:
        second: [calls] whether a call is the second arm's, in order.
        hits: [calls].

    Returns:
        [calls of the second arm] natural logarithm of the wealth after each.
    """
    import numpy as np
    from scipy.special import logsumexp

    blocks = int(second.sum())
    block: NDArray[np.int64] = np.cumsum(second) - second  # a call of the second arm ends its block
    first = ~second & (block < blocks)
    rows = np.bincount(block[first], minlength=blocks)[:blocks].astype(float)
    hit = np.bincount(block[first], weights=hits[first], minlength=blocks)[:blocks]
    other = hits[second].astype(float)
    before_hit, before_rows = np.cumsum(hit) - hit, np.cumsum(rows) - rows
    share = (before_hit + 0.5) / (before_rows + 50.0)  # begins at 1%, as most things that are counted here are rare
    made = []
    for odds in ODDS:
        raised = odds * share / (1 - share + odds * share)
        null = (rows * share + raised) / (rows + 1)
        made.append(
            hit * np.log(share / null) + (rows - hit) * np.log((1 - share) / (1 - null))
            + other * np.log(raised / null) + (1 - other) * np.log((1 - raised) / (1 - null))
        )  # fmt: skip
    return np.asarray(logsumexp(np.cumsum(made, axis=-1), axis=0) - np.log(len(ODDS)))


def against_even(more: int, fewer: int) -> float:
    """The fortune of who bets against "of those that changed, as many came as went": ln of the wealth, with a uniform
    prior on the share of those that came."""
    from scipy.special import betaln

    return float(betaln(more + 1, fewer + 1) + (more + fewer) * 0.6931471805599453)
