"""What leaves the log again: calls that are old enough, and those of one customer.

Walks in: a log, and an age or a customer. Walks out: how many calls are gone, with their reviews. It does not know who
is allowed to ask for it. Counts stay: nobody is in them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, true

from kasauti.calls.log import CallLog
from kasauti.calls.rows import us_of
from kasauti.calls.schema import calls, reviews, shadows

BATCH = 500
"""Calls of a transaction: a service that writes meanwhile waits for some milliseconds, not for all of them."""


def expire(log: CallLog, days: float, *, most: int | None = None, now: datetime | None = None) -> int:
    """Delete calls that were answered more than `days` days ago, the oldest first. Decisions of reviewers stay, without
    the call; what was not yet decided goes.

    Args:
        most: calls of this once, rounded up to whole batches; None for all.

    Returns:
        How many were deleted.

    Raises:
        StorageError: the database cannot be reached; batches that were deleted stay so.
    """
    before = us_of((now or datetime.now(UTC)) - timedelta(days=days))
    old = select(calls.c.seq, calls.c.id).where(calls.c.at < before).order_by(calls.c.at, calls.c.seq).limit(BATCH)
    gone = 0
    while most is None or gone < most:
        with log.database.read() as connection:
            found = [(int(seq), str(id)) for seq, id in connection.execute(old)]
        if not found:
            break
        gone += _delete(log, found, decided=False)
    return gone


def erase(log: CallLog, *, caller: str | None = None, where: Mapping[str, Collection[str]] | None = None) -> int:
    """Delete every call of one customer, with its reviews, and see to it that the disk does not keep the text.

    Args:
        caller: the keyed hash of who asked (`Recorder.hashed`); None does not look at it.
        where: name of the metadata or of an input column → the texts that it may have; each name has to fit.

    Returns:
        How many were deleted.

    Raises:
        ValueError: neither is given.
        StorageError: the database cannot be reached; what was deleted stays so.
    """
    if caller is None and not where:
        raise ValueError("erasing needs a caller or a condition")
    gone = 0
    for batch in _found(log, caller, where or {}):
        gone += _delete(log, batch, decided=True)
    if gone:
        log.database.tidy()
    return gone


def _found(log: CallLog, caller: str | None, where: Mapping[str, Collection[str]]) -> Iterator[list[tuple[int, str]]]:
    """`(seq, id)` of the calls that fit, a batch at a time. The database looks for the texts; whether they stand where
    they have to is looked at here."""
    contains = func.instr if log.database.sqlite else func.strpos
    held = func.coalesce(calls.c.metadata, "")
    likely: list[ColumnElement[bool]] = [true() if caller is None else calls.c.caller == caller]
    for name, texts in where.items():
        pieces = [piece for one in texts for piece in _pieces(name, one)]
        likely.append(or_(*(contains(column, piece) > 0 for piece in pieces for column in (held, calls.c.fields))))
    query = select(calls.c.seq, calls.c.id, calls.c.metadata, calls.c.fields).where(and_(*likely)).order_by(calls.c.seq)
    last = 0
    while True:
        with log.database.read() as connection:
            rows = connection.execute(query.where(calls.c.seq > last).limit(BATCH)).all()
        fitting = [(int(seq), str(id)) for seq, id, metadata, fields in rows if _fits(metadata, fields, where)]
        if fitting:
            yield fitting
        if len(rows) < BATCH:
            return
        last = rows[-1][0]


def _pieces(name: str, value: str) -> set[str]:
    """How a text may stand in the JSON that is kept: as text, in either spelling, or as a number or a truth value."""
    pieces = {
        f"{json.dumps(name, ensure_ascii=ascii)}:{json.dumps(one, ensure_ascii=ascii)}"
        for ascii in (True, False)
        for one in (value, *_plain(value))
    }
    return {one for one in pieces if one.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in one)}


def _plain(value: str) -> list[Any]:
    try:
        found = json.loads(value)
    except ValueError:
        return []
    return [] if isinstance(found, str | dict | list) else [found]


def _fits(metadata: str | None, fields: str, where: Mapping[str, Collection[str]]) -> bool:
    held = [json.loads(text) for text in (metadata, fields) if text]
    return all(
        any(name in one and one[name] in {value, *_plain(value)} for one in held if isinstance(one.get(name), _SCALAR)
            for value in texts)
        for name, texts in where.items()
    )  # fmt: skip


_SCALAR = (str, int, float, bool)


def _delete(log: CallLog, found: list[tuple[int, str]], *, decided: bool) -> int:
    seqs, ids = [seq for seq, _ in found], [id for _, id in found]
    of_them = reviews.c.call_id.in_(ids)
    with log.database.write() as connection:
        connection.execute(delete(shadows).where(shadows.c.call_id.in_(ids)))
        connection.execute(delete(reviews).where(of_them if decided else and_(of_them, reviews.c.decided.is_(None))))
        return connection.execute(delete(calls).where(calls.c.seq.in_(seqs))).rowcount
