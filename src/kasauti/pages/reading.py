"""The audit with its rows laid out to be decided → the page that `kasauti audit --read` serves.

Walks in: an audit's findings and context; lists of rows; the decisions that stand. Walks out: one page, whose script
is fetched beside it. It does not know how a decision is kept, or who serves the page. Rows of the test part are left
out until it is told that the look at them is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.core.paper.page import render
from kasauti.core.paper.svg import Svg
from kasauti.core.types import Example, Finding, Task
from kasauti.data.decisions import DONE, Choice, Decision, Key
from kasauti.pages.audit import audit_values

TEST = "test"
"""The part that is looked at only on demand; also the name of the list that is drawn from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row to read."""

    key: Key
    part: str
    example: Example
    """As it stands in its file."""
    suggested: str = ""
    """The label that the other rows speak for, where they speak against its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A list of rows."""

    title: str
    """What the reader is asked, or told, above the rows."""
    link: str
    """A few words that lead to it."""
    rows: Sequence[Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """What lies before the reader."""

    task: Task
    findings: Sequence[Finding]
    context: Mapping[str, Any]
    """As of `pages.audit.render_audit`."""
    readings: Mapping[str, Reading]
    """Name, as it stands in the address, → list of rows; the first is the one to begin with."""
    pointed: Mapping[int, str]
    """Place of a finding in `findings`, from 0 → name of the list of its rows."""
    view: Callable[[Example], str]
    """Row → its tokens as safe markup; empty where there is none."""


def said(decision: Decision | None) -> str:
    """What stands for a row, in words; empty where nothing does."""
    if decision is None:
        return ""
    told = DONE[decision.choice].capitalize()
    return f"{told}: {decision.label}" if decision.choice is Choice.RELABEL else told


def render_reading(desk: Desk, name: str, decisions: Mapping[Key, Decision], looks: int, *, looked: bool) -> str:
    """The page, open at one of its lists.

    Args:
        desk: what there is to read.
        name: of a list in `desk.readings`.
        decisions: those that stand, the latest last.
        looks: how often the test rows were looked at so far.
        looked: whether test rows may be shown, the look at them being counted.
    """
    values = audit_values(desk.findings, desk.context)
    reading = desk.readings[name]
    rows = [row for row in reading.rows if looked or row.part != TEST]
    shown = [_shown(desk, row, decisions.get(row.key)) for row in rows]
    there = {row.key for row in rows}
    links = {place: (f"/?rows={target}#rows", "read these rows") for place, target in desk.pointed.items()}
    sections = [section for section in values["sections"] if section[0] not in ("rows", "findings")]
    return render(
        Path(__file__).parent,
        "reading.html",
        **{**values, "sections": [("rows", "Rows to read"), ("findings", "Findings"), *sections]},
        links=links,
        reading=reading,
        opened=name,
        rows=shown,
        menu=[_entry(desk, each, decisions, name) for each in desk.readings],
        tally=Counter(decisions[row.key].choice.value for row in rows if row.key in decisions),
        order=" ".join(str(key) for key in decisions if key in there),
        hidden=len(reading.rows) - len(rows),
        looks=looks,
        options=list(desk.task.labels.items()),
    )


def _shown(desk: Desk, row: Row, decision: Decision | None) -> dict[str, Any]:
    example = row.example
    return {
        "key": str(row.key),
        "part": row.part,
        "number": example.row,
        "source": example.source,
        "fields": list(example.fields.items()),
        "answer": example.answer or "",
        "about": desk.task.labels.get(example.answer or "", ""),
        "suggested": row.suggested,
        "view": Svg(desk.view(example)),
        "choice": decision.choice.value if decision else "",
        "said": said(decision),
    }


def _entry(desk: Desk, name: str, decisions: Mapping[Key, Decision], current: str) -> dict[str, Any]:
    """A line of the menu of lists."""
    rows = desk.readings[name].rows
    left = sum(row.key not in decisions for row in rows)
    return {"name": name, "link": desk.readings[name].link, "left": left, "current": name == current}
