"""Calls that wait for a reviewer, handed out so that no two reviewers get the same, and what reviewers decided.

Walks in: ids of calls with the reason why they shall be read; reviewers. Walks out: calls on loan, decisions. It does
not choose which calls are worth reading.

A loan ends by itself, so that a reviewer who closes the page keeps nothing. PostgreSQL passes over rows that another
reviewer is taking (`SKIP LOCKED`); SQLite has one writer at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kasauti.calls.log import PAGE, CallLog
from kasauti.calls.rows import from_row, time_of, us_of
from kasauti.calls.schema import calls, reviews
from kasauti.core.call import Call
from kasauti.core.errors import UsageError

LOAN = timedelta(minutes=10)
"""How long a reviewer has for a call before it is handed to another."""
BROUGHT = "brought"
"""Reason of a review of a call that was not in the queue when a decision on it came from elsewhere."""
MOST_ROUNDS = 2
_LOCK = 0x6B6173
"""First key of PostgreSQL's advisory locks on reviewers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A call that shall be read."""

    call_id: str
    reason: str
    """Why; `random` is what the accuracy figure may count, and nothing else is."""
    priority: float = 0.0
    """The higher, the sooner."""
    round: int = 1
    """2 for a second reading by another reviewer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loan:
    """A call that one reviewer has until a time."""

    review: int
    """Number of the review, for `decide`."""
    call: Call
    reason: str
    round: int
    until: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a reviewer said of a call."""

    review: int
    call_id: str
    reason: str
    round: int
    reviewer: str
    label: str
    """The right category, whether or not it is the one that was answered."""
    note: str | None
    at: datetime
    answered: str | None
    """The category that the caller got; None where the call had expired before the decision."""
    version: int | None
    called: datetime | None
    """When the call was answered."""


