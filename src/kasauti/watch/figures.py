"""What calls come to: latency, throughput, categories by day, how answers ended, confidences, reviewed accuracy.

Walks in: counts and histograms of the call log, calls, reviews. Walks out: plain figures, and days without gaps. It
does not judge them; `alerts.py` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kasauti.calls.figures import AIM_MS, BINS, Count, Histogram, bucket_of, edge_of
from kasauti.core.call import Call, Outcome
from kasauti.measure.statistics import wilson
from kasauti.watch.seen import Day, Review

DAY, WEEK = timedelta(days=1), timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """One stretch of time."""

    calls: int
    per_minute: float
    """Calls a minute, on average over the whole stretch."""
    latency_ms: Mapping[str, float | None]
    """p50, p95, p99, each at most 5% too high (they are counted in buckets); None without calls."""
    late: float | None
    """Share of the answers that took longer than the aim of 2 s, exact; None without calls."""
    outcomes: Mapping[str, float]
    """Share of the calls by what became of them: accepted, doubted, abstained, unparsable, failed."""
    fallback: float | None
    """Share of the calls whose caller got the fallback label, whatever the reason; None without calls or fallback."""
    answers: Mapping[str, int]
    """Calls by category."""
    confidence: Sequence[tuple[float, int]]
    """(upper edge of a bin of 0.05, calls)."""

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "calls": self.calls,
            "per_minute": round(self.per_minute, 3),
            "latency_ms": {name: None if v is None else round(v, 1) for name, v in self.latency_ms.items()},
            "over_2s": self.late,
            "outcomes": dict(self.outcomes),
            "fallback_rate": self.fallback,
            "answers": dict(self.answers),
            "confidence": [{"to": edge, "calls": calls} for edge, calls in self.confidence],
        }


def figures_of(
    counts: Iterable[Count], latencies: Histogram, confidences: Histogram, *, length: timedelta, fallback: str | None
) -> Figures:
    """The figures of a stretch that is `length` long."""
    answers: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for one in counts:
        answers[one.category] += one.calls
        outcomes[str(one.outcome)] += one.calls
    total = answers.total()
    return Figures(
        calls=total,
        per_minute=total / (length / timedelta(minutes=1)),
        latency_ms={f"p{at}": latencies.percentile(at / 100) for at in (50, 95, 99)},
        late=latencies.above(AIM_MS) / latencies.total if latencies.total else None,
        outcomes={str(one): outcomes[str(one)] / total if total else 0.0 for one in Outcome},
        fallback=answers[fallback] / total if fallback is not None and total else None,
        answers=dict(sorted(answers.items())),
        confidence=list(zip(confidences.edges, confidences.calls, strict=True)),
    )


def figures_of_calls(calls: Iterable[Call], *, length: timedelta, fallback: str | None) -> Figures:
    """The same from the calls themselves, in one pass, whatever their number."""
    tally = _Tally()
    for call in calls:
        tally.add(call)
    return tally.figures(length, fallback)


def groups_of(
    calls: Iterable[Call], by: str | None, *, length: timedelta, fallback: str | None, most: int = 20
) -> dict[str, Figures]:
    """Figures of each group of callers, the largest first, in one pass.

    Args:
        by: name of a piece of the callers' metadata; None for the service's key that a call came with.
        most: groups that are told; the others are together under `(others)`.
    """
    tallies: dict[str, _Tally] = {}
    for call in calls:
        value = call.key if by is None else call.metadata.get(by)
        tallies.setdefault("(none)" if value is None else str(value)[:80], _Tally()).add(call)
    ranked = sorted(tallies.items(), key=lambda one: (-one[1].calls, one[0]))
    if len(ranked) > most:
        rest = _Tally()
        for _, tally in ranked[most - 1 :]:
            rest.merge(tally)
        ranked = [*ranked[: most - 1], ("(others)", rest)]
    return {name: tally.figures(length, fallback) for name, tally in ranked}


class _Tally:
    """Running counts of calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.answers: Counter[tuple[str, Outcome]] = Counter()
        self.buckets: Counter[int] = Counter()
        self.bins: Counter[int] = Counter()

    def add(self, call: Call) -> None:
        self.calls += 1
        self.answers[call.category, call.outcome] += 1
        self.buckets[bucket_of(call.latency_ms)] += 1
        if call.prediction.confidence is not None:
            self.bins[min(BINS - 1, int(call.prediction.confidence * BINS))] += 1

    def merge(self, other: _Tally) -> None:
        self.calls += other.calls
        self.answers += other.answers
        self.buckets += other.buckets
        self.bins += other.bins

    def figures(self, length: timedelta, fallback: str | None) -> Figures:
        start = datetime.min
        counts = [
            Count(start=start, version=0, category=category, outcome=outcome, calls=calls)
            for (category, outcome), calls in self.answers.items()
        ]
        buckets, bins = sorted(self.buckets), sorted(self.bins)
        late = Histogram(edges=[edge_of(one) for one in buckets], calls=[self.buckets[one] for one in buckets])
        sure = Histogram(edges=[(one + 1) / BINS for one in bins], calls=[self.bins[one] for one in bins])
        return figures_of(counts, late, sure, length=length, fallback=fallback)


def days_of(counts: Iterable[Count], since: datetime, until: datetime) -> list[Day]:
    """Whole days from `since` to `until`, none left out, whichever versions answered.

    Args:
        counts: of stretches that lie within one of these days each.
    """
    number = round((until - since) / DAY)
    answers: list[Counter[str]] = [Counter() for _ in range(number)]
    outcomes: list[Counter[Outcome]] = [Counter() for _ in range(number)]
    for one in counts:
        at = (one.start - since) // DAY
        if 0 <= at < number:
            answers[at][one.category] += one.calls
            outcomes[at][one.outcome] += one.calls
    return [Day(start=since + at * DAY, answers=dict(answers[at]), outcomes=dict(outcomes[at])) for at in range(number)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Week:
    """Reviewed answers of one week of one version."""

    start: datetime
    """Monday, 0 o'clock UTC."""
    version: int
    right: int
    read: int

    def document(self) -> dict[str, Any]:
        """Plain values, with Wilson's 95% interval."""
        low, high = wilson(self.right, self.read)
        value = self.right / self.read if self.read else None
        accuracy = {"value": value, "low": low, "high": high}
        return {"week": self.start.date().isoformat(), "version": self.version, "read": self.read, "accuracy": accuracy}


def weeks_of(reviews: Sequence[Review], version: int | None = None) -> list[Week]:
    """Reviewed accuracy week by week and version by version, the earliest first; only calls that were drawn at random,
    since others were read because they were doubtful."""
    read: Counter[tuple[datetime, int]] = Counter()
    right: Counter[tuple[datetime, int]] = Counter()
    for one in reviews:
        if one.sampled and version in (None, one.version):
            key = (monday(one.at), one.version)
            read[key] += 1
            right[key] += one.right
    return [Week(start=key[0], version=key[1], right=right[key], read=number) for key, number in sorted(read.items())]


def monday(at: datetime) -> datetime:
    """When the week of a moment began."""
    return (at - timedelta(days=at.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
