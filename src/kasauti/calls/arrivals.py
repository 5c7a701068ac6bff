"""Calls in the order in which they arrived in the log, each shown once to whoever chooses what shall be read.

Walks in: a log, and a function that chooses. Walks out: calls in the review queue, and a mark of how far it came. It
does not know what is worth reading.

The mark and the wishes are one transaction, so a service that dies between them has done neither, and two services that
fill one queue never choose from the same calls twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews, Wish
from kasauti.calls.rows import time_of, us_of
from kasauti.calls.schema import calls, settings
from kasauti.core.types import Ended

MARK = "reviews.mark"
"""Setting that holds the `seq` of the last call that was looked at."""
CHUNK = 2_000
AGAIN = 500
"""Calls before the mark that are shown again: PostgreSQL gives numbers when a transaction begins to write, and one that
commits late is found behind the mark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """What is needed to choose: no text."""

    seq: int
    id: str
    at: datetime
    version: int
    category: str
    ended: Ended
    confidence: float | None
    accepted: bool
    prompt_sha256: str
    again: bool
    """It lay before the mark already, and was most likely shown before."""


def show(log: CallLog, choose: Callable[[Sequence[Arrival]], Iterable[Wish]], since: datetime) -> int:
    """Show the next calls, at most `CHUNK`, and put into the queue what is chosen.

    Args:
        choose: called with arrivals in order; called again with the same ones where it came to nothing.
        since: the first time, calls that were answered before are passed over.

    Returns:
        How many were shown that had not been shown; 0 when all have, or when another service was faster.

    Raises:
        StorageError: the database cannot be reached; nothing is done.
    """
    mark, kept = _mark(log, since)
    before = 0 if log.database.sqlite else AGAIN
    columns = (calls.c.seq, calls.c.id, calls.c.at, calls.c.version, calls.c.category, calls.c.ended,
               calls.c.confidence, calls.c.accepted, calls.c.prompt_sha256)  # fmt: skip
    query = select(*columns).where(calls.c.seq > mark - before).order_by(calls.c.seq).limit(CHUNK + before)
    with log.database.read() as connection:
        rows = connection.execute(query).all()
    shown = [
        Arrival(
            seq=row.seq, id=row.id, at=time_of(row.at), version=row.version, category=row.category,
            ended=Ended(row.ended), confidence=row.confidence, accepted=row.accepted,
            prompt_sha256=row.prompt_sha256, again=row.seq <= mark,
        )
        for row in rows
    ]  # fmt: skip
    new = sum(not one.again for one in shown)
    if not new:
        return 0
    wishes = list(choose(shown))
    with log.database.write() as connection:
        moved = update(settings).where(settings.c.name == MARK, settings.c.value == str(mark))
        if kept and not connection.execute(moved.values(value=str(shown[-1].seq))).rowcount:
            return 0
        if not kept:
            insert = (sqlite.insert if log.database.sqlite else postgresql.insert)(settings)
            first = insert.values(name=MARK, value=str(shown[-1].seq)).on_conflict_do_nothing(index_elements=["name"])
            if not connection.execute(first).rowcount:
                return 0
        Reviews(log).offer_within(connection, wishes)
    return new


def _mark(log: CallLog, since: datetime) -> tuple[int, bool]:
    """The mark, and whether there is one in the database."""
    with log.database.read() as connection:
        value = connection.execute(select(settings.c.value).where(settings.c.name == MARK)).scalar()
        if value is not None:
            return int(value), True
        first = connection.execute(select(func.min(calls.c.seq)).where(calls.c.at >= us_of(since))).scalar()
    return (0 if first is None else int(first) - 1), False
