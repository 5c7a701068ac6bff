"""Figures that are counted while calls come in, and read back by day, version and category.

Walks in: a call, or a connection. Walks out: what a call adds to the counts; counts, and histograms that know their
percentiles. It does not know how calls are written.

Latencies fall into buckets of a fixed ratio, so that a percentile is right within `RATIO` wherever it lies; the aim of
2 s is the edge of one, so that the share above it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from kasauti.calls.rows import storable, time_of, us_of
from kasauti.calls.schema import SLOT_US, tallies
from kasauti.core.call import Call, Outcome

RATIO = 1.05
"""Upper edge of a latency's bucket to its lower edge: a percentile is at most 5% too high, and never too low."""
AIM_MS = 2000.0
BINS = 20
"""Bins of the confidence, each as wide as the others."""
DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """Calls of one stretch of time, one version, one category and one outcome."""

    start: datetime
    """Where the stretch begins, UTC."""
    version: int
    category: str
    outcome: Outcome
    calls: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """How often a value fell above one edge and up to the next."""

    edges: Sequence[float]
    """Upper edges, rising; only of buckets that hold something."""
    calls: Sequence[int]
    """Same length as `edges`."""

    @property
    def total(self) -> int:
        """All calls."""
        return sum(self.calls)

    def percentile(self, share: float) -> float | None:
        """The upper edge of the bucket that holds the value below which `share` (0 to 1) of the calls lie; None where
        there are no calls."""
        rank, below = max(1, math.ceil(share * self.total)), 0
        for edge, calls in zip(self.edges, self.calls, strict=True):
            below += calls
            if below >= rank:
                return edge
        return None

    def above(self, value: float) -> int:
        """Calls above a value; exact where it is an edge (`AIM_MS` is one), else those of whole buckets above it."""
        return sum(calls for edge, calls in zip(self.edges, self.calls, strict=True) if edge > value * (1 + 1e-9))


def bucket_of(ms: float) -> int:
    """Number of the latency's bucket: that whose upper edge is `edge_of(number)`."""
    return math.ceil(math.log(max(ms, 1e-3) / AIM_MS) / math.log(RATIO) - 1e-9)


def edge_of(bucket: int) -> float:
    """Milliseconds of the bucket's upper edge."""
    return AIM_MS * RATIO**bucket


def tally_of(call: Call) -> Iterator[tuple[str, str, str]]:
    """`(figure, name, outcome)` of everything that a call counts towards."""
    yield "answer", storable(call.category), str(call.outcome)
    yield "latency", str(bucket_of(call.latency_ms)), ""
    if call.prediction.confidence is not None:
        yield "confidence", str(min(BINS - 1, int(call.prediction.confidence * BINS))), ""
    if call.key is not None:
        yield "key", storable(call.key), ""


def counts(
    connection: Connection,
    since: datetime | None,
    until: datetime | None,
    version: int | None,
    per: timedelta,
    offset: timedelta,
) -> list[Count]:
    """See `CallLog.counts`."""
    wide, shift = per // timedelta(microseconds=SLOT_US), offset // timedelta(microseconds=SLOT_US)
    stretch = ((tallies.c.slot + shift) // wide).label("stretch")
    keys = (stretch, tallies.c.version, tallies.c.name, tallies.c.outcome)
    query = select(*keys, func.sum(tallies.c.calls)).where(*_slots("answer", since, until, version))
    return [
        Count(
            start=time_of((int(at) * wide - shift) * SLOT_US),
            version=number,
            category=name,
            outcome=Outcome(outcome),
            calls=int(calls),
        )
        for at, number, name, outcome, calls in connection.execute(query.group_by(*keys).order_by(*keys))
    ]


def sums(
    connection: Connection, figure: str, since: datetime | None, until: datetime | None, version: int | None
) -> dict[str, int]:
    """Calls by name of a figure."""
    query = select(tallies.c.name, func.sum(tallies.c.calls)).where(*_slots(figure, since, until, version))
    return {name: int(calls) for name, calls in connection.execute(query.group_by(tallies.c.name))}


def latencies_of(found: dict[str, int]) -> Histogram:
    """The histogram of the figure `latency`, in milliseconds."""
    ranked = sorted((int(name), calls) for name, calls in found.items())
    return Histogram(edges=[edge_of(bucket) for bucket, _ in ranked], calls=[calls for _, calls in ranked])


def confidences_of(found: dict[str, int]) -> Histogram:
    """The histogram of the figure `confidence`, 0 to 1."""
    ranked = sorted((int(name), calls) for name, calls in found.items())
    return Histogram(edges=[(bin + 1) / BINS for bin, _ in ranked], calls=[calls for _, calls in ranked])


def _slots(
    figure: str, since: datetime | None, until: datetime | None, version: int | None
) -> list[ColumnElement[bool]]:
    """Whole half hours: that of `since`, up to and with that of the last microsecond before `until`."""
    where: list[Any] = [tallies.c.figure == figure]
    if since is not None:
        where.append(tallies.c.slot >= us_of(since) // SLOT_US)
    if until is not None:
        where.append(tallies.c.slot <= (us_of(until) - 1) // SLOT_US)
    if version is not None:
        where.append(tallies.c.version == version)
    return where
