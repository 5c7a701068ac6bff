"""Successive halving: all candidates on few rows, the better half on twice as many, until one is left.

Walks in: how many candidates there are, rows, what scores one candidate on some rows. Walks out: the best one and a
log of every score. It does not know what a candidate is. After Jamieson & Talwalkar 2016 (arXiv 1502.07943).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LAST = 4
"""Candidates that get as far as all the rows."""
LEAST_ROWS = 16
"""Rows of the first round, where there are so many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What one candidate was found to be worth."""

    loss: float
    """What is minimised."""
    told: Mapping[str, Any]
    """Further figures, for the log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What a search found."""

    best: int
    log: tuple[Mapping[str, Any], ...]
    """One entry a score, in order: `candidate`, `round`, `rows`, `loss`, and what the score tells."""
    cut_off: bool
    """Time ran out before all rounds were done."""
    seconds: float


def rounds_of(candidates: int, rows: int) -> list[tuple[int, int]]:
    """(candidates, rows) of every round: candidates halve to `LAST`, rows double to all of them."""
    number = max(0, math.ceil(math.log2(max(1, candidates) / LAST)))
    plan, left = [], candidates
    for at in range(number + 1):
        plan.append((left, min(rows, max(LEAST_ROWS, math.ceil(rows / 2 ** (number - at))))))
        left = max(min(candidates, LAST), math.ceil(left / 2))
    return plan


def halve(
    candidates: int,
    rows: int,
    score: Callable[[int, int], Score],
    *,
    seconds: float = math.inf,
    keep: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Search:
    """The candidate with the lowest loss among those that were scored on the most rows.

    Args:
        candidates: how many there are; they are known by their number.
        rows: how many there are.
        score: of a candidate on the first so many rows.
        seconds: no score is begun after so long, once there is one.
        keep: a candidate that goes on to every round, for what the others are compared with.
        clock: seconds since some moment.
    """
    began, alive = clock(), list(range(candidates))
    log: list[Mapping[str, Any]] = []
    best, cut_off = 0, False
    for at, (number, some) in enumerate(rounds_of(candidates, rows)):
        alive = alive[:number] if keep is None or keep in alive[:number] else [*alive[: number - 1], keep]
        losses: dict[int, float] = {}
        for one in sorted(alive):
            if log and clock() - began > seconds:
                cut_off = True
                break
            found = score(one, some)
            losses[one] = found.loss
            log.append({"candidate": one, "round": at + 1, "rows": some, "loss": found.loss, **found.told})
        if cut_off and at and len(losses) < len(alive):
            break  # the round before compared all that were left on the same rows
        alive = sorted(losses, key=lambda one: (losses[one], one))
        best = alive[0]
        if cut_off:
            break
    return Search(best=best, log=tuple(log), cut_off=cut_off, seconds=clock() - began)
