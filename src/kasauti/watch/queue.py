"""Which calls a person should read, and what the reading has shown so far.

Walks in: calls as they arrive, a look. Walks out: calls in the review queue with a reason; accuracy, corrections and
agreement. It does not know who reads, or on which page.

Two kinds of calls are in the queue. Those drawn at random, 5% by a hash of the call's id, are the only ones that the
accuracy counts: whether one is drawn, and when its turn comes, depends on nothing that it says. As many again are those
most worth correcting. Both lie in one order of priority, so that a reviewer gets them mixed and does not know which is
which.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kasauti.calls.arrivals import Arrival, show
from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Decision, Reviews, Wish
from kasauti.core.types import Ended
from kasauti.measure.agreement import Kappa, cohen_kappa
from kasauti.measure.statistics import wilson
from kasauti.watch.figures import WEEK
from kasauti.watch.reviewed import RANDOM, reviews_of

DOUBTFUL, UNANSWERED, DISAGREEMENT, SHIFTED = "doubtful", "unanswered", "disagreement", "shifted"
SHARE = 0.05
"""Share of the calls that is drawn at random."""
SECOND = 0.2
"""Share of the calls that a second person reads, whatever the first has said."""
SURE = 0.95
"""Confidence from which on an answer is not worth a reading for its doubt."""
BACK = WEEK
"""How far back a queue begins that has never been filled."""
LATELY = timedelta(days=28)
"""What the figures of a progress cover."""
ASKED = 32
"""Calls of a chunk that another version is asked about, at most."""

Opinions = Callable[[Sequence[Arrival]], Mapping[str, str]]
"""Calls → id → the category that another version would give, for those where one could be asked."""


def uniform(id: str, what: str) -> float:
    """A number in [0, 1) that looks drawn at random and is the same every time for a call and a purpose."""
    digest = hashlib.sha256(f"{what}:{id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def choose(arrivals: Sequence[Arrival], share: float = SHARE, opinions: Opinions | None = None) -> Iterator[Wish]:
    """What is worth a person's time: a random share, and as many of those most worth correcting."""
    drawn = {one.id for one in arrivals if uniform(one.id, RANDOM) < share}
    for id in sorted(drawn):
        yield Wish(call_id=id, reason=RANDOM, priority=uniform(id, "turn"))
    new = [one for one in arrivals if not one.again]
    if not new:
        return
    most = math.floor(new[-1].seq * share) - math.floor((new[0].seq - 1) * share)
    others = [one for one in new if one.id not in drawn]
    split = _split(arrivals) | (_contradicted(others, opinions) if opinions is not None and most else set())
    scored = [(*_worth(one, split), one.id) for one in others]
    for priority, reason, id in sorted((one for one in scored if one[1]), key=lambda one: (-one[0], one[2]))[:most]:
        yield Wish(call_id=id, reason=reason, priority=priority)


def _worth(one: Arrival, split: set[str]) -> tuple[float, str]:
    """Priority, 0 to 1, and reason; an empty one where it is not worth a reading."""
    if one.ended is not Ended.ANSWERED:
        return 0.95, UNANSWERED
    if one.id in split:
        return 0.9, DISAGREEMENT
    if one.confidence is not None and one.confidence < SURE:
        return 1 - one.confidence, DOUBTFUL
    return 0.0, ""


def _split(arrivals: Sequence[Arrival]) -> set[str]:
    """Calls with the same prompt as another, to which another version gave another category."""
    same: dict[str, list[Arrival]] = defaultdict(list)
    for one in arrivals:
        if one.prompt_sha256:
            same[one.prompt_sha256].append(one)
    return {
        one.id
        for group in same.values()
        for one in group
        if any(other.version != one.version and other.category != one.category for other in group)
    }


