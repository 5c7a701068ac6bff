"""Which versions of the data were there, and what changed from one to another?

Walks in: a task's folder, the rows that a command loaded for real work. Walks out: every version's rows, kept once
under its hash; a log to which lines are only added; the difference of two versions. It does not know what the rows
are used for.

`.kasauti/data/<version>.parquet` holds the rows of a version, sorted by id, without their parts: which rows there are
makes a version, not where they stand. `.kasauti/data/log.jsonl` gets a line where a version is another one than that
of the line before.
"""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kasauti.core.errors import DataError, UsageError
from kasauti.core.files import STATE, append_line, atomic_write, read_json_lines
from kasauti.core.types import Example

_FIELD = "field:"
"""Before the name of an input column, so that a column named `id` is not mistaken."""
LATEST, PREVIOUS = "latest", "previous"
"""Names that stand for the last version of the log, and for the last one before it that differs."""
LEAST_PREFIX = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the log."""

    version: str
    """sha256 over the rows, as `data_version` makes it."""
    at: str
    """When it was first loaded, ISO 8601."""
    what: str
    """The command that loaded it."""
    rows: Mapping[str, int]
    """Rows in each of the task's files, by part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRow:
    """A row of a version."""

    id: str
    fields: Mapping[str, str]
    answer: str | None
    group: str | None
    history: str | None = None
    """The turns before the question, as JSON; None where there are none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What has to be done to one version to have the other. A row with the same input and group and another answer is
    relabelled; it is neither added nor removed."""

    a: str
    b: str
    """The two versions."""
    rows: tuple[int, int]
    """Rows of each."""
    added: Sequence[StoredRow]
    removed: Sequence[StoredRow]
    relabelled: Sequence[tuple[StoredRow, StoredRow]]
    """Before and after."""
    answers: Mapping[str, tuple[int, int]]
    """Answer → its rows in each version; by name, all of them."""


def record_version(task_folder: str | Path, version: str, parts: Mapping[str, Sequence[Example]], what: str) -> None:
    """Keep the rows of a version, once, and add it to the log where it is not the last one there.

    The rows are written before the line, so that what the log names can be read.

    Args:
        task_folder: the folder of `task.yaml`.
        version: hash of the rows (`data_version`).
        parts: all rows of each of the task's files, nothing taken out.
        what: the command that loaded them.

    Raises:
        StorageError: the folder may not be written.
    """
    path = _rows_path(task_folder, version)
    if not path.exists():
        atomic_write(path, _packed([row for rows in parts.values() for row in rows]))
    entries = history(task_folder)
    if not entries or entries[-1].version != version:
        line = {
            "version": version,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "what": what,
            "rows": {name: len(rows) for name, rows in parts.items() if rows},
        }
        append_line(_log_path(task_folder), json.dumps(line, ensure_ascii=False))


def history(task_folder: str | Path) -> list[Entry]:
    """The lines of the log, the oldest first; a damaged one is left out."""
    return [
        Entry(
            version=line["version"], at=str(line.get("at", "")), what=str(line.get("what", "")), rows=dict(line["rows"])
        )
        for line in read_json_lines(_log_path(task_folder))
        if isinstance(line, dict) and isinstance(line.get("version"), str) and isinstance(line.get("rows"), dict)
    ]


def find_version(task_folder: str | Path, name: str) -> str:
    """The version that a name stands for: `latest`, `previous`, or the beginning of its hash.

    Raises:
        UsageError: no version, or several, are called so.
    """
    versions = [entry.version for entry in history(task_folder)]
    known = list(dict.fromkeys(reversed(versions)))
    if not known:
        raise UsageError(
            "no version of the data is recorded yet", where=str(_log_path(task_folder)), mend="Run `kasauti audit`."
        )
    if name == LATEST:
        return known[0]
    if name == PREVIOUS:
        earlier = [version for version in reversed(versions) if version != known[0]]
        if not earlier:
            raise UsageError(
                f"there is one version only, {known[0][:12]}", mend="Change the data and run `kasauti audit`."
            )
        return earlier[0]
    found = [version for version in known if version.startswith(name.lower())]
    if len(found) == 1 and len(name) >= LEAST_PREFIX:
        return found[0]
    fault = f"{len(found)} versions of the data begin with {name!r}" if found else f"no version of the data is {name!r}"
    if len(found) == 1:
        fault = f"{name!r} is too short for a version"
    listed = ", ".join(version[:12] for version in (found if len(found) > 1 else known)[:10])
    raise UsageError(fault, mend=f"Give {LATEST}, {PREVIOUS}, or {LEAST_PREFIX} or more digits of one: {listed}.")


