"""The plain values that watching reads: days, half hours, reviews, what was measured before, texts.

Walks in: nothing. Walks out: the vocabulary of this room. It does not know where any of it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kasauti.core.call import Outcome

SLOT = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """24 hours of answers."""

    start: datetime
    """Where they begin, UTC."""
    answers: Mapping[str, int]
    """Calls by category; a category without calls need not be there."""
    outcomes: Mapping[Outcome, int]
    """Calls by what became of them; the same sum as `answers`."""

    @property
    def total(self) -> int:
        """All calls."""
        return sum(self.answers.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A short stretch of time, of which it is counted how many answers were too late."""

    start: datetime
    calls: int
    late: int
    """Of these, those that took longer than the aim."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Review:
    """A call that a person has read."""

    call: str
    """Its id."""
    at: datetime
    """When the call was answered, UTC: accuracy belongs to that week, not to that of the reading."""
    version: int
    answered: str
    """What the caller got."""
    label: str
    """What the person says it is."""
    sampled: bool
    """Drawn at random; others (doubtful answers, complaints) say nothing of the accuracy of all calls."""

    @property
    def right(self) -> bool:
        """Whether the caller got what the person says."""
        return self.answered == self.label


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The accuracy that a version was shipped with."""

    version: int
    right: int
    """Test rows that were answered right."""
    rows: int
    """Test rows."""

    @property
    def accuracy(self) -> float:
        """Share of right rows, 0 to 1."""
        return self.right / self.rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """Inputs to compare."""

    reference: Sequence[str]
    """Inputs that the version was judged on, or learnt from."""
    called: Sequence[str]
    """Inputs of calls."""
    ids: Sequence[str] = ()
    """Ids of the calls, as many as `called`."""
    named: str = "test"
    """Which rows `reference` are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """All that one look sees."""

    until: datetime
    """The moment of the look, UTC; nothing later is in it."""
    labels: Sequence[str]
    """The task's labels."""
    fallback: str | None
    days: Sequence[Day] = ()
    """The oldest first, without a gap; the last ends at `until`."""
    slots: Sequence[Slot] = ()
    """The half hours of the last day, the oldest first."""
    p95_ms: Mapping[int, float] = field(default_factory=dict)
    """95th percentile of the latency of the last so many hours, milliseconds."""
    reviews: Sequence[Review] = ()
    baseline: Baseline | None = None
    """Of the version that answers now."""
    texts: Texts | None = None
    seed: int = 42
    versions: Sequence[int] = field(default=())
    """Versions that answered in the last day."""


def slot_end(until: datetime) -> datetime:
    """The end of the half hour that a moment is in: calls are counted by half hours."""
    whole = until.replace(minute=until.minute // 30 * 30, second=0, microsecond=0)
    return whole if whole == until else whole + SLOT
