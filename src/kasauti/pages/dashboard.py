"""What happens out there, on one page: `/`.

Walks in: a task, its call log and registry, the last look. Walks out: one page. Figures are those of `calls/figures.py`
and `watch/`; none is computed here. It does not know who may look.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kasauti.calls.figures import Histogram
from kasauti.calls.log import CallLog
from kasauti.core.paper.charts import Series, lines
from kasauti.core.paper.findings import worst_first
from kasauti.core.paper.page import render
from kasauti.core.paper.svg import Canvas, Chart, Svg, chart
from kasauti.core.paper.words import milliseconds, percent, plural
from kasauti.core.types import Task
from kasauti.registry.standing import Standing
from kasauti.registry.versions import Registry, Version
from kasauti.watch.figures import DAY, WEEK, Figures, Week, days_of, figures_of, weeks_of
from kasauti.watch.look import Look
from kasauti.watch.queue import LATELY, Progress, progress
from kasauti.watch.reviewed import reviews_of
from kasauti.watch.seen import Day, slot_end

DAYS = 14
"""Days of the charts."""
SHARES = (0.5, 0.95, 0.99)
STRIP = (150, 26)
"""Pixels of a category's days in its row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Now:
    """What is read for every view of the page."""

    at: datetime
    standing: Standing
    versions: Sequence[Version]
    """The newest first."""
    day: Figures | None = None
    """None where no calls are kept, as are the following."""
    week: Figures | None = None
    by_version: Mapping[int, Figures] | None = None
    days: Sequence[Day] = ()
    latencies: Sequence[Histogram] = ()
    """Of each of `days`."""
    weeks: Sequence[Week] = ()
    """Reviewed accuracy of the champion."""
    progress: Progress | None = None


def seen_now(task: Task, log: CallLog | None, at: datetime) -> Now:
    """Read what the page shows; some thousand rows of counts, whatever the number of calls. Raises `StorageError`."""
    registry = Registry(task)
    standing, versions = registry.standing(), list(reversed(registry.versions()))
    if log is None:
        return Now(at=at, standing=standing, versions=versions)
    end = slot_end(at)
    since = end - DAYS * DAY
    offset = -(end - end.replace(hour=0, minute=0)) % DAY
    days = days_of(log.counts(since, end, offset=offset), since, end)
    answered = sorted({one.version for one in log.counts(end - WEEK, end)})
    weeks = weeks_of(reviews_of(log, at - 3 * LATELY, at + DAY), standing.champion)
    return Now(
        at=at, standing=standing, versions=versions,
        day=_figures(task, log, end, 1), week=_figures(task, log, end, 7),
        by_version={number: _figures(task, log, end, 7, number) for number in answered},
        days=days, latencies=[log.latencies(day.start, day.start + DAY) for day in days],
        weeks=weeks, progress=progress(log, at),
    )  # fmt: skip


def _figures(task: Task, log: CallLog, end: datetime, days: int, version: int | None = None) -> Figures:
    span = (end - days * DAY, end, version)
    return figures_of(
        log.counts(*span), log.latencies(*span), log.confidences(*span), length=days * DAY, fallback=task.fallback
    )


def render_dashboard(task: Task, now: Now, look: Look | None, trouble: str = "") -> str:
    """The page.

    Args:
        look: the last one, with its alerts; None before the first has ended.
        trouble: why the last look or the queue failed; empty where it did not.
    """
    alerts = worst_first(look.alerts) if look is not None else []
    return render(
        Path(__file__).parent, "dashboard.html",
        task=task, now=now, look=look, alerts=alerts, trouble=trouble, headline=_headline(now, look),
        versions=[_version(one, now) for one in now.versions], latency=_latency(now), accuracy=_accuracy(now),
        categories=_categories(task, now), waiting=sum(now.progress.waiting.values()) if now.progress else 0,
        shift=look.sight.get("shift", {}) if look is not None else {},
        sections=_sections(now),
    )  # fmt: skip


def _sections(now: Now) -> list[tuple[str, str]]:
    if now.day is None:
        return [("versions", "Versions")]
    return [
        ("alerts", "Alerts"), ("reviews", "Reviews"), ("answers", "Answers"), ("latency", "Latency"),
        ("shift", "Shift"), ("versions", "Versions"),
    ]  # fmt: skip


def _headline(now: Now, look: Look | None) -> str:
    if now.day is None:
        return "No calls are kept."
    if look is None:
        return "The service is being looked at."
    if not look.alerts:
        return "No alert stands."
    return f"{plural(len(look.alerts), 'alert')} {'stands' if len(look.alerts) == 1 else 'stand'}."


