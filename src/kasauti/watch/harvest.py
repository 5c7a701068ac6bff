"""Reviewed calls become rows, and a category that nobody has listed is walked through.

Walks in: a task and its call log. Walks out: production rows on disk, and what each new category still needs. It trains
nothing.

What counts is what the person said: the answer that the caller got is never taken for the right one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kasauti.calls.log import CallLog
from kasauti.core.errors import TaskError, UsageError
from kasauti.core.files import STATE, append_line, atomic_write, read_json_lines, read_text
from kasauti.core.task import FILE, parse_task
from kasauti.core.types import Task
from kasauti.data.production import TEST_SHARE, Production, ReadCall, file_calls
from kasauti.watch.reviewed import reviews_of
from kasauti.watch.triggers import NEW
from kasauti.watch.weigh import rows_to_prove


@dataclass(frozen=True, kw_only=True, slots=True)
class Harvest:
    """What a call log gave."""

    read: int
    """Calls that a person has decided on."""
    corrected: int
    """Of these, those whose caller got something else."""
    gone: int
    """Of these, those that have been erased or have expired before they were taken."""
    added: Mapping[str, int]
    """New rows by part: train, test."""

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Category:
    """A category that the version in service does not know."""

    label: str
    declared: bool
    """Listed in the task file, or named with `--new-category`."""
    rows: int
    """Examples there are, in the task's files and among reviewed calls."""
    needed: int
    """Examples from which it can be proved that a candidate knows it."""

    @property
    def ready(self) -> bool:
        """Whether it can be trained."""
        return self.declared and self.rows >= self.needed

    @property
    def said(self) -> str:
        """Where it stands, and the next step, in one sentence."""
        if not self.declared:
            step = f'list it with `kasauti retrain --new-category "{self.label}: what belongs to it"`'
            return f"{self.label} was given by reviewers {self.rows} times and is not listed: {step}"
        if not self.ready:
            return f"{self.label} has {self.rows} of the {self.needed} examples that it takes to prove that it is known"
        return f"{self.label} has {self.rows} examples, {self.needed} are enough"

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "ready": self.ready, "said": self.said}


def harvest(task: Task, log: CallLog) -> Harvest:
    """Every reviewed call as a row; what is there already stays where it is.

    Raises:
        StorageError: the call log or the task's folder cannot be reached; what was taken stays.
    """
    reviews = reviews_of(log)
    taken: list[ReadCall] = []
    for one in reviews:
        call = log.get(one.call)
        if call is not None:
            at = call.at.isoformat(timespec="seconds")
            made = ReadCall(
                call=call.id, at=at, version=call.version, fields=call.fields, history=call.history, label=one.label,
                sampled=one.sampled,
            )  # fmt: skip
            taken.append(made)
    added = file_calls(task, taken)
    wrong = sum(not one.right for one in reviews)
    return Harvest(read=len(reviews), corrected=wrong, gone=len(reviews) - len(taken), added=dict(added))


def needed_examples() -> int:
    """Reviewed calls of a new category until the share that is judged on can prove that a candidate knows it."""
    return math.ceil(rows_to_prove() / TEST_SHARE)


def new_categories(
    task: Task, known: Sequence[str], answers: Mapping[str, int], production: Production
) -> list[Category]:
    """Categories that the version in service does not know, the commonest first.

    Args:
        known: labels of the version in service.
        answers: label → rows that have it, of the task's files and of production together.
        production: has the labels that wait to be listed.
    """
    counted = Counter({label: answers.get(label, 0) for label in task.labels if label not in known})
    said = promised(task)
    waiting = {label: n for label, n in production.unlisted.items() if n >= NEW or label in said}
    waiting |= {label: 0 for label in said if label not in waiting and label not in task.labels}
    made = [(label, True, number) for label, number in counted.items()]
    made += [(label, label in said, number) for label, number in waiting.items()]
    ranked = sorted(made, key=lambda one: (-one[2], one[0]))
    return [
        Category(label=label, declared=declared, rows=rows, needed=needed_examples())
        for label, declared, rows in ranked
    ]


def promise(task: Task, said: str) -> None:
    """Note a category that is to be listed as soon as it has enough examples.

    Args:
        said: `NAME: description`, or the name alone.

    Raises:
        UsageError: the name is empty, or the task has no labels. StorageError: the folder may not be written.
    """
    name, description = _parts(task, said)
    if name not in task.labels and promised(task).get(name) != f"{name}: {description}":
        append_line(_promises(task), json.dumps({"name": name, "description": description}, ensure_ascii=False))


def promised(task: Task) -> dict[str, str]:
    """Name → `NAME: description` of what was promised."""
    lines = [line for line in read_json_lines(_promises(task)) if isinstance(line, dict) and line.get("name")]
    return {str(line["name"]): f"{line['name']}: {line.get('description', '')}" for line in lines}


def _promises(task: Task) -> Path:
    return Path(task.folder) / STATE / "retrain" / "categories.jsonl"


def _parts(task: Task, said: str) -> tuple[str, str]:
    name, _, description = (part.strip() for part in said.partition(":"))
    if not name or not task.labels:
        what = "the task has no labels" if name else "a category needs a name"
        raise UsageError(what, where="--new-category", mend='Write --new-category "NAME: what belongs to it".')
    return name, " ".join(description.split())


def declare(task: Task, said: str) -> None:
    """Add a category to the task file's labels; comments and all else stay. One that is listed already is left.

    Args:
        said: `NAME: description`, or the name alone.

    Raises:
        TaskError: the file's labels are not written as a block to which a line can be added.
        UsageError: the name is empty, or the task has no labels.
    """
    name, description = _parts(task, said)
    if name in task.labels:
        return
    path = f"{task.folder}/{FILE}"
    lines = read_text(path).split("\n")
    at = next((n for n, line in enumerate(lines) if line.startswith("labels:")), None)
    inside = [n for n in range((at or 0) + 1, len(lines)) if _in_block(lines, at, n)]
    if at is None or not inside:
        raise TaskError(
            "labels are not written one a line", where=path, mend=f"Add {name!r} there by hand, and run this again."
        )
    last = max(n for n in inside if lines[n].strip())
    first = next(line for line in lines[at + 1 :] if line.strip() and not line.lstrip().startswith("#"))
    indent = first[: len(first) - len(first.lstrip())]
    listed = first.lstrip().startswith("- ")
    value = f" {_quoted(description)}" if description else ""
    lines.insert(last + 1, f"{indent}- {_quoted(name)}" if listed else f"{indent}{_quoted(name)}:{value}")
    text = "\n".join(lines)
    made = parse_task(text, folder=task.folder, where=path)
    if list(made.labels) != [*task.labels, name]:
        raise TaskError("the labels could not be extended", where=path, mend=f"Add {name!r} there by hand.")
    atomic_write(path, text)


def _in_block(lines: Sequence[str], at: int | None, place: int) -> bool:
    """Whether a line belongs to the block that begins after line `at`."""
    if at is None:
        return False
    return all(not line.strip() or line[0] in " \t-#" for line in lines[at + 1 : place + 1])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
