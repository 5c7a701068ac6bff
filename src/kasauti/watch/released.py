"""What the calls say of a candidate: figures for `registry.judge`, from the call log.

Walks in: a call log, a standing of the registry. Walks out: a verdict, or the calls to read. It acts on nothing.

In a canary a caller counts once an hour, with its first call: the calls of one caller fail together, and the tests take
calls to be independent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from kasauti.calls.figures import AIM_MS
from kasauti.calls.log import CallLog
from kasauti.calls.rows import us_of
from kasauti.calls.schema import calls
from kasauti.calls.shadows import Shadow, Shadows
from kasauti.core.types import Ended
from kasauti.registry.judge import Arms, Judged, Pairs, Rule, judge
from kasauti.registry.standing import Standing

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_PAIRS = 50_000
"""Pairs that are judged; a release that is not settled by them is paused for its age, or its readings."""
MOST_CALLS = 200_000
_HOUR_US = 3_600_000_000


def judge_release(log: CallLog, standing: Standing, rule: Rule | None = None, now: datetime | None = None) -> Judged:
    """The verdict on the candidate of a standing, by its calls until now.

    Raises:
        ValueError: there is no candidate.
        StorageError: the database cannot be reached.
    """
    if standing.candidate is None or standing.champion is None:
        raise ValueError("no candidate")
    rule, since = rule or Rule(late_seconds=AIM_MS / 1000), since_of(standing)
    told = Shadows(log).read(standing.champion, standing.candidate, since, MOST_PAIRS)
    names = tuple(sorted({side.category for one in told for side in (one.champion, one.candidate)}))
    arms = arms_of(log, standing.champion, standing.candidate, since, rule) if standing.share else None
    days = ((now or datetime.now(UTC)) - since).total_seconds() / 86_400
    return judge(pairs_of(told, names, rule), arms, rule, days=days, names=names)


def since_of(standing: Standing) -> datetime:
    """When the candidate was named."""
    return datetime.fromisoformat(standing.since)


def pairs_of(told: list[Shadow], names: tuple[str, ...], rule: Rule) -> Pairs:
    """Pairs as arrays. A disagreement is read where a reviewer has said what is right."""
    import numpy as np

    number = {name: at for at, name in enumerate(names)}
    champion = np.array([number[one.champion.category] for one in told], dtype=np.int64)
    candidate = np.array([number[one.candidate.category] for one in told], dtype=np.int64)
    right = [0.0 if one.champion.category == one.candidate.category else _right(one) for one in told]
    faults = [
        float(one.candidate.ended is not Ended.ANSWERED) - float(one.champion.ended is not Ended.ANSWERED)
        for one in told
    ]
    late = [
        float(one.candidate.seconds > rule.late_seconds) - float(one.champion.seconds > rule.late_seconds)
        for one in told
    ]
    return Pairs(
        champion=champion,
        candidate=candidate,
        right=np.array(right, dtype=float),
        faults=np.array(faults, dtype=float),
        late=np.array(late, dtype=float),
    )


def _right(one: Shadow) -> float:
    if one.label is None:
        return float("nan")
    return float(one.candidate.category == one.label) - float(one.champion.category == one.label)


def arms_of(log: CallLog, champion: int, candidate: int, since: datetime, rule: Rule) -> Arms:
    """The calls that either version's callers got, in order; of a caller the first of each hour."""
    import numpy as np

    query = (
        select(calls.c.version, calls.c.ended, calls.c.latency_ms, calls.c.caller, calls.c.at)
        .where(calls.c.at >= us_of(since), calls.c.version.in_((champion, candidate)))
        .order_by(calls.c.at, calls.c.seq)
        .limit(MOST_CALLS)
    )
    seen: set[tuple[str, int]] = set()
    kept: list[tuple[bool, bool, bool]] = []
    with log.database.read() as connection:
        for version, ended, milliseconds, caller, at in connection.execute(query):
            if caller is not None:
                hour = (str(caller), at // _HOUR_US)
                if hour in seen:
                    continue
                seen.add(hour)
            fault, late = ended != Ended.ANSWERED, milliseconds > 1000 * rule.late_seconds
            kept.append((version == candidate, fault, late))
    columns: NDArray[np.bool_] = np.array(kept, dtype=bool).reshape(-1, 3)
    return Arms(candidate=columns[:, 0], faults=columns[:, 1], late=columns[:, 2])
