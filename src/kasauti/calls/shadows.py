"""Answers that no caller got: of the version beside the one that answered, kept with the call.

Walks in: pairs of answers to one call. Walks out: pairs, and those that a reviewer has to read. It does not judge.

No text is kept here: it is in the call. A pair whose call is erased or expires goes with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, select
from sqlalchemy.dialects import postgresql, sqlite

from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews, Wish
from kasauti.calls.rows import storable, time_of, us_of
from kasauti.calls.schema import calls, reviews, shadows
from kasauti.core.types import Ended

DISAGREEMENT = "disagreement"
"""`reason` of a review of a call that two versions answered otherwise."""
PRIORITY = 5.0
MOST_WAITING = 200
"""Disagreements that wait for a reviewer; more are put into the queue when these are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What one version said to a call."""

    version: int
    category: str
    ended: Ended
    confidence: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Shadow:
    """What two versions said to one call."""

    call_id: str
    champion: Told
    candidate: Told
    at: datetime | None = None
    """When; None for now."""
    label: str | None = None
    """What a reviewer says is right; read, never written here."""


class Shadows:
    """The pairs of a call log.

    Args:
        log: whose calls were answered twice.
    """

    def __init__(self, log: CallLog) -> None:
        self._log, self._database = log, log.database

    def append(self, batch: Sequence[Shadow]) -> None:
        """Keep pairs, all or none; one whose call has a pair already is passed over. Raises `StorageError`."""
        if not batch:
            return
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        with self._database.write() as connection:
            connection.execute(insert(shadows).on_conflict_do_nothing(index_elements=["call_id"]), [*map(_row, batch)])

    def read(self, champion: int, candidate: int, since: datetime, most: int) -> list[Shadow]:
        """The first pairs of two versions from `since` on, in order of arrival, with what reviewers decided; of two
        decisions the second reader's. Raises `StorageError`."""
        query = select(shadows).where(*_of(champion, candidate, since)).order_by(shadows.c.seq).limit(most)
        decided = (
            select(reviews.c.call_id, reviews.c.label)
            .join(shadows, shadows.c.call_id == reviews.c.call_id)
            .where(*_of(champion, candidate, since), reviews.c.decided.is_not(None))
            .order_by(reviews.c.round)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
            labels = {str(id): str(label) for id, label in connection.execute(decided)}
        return [_shadow(row, labels.get(row["call_id"])) for row in rows]

    def offer(self, champion: int, candidate: int, since: datetime, most: int = MOST_WAITING) -> int:
        """Put disagreements into the review queue, in the order of the calls, until `most` wait there.

        Returns:
            How many were new.

        Raises:
            StorageError: the database cannot be reached.
        """
        waiting = select(func.count()).where(reviews.c.reason == DISAGREEMENT, reviews.c.decided.is_(None))
        offered = select(reviews.c.seq).where(reviews.c.call_id == shadows.c.call_id, reviews.c.round == 1)
        # a call that is still in the spool cannot be lent, and is offered when it has come
        there = select(calls.c.seq).where(calls.c.id == shadows.c.call_id)
        query = (
            select(shadows.c.call_id)
            .where(*_of(champion, candidate, since), shadows.c.champion_category != shadows.c.candidate_category)
            .where(~offered.exists(), there.exists())
            .order_by(shadows.c.seq)
        )
        with self._database.read() as connection:
            room = most - connection.execute(waiting).scalar_one()
            found = connection.execute(query.limit(room)).scalars().all() if room > 0 else []
        wishes = [Wish(call_id=id, reason=DISAGREEMENT, priority=PRIORITY) for id in found]
        return Reviews(self._log).offer(wishes)


def _of(champion: int, candidate: int, since: datetime) -> tuple[ColumnElement[bool], ...]:
    return (shadows.c.candidate == candidate, shadows.c.champion == champion, shadows.c.at >= us_of(since))


def _row(one: Shadow) -> dict[str, Any]:
    row: dict[str, Any] = {"call_id": one.call_id, "at": us_of(one.at or datetime.now(UTC))}
    for name, told in (("champion", one.champion), ("candidate", one.candidate)):
        row[name] = told.version
        row[f"{name}_category"], row[f"{name}_ended"] = storable(told.category), str(told.ended)
        row[f"{name}_confidence"], row[f"{name}_seconds"] = told.confidence, told.seconds
    return row


def _shadow(row: RowMapping, label: str | None) -> Shadow:
    champion, candidate = (
        Told(
            version=row[name],
            category=row[f"{name}_category"],
            ended=Ended(row[f"{name}_ended"]),
            confidence=row[f"{name}_confidence"],
            seconds=row[f"{name}_seconds"],
        )
        for name in ("champion", "candidate")
    )
    return Shadow(call_id=row["call_id"], champion=champion, candidate=candidate, at=time_of(row["at"]), label=label)
