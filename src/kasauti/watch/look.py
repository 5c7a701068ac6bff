"""One look at a service: figures, alerts, triggers; and the telling of it.

Walks in: a task, its call log, a moment; channels. Walks out: a `Look`, and what was told to whom. It judges by
`alerts.py` and `triggers.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from kasauti.calls.log import CallLog
from kasauti.core.errors import KasautiError
from kasauti.core.files import STATE, Lock
from kasauti.core.types import Finding, Task
from kasauti.watch.alerts import look as look_at
from kasauti.watch.channels import Channel, Message
from kasauti.watch.figures import DAY, WEEK, Figures, figures_of, groups_of, weeks_of
from kasauti.watch.gather import gather, version_of
from kasauti.watch.seen import Seen, slot_end
from kasauti.watch.told import Quiet, Told
from kasauti.watch.triggers import Trigger, triggers

GROUPED = 100_000
"""Calls of the last day, the newest, that are divided into groups of callers."""
FOLDER = "watch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was seen, and what it means."""

    seen: Seen
    day: Figures
    week: Figures
    versions: Mapping[int, Figures]
    """Of each version that answered in the last week."""
    groups: Mapping[str, Figures]
    """Of each group of callers in the last day; empty where nothing tells them apart."""
    alerts: Sequence[Finding]
    """Those that stand, the worst first."""
    sight: Mapping[str, Any]
    """What each alert could see, and how often it cries wolf."""
    triggers: Sequence[Trigger]

    def document(self, task: Task) -> dict[str, Any]:
        """Plain values."""
        return {
            "task": task.name,
            "at": self.seen.until.isoformat(timespec="seconds"),
            "figures": {
                "day": self.day.document(),
                "week": self.week.document(),
                "versions": {str(number): one.document() for number, one in self.versions.items()},
                "groups": {name: one.document() for name, one in self.groups.items()},
            },
            "days": [
                {"start": day.start.isoformat(), "calls": day.total, "answers": dict(sorted(day.answers.items()))}
                for day in self.seen.days
            ],
            "reviewed": [week.document() for week in weeks_of(self.seen.reviews)],
            "alerts": [
                {**asdict(one), "severity": one.severity.value, "rows": list(one.rows), "evidence": list(one.evidence)}
                for one in self.alerts
            ],
            "could_see": dict(self.sight),
            "triggers": [one.document() for one in self.triggers],
        }


def look(
    task: Task, log: CallLog, until: datetime, *, version: int | None = None, by: str | None = None, texts: bool = True
) -> Look:
    """Look once.

    Args:
        until: the moment, aware.
        version: only calls that it answered; None for all.
        by: name of a piece of callers' metadata that makes groups; None for the service's keys.
        texts: compare inputs as well.

    Raises:
        StorageError: the call log cannot be reached.
    """
    seen, end = gather(task, log, until, version=version, texts=texts), slot_end(until)
    alerts, sight = look_at(seen)
    week = log.counts(end - WEEK, end, version)
    calls = log.read(end - DAY, end, version, newest_first=True)
    grouped = by is not None or log.keys(end - DAY, end, version)
    found = version_of(task, version)
    return Look(
        seen=seen,
        day=_figures(task, log, end, version, days=1),
        week=_figures(task, log, end, version, days=7),
        versions={n: _figures(task, log, end, n, days=7) for n in sorted({one.version for one in week})},
        groups=groups_of(islice(calls, GROUPED), by, length=DAY, fallback=task.fallback) if grouped else {},
        alerts=alerts,
        sight=sight,
        triggers=[] if found is None else triggers(task, found, seen.reviews, alerts, sight["accuracy"]),
    )


def _figures(task: Task, log: CallLog, end: datetime, version: int | None, *, days: int) -> Figures:
    span = (end - days * DAY, end, version)
    return figures_of(
        log.counts(*span), log.latencies(*span), log.confidences(*span), length=days * DAY, fallback=task.fallback
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """What one channel was told."""

    channel: str
    told: int
    """Alerts."""
    trouble: str = ""
    """Why they could not be told; they are tried again at the next look."""


def notify(
    task: Task, alerts: Sequence[Finding], at: datetime, channels: Sequence[Channel], quiet: Quiet | None = None
) -> list[Delivery]:
    """Tell every channel what it has not been told yet; what was told is written down before the next is asked.

    Raises:
        StorageError: the memory cannot be written.
        UsageError: another look at this task is telling right now.
    """
    folder = Path(task.folder) / STATE / FOLDER
    made = []
    with Lock(folder / "lock", f"the alerts of {task.name!r}"):
        told = Told(folder / "told.json")
        told.see(alerts, at)
        for channel in channels:
            due = told.due(alerts, channel.name, at, quiet)
            trouble = ""
            if due:
                try:
                    channel.send(Message(task=task.name, at=at, alerts=due))
                    told.tell(due, channel.name)
                    told.save()
                except KasautiError as error:
                    trouble = error.line()
            made.append(Delivery(channel=channel.name, told=0 if trouble else len(due), trouble=trouble))
        told.save()
    return made


def without_texts(alerts: Sequence[Finding]) -> list[Finding]:
    """Alerts without what callers wrote, which is not for every mailbox."""
    private = ("call ", "words of calls", "new words", "the word ")
    return [
        replace(one, evidence=[line for line in one.evidence if not line.startswith(private)])
        if one.check == "shift"
        else one
        for one in alerts
    ]
