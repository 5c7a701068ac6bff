"""What can be mended in the data without a human's judgement, in a new data file.

Walks in: a task, the rows of its files with all their columns. Walks out: mended rows, a list of every change, and a
folder `.kasauti/data/<version>-<content>/` with the new files and that list. The user's own files are never touched.
It does not know which of two answers is right: rows that need judgement are left for the checks to tell.

Mended are: white space at the ends of inputs and labels; labels that certainly mean a listed one; on request personal
data; rows that repeat another of their file; held-out rows whose text (after normalisation) also stands in a part that
is learnt from. Mending what is mended changes nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kasauti.core.errors import DataError
from kasauti.core.files import STATE, atomic_write, content_hash
from kasauti.core.task import locate
from kasauti.core.types import Task
from kasauti.data.checks.labels import near_miss
from kasauti.data.checks.personal import mask_personal
from kasauti.data.conversation import PARTS, flat_records, make_example, needed_columns
from kasauti.data.duplicates import normalise
from kasauti.data.formats.row import Row
from kasauti.data.read import ReadLog, format_of
from kasauti.data.versions import data_version

CHANGES = "changes.jsonl"
"""The list of changes; written last, so that its presence says that the files beside it are whole."""
Numbered = tuple[int, Row]
"""A row and its number in the file that it came from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that was mended in one row."""

    part: str
    """train, validation or test: the file that the row came from."""
    row: int
    """Its number there, the first row of data being 1."""
    what: str
    """whitespace, label, personal, duplicate or leaked."""
    column: str
    """The column; empty where the whole row is meant."""
    before: str
    """What stood there; masked where personal data are."""
    after: str
    """What stands there now; empty for a row that was taken out, `to train` for one that was moved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixed:
    """Mended data on disk; `folder` is None where there was nothing to mend and nothing was written."""

    version: str
    """Data version of the mended rows."""
    folder: Path | None
    files: Mapping[str, str]
    """Part → the file to name in `task.yaml`, relative to the task's folder."""
    rows: Mapping[str, int]
    changes: Sequence[Change]

    @property
    def data_line(self) -> str:
        """The line for `task.yaml`."""
        named = ", ".join(f"{part}: {self.files.get(part, 'null')}" for part in PARTS)
        return f"data: {{{named}}}"


def fix(task: Task, *, mask: bool = False) -> Fixed:
    """Mend a task's data files into new ones.

    Args:
        task: names the files.
        mask: put `<kind>` in place of personal data, in every column.

    Raises:
        DataError: a file is at fault.
        StorageError: the folder may not be written.
    """
    sources: dict[str, str] = {part: name for part in PARTS if (name := getattr(task.data, part)) is not None}
    given = {part: _read(task, name) for part, name in sources.items()}
    parts, changes = mend(task, given, mask=mask)
    rows = {part: len(held) for part, held in parts.items()}
    examples = (
        make_example(task, row, number, sources[part], strict=False)
        for part, held in parts.items()
        for number, row in held
    )
    version = data_version(examples)
    if not changes:
        return Fixed(version=version, folder=None, files=sources, rows=rows, changes=())
    texts = {
        f"{part}{'.csv' if _is_table(name) else '.jsonl'}": (_csv if _is_table(name) else _json_lines)(parts[part])
        for part, name in sources.items()
    }
    folder = Path(task.folder) / STATE / "data" / f"{version[:12]}-{content_hash(texts)[:6]}"
    for name, text in texts.items():
        atomic_write(folder / name, text)
    atomic_write(folder / CHANGES, "".join(f"{json.dumps(asdict(one), ensure_ascii=False)}\n" for one in changes))
    files = {part: f"{STATE}/data/{folder.name}/{name}" for part, name in zip(sources, texts, strict=True)}
    return Fixed(version=version, folder=folder, files=files, rows=rows, changes=changes)


def _read(task: Task, name: str) -> list[Numbered]:
    """The rows of a source as columns, whatever their shape; bad rows are left out where the task says so."""
    rows, log = [], ReadLog(task.data.skip_bad)
    for record, flat in flat_records(locate(task, name), needed_columns(task), task.data.shape, log):
        example = make_example(task, flat.row, record.number, name, history=flat.history, strict=False)
        if example.history:
            fault = "the row has earlier turns or a system turn of its own, and only columns are mended"
            raise DataError(fault, where=record.where, mend="Mend conversations in their own file.")
        rows.append((record.number, flat.row))
    return rows


def mend(
    task: Task, parts: Mapping[str, Sequence[Numbered]], *, mask: bool = False
) -> tuple[dict[str, list[Numbered]], list[Change]]:
    """Mended rows of each part and every change, in the order of the files.

    Args:
        task: says which columns count, and the labels.
        parts: rows with all their columns; parts that the task splits off are not there.
        mask: see `fix`.
    """
    changes: list[Change] = []
    groups = _pseudonyms(task, parts) if mask else {}
    mended = {}
    for part in (name for name in PARTS if name in parts):
        rows = []
        for number, given in parts[part]:
            row = dict(given)
            for what, column, value in _cells(task, row, groups, mask):
                before = "" if what == "personal" else row[column] or ""
                row[column] = value
                changes.append(Change(part=part, row=number, what=what, column=column, before=before, after=value))
            rows.append((number, row))
        mended[part] = _without_repeats(task, part, rows, changes)
    _move_leaks(task, mended, changes)
    if mask:
        changes = [_masked_change(one) for one in changes]
    changes.sort(key=lambda one: (PARTS.index(one.part), one.row))
    return mended, changes