class Reviews:
    """The review queue of a call log.

    Args:
        log: whose calls are read.
    """

    def __init__(self, log: CallLog) -> None:
        self._log, self._database = log, log.database

    def offer(self, wishes: Iterable[Wish]) -> int:
        """Put calls into the queue; one that is there for its round already stays as it is.

        Returns:
            How many were new.

        Raises:
            StorageError: the database cannot be reached.
        """
        with self._database.write() as connection:
            return self.offer_within(connection, wishes)

    def offer_within(self, connection: Connection, wishes: Iterable[Wish]) -> int:
        """`offer` as part of a transaction."""
        now = us_of(datetime.now(UTC))
        rows = [
            {"call_id": w.call_id, "reason": w.reason, "priority": w.priority, "round": w.round, "offered": now}
            for w in wishes
        ]
        if not rows:
            return 0
        insert = sqlite.insert if self._database.sqlite else postgresql.insert
        new = insert(reviews).on_conflict_do_nothing(index_elements=["call_id", "round"]).returning(reviews.c.seq)
        return len(connection.execute(new, rows).all())

    def lend(self, reviewer: str, most: int = 1, loan: timedelta = LOAN, now: datetime | None = None) -> list[Loan]:
        """The next calls of the queue for one reviewer: what is on loan to him already first, then the highest
        priority, the oldest of equals. Nobody reads the same call twice.

        Raises:
            StorageError: the database cannot be reached.
        """
        at = us_of(now or datetime.now(UTC))
        until = at + loan // timedelta(microseconds=1)
        other = reviews.alias("other")
        seen = select(other.c.seq).where(
            other.c.call_id == reviews.c.call_id, other.c.seq != reviews.c.seq,
            or_(other.c.reviewer == reviewer, and_(other.c.lease_by == reviewer, other.c.lease_until > at)),
        )  # fmt: skip
        free = or_(reviews.c.lease_until.is_(None), reviews.c.lease_until <= at)
        mine = and_(reviews.c.lease_by == reviewer, reviews.c.lease_until > at)
        open_ = (reviews.c.decided.is_(None), ~seen.exists())
        order = (reviews.c.priority.desc(), reviews.c.seq)
        with self._database.write() as connection:
            if not self._database.sqlite:  # two pages of one reviewer: else each could get one round of the same call
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK, func.hashtext(reviewer))))
            chosen: dict[str, int] = {}
            for which in (mine, free):  # two queries, so that each can walk an index and stop
                if len(chosen) < most:
                    query = select(reviews.c.call_id, reviews.c.seq).where(*open_, which).order_by(*order)
                    query = query.limit(2 * (most - len(chosen))).with_for_update(skip_locked=True)
                    for call_id, seq in connection.execute(query):
                        if len(chosen) < most:
                            chosen.setdefault(call_id, seq)
            taken = list(chosen.values())
            lent = update(reviews).where(reviews.c.seq.in_(taken)).values(lease_by=reviewer, lease_until=until)
            connection.execute(lent)
            found = (
                select(calls, reviews.c.seq.label("review"), reviews.c.reason, reviews.c.round)
                .join(reviews, reviews.c.call_id == calls.c.id).where(reviews.c.seq.in_(taken)).order_by(*order)
            )  # fmt: skip
            rows = connection.execute(found).mappings().all()
        return [
            Loan(review=row["review"], call=from_row(row), reason=row["reason"], round=row["round"],
                 until=time_of(until))
            for row in rows
        ]  # fmt: skip

    def decide(self, review: int, reviewer: str, label: str, note: str | None = None) -> None:
        """What a reviewer says of a call; said again by the same reviewer, it takes the place of what was said.

        Raises:
            UsageError: the loan has ended and another reviewer has the call, or has decided; or there is no such
            review. StorageError: the database cannot be reached.
        """
        free = or_(reviews.c.lease_by == reviewer, reviews.c.lease_by.is_(None))
        own = or_(and_(reviews.c.decided.is_(None), free), reviews.c.reviewer == reviewer)
        columns = {"answered": calls.c.category, "version": calls.c.version, "called": calls.c.at}
        of_call = {
            name: select(column).where(calls.c.id == reviews.c.call_id).scalar_subquery()
            for name, column in columns.items()
        }
        said = {"reviewer": reviewer, "label": label, "note": note, "decided": us_of(datetime.now(UTC)), **of_call}
        self._change(review, own, {**said, "lease_by": None, "lease_until": None})

    def undo(self, review: int, reviewer: str, loan: timedelta = LOAN) -> None:
        """Take back what one has said; the call is on loan again. Raises as `decide` does."""
        until = us_of(datetime.now(UTC)) + loan // timedelta(microseconds=1)
        nothing = {"reviewer": None, "label": None, "note": None, "decided": None}
        self._change(review, reviews.c.reviewer == reviewer, {**nothing, "lease_by": reviewer, "lease_until": until})

    def give_back(self, review: int, reviewer: str) -> None:
        """End a loan without a decision. Raises as `decide` does."""
        own = and_(reviews.c.decided.is_(None), reviews.c.lease_by == reviewer)
        self._change(review, own, {"lease_by": None, "lease_until": None})

    def _change(self, review: int, own: Any, values: dict[str, Any]) -> None:
        with self._database.write() as connection:
            done = connection.execute(update(reviews).where(reviews.c.seq == review, own).values(**values)).rowcount
        if not done:
            mend = "Take the next call: this one is another reviewer's now."
            raise UsageError(f"review {review} is not on loan to this reviewer", mend=mend)

    def latest(self, reviewer: str) -> int | None:
        """Number of the review that a reviewer decided last; None where he has none. Raises `StorageError`."""
        query = select(reviews.c.seq).where(reviews.c.reviewer == reviewer, reviews.c.decided.is_not(None))
        with self._database.read() as connection:
            found = connection.execute(query.order_by(reviews.c.decided.desc(), reviews.c.seq.desc()).limit(1)).scalar()
        return None if found is None else int(found)

    def bring(self, call_id: str, reviewer: str, label: str, note: str | None = None) -> bool:
        """A decision that was made elsewhere: on the first round of the call that is not decided, which is made where
        there is none (its reason is then `brought`). One reviewer's decision on a call is brought once.

        Returns:
            Whether it is new.

        Raises:
            StorageError: the database cannot be reached.
        """
        mine = select(reviews.c.seq, reviews.c.round, reviews.c.reviewer, reviews.c.decided, reviews.c.reason)
        with self._database.write() as connection:
            found = connection.execute(mine.where(reviews.c.call_id == call_id).order_by(reviews.c.round)).all()
            if any(one.reviewer == reviewer for one in found):
                return False
            call = connection.execute(select(calls).where(calls.c.id == call_id)).mappings().first()
            if call is None:
                return False
            free = next((one for one in found if one.decided is None), None)
            if free is None and len(found) >= MOST_ROUNDS:
                return False
            if free is None:
                reason = found[0].reason if found else BROUGHT
                wish = Wish(call_id=call_id, reason=reason, round=len(found) + 1)
                self.offer_within(connection, [wish])
            number = free.round if free is not None else len(found) + 1
            said = {"reviewer": reviewer, "label": label, "note": note, "decided": us_of(datetime.now(UTC))}
            kept = {"answered": call["category"], "version": call["version"], "called": call["at"]}
            where = (reviews.c.call_id == call_id, reviews.c.round == number)
            rest = {"lease_by": None, "lease_until": None}
            connection.execute(update(reviews).where(*where).values(**said, **kept, **rest))
        return True

    def open_calls(self, most: int = 100_000) -> Iterator[tuple[str, str, int, Call]]:
        """What waits, as (id of the call, reason, round, call), the most urgent first. Raises `StorageError`."""
        query = (
            select(calls, reviews.c.reason, reviews.c.round).join(reviews, reviews.c.call_id == calls.c.id)
            .where(reviews.c.decided.is_(None)).order_by(reviews.c.priority.desc(), reviews.c.seq).limit(most)
        )  # fmt: skip
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        for row in rows:
            yield row["id"], row["reason"], row["round"], from_row(row)

    def waiting(self) -> dict[str, int]:
        """How many wait, by reason. Raises `StorageError`."""
        query = select(reviews.c.reason, func.count()).where(reviews.c.decided.is_(None)).group_by(reviews.c.reason)
        with self._database.read() as connection:
            return {reason: int(number) for reason, number in connection.execute(query)}

    def decisions(self, since: datetime | None = None, until: datetime | None = None) -> Iterator[Decision]:
        """What was decided from `since` on and before `until`, in that order, a page at a time. Raises
        `StorageError`."""
        last = (us_of(since) if since is not None else 0, -1)
        while True:
            after = or_(reviews.c.decided > last[0], and_(reviews.c.decided == last[0], reviews.c.seq > last[1]))
            query = select(reviews).where(reviews.c.decided.is_not(None), reviews.c.decided >= last[0], after)
            if until is not None:
                query = query.where(reviews.c.decided < us_of(until))
            with self._database.read() as connection:
                rows: Sequence[Row[Any]] = connection.execute(
                    query.order_by(reviews.c.decided, reviews.c.seq).limit(PAGE)
                ).all()
            yield from map(_decision, rows)
            if len(rows) < PAGE:
                return
            last = (rows[-1].decided, rows[-1].seq)


def _decision(row: Row[Any]) -> Decision:
    return Decision(
        review=row.seq, call_id=row.call_id, reason=row.reason, round=row.round, reviewer=row.reviewer,
        label=row.label, note=row.note, at=time_of(row.decided), answered=row.answered, version=row.version,
        called=time_of(row.called) if row.called is not None else None,
    )  # fmt: skip
