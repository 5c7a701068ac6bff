"""A row becomes an example, and an example a conversation.

Walks in: rows and the task. Walks out: `Example`, and its messages (system, user, assistant). It does not know files'
formats, chat templates or tokens.
"""

from __future__ import annotations

import dataclasses
import heapq
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from kasauti.core.errors import DataError
from kasauti.core.files import content_hash
from kasauti.core.names import suggestion
from kasauti.core.task import locate
from kasauti.core.types import NO_COLUMNS, Example, Message, Task
from kasauti.data.read import ReadLog, Record, column_mend, places_of, read_records
from kasauti.data.shapes import LOOKED_AT, SHAPES, Flat, recognise

PARTS = ("train", "validation", "test")
"""The names of the data files in a task."""


def content(example: Example) -> str:
    """What the row says, earlier turns first, without the words that the task's `input` puts around every row."""
    if not example.history and len(example.fields) == 1:  # nearly all, and this is asked twenty times a row
        return next(iter(example.fields.values()))
    return "\n".join([*(turn.content for turn in example.history), *example.fields.values()])


def make_example(
    task: Task,
    row: Mapping[str, str | None],
    number: int,
    source: str,
    *,
    history: Sequence[Message] = (),
    line: int = 0,
    with_answer: bool = True,
    strict: bool = True,
) -> Example:
    """A row in normal form.

    Args:
        task: says which columns count.
        row: column → text; a null input column counts as empty.
        number: the row's number in its file, from 1.
        source: the file, for errors.
        history: earlier turns. A system turn that says what the task's instructions say is left to them.
        line: the line in the file, for errors; 0 where it is not known.
        with_answer: False for a row that is only to be answered; its target column is not read.
        strict: refuse a row with no answer, or with one that is not listed; with False it is kept for the audit to
            show.

    Raises:
        DataError: a column is missing, or (when strict) the answer is empty or not one of the labels.
    """
    where = f"{source}:{line}, row {number}" if line else f"{source}, row {number}"
    missing = next((column for column in needed_columns(task, with_answer) if column not in row), None)
    if missing is not None:
        raise DataError(f"there is no column {missing!r}", where=where, mend=column_mend(missing, list(row)))
    fields = {column: row[column] or "" for column in task.columns}
    judged = with_answer and task.scoring.columns
    judging = {column: row[column] or "" for column in task.scoring.columns} if judged else NO_COLUMNS
    group = (row[task.group] or None) if task.group else None
    answer = _answer(task, row[task.target] or "", where, strict) if with_answer else None
    if history and history[0].role == "system" and history[0].content.strip() == task.instructions:
        history = history[1:]
    return Example(
        id=_id(fields, answer, group, history, judging),
        fields=fields,
        template=task.input,
        answer=answer,
        group=group,
        history=tuple(history),
        source=source,
        row=number,
        judging=judging,
    )


def _id(
    fields: Mapping[str, str],
    answer: str | None,
    group: str | None,
    history: Sequence[Message],
    judging: Mapping[str, str],
) -> str:
    identity: dict[str, object] = {"fields": fields, "answer": answer, "group": group}
    if history:  # a row without one has the id of plain columns
        identity["history"] = [[turn.role, turn.content] for turn in history]
    if judging:
        identity["judging"] = judging
    return content_hash(identity)[:16]


def with_answer(example: Example, answer: str) -> Example:
    """The row as if this answer stood in its file."""
    id = _id(example.fields, answer, example.group, example.history, example.judging)
    return dataclasses.replace(example, id=id, answer=answer)


def needed_columns(task: Task, with_answer: bool = True) -> list[str]:
    """The columns that a row must have."""
    judging = [column for column in task.scoring.columns if column not in task.columns] if with_answer else []
    return [*task.columns, *([task.target] if with_answer else []), *judging, *([task.group] if task.group else [])]


def _answer(task: Task, value: str, where: str, strict: bool) -> str:
    """The answer, checked. A label's surrounding space is an accident; another answer's may be code, and is kept."""
    answer = sys.intern(value.strip()) if task.kind == "classification" else value  # a label is kept once
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