def _cells(task: Task, row: Row, groups: Mapping[str, str], mask: bool) -> Iterator[tuple[str, str, str]]:
    """`(what, column, new value)` for what has to change in a row, one after another."""
    judged = task.kind == "classification"
    # an answer's space may be code, and so may an input's where code is asked for
    trimmed = [*(task.columns if task.kind != "code" else ()), *([task.target] if judged else [])]
    for column in dict.fromkeys([*trimmed, *([task.group] if task.group else [])]):
        value = row[column]
        if value is not None and value != value.strip():
            yield "whitespace", column, value.strip()
    answer = row[task.target] or ""
    if judged and answer and task.labels and answer not in task.labels:
        label = near_miss(answer, task.labels)
        if label is not None:
            yield "label", task.target, label
    for column, value in list(row.items()) if mask else ():
        if value is None or (judged and column == task.target):
            continue
        hidden = groups.get(value, value) if column == task.group else masked(value)
        if hidden != value:
            yield "personal", column, hidden


def masked(text: str) -> str:
    """The text without personal data: what a mask leaves beside it is looked at again, until nothing is found."""
    while (shorter := mask_personal(text)) != text:
        text = shorter
    return text


def _pseudonyms(task: Task, parts: Mapping[str, Sequence[Numbered]]) -> dict[str, str]:
    """A number in place of every group that is personal data itself; a mask would make one group of them all."""
    if task.group is None:
        return {}
    values = {(row[task.group] or "").strip() for rows in parts.values() for _, row in rows}
    personal = sorted(value for value in values if masked(value) != value)
    free = (name for number in range(1, 2 * len(values) + 2) if (name := f"group {number}") not in values)
    return dict(zip(personal, free, strict=False))


def _masked_change(change: Change) -> Change:
    return Change(
        part=change.part,
        row=change.row,
        what=change.what,
        column=change.column,
        before=masked(change.before),
        after=masked(change.after),
    )


def _text(task: Task, row: Row) -> str:
    return "\n".join(row[column] or "" for column in task.columns)


def _same(task: Task, row: Row) -> tuple[str | None, ...]:
    """What two rows share that are the same example."""
    return (
        *(row[column] or "" for column in task.columns),
        row[task.target] or "",
        row[task.group] if task.group else None,
    )


def _without_repeats(task: Task, part: str, rows: Iterable[Numbered], changes: list[Change]) -> list[Numbered]:
    first: dict[tuple[str | None, ...], int] = {}
    kept = []
    for number, row in rows:
        other = first.setdefault(_same(task, row), number)
        if other == number:
            kept.append((number, row))
        else:
            said = f"taken out: row {other} is the same"
            changes.append(
                Change(part=part, row=number, what="duplicate", column="", before=_text(task, row), after=said)
            )
    return kept


def _move_leaks(task: Task, parts: dict[str, list[Numbered]], changes: list[Change]) -> None:
    """Held-out rows whose normalised text stands in an earlier part leave their own for that one.

    Where the earlier part has the very row, or other rows of its group stay behind (the group would then straddle the
    parts), it is only taken out. A part of nothing but such rows is left as it is: empty, it could judge nothing.
    """
    home: dict[str, str] = {}
    for part in (name for name in PARTS if name in parts):
        rows = parts[part]
        at = [home.get(normalise(_text(task, row)), "") for _, row in rows]
        if all(at):
            continue
        staying = [row for (_, row), place in zip(rows, at, strict=True) if not place]
        groups = {row[task.group] for row in staying if row[task.group]} if task.group else set()
        there = {place: {_same(task, row) for _, row in parts[place]} for place in set(at) if place}
        for (number, row), place in zip(rows, at, strict=True):
            if not place:
                continue
            same = _same(task, row)
            moves = same not in there[place] and not (task.group and row[task.group] in groups)
            if moves:
                parts[place].append((number, row))
                there[place].add(same)
            said = f"to {place}" if moves else f"taken out: {place} has the text"
            changes.append(Change(part=part, row=number, what="leaked", column="", before=_text(task, row), after=said))
        parts[part] = [one for one, place in zip(rows, at, strict=True) if not place]
        for row in staying:
            text = normalise(_text(task, row))
            if text:  # blank rows are told by their own check
                home[text] = part


def _is_table(name: str) -> bool:
    try:
        return format_of(name) in (".csv", ".tsv")
    except DataError:
        return False


def _csv(rows: Sequence[Numbered]) -> str:
    columns = list(dict.fromkeys(column for _, row in rows for column in row))
    text = io.StringIO()
    # csv puts quotes around what holds its own line end, and not around another's
    foreign = any("\r" in value for _, row in rows for value in row.values() if value)
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if foreign else csv.QUOTE_MINIMAL)
    writer.writerows([columns, *([row.get(column) or "" for column in columns] for _, row in rows)])
    return text.getvalue()


def _json_lines(rows: Sequence[Numbered]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for _, row in rows)


def count_changes(changes: Iterable[Change]) -> dict[str, int]:
    """Changes of each kind."""
    return dict(Counter(change.what for change in changes))