def _version(one: Version, now: Now) -> dict[str, Any]:
    """A row of the table of versions."""
    standing, answered = now.standing, (now.by_version or {}).get(one.number)
    role = "answers" if one.number == standing.champion else ""
    if one.number == standing.candidate:
        role = f"canary, {standing.share:g}% of callers"
    return {
        "number": one.number,
        "role": role,
        "created": one.card.get("created"),
        "approach": one.card.get("approach"),
        "accuracy": (one.card.get("evaluation") or {}).get("accuracy"),
        "calls": answered.calls if answered is not None else 0,
        "p95": answered.latency_ms["p95"] if answered is not None else None,
    }


def _categories(task: Task, now: Now) -> list[dict[str, Any]]:
    """Answers of each category: its days as bars, the last day, the usual day before; the most common first."""
    if not any(day.total for day in now.days):
        return []
    names = list(dict.fromkeys([*task.labels, *(name for day in now.days for name in sorted(day.answers))]))
    most = max(max(day.answers.get(name, 0) for day in now.days) for name in names)
    found = []
    for name in names:
        counts = [day.answers.get(name, 0) for day in now.days]
        found.append({
            "name": name, "strip": _strip(name, now.days, counts, most), "today": counts[-1], "week": sum(counts[-7:]),
            "share": sum(counts[-7:]) / max(1, sum(day.total for day in now.days[-7:])),
            "before": sum(counts[:-1]) / max(1, sum(day.total > 0 for day in now.days[:-1])),
        })  # fmt: skip
    return sorted(found, key=lambda one: (-one["week"], one["name"]))


def _strip(name: str, days: Sequence[Day], counts: Sequence[int], most: int) -> Svg:
    """One bar a day, all categories on one scale."""
    width, height = STRIP
    step = width / len(counts)
    canvas = Canvas(width, height, title=f"{name}, day by day", desc=", ".join(map(str, counts)))
    canvas.line(0, height - 0.5, width, height - 0.5, "grid")
    for place, (day, number) in enumerate(zip(days, counts, strict=True)):
        tall = 0.0 if not number else max(1.5, (height - 2) * number / max(1, most))
        tip = f"24 hours from {day.start:%d %b %H:%M} UTC: {number:,}"
        canvas.rect(
            place * step,
            height - 1 - tall,
            step - 2,
            tall,
            "bar part1" if place == len(counts) - 1 else "bar part0",
            tip=tip,
        )
    return canvas.done()


def _latency(now: Now) -> Chart | None:
    """Percentiles day by day; None without two days of calls."""
    there = [(place, one) for place, one in enumerate(now.latencies) if one.total]
    if len(there) < 2 or now.week is None:
        return None
    series = [
        Series(
            f"p{share * 100:g}",
            [(float(place), one.percentile(share) or 0.0) for place, one in there],
            chosen=share == 0.95,
        )
        for share in SHARES
    ]
    p95 = now.week.latency_ms["p95"]
    title = (
        f"95% of the answers of the last 7 days came within {milliseconds(p95)}"
        if p95
        else "No answers in the last 7 days"
    )

    def draw(width: int) -> Svg:
        return lines(
            series, width, title=title, x_name="days ago", y_name="latency", says_y=milliseconds, height=230,
            says_x=lambda place: f"{len(now.days) - 1 - place:.0f}",
        )  # fmt: skip

    return chart(title, draw, note="Percentiles are at most 5% too high. 95% shall come within 2 s.")


def _accuracy(now: Now) -> Chart | None:
    """Reviewed accuracy week by week, with its interval; None under two weeks."""
    weeks = [one for one in now.weeks if one.read]
    if len(weeks) < 2:
        return None
    told = [week.document()["accuracy"] for week in weeks]
    series = Series(
        "reviewed", [(float(place), one["value"]) for place, one in enumerate(told)],
        bounds=[(one["low"], one["high"]) for one in told], chosen=True,
    )  # fmt: skip
    title = f"{percent(told[-1]['value'])} right in the week of {weeks[-1].start:%-d %B}, of {weeks[-1].read} reviewed"

    def draw(width: int) -> Svg:
        return lines(
            [series], width, title=title, x_name="week of", y_name="right", says_y=lambda v: percent(v, 0), height=230,
            says_x=lambda place: f"{weeks[round(place)].start:%-d %b}", span=(0.0, 1.0),
        )  # fmt: skip

    return chart(
        title, draw, note="Calls drawn at random, answered by the version in service; the band is the 95% interval."
    )
