"""A row becomes an example, and an example a conversation.

Walks in: rows and the task. Walks out: `Example`, and its messages (system, user, assistant). It does not know files'
formats, chat templates or tokens.
"""

from __future__ import annotations

import dataclasses
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from kasauti.core.errors import DataError
from kasauti.core.files import content_hash
from kasauti.core.names import suggestion
from kasauti.core.task import resolve
from kasauti.core.types import Example, Message, Task
from kasauti.data.read import read_rows

PARTS = ("train", "validation", "test")
"""The names of the data files in a task."""


def fill(template: str, fields: Mapping[str, str]) -> str:
    """The user turn: a task's `input` with its columns filled in. Braces inside a value stay as they are."""
    parts = string.Formatter().parse(template)
    return "".join(literal + (fields[name] if name is not None else "") for literal, name, _, _ in parts)


def content(example: Example) -> str:
    """What the row itself says, without the words that the task's `input` puts around every row."""
    return "\n".join(example.fields.values())


def make_example(
    task: Task,
    row: Mapping[str, str | None],
    number: int,
    source: str,
    *,
    with_answer: bool = True,
    strict: bool = True,
) -> Example:
    """A row in normal form.

    Args:
        task: says which columns count.
        row: column → text; a null input column counts as empty.
        number: the row's number in its file, from 1.
        source: the file, for errors.
        with_answer: False for a row that is only to be answered; its target column is not read.
        strict: refuse a row with no answer, or with one that is not listed; with False it is kept for the audit to
            show.

    Raises:
        DataError: a column is missing, or (when strict) the answer is empty or not one of the labels.
    """
    where = f"{source}, row {number}"
    needed = [*task.columns, *([task.target] if with_answer else []), *([task.group] if task.group else [])]
    missing = next((column for column in needed if column not in row), None)
    if missing is not None:
        raise DataError(f"there is no column {missing!r}", where=where, mend=suggestion(missing, list(row)))
    fields = {column: row[column] or "" for column in task.columns}
    group = (row[task.group] or None) if task.group else None
    answer = _answer(task, row[task.target] or "", where, strict) if with_answer else None
    return Example(
        id=_id(fields, answer, group),
        fields=fields,
        text=fill(task.input, fields),
        answer=answer,
        group=group,
        source=source,
        row=number,
    )


def _id(fields: Mapping[str, str], answer: str | None, group: str | None) -> str:
    return content_hash({"fields": fields, "answer": answer, "group": group})[:16]


def with_answer(example: Example, answer: str) -> Example:
    """The row as if this answer stood in its file."""
    return dataclasses.replace(example, id=_id(example.fields, answer, example.group), answer=answer)


def _answer(task: Task, value: str, where: str, strict: bool) -> str:
    """The answer, checked. A label's surrounding space is an accident; another answer's may be code, and is kept."""
    answer = value.strip() if task.kind == "classification" else value
    if strict:
        check_answer(task, answer, where)
    return answer


def check_answer(task: Task, answer: str, where: str) -> None:
    """Raise `DataError` for an answer that is empty, or not one of the task's labels."""
    if not answer.strip():
        mend = "Fill it in, or remove the row."
        raise DataError(f"the answer (column {task.target!r}) is empty", where=where, mend=mend)
    if task.labels and answer not in task.labels:
        mend = f"{suggestion(answer, task.labels)} Correct the row, or add the label to the task file."
        raise DataError(f"the label {answer!r} is not one of the task's", where=where, mend=mend)


def load_examples(task: Task, part: str, *, strict: bool = True) -> tuple[Example, ...]:
    """All rows of one of the task's data files.

    Args:
        task: names the files.
        part: `train`, `validation` or `test`.
        strict: see `make_example`.

    Returns:
        The rows in order; empty where the task names no file for the part (it is then split off).

    Raises:
        DataError: the file, a column or a row is at fault.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}, expected one of {PARTS}")
    name: str | None = getattr(task.data, part)
    if name is None:
        return ()
    columns = [*task.columns, task.target, *([task.group] if task.group else [])]
    rows = read_rows(resolve(task, name), columns)
    return tuple(make_example(task, row, number, name, strict=strict) for number, row in rows)


def read_inputs(task: Task, path: str | Path) -> Iterator[Example]:
    """The rows of a file that are only to be answered; the target column need not be there. `answer` is None."""
    for number, row in read_rows(path, task.columns):
        there = row if task.group is None or task.group in row else {**row, task.group: None}
        yield make_example(task, there, number, str(path), with_answer=False)


def count_answers(path: str | Path, target: str, columns: Sequence[str] = ()) -> Counter[str]:
    """How often each answer occurs in a column of a file; what `kasauti init` lists as labels.

    Raises:
        DataError: the file is at fault, or `target` or one of `columns` is not in it.
    """
    counts = Counter((row[target] or "").strip() for _, row in read_rows(path, [*columns, target]))
    counts.pop("", None)
    return counts


def check_labels_used(task: Task, examples: Iterable[Example]) -> None:
    """Raise `DataError` for a label of the task that no row has."""
    used = {example.answer for example in examples}
    idle = [label for label in task.labels if label not in used]
    if idle:
        strange = [answer for answer in used if answer is not None and answer not in task.labels]
        more = f" (and {len(idle) - 1} more)" if len(idle) > 1 else ""
        near = f"{suggestion(idle[0], strange)} " if strange else ""
        raise DataError(
            f"no row has the label {idle[0]!r}{more}",
            where=f"{task.folder}/task.yaml",
            mend=f"{near}Add rows that have it, or remove it from `labels`.",
        )


def messages(task: Task, example: Example, *, with_answer: bool = True) -> tuple[Message, ...]:
    """The conversation of an example: system (where the task has instructions), user, and assistant where asked for.

    Raises:
        DataError: the answer is asked for and the example has none.
    """
    turns = [Message(role="system", content=task.instructions)] if task.instructions else []
    turns.append(Message(role="user", content=example.text))
    if with_answer:
        if not example.answer:
            where = f"{example.source}, row {example.row}"
            raise DataError("the row has no answer to train on", where=where, mend="Fill it in, or remove the row.")
        turns.append(Message(role="assistant", content=example.answer))
    return tuple(turns)
