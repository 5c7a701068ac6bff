"""What a person decided about single rows, and the rows as they go on.

Walks in: decisions (accept, relabel, drop, undo); rows as they stand in the task's files. Walks out: lines of
`.kasauti/audit/decisions.jsonl`, which are only ever added; rows with the decisions applied, and findings that count
them. It does not know the page that asks, or how rows are divided.

A decision is about a row as it stood: it names the row by the hash of its content, and one about a row that has
changed since does not apply. Rows that are equal in everything are told apart by their place among their equals.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from kasauti.core.errors import DataError
from kasauti.core.files import STATE, append_line, read_json_lines
from kasauti.core.names import suggestion
from kasauti.core.types import Example, Finding, Severity, Task
from kasauti.data.conversation import with_answer

SHOWN = 20
"""Rows and texts that a finding carries."""


class Choice(enum.StrEnum):
    """What can be decided about a row."""

    ACCEPT = "accept"
    """The answer is the right one: the row is marked as reviewed."""
    RELABEL = "relabel"
    """Another answer is the right one: the row goes on with it, marked as reviewed."""
    DROP = "drop"
    """The row is of no use: it leaves."""
    UNDO = "undo"
    """What was decided about the row no longer counts."""


DONE = {Choice.ACCEPT: "accepted", Choice.RELABEL: "relabelled", Choice.DROP: "dropped"}
"""What was decided, as it is told."""


class Key(NamedTuple):
    """Which row is meant."""

    row_id: str
    """Hash of its content, as it stands in the file."""
    copy: int
    """Its place among the rows with the same content, in the order of the files, from 0."""

    def __str__(self) -> str:
        return f"{self.row_id}.{self.copy}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """One line of the log."""

    key: Key
    row: int
    """Its number in its file when it was decided."""
    source: str
    """Its file."""
    answer: str
    """The answer that it had."""
    choice: Choice
    label: str | None = None
    """The new answer; None unless relabelled."""
    at: str = ""
    """When, in ISO 8601."""


def log_path(task_folder: str | Path) -> Path:
    """Where the decisions about a task's rows are."""
    return Path(task_folder) / STATE / "audit" / "decisions.jsonl"


def keys_of(rows: Iterable[Example]) -> list[Key]:
    """The key of each row; `rows` are all rows of the files, in their order."""
    seen: Counter[str] = Counter()
    keys = []
    for row in rows:
        keys.append(Key(row.id, seen[row.id]))
        seen[row.id] += 1
    return keys


def decide(task: Task, row: Example, key: Key, choice: Choice, label: str | None = None) -> Decision | None:
    """Put a decision on disk before it counts as made. What stands already is not written twice.

    Args:
        task: the task.
        row: the row as it stands in its file.
        key: of the row.
        choice: what is decided; to relabel with the answer that the row has is to accept it.
        label: the new answer, for `Choice.RELABEL`.

    Returns:
        What stands for the row now; None where nothing does.

    Raises:
        DataError: the new answer is empty, or not one of the task's labels.
        StorageError: the disk is full or may not be written; nothing was decided.
    """
    answer = row.answer or ""
    if choice is Choice.RELABEL:
        label = _new_answer(task, label, row)
        choice = Choice.ACCEPT if label == answer else choice
    label = label if choice is Choice.RELABEL else None
    if choice is Choice.ACCEPT:
        _new_answer(task, answer, row)
    now = standing(task.folder).get(key)
    if choice is Choice.UNDO and now is None:
        return None
    if now is not None and (now.choice, now.label) == (choice, label):
        return now
    at = datetime.now(UTC).isoformat(timespec="seconds")
    made = Decision(key=key, row=row.row, source=row.source, answer=answer, choice=choice, label=label, at=at)
    append_line(log_path(task.folder), json.dumps(_line(made)))
    return None if choice is Choice.UNDO else made


def _new_answer(task: Task, label: str | None, row: Example) -> str:
    where = f"{row.source}, row {row.row}"
    answer = (label or "").strip() if task.labels else label or ""
    if not answer.strip():
        raise DataError("the answer is empty", where=where, mend="Give it one, or drop the row.")
    if task.labels and answer not in task.labels:
        mend = f"{suggestion(answer, task.labels)} Choose a listed label, or add it to the task file."
        raise DataError(f"the label {answer!r} is not one of the task's", where=where, mend=mend)
    return answer


def _line(made: Decision) -> dict[str, Any]:
    flat = dataclasses.asdict(made)
    flat.pop("key")
    return {"row_id": made.key.row_id, "copy": made.key.copy, **flat}


