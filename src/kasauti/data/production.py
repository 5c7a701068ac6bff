"""Calls that a person has read, as rows to learn from and to judge on.

Walks in: calls with the label that a reviewer gave. Walks out: lines of `.kasauti/production/rows.jsonl`, which are
only ever added, and the rows that join a split: some to learn from, the others to judge on beside the task's own test
rows.
It does not know call logs or reviewers.

A row's part is decided once, by a hash of its text, and stays. No row that resembles a row to judge on is ever learnt
from, and only calls that were drawn at random are judged on: those that were read because they were doubtful are
harder than what callers send.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.core.errors import DataError
from kasauti.core.files import STATE, append_line, content_hash, read_json_lines
from kasauti.core.types import Example, Message, Split, Task
from kasauti.data.conversation import content, make_example
from kasauti.data.duplicates import nearest_across, normalise

TEST_SHARE = 0.2
"""Of the calls that were drawn at random: so many are judged on, the rest is learnt from."""
NEAR = 0.8
"""Word-set Jaccard from which a row is taken for another one."""
SOURCE = f"{STATE}/production/rows.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadCall:
    """A call with what a person says of it."""

    call: str
    """Its id."""
    at: str
    """When it was answered, ISO 8601."""
    version: int
    """The version that answered."""
    fields: Mapping[str, str]
    label: str
    sampled: bool
    """Drawn at random."""
    history: Sequence[Message] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Production:
    """Production rows as they join a split."""

    train: tuple[Example, ...] = ()
    test: tuple[Example, ...] = ()
    kept_out: int = 0
    """Rows that resemble a row of another part, and are in none."""
    unlisted: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Label that the task does not list → rows that wait until it does."""

    @property
    def sha256(self) -> str:
        """Over the ids of both parts."""
        return content_hash([sorted(row.id for row in part) for part in (self.train, self.test)])


def rows_path(task_folder: str | Path) -> Path:
    """Where the production rows of a task are."""
    return Path(task_folder) / SOURCE


def file_calls(task: Task, given: Sequence[ReadCall]) -> Counter[str]:
    """Add calls that are not there yet, each with its part; one whose label has changed gets a second line with the
    same part.

    Returns:
        How many lines were added, by part: train, test.

    Raises:
        StorageError: the folder may not be written; what was added stays, and the same call goes on.
    """
    added: Counter[str] = Counter()
    for line in _filed(given, _lines(task)):
        append_line(rows_path(task.folder), json.dumps(line, ensure_ascii=False))
        added[line["part"]] += 1
    return added


def _filed(given: Sequence[ReadCall], there: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The lines to add to those that are there."""
    new = [one for one in given if one.call not in there or there[one.call]["label"] != one.label]
    parts = {one.call: _part(one) for one in new if one.call not in there}
    learnt = [_text(line) for line in there.values() if line["part"] == "train"]
    bound = [one for one in new if parts.get(one.call) == "test"]
    # a call that resembles one that was learnt from already is no fair question any more
    for at, _, _ in nearest_across([_joined(one.fields, one.history) for one in bound], learnt, NEAR):
        parts[bound[at].call] = "train"
    return [
        {
            "call": one.call,
            "at": one.at,
            "version": one.version,
            "part": parts.get(one.call) or str(there[one.call]["part"]),
            "label": one.label,
            "fields": dict(one.fields),
            "history": [[turn.role, turn.content] for turn in one.history],
        }
        for one in new
    ]


def _part(one: ReadCall) -> str:
    digest = hashlib.sha256(normalise(_joined(one.fields, one.history)).encode()).digest()
    drawn = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if one.sampled and drawn < TEST_SHARE else "train"


def _joined(fields: Mapping[str, str], history: Iterable[Message]) -> str:
    return "\n".join([*(turn.content for turn in history), *fields.values()])


def _text(line: Mapping[str, Any]) -> str:
    return "\n".join([*(text for _, text in line["history"]), *line["fields"].values()])


def _lines(task: Task) -> dict[str, dict[str, Any]]:
    """The last line of each call, in the order in which the calls came. One that a kill cut short is left out."""
    found: dict[str, dict[str, Any]] = {}
    wanted = {"call", "part", "label", "fields", "history"}
    for line in read_json_lines(rows_path(task.folder)):
        if isinstance(line, dict) and wanted <= line.keys() and isinstance(line["fields"], dict):
            found[str(line["call"])] = line
    return found


def production_rows(task: Task, split: Split) -> Production:
    """The production rows that may stand beside a split's rows.

    A row to judge on that resembles any row of the split is left out, and so is a row to learn from that resembles a
    row to judge or choose on, old or new. Of rows with the same text the last counts.

    Args:
        split: of the task's own files.
    """
    return _joining(task, _lines(task), split.train, [*split.validation, *split.test])


def production_of(
    task: Task, given: Sequence[ReadCall], train: Sequence[Example], held: Sequence[Example]
) -> Production:
    """The same without a disk: the calls filed in their order, beside rows that are learnt from and rows held out."""
    return _joining(task, {line["call"]: line for line in _filed(given, {})}, train, held)


def _joining(
    task: Task, lines: Mapping[str, Mapping[str, Any]], learnt: Sequence[Example], held: Sequence[Example]
) -> Production:
    unlisted = Counter(line["label"] for line in lines.values() if task.labels and line["label"] not in task.labels)
    by_text: dict[str, tuple[str, Example]] = {}
    for number, line in enumerate(lines.values(), 1):
        if line["label"] in unlisted:
            continue
        row = _example(task, line, number)
        if row is not None:
            by_text[normalise(content(row))] = line["part"], row
    test = [row for part, row in by_text.values() if part == "test"]
    train = [row for part, row in by_text.values() if part == "train"]
    kept_test = _unlike(test, [*learnt, *held])
    kept_train = _unlike(train, [*held, *kept_test])
    return Production(
        train=tuple(kept_train),
        test=tuple(kept_test),
        kept_out=len(test) + len(train) - len(kept_test) - len(kept_train),
        unlisted=dict(unlisted),
    )


def _unlike(rows: list[Example], others: Sequence[Example]) -> list[Example]:
    if not rows or not others:
        return rows
    texts = {normalise(content(row)) for row in others}
    near = {pair[0] for pair in nearest_across([content(r) for r in rows], [content(r) for r in others], NEAR)}
    return [row for at, row in enumerate(rows) if at not in near and normalise(content(row)) not in texts]


def _example(task: Task, line: Mapping[str, Any], number: int) -> Example | None:
    """The row of a line; None where the task asks for columns that the call did not have."""
    history = tuple(Message(role=str(role), content=str(text)) for role, text in line["history"])
    columns: dict[str, str | None] = {**line["fields"], task.target: line["label"]}
    if task.group:
        columns.setdefault(task.group, None)
    try:
        made = make_example(task, columns, number, SOURCE, history=history)
    except DataError:
        return None
    return dataclasses.replace(made, reviewed=True)