def _contradicted(others: Sequence[Arrival], opinions: Opinions) -> set[str]:
    """Calls to which another version would give another category; the least sure are asked about."""
    asked = sorted(others, key=lambda one: (one.confidence is not None, one.confidence or 0.0))[:ASKED]
    told = opinions(asked)
    return {one.id for one in asked if told.get(one.id, one.category) != one.category}


def fill(
    log: CallLog, now: datetime, share: float = SHARE, second: float = SECOND, opinions: Opinions | None = None
) -> int:
    """Bring the queue up to date: calls that have arrived, and second readings.

    Returns:
        Calls that were looked at.

    Raises:
        StorageError: the database cannot be reached; what was done is done whole.
    """
    looked = 0
    while shown := show(log, lambda arrivals: choose(arrivals, share, opinions), now - BACK):
        looked += shown
    second_readings(log, now - timedelta(days=2), second)
    return looked


def second_readings(log: CallLog, since: datetime, share: float = SECOND) -> int:
    """Offer a second reading of a share of what was decided. Returns how many are new. Raises `StorageError`."""
    return Reviews(log).offer(
        Wish(call_id=one.call_id, reason=one.reason, round=2, priority=0.5 + uniform(one.call_id, "turn") / 2)
        for one in Reviews(log).decisions(since)
        if one.round == 1 and uniform(one.call_id, "second") < share
    )


def offer_shifted(log: CallLog, sight: Mapping[str, Any]) -> int:
    """Offer the calls that are least like what the version was judged on, where a look has found a shift.

    Args:
        sight: what the alerts could see, of a look.
    """
    ids = sight.get("shift", {}).get("unlike", ())
    return Reviews(log).offer(Wish(call_id=id, reason=SHIFTED, priority=0.85) for id in ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What the reading has shown."""

    waiting: Mapping[str, int]
    """Readings that wait, by reason."""
    read: int
    """Calls of the last 7 days that were drawn at random and read."""
    right: int
    """Of these, those whose caller got what the reviewer says."""
    low: float
    """95% interval of the accuracy, Wilson's."""
    high: float
    others: int
    """Calls of the last 7 days that were read for another reason."""
    corrected: int
    """Of these, those that were wrong; says nothing of all calls."""
    kappa: Kappa
    """Of the calls of the last 28 days that two people have read."""

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among those drawn at random, 0 to 1; None where none was read."""
        return self.right / self.read if self.read else None

    def document(self) -> dict[str, Any]:
        """Plain values."""
        kappa = {"value": self.kappa.value, "low": self.kappa.low, "high": self.kappa.high}
        return {
            "waiting": dict(self.waiting),
            "random": {"read": self.read, "accuracy": {"value": self.accuracy, "low": self.low, "high": self.high}},
            "worth_correcting": {"read": self.others, "wrong": self.corrected},
            "agreement": {"pairs": self.kappa.pairs, "same": self.kappa.same, "kappa": kappa},
        }


def progress(log: CallLog, now: datetime) -> Progress:
    """What the reading has shown. Raises `StorageError`."""
    week = reviews_of(log, now - WEEK, now + timedelta(days=1))
    drawn = [one for one in week if one.sampled]
    others = [one for one in week if not one.sampled]
    right = sum(one.right for one in drawn)
    low, high = wilson(right, len(drawn))
    return Progress(
        waiting=Reviews(log).waiting(), read=len(drawn), right=right, low=low, high=high, others=len(others),
        corrected=sum(not one.right for one in others),
        kappa=cohen_kappa(pairs_of(list(Reviews(log).decisions(now - LATELY)))),
    )  # fmt: skip


def pairs_of(decisions: Sequence[Decision]) -> list[tuple[str, str]]:
    """(what the first said, what the second said) of every call that two people have read, in order of the first."""
    rounds: dict[str, dict[int, Decision]] = defaultdict(dict)
    for one in decisions:
        rounds[one.call_id][one.round] = one
    return [(both[1].label, both[2].label) for both in rounds.values() if both.keys() >= {1, 2}]
