"""Rows of a file, one at a time.

Walks in: the path of a CSV, TSV, JSON or JSON-lines file, plain or gzipped. Walks out: `(row number, column → text)`,
the first row of data being 1. It does not know what a column is for. A fault is an error with its line, never a row
left out.

Another format is one function and one line in `READERS`.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from kasauti.core.errors import DataError
from kasauti.core.names import listing, suggestion

Row = dict[str, str | None]
"""Column → value as it was written; None where the file has null."""

_FIELD_LIMIT = 16 * 2**20
"""Characters in one CSV field. A quote that is never closed swallows the file; this bounds what it takes with it."""
_SNIFFED_LINES = 40
_DELIMITERS = (",", ";", "\t", "|")


def read_rows(path: str | Path, columns: Sequence[str] = ()) -> Iterator[tuple[int, Row]]:
    """The rows of a file in order.

    Args:
        path: the file; its suffix (before `.gz`) says what it is, see `READERS`.
        columns: columns that every row must have.

    Yields:
        The number of the row, from 1, and its columns.

    Raises:
        DataError: no such file, an unknown format, a fault in the text (with its line), a missing column, no rows.
    """
    path = Path(path)
    reader = READERS[format_of(path)]
    empty = True
    try:
        for number, (line, row) in enumerate(reader(path), start=1):
            empty = False
            missing = next((column for column in columns if column not in row), None)
            if missing is not None:
                raise DataError(
                    f"there is no column {missing!r}",
                    where=str(path) if number == 1 else f"{path}:{line}",
                    mend=_column_mend(missing, list(row)),
                )
            yield number, row
    except OSError as error:
        raise _unreadable(path, error) from error
    except (EOFError, zlib.error) as error:
        raise DataError("the gzip data is cut off or damaged", where=str(path), mend="Copy it again.") from error
    if empty:
        raise DataError("has no rows of data", where=str(path), mend="Check that it is the right file.")


def format_of(path: Path) -> str:
    """The suffix that decides the reader, `.gz` apart. Raises `DataError` where no reader is known."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in READERS:
        shown = f"the format {suffix!r} is not known" if suffix else "the name has no suffix that says the format"
        raise DataError(shown, where=str(path), mend=f"Use one of {', '.join(READERS)} (or any with .gz).")
    return suffix


def _column_mend(missing: str, there: list[str]) -> str:
    near = suggestion(missing, there)
    return near if near.startswith("Known") else f"{near} {listing(there)}"