def standing(task_folder: str | Path) -> dict[Key, Decision]:
    """The decisions that count, the latest last. A line that a kill cut short was never told as saved, and is left
    out."""
    found: dict[Key, Decision] = {}
    for line in read_json_lines(log_path(task_folder)):
        made = _parse(line)
        if made is None:
            continue
        found.pop(made.key, None)
        if made.choice is not Choice.UNDO:
            found[made.key] = made
    return found


def _parse(line: Any) -> Decision | None:
    """The decision of a line; None where it is none, as where two lines ran into each other."""
    try:
        key = Key(str(line["row_id"]), int(line.get("copy", 0)))
        choice = Choice(line["choice"])
        if choice is Choice.RELABEL and not isinstance(line["label"], str):
            return None
        return Decision(
            key=key,
            row=int(line["row"]),
            source=str(line["source"]),
            answer=str(line["answer"]),
            choice=choice,
            label=line.get("label"),
            at=str(line.get("at", "")),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """Decisions that met their rows."""

    changes: Mapping[int, Example | None]
    """The identity (`id()`) of a row as it stands in its file → the row as it goes on; None where it leaves."""
    met: Sequence[Decision]
    """Those that apply."""
    stale: Sequence[Decision]
    """Those whose row has changed or gone, or whose new answer is no longer a label; not where the row that now has
    the number was decided since."""

    def of(self, rows: Iterable[Example]) -> tuple[Example, ...]:
        """The rows as they go on, in their order."""
        after = (self.changes.get(id(row), row) for row in rows)
        return tuple(row for row in after if row is not None)


def apply_decisions(
    task: Task, rows: Sequence[Example], decisions: Mapping[Key, Decision], keys: Sequence[Key] | None = None
) -> Applied:
    """Find the row of each decision.

    Args:
        task: its labels say whether a new answer is still one.
        rows: all rows of the files, in their order.
        decisions: those that stand.
        keys: of the rows, where they are known, which allows for less than all rows.
    """
    if not decisions:
        return Applied(changes={}, met=(), stale=())
    changes: dict[int, Example | None] = {}
    met: dict[Key, Decision] = {}
    for row, key in zip(rows, keys or keys_of(rows), strict=True):
        made = decisions.get(key)
        if made is None or (made.label is not None and task.labels and made.label not in task.labels):
            continue
        met[key] = made
        after = row if made.label is None else with_answer(row, made.label)
        changes[id(row)] = None if made.choice is Choice.DROP else dataclasses.replace(after, reviewed=True)
    again = {(made.source, made.row) for made in met.values()}
    stale = [made for key, made in decisions.items() if key not in met and (made.source, made.row) not in again]
    return Applied(changes=changes, met=tuple(met.values()), stale=tuple(stale))


def findings_of(applied: Applied) -> list[Finding]:
    """What was applied, in numbers; and what no longer applies."""
    findings = []
    if applied.met:
        counts = Counter(made.choice for made in applied.met)
        told = [made for made in applied.met if made.choice is not Choice.ACCEPT]
        findings.append(
            Finding(
                check="decisions",
                severity=Severity.NOTE,
                what=f"{len(applied.met)} rows were decided by a person: {counts[Choice.ACCEPT]} accepted, "
                f"{counts[Choice.RELABEL]} relabelled, {counts[Choice.DROP]} dropped",
                where="decisions.jsonl",
                count=len(applied.met),
                rows=[made.row for made in applied.met[:SHOWN]],
                evidence=[_told(made) for made in told[:SHOWN]],
                why="This version of the data has the decisions applied; the files are as they were.",
                mend="Nothing needs to be done; `kasauti audit --read` undoes a decision.",
            )
        )
    if applied.stale:
        findings.append(
            Finding(
                check="decisions",
                severity=Severity.NOTE,
                what=f"{len(applied.stale)} decisions no longer apply: their row has changed or gone, "
                "or their label is no longer listed",
                where="decisions.jsonl",
                count=len(applied.stale),
                rows=[made.row for made in applied.stale[:SHOWN]],
                evidence=[_told(made) for made in applied.stale[:SHOWN]],
                why="What was decided about the old row may be wrong for the new one.",
                mend="Read those rows again with `kasauti audit --read`, unless they were mended in the file.",
            )
        )
    return findings


def _told(made: Decision) -> str:
    what = f"{made.answer} → {made.label}" if made.choice is Choice.RELABEL else f"{made.answer}, {DONE[made.choice]}"
    return f"{made.source}, row {made.row}: {what}"
