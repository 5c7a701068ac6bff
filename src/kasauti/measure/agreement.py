"""Do two people who read the same rows say the same?

Walks in: pairs of labels. Walks out: Cohen's kappa with its interval. It does not know who reads, or why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Kappa:
    """Agreement beyond chance."""

    value: float | None
    """1 is always the same, 0 what chance gives; None where chance alone makes them agree (one label, or no pair)."""
    low: float | None
    """95% interval."""
    high: float | None
    same: float | None
    """Share of the pairs with one label, 0 to 1; None without pairs."""
    pairs: int


def cohen_kappa(pairs: Sequence[tuple[str, str]]) -> Kappa:
    """Cohen's kappa, (observed - expected) / (1 - expected), with the large-sample standard error of Fleiss, Cohen and
    Everitt (1969), equation 13, and 1.96 of it on either side, cut at -1 and 1.

    Args:
        pairs: (what the first says, what the second says), one a row.
    """
    n = len(pairs)
    if not n:
        return Kappa(value=None, low=None, high=None, same=None, pairs=0)
    cells = {cell: number / n for cell, number in Counter(pairs).items()}
    first = {label: number / n for label, number in Counter(a for a, _ in pairs).items()}
    second = {label: number / n for label, number in Counter(b for _, b in pairs).items()}
    observed = sum(share for (a, b), share in cells.items() if a == b)
    expected = sum(share * second.get(label, 0.0) for label, share in first.items())
    if expected >= 1:
        return Kappa(value=None, low=None, high=None, same=observed, pairs=n)
    kappa = (observed - expected) / (1 - expected)
    diagonal = off = 0.0
    for (a, b), share in cells.items():
        if a == b:
            diagonal += share * (1 - (first[a] + second[b]) * (1 - kappa)) ** 2
        else:
            off += share * (first.get(b, 0.0) + second.get(a, 0.0)) ** 2
    rest = (kappa - expected * (1 - kappa)) ** 2
    error = math.sqrt(max(0.0, diagonal + (1 - kappa) ** 2 * off - rest) / n) / (1 - expected)
    low, high = max(-1.0, kappa - 1.96 * error), min(1.0, kappa + 1.96 * error)
    return Kappa(value=kappa, low=low, high=high, same=observed, pairs=n)
