"""The call log: answered calls are appended in batches, each once, and read in order of time.

Walks in: `Call`s. Walks out: `Call`s, and figures that were counted as the calls came in. It does not know who
answers, or what to do when the database is away.

    log = CallLog.open(".kasauti/calls.db")                    # or postgresql://…
    log.append([call])                                         # on disk when it returns
    for call in log.read(since=monday, version=3): ...         # oldest first, a page in memory
    log.counts(since, until), log.latencies(since, until)      # from `tallies`: no call is read

`tallies` holds what was counted per half hour and version; a batch and its counts are one transaction, so they agree,
and figures over ten million calls read some thousand rows. The counts stay when calls are erased or expire: nobody is
in them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from kasauti.calls.database import Database
from kasauti.calls.figures import DAY, Count, Histogram, confidences_of, counts, latencies_of, sums, tally_of
from kasauti.calls.rows import from_row, time_of, to_row, us_of
from kasauti.calls.schema import SLOT_US, calls, tallies
from kasauti.core.call import Call

PAGE = 1000
"""Calls that a reader holds at a time."""
SHARDS = 8


class CallLog:
    """The calls of one database.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        insert = sqlite.insert if database.sqlite else postgresql.insert
        self._insert = insert(calls).on_conflict_do_nothing(index_elements=["id"]).returning(calls.c.id)
        new = insert(tallies)
        self._count = new.on_conflict_do_update(
            index_elements=["figure", "slot", "version", "name", "outcome", "shard"],
            set_={"calls": tallies.c.calls + new.excluded.calls},
        )
        self._shard = 0 if database.sqlite else os.getpid() % SHARDS

    @classmethod
    def open(cls, where: str) -> Self:
        """The log at a path or URL, its schema brought to the newest step; made where there is none.

        Raises:
            UsageError: no URL of SQLite or PostgreSQL; a database that a newer Kasauti made.
            StorageError: the database cannot be reached.
        """
        log = cls(Database(where))
        with log.database.read():
            pass
        return log

    def close(self) -> None:
        """Close its connections."""
        self.database.forget()

    def append(self, batch: Sequence[Call]) -> int:
        """Write calls, all or none; on disk when it returns. One whose id is there already is passed over.

        Returns:
            How many were new.

        Raises:
            StorageError: nothing is known to be written; it may be written again.
        """
        with self.database.write() as connection:
            return self.append_within(connection, batch)

    def append_within(self, connection: Connection, batch: Sequence[Call]) -> int:
        """`append` as part of a transaction."""
        if not batch:
            return 0
        new = set(connection.execute(self._insert, [to_row(call) for call in batch]).scalars())
        counted: Counter[tuple[Any, ...]] = Counter()
        for call in {call.id: call for call in reversed(batch) if call.id in new}.values():
            slot = us_of(call.at) // SLOT_US
            counted.update((figure, slot, call.version, name, outcome) for figure, name, outcome in tally_of(call))
        names = ("figure", "slot", "version", "name", "outcome")
        rows = [
            {**dict(zip(names, key, strict=True)), "shard": self._shard, "calls": number}
            for key, number in sorted(counted.items())  # in one order, so that two services never wait for each other
        ]
        if rows:
            connection.execute(self._count, rows)
        return len(new)

    def read(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        version: int | None = None,
        *,
        newest_first: bool = False,
        page: int = PAGE,
    ) -> Iterator[Call]:
        """Calls answered from `since` on and before `until`, in order of time, a page at a time.

        Each page is a transaction of its own, so a slow reader keeps nobody waiting; a call that comes in late, from a
        spool, behind where the reader is, is not seen.

        Args:
            since: None for the oldest; a time without a zone is UTC.
            until: None for the newest.
            version: of one version only.
            newest_first: the other way round.
            page: calls held at a time.

        Raises:
            StorageError: the database cannot be reached.
        """
        pair = tuple_(calls.c.at, calls.c.seq)
        order = [column.desc() if newest_first else column.asc() for column in (calls.c.at, calls.c.seq)]
        query = select(calls).order_by(*order).limit(page)
        after = query.where(*_within(since, until, version))
        while True:
            with self.database.read() as connection:
                rows = connection.execute(after).mappings().all()
            yield from map(from_row, rows)
            if len(rows) < page:
                return
            last = tuple_(rows[-1]["at"], rows[-1]["seq"])
            # in place of the bound on its side, not beside it: an index has one place to begin
            rest = _within(since, None, version) if newest_first else _within(None, until, version)
            after = query.where(*rest, pair < last if newest_first else pair > last)

    def get(self, id: str) -> Call | None:
        """The call of an id; None where there is none. Raises `StorageError`."""
        with self.database.read() as connection:
            row = connection.execute(select(calls).where(calls.c.id == id)).mappings().first()
        return from_row(row) if row is not None else None

    def counts(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        version: int | None = None,
        *,
        per: timedelta = DAY,
        offset: timedelta = timedelta(0),
    ) -> list[Count]:
        """Calls by stretch of time, version, category and outcome, the earliest first.

        Counted in whole half hours, so `since` and `until` are widened to such; calls that were erased or have expired
        are in it.

        Args:
            per: length of a stretch, in whole half hours.
            offset: of the time zone whose days are meant, from UTC.

        Raises:
            StorageError: the database cannot be reached.
        """
        with self.database.read() as connection:
            return counts(connection, since, until, version, per, offset)

    def latencies(
        self, since: datetime | None = None, until: datetime | None = None, version: int | None = None
    ) -> Histogram:
        """Milliseconds of the calls, in buckets 5% wide with an edge at 2,000; stretches as for `counts`."""
        with self.database.read() as connection:
            return latencies_of(sums(connection, "latency", since, until, version))

    def confidences(
        self, since: datetime | None = None, until: datetime | None = None, version: int | None = None
    ) -> Histogram:
        """Confidences of the calls that had one, in bins of 0.05; stretches as for `counts`."""
        with self.database.read() as connection:
            return confidences_of(sums(connection, "confidence", since, until, version))

    def keys(
        self, since: datetime | None = None, until: datetime | None = None, version: int | None = None
    ) -> dict[str, int]:
        """Calls by the name of the service's key that they came with; stretches as for `counts`."""
        with self.database.read() as connection:
            return sums(connection, "key", since, until, version)

    def bounds(self) -> tuple[datetime, datetime] | None:
        """When the oldest and the newest call that is kept were answered; None where there is none."""
        with self.database.read() as connection:
            first = connection.execute(select(func.min(calls.c.at))).scalar_one()
            last = connection.execute(select(func.max(calls.c.at))).scalar_one()
        return None if first is None else (time_of(first), time_of(last))


def _within(since: datetime | None, until: datetime | None, version: int | None) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if since is not None:
        where.append(calls.c.at >= us_of(since))
    if until is not None:
        where.append(calls.c.at < us_of(until))
    if version is not None:
        where.append(calls.c.version == version)
    return where