def compare_versions(task_folder: str | Path, a: str, b: str) -> Difference:
    """The difference of two recorded versions, by their whole hashes.

    Raises:
        DataError: the rows of one are not there, or damaged.
    """
    tables = [_table(task_folder, version) for version in (a, b)]
    ids = [table.column("id").to_pylist() for table in tables]
    before, after = (Counter(column) for column in ids)
    gone = _rows(tables[0], ids[0], before - after)
    come = _rows(tables[1], ids[1], after - before)
    relabelled, removed, added = _paired(gone, come)
    counts = [_answers(table) for table in tables]
    answers = {name: (counts[0][name], counts[1][name]) for name in sorted({*counts[0], *counts[1]})}
    return Difference(
        a=a,
        b=b,
        rows=(len(ids[0]), len(ids[1])),
        added=added,
        removed=removed,
        relabelled=relabelled,
        answers=answers,
    )


def _paired(
    gone: Iterable[StoredRow], come: Iterable[StoredRow]
) -> tuple[list[tuple[StoredRow, StoredRow]], list[StoredRow], list[StoredRow]]:
    """Rows that went and came with the same input and group, and what is left on either side."""
    waiting: defaultdict[tuple[Any, ...], list[StoredRow]] = defaultdict(list)
    for row in come:
        waiting[_key(row)].append(row)
    pairs, removed = [], []
    for row in gone:
        others = waiting[_key(row)]
        if others:
            pairs.append((row, others.pop(0)))
        else:
            removed.append(row)
    return pairs, removed, [row for rows in waiting.values() for row in rows]


def _key(row: StoredRow) -> tuple[Any, ...]:
    return (*row.fields.items(), row.group, row.history)


def _packed(examples: Sequence[Example]) -> bytes:
    """The rows as Parquet, a column for each input column."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for example in examples[:1] for name in example.fields))
    columns: dict[str, list[str | None]] = {
        "id": [example.id for example in examples],
        "answer": [example.answer for example in examples],
        "group": [example.group for example in examples],
        "history": [_turns(example) for example in examples],
        **{f"{_FIELD}{name}": [example.fields[name] for example in examples] for name in names},
    }
    table = pa.table({name: pa.array(values, type=pa.large_string()) for name, values in columns.items()})
    table = table.take(pc.sort_indices(table.column("id")))
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def _turns(example: Example) -> str | None:
    turns = [[turn.role, turn.content] for turn in example.history]
    return json.dumps(turns, ensure_ascii=False) if turns else None


def _table(task_folder: str | Path, version: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _rows_path(task_folder, version)
    mend = "Load that data once more (`kasauti audit`), or name another version."
    try:
        return pq.read_table(path)
    except FileNotFoundError as error:
        raise DataError("the rows of this version are not there", where=str(path), mend=mend) from error
    except (OSError, pa.ArrowException) as error:
        raise DataError("is no Parquet file, or a damaged one", where=str(path), mend=f"Delete it. {mend}") from error


def _rows(table: Any, ids: Sequence[str], wanted: Counter[str]) -> list[StoredRow]:
    """The rows with these ids, as often as is wanted."""
    import pyarrow as pa

    left, places = Counter(wanted), []
    for place, id in enumerate(ids):
        if left[id] > 0:
            left[id] -= 1
            places.append(place)
    return [
        StoredRow(
            id=row["id"],
            fields={name.removeprefix(_FIELD): text for name, text in row.items() if name.startswith(_FIELD)},
            answer=row["answer"],
            group=row["group"],
            history=row.get("history"),
        )
        for row in table.take(pa.array(places, type=pa.int64())).to_pylist()
    ]


def _answers(table: Any) -> Counter[str]:
    counted = table.column("answer").value_counts().to_pylist()
    return Counter({one["values"] or "": one["counts"] for one in counted})


def _log_path(task_folder: str | Path) -> Path:
    return Path(task_folder) / STATE / "data" / "log.jsonl"


def _rows_path(task_folder: str | Path, version: str) -> Path:
    return Path(task_folder) / STATE / "data" / f"{version}.parquet"
