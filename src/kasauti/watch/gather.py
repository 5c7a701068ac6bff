"""What a look needs, fetched from where it lies: the call log, the registry, the task's rows.

Walks in: a task, its call log, a moment. Walks out: `Seen`, plain values. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from kasauti.calls.figures import AIM_MS
from kasauti.calls.log import CallLog
from kasauti.core.call import Call
from kasauti.core.errors import KasautiError
from kasauti.core.types import Split, Task
from kasauti.data.checks.shift import LEAST
from kasauti.data.conversation import content
from kasauti.data.fix import masked
from kasauti.data.split import load_split
from kasauti.registry.versions import Registry, Version
from kasauti.watch.alerts import HISTORY, HOURS, SPANS
from kasauti.watch.figures import DAY, WEEK, days_of
from kasauti.watch.reviewed import reviews_of
from kasauti.watch.seen import SLOT, Baseline, Seen, Slot, Texts, slot_end
from kasauti.watch.shift import SAMPLED

HOUR = timedelta(hours=1)
READ = 20_000
"""Calls that are read, the newest first, to find inputs to compare."""
REVIEWED = 52 * WEEK
"""How far back reviews are read."""


def gather(task: Task, log: CallLog, until: datetime, *, version: int | None = None, texts: bool = True) -> Seen:
    """All that one look sees.

    Args:
        until: the moment of the look, aware; days are the 24 hours before it, and so on.
        version: look at this version's calls only; its figures are then the baseline. None for all calls, with the
            champion's figures.
        texts: fetch inputs to compare as well, which reads the task's rows.

    Raises:
        StorageError: the call log cannot be reached.
    """
    end = slot_end(until)
    since = end - (HISTORY + max(SPANS)) * DAY
    counted = log.counts(since, end, version, offset=_offset(end))
    latest = {hours: log.latencies(end - hours * HOUR, end, version).percentile(0.95) for hours in HOURS}
    found = version_of(task, version)
    return Seen(
        until=until,
        labels=list(task.labels),
        fallback=task.fallback,
        days=days_of(counted, since, end),
        slots=list(_slots(log, end, version)),
        p95_ms={hours: ms for hours, ms in latest.items() if ms is not None},
        reviews=reviews_of(log, until - REVIEWED, until, version),
        baseline=None if found is None else baseline_of(found),
        texts=inputs(task, log, until, version) if texts else None,
        seed=task.seed,
        versions=sorted({one.version for one in counted if one.start >= end - DAY}),
    )


def _offset(end: datetime) -> timedelta:
    """So that stretches of a day end where `end` does."""
    midnight = end.replace(hour=0, minute=0, second=0, microsecond=0)
    return -(end - midnight) % DAY


def _slots(log: CallLog, end: datetime, version: int | None) -> Iterator[Slot]:
    for back in range(DAY // SLOT, 0, -1):
        start = end - back * SLOT
        found = log.latencies(start, start + SLOT, version)
        if found.total:
            yield Slot(start=start, calls=found.total, late=found.above(AIM_MS))


def version_of(task: Task, number: int | None = None) -> Version | None:
    """A version, or the champion; None where there is none (any more)."""
    registry = Registry(task)
    if number is None:
        return registry.champion()
    return next((one for one in registry.versions() if one.number == number), None)


def baseline_of(version: Version) -> Baseline | None:
    """What it was shipped with; None for a kind of task without right and wrong."""
    measured, rows = version.card["evaluation"].get("accuracy"), int(version.card["data"]["rows"]["test"])
    if measured is None or not rows:
        return None
    return Baseline(version=version.number, right=round(float(measured["value"]) * rows), rows=rows)


def inputs(task: Task, log: CallLog, until: datetime, version: int | None = None) -> Texts | None:
    """Inputs of the last week, and what they are compared with: the test rows where they are from a source of their
    own, else all rows. None where the task's rows cannot be read: a look goes on without.
    """
    called = newest_calls(log, until, version)
    if len(called) < LEAST:
        return None
    try:
        split, _ = load_split(task)
    except KasautiError:
        return None
    own = task.data.test is not None and len(split.test) >= LEAST
    rows = split.test if own else [*split.train, *split.validation, *split.test]
    return texts_of([content(row) for row in rows], called, "test" if own else "task's")


def texts_of(reference: Sequence[str], called: Sequence[Call], named: str) -> Texts:
    """Both lists; where personal data is masked in calls, it is in the reference too."""
    texts = [call_text(call) for call in called]
    if any(call.masked for call in called):
        reference = [masked(text) for text in reference]
        texts = [masked(text) for text in texts]
    return Texts(reference=list(reference), called=texts, ids=[call.id for call in called], named=named)


def parts_of(split: Split, called: Sequence[Call]) -> dict[str, Texts]:
    """Calls beside the training rows and beside the test rows."""
    return {
        name: texts_of([content(row) for row in rows], called, named)
        for name, named, rows in (("train", "training", split.train), ("test", "test", split.test))
    }


def newest_calls(log: CallLog, until: datetime, version: int | None) -> list[Call]:
    """Calls of the last week, one a caller where callers are known: one who asks a thousand times is one voice."""
    found: list[Call] = []
    voices: set[str] = set()
    for number, call in enumerate(log.read(until - WEEK, until, version, newest_first=True)):
        if number >= READ or len(found) >= 2 * SAMPLED:
            break
        if call.caller is None or call.caller not in voices:
            found.append(call)
            voices |= set() if call.caller is None else {call.caller}
    return found


def call_text(call: Call) -> str:
    """What a call says, as `content` of a row."""
    return "\n".join([*(turn.content for turn in call.history), *call.fields.values()])