def _unreadable(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        mend = suggestion(path.name, beside) if beside else "Check the path."
        return DataError("no such file", where=str(path), mend=mend if mend.startswith("Did") else "Check the path.")
    if isinstance(error, gzip.BadGzipFile):
        return DataError("is not gzip data", where=str(path), mend="Remove .gz from its name if it is plain.")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return DataError(f"cannot be read: {reason}", where=str(path), mend="Name a file that may be read.")


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, line ends kept, decoded one by one so that a fault has its line number."""
    with _open(path) as file:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    mend = f"Convert it: iconv -f UTF-16 -t UTF-8 {path.name} > new{path.suffix}"
                    raise DataError("is UTF-16, not UTF-8", where=str(path), mend=mend)
                raw = raw.removeprefix(codecs.BOM_UTF8)
            if b"\0" in raw:
                mend = "Export the file again, or remove them: tr -d '\\000' < old > new."
                raise DataError("there is a NUL byte", where=f"{path}:{number}", mend=mend)
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError as error:
                shown = raw[max(0, error.start - 12) : error.end + 8].decode("utf-8", "replace")
                mend = f"Convert it: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > new{path.suffix}"
                raise DataError(f"is not UTF-8 near {shown!r}", where=f"{path}:{number}", mend=mend) from error


def _read_csv(path: Path) -> Iterator[tuple[int, Row]]:
    return _records(path, _sniff(path))


def _read_tsv(path: Path) -> Iterator[tuple[int, Row]]:
    return _records(path, "\t")


def _sniff(path: Path) -> str:
    """The delimiter that cuts the first lines into the same number of columns, the most columns winning."""
    sample = [line for _, line in zip(range(_SNIFFED_LINES), _lines(path), strict=False)]

    def fit(delimiter: str) -> tuple[bool, int]:
        try:
            widths = [len(record) for record in csv.reader(sample, delimiter=delimiter) if record]
        except csv.Error:
            return False, 1
        # the last record may be cut off by the end of the sample
        whole = widths[:-1] if len(sample) == _SNIFFED_LINES and len(widths) > 2 else widths
        width = widths[0] if widths else 1
        return width > 1 and len(set(whole)) == 1, width

    best = max(_DELIMITERS, key=fit)  # the first of equals: a comma
    return best if fit(best)[1] > 1 else ","


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise _csv_fault(path, line, error) from error
        if not record:
            continue  # an empty line
        if header is None:
            header = _header(record, path, line)
        elif len(record) != len(header):
            mend = f"Put quotes around values that hold the delimiter {delimiter!r}, or mend the row."
            fault = f"the row has {len(record)} values, the header has {len(header)}"
            raise DataError(fault, where=f"{path}:{line}", mend=mend)
        else:
            yield line, dict(zip(header, record, strict=True))
    if header is None:
        raise DataError("is empty", where=str(path), mend="Check that it is the right file.")


def _header(record: list[str], path: Path, line: int) -> list[str]:
    header = [name.strip() for name in record]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two columns are named {twice!r}", where=f"{path}:{line}", mend="Rename one of them.")
    return header


def _csv_fault(path: Path, line: int, error: csv.Error) -> DataError:
    reason = str(error)
    mend = 'Look at the quotes of the row that starts there: inside quotes, write " as "".'
    if "new-line" in reason:
        reason, mend = "a line ends in a bare carriage return", "Save the file with the line ends of Unix or Windows."
    elif "unexpected end" in reason:
        reason = "a quote is opened and never closed"
    elif "field limit" in reason:
        reason = f"a value is longer than {_FIELD_LIMIT:,} characters"
    return DataError(reason, where=f"{path}:{line}", mend=mend)


class _Written(float):
    """A number that remembers how it was written: 1.10 stays 1.10, for it may be the name of a label."""

    text: str

    def __new__(cls, text: str) -> _Written:
        number = super().__new__(cls, text)
        number.text = text
        return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ValueError(f"two values are named {twice!r}")
    return dict(pairs)


def _parse(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text, parse_float=_Written, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        where = f"{path}:{line + error.lineno - 1}"
        raise DataError(f"is not valid JSON: {error.msg}", where=where, mend="Mend that line.") from error
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "is nested too deeply"
        raise DataError(reason, where=f"{path}:{line}", mend="Mend that line.") from error


def _row(value: Any, where: str) -> Row:
    """An object → its values as text; lists and objects inside it stay JSON."""
    if not isinstance(value, dict):
        mend = 'A row is an object such as {"text": "…", "label": "…"}.'
        raise DataError(f"a row is a {type(value).__name__}, not an object", where=where, mend=mend)
    row = {key: _text(item) for key, item in value.items()}
    try:
        "".join([*row, *(text or "" for text in row.values())]).encode("utf-8")
    except UnicodeEncodeError as error:
        mend = "Export the file again: half of a character is missing."
        raise DataError("a character is broken (a lone surrogate)", where=where, mend=mend) from error
    return row


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return value.text if isinstance(value, _Written) else json.dumps(value, ensure_ascii=False)


def _read_json_lines(path: Path) -> Iterator[tuple[int, Row]]:
    for line, text in enumerate(_lines(path), start=1):
        if text.strip():
            yield line, _row(_parse(text.strip(), path, line), f"{path}:{line}")


def _read_json(path: Path) -> Iterator[tuple[int, Row]]:
    """A list of objects, held in memory whole; or JSON lines under this suffix, told by their `{`."""
    first = next((line for line in _lines(path) if line.strip()), "")
    if first.lstrip().startswith("{"):
        yield from _read_json_lines(path)
        return
    values = _parse("".join(_lines(path)), path, 1) if first else []
    if not isinstance(values, list):
        mend = "Write a list of objects, or one object a line."
        raise DataError(f"holds a {type(values).__name__}, not a list", where=str(path), mend=mend)
    for number, value in enumerate(values, start=1):
        yield number, _row(value, f"{path}, item {number}")


READERS: dict[str, Callable[[Path], Iterator[tuple[int, Row]]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
}
"""Suffix → reader. A reader yields the line (for errors) and the columns of each row."""
