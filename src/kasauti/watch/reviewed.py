"""Reviews as the call log keeps them.

Walks in: a call log. Walks out: `Review`s, one a call. It does not know who reads calls, or which are handed out.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from kasauti.calls.log import CallLog
from kasauti.calls.rows import time_of, us_of
from kasauti.calls.schema import calls, reviews
from kasauti.watch.seen import Review

SAMPLED = "sampled"
"""`reason` of a review whose call was drawn at random; only these say what the accuracy of all calls is."""


def reviews_of(
    log: CallLog, since: datetime | None = None, until: datetime | None = None, version: int | None = None
) -> list[Review]:
    """Decided reviews of calls that were answered from `since` on and before `until`, in order of the calls' times.

    Where a second reviewer has decided too, the second decision is the one that counts.

    Raises:
        StorageError: the database cannot be reached.
    """
    columns = (calls.c.id, calls.c.at, calls.c.version, calls.c.category, reviews.c.label, reviews.c.reason)
    query = select(*columns, reviews.c.round).join(reviews, reviews.c.call_id == calls.c.id)
    query = query.where(reviews.c.decided.is_not(None), reviews.c.label.is_not(None))
    if since is not None:
        query = query.where(calls.c.at >= us_of(since))
    if until is not None:
        query = query.where(calls.c.at < us_of(until))
    if version is not None:
        query = query.where(calls.c.version == version)
    with log.database.read() as connection:
        rows = connection.execute(query.order_by(calls.c.at, calls.c.seq, reviews.c.round)).all()
    last: dict[str, Review] = {}
    drawn: set[str] = set()
    for id, at, number, category, label, reason, _ in rows:
        drawn |= {id} if reason == SAMPLED else set()
        last[id] = Review(call=id, at=time_of(at), version=number, answered=category, label=label, sampled=id in drawn)
    return list(last.values())