def load_examples(task: Task, part: str, *, strict: bool = True, log: ReadLog | None = None) -> tuple[Example, ...]:
    """All rows of one of the task's data sources.

    Args:
        task: names the sources, and says whether bad rows are left out (`data.skip_bad`).
        part: `train`, `validation` or `test`.
        strict: see `make_example`.
        log: takes what there is to say about the source.

    Returns:
        The rows in order; empty where the task names no source for the part (it is then split off).

    Raises:
        DataError: the source, a column or a row is at fault.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}, expected one of {PARTS}")
    name: str | None = getattr(task.data, part)
    if name is None:
        return ()
    log = ReadLog(task.data.skip_bad) if log is None else log
    place = locate(task, name)
    examples = []
    for record, flat in flat_records(place, needed_columns(task), task.data.shape, log):
        source = name if record.file == place else os.path.relpath(record.file, task.folder)
        try:
            example = make_example(
                task, flat.row, record.number, source, history=flat.history, line=record.line, strict=strict
            )
        except DataError as error:
            log.fault(record.number, error)
            continue
        examples.append(example)
    if not examples:
        raise log.first_bad[0][1]
    return tuple(examples)


def flat_records(
    place: str | Path, columns: Collection[str], shape: str | None, log: ReadLog
) -> Iterator[tuple[Record, Flat]]:
    """The rows of a source in the one shape; the log is told which shape they came in.

    Args:
        place: see `read_records`.
        columns: what every row must have once it is in the one shape.
        shape: one of `SHAPES`; None recognises it by the first rows.
        log: takes the bad rows.

    Raises:
        DataError: the source or a row is at fault.
    """
    records = read_records(place, (), log)
    head = list(islice(records, LOOKED_AT))
    log.shape = shape or recognise([record.row for record in head], columns)
    flatten = SHAPES[log.shape]
    first = True
    for record in chain(head, records):
        try:
            flat = flatten(record.row, columns)
        except DataError as error:
            log.fault(record.number, DataError(error.what, where=record.where, mend=error.mend), record.file)
            continue
        if log.lacks(record, flat.row, columns, first=first):
            continue
        first = False
        yield record, flat
    if first:
        raise log.first_bad[0][1]  # a fault that every row has


def shapes_of(task: Task) -> dict[str, str]:
    """Part → the shape of its source, by the first rows; a part without a source of its own is not there."""
    shapes = {}
    for part in PARTS:
        name: str | None = getattr(task.data, part)
        if name is not None:
            log = ReadLog(skip_bad=True)
            next(flat_records(locate(task, name), needed_columns(task), task.data.shape, log))
            shapes[part] = log.shape
    return shapes


class BadRow(NamedTuple):
    """A row of a file to be answered that cannot be read."""

    row: int
    """Its number in its file, the first row of data being 1."""
    source: str
    """The file that it is in."""
    error: DataError


class _InPlace(ReadLog):
    """Keeps bad rows until the rows before them have been given: the shape of a file is told by looking ahead."""

    def __init__(self, skip_bad: bool, places: Sequence[str]) -> None:
        super().__init__(skip_bad)
        self._order = {place: at for at, place in enumerate(places)}
        self._waiting: list[tuple[tuple[int, int], BadRow]] = []

    def fault(self, number: int, error: DataError, file: str = "") -> None:
        super().fault(number, error, file)
        heapq.heappush(self._waiting, ((self._order[file], number), BadRow(number, file, error)))

    def before(self, record: Record | None) -> Iterator[BadRow]:
        """The bad rows that stand before a row; all of them at the end."""
        while self._waiting and (record is None or self._waiting[0][0] < (self._order[record.file], record.number)):
            yield heapq.heappop(self._waiting)[1]


def read_inputs(task: Task, path: str | Path, *, skip_bad: bool = False) -> Iterator[Example | BadRow]:
    """The rows of a source that are only to be answered; the target column need not be there. `answer` is None.

    Its shape is recognised, whatever the task says about its own data: production input comes in one of its own.

    Args:
        task: says which columns are read.
        path: see `read_records`.
        skip_bad: give a bad row as a `BadRow`, in its place; False refuses the first one.

    Raises:
        DataError: the source is at fault, every row is, or one is and bad rows are refused.
    """
    log = _InPlace(skip_bad, places_of(path))
    for record, flat in flat_records(path, task.columns, None, log):
        yield from log.before(record)
        row = flat.row if task.group is None or task.group in flat.row else {**flat.row, task.group: None}
        source = str(path) if record.file == str(path) else record.file
        yield make_example(task, row, record.number, source, history=flat.history, line=record.line, with_answer=False)
    yield from log.before(None)


def load_out_of_scope(task: Task) -> tuple[Example, ...]:
    """The rows of `data.out_of_scope`: inputs that belong to no label; empty where the task names none."""
    if task.data.out_of_scope is None:
        return ()
    rows = read_inputs(task, locate(task, task.data.out_of_scope), skip_bad=task.data.skip_bad)
    return tuple(row for row in rows if isinstance(row, Example))


def count_answers(
    path: str | Path,
    target: str,
    columns: Sequence[str] = (),
    *,
    shape: str | None = None,
    log: ReadLog | None = None,
) -> Counter[str]:
    """How often each answer occurs in a column of a source; what `kasauti init` lists as labels.

    Raises:
        DataError: the source is at fault, or `target` or one of `columns` is not in it.
    """
    rows = flat_records(path, [*columns, target], shape, ReadLog() if log is None else log)
    counts = Counter((flat.row[target] or "").strip() for _, flat in rows)
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
    """The conversation of an example: system (the row's own, else the task's instructions where there are some), the
    earlier turns, user, and assistant where asked for.

    Raises:
        DataError: the answer is asked for and the example has none.
    """
    own = bool(example.history) and example.history[0].role == "system"
    system = [] if own or not task.instructions else [Message(role="system", content=task.instructions)]
    turns = [*system, *example.history, Message(role="user", content=example.text)]
    if with_answer:
        if not example.answer:
            where = f"{example.source}, row {example.row}"
            raise DataError("the row has no answer to train on", where=where, mend="Fill it in, or remove the row.")
        turns.append(Message(role="assistant", content=example.answer))
    return tuple(turns)
