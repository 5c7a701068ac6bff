"""Rows of a source, one at a time.

Walks in: a file (CSV, TSV, JSON, JSON lines, plain or gzipped; Parquet), a pattern of such files, or a data set of the
Hugging Face library (a saved folder, or `hf://owner/name:split`). Walks out: numbered rows of text. It does not know
what a column is for. A bad row is refused with its line, or, where the reader's log allows it, left out and counted;
never left out without a word.

Another format is one function in `formats/` and one line in `READERS`.
"""

from __future__ import annotations

import glob
import gzip
import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kasauti.core.errors import DataError
from kasauti.core.files import content_hash, file_hash
from kasauti.core.names import listing, suggestion
from kasauti.core.types import Finding, Severity
from kasauti.data.formats.columnar import HUB, read_hub, read_parquet, read_saved
from kasauti.data.formats.delimited import read_csv, read_tsv
from kasauti.data.formats.json_text import read_json, read_json_lines
from kasauti.data.formats.row import Reader, Row

FOLDER = "folder"
READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".parquet": read_parquet,
    FOLDER: read_saved,
    HUB: read_hub,
}
"""Suffix (or kind of place) → reader."""
PACKED = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
"""Formats that may be gzipped."""
SHOWN = 20
"""Bad rows that are shown."""


class Record(NamedTuple):
    """A row with its place."""

    number: int
    """Number of the row in its file, from 1; bad rows count."""
    row: Row
    file: str
    """The file it is from."""
    line: int
    """The line that it begins on; 0 where the format has no lines."""

    @property
    def where(self) -> str:
        """The place for an error."""
        return f"{self.file}:{self.line}" if self.line else f"{self.file}, row {self.number}"


class ReadLog:
    """What reading found besides rows: bad rows, and sentences about whole files.

    Args:
        skip_bad: leave bad rows out and count them; False refuses the first one.
        optional: whether the user could have bad rows left out; a refusal then says how.
    """

    def __init__(self, skip_bad: bool = False, *, optional: bool = True) -> None:
        self.skip_bad = skip_bad
        self._optional = optional
        self.bad = 0
        """Bad rows."""
        self.first_bad: list[tuple[int, DataError]] = []
        """The first `SHOWN` of them, with the row's number."""
        self.said: dict[str, None] = {}
        """Sentences, each once, in order."""
        self.shape = "plain"
        """The shape that the rows came in."""

    def fault(self, number: int, error: DataError, file: str = "") -> None:
        """A bad row, with its number in its file. Raises it unless bad rows are to be left out."""
        if not self.skip_bad and not self._optional:
            raise error
        if not self.skip_bad:
            more = "Or leave such rows out: --skip-bad, or `skip_bad: true` under `data` in the task file."
            raise DataError(error.what, where=error.where, mend=f"{error.mend} {more}") from error
        self.bad += 1
        if len(self.first_bad) < SHOWN:
            self.first_bad.append((number, error))

    def lacks(self, record: Record, row: Row, columns: Collection[str], *, first: bool) -> bool:
        """Whether a row lacks one of the columns; then it is a bad row.

        Args:
            record: its place.
            row: its columns as they are asked for.
            columns: what has to be there.
            first: no row before it had them all: the name is wrong, more likely than the row, and bad rows are refused.
        """
        missing = next((column for column in columns if column not in row), None)
        if missing is None:
            return False
        first = first and not self.skip_bad
        where = record.file if first else record.where
        error = DataError(f"there is no column {missing!r}", where=where, mend=column_mend(missing, list(row)))
        if first:
            raise error
        self.fault(record.number, error, record.file)
        return True

    def findings(self, part: str) -> list[Finding]:
        """What the reader of these rows has to know."""
        findings = [_remark(part, sentence) for sentence in self.said]
        if self.shape != "plain":
            what = f"the rows were read as {self.shape}: the last assistant turn is the answer"
            mend = "Where that is wrong, set `shape` under `data` in the task file."
            findings.append(Finding(check="reading", severity=Severity.NOTE, what=what, where=part, mend=mend))
        if self.bad:
            findings.append(
                Finding(
                    check="reading",
                    severity=Severity.WARN,
                    what=f"{self.bad} bad rows were left out",
                    where=part,
                    count=self.bad,
                    rows=[number for number, _ in self.first_bad],
                    evidence=[f"{error.where}: {error.what}" for _, error in self.first_bad],
                    why="What is left out is not learnt from, and not judged on.",
                    mend="Mend the rows that are named, in the file.",
                )
            )
        return findings


def _remark(part: str, sentence: str) -> Finding:
    return Finding(
        check="reading",
        severity=Severity.WARN,
        what=sentence,
        where=part,
        why="A file that is read in another way than it was written gives other texts.",
        mend="Look at a few rows; where they are wrong, save the file as UTF-8 CSV or JSON lines.",
    )


def read_rows(source: str | Path, columns: Sequence[str] = (), log: ReadLog | None = None) -> Iterator[tuple[int, Row]]:
    """The rows of a source in order; see `read_records`."""
    return ((record.number, record.row) for record in read_records(source, columns, log))


def read_records(source: str | Path, columns: Sequence[str] = (), log: ReadLog | None = None) -> Iterator[Record]:
    """The rows of a source in order, with their places.

    Args:
        source: a file, whose suffix (before `.gz`) says what it is, see `READERS`; a pattern with `*`, `?` or `[…]`,
            whose files are read in the order of their names; a saved data set's folder; `hf://owner/name:split`.
        columns: columns that every row must have.
        log: takes what there is to say; None refuses bad rows and keeps nothing.

    Raises:
        DataError: no such file, an unknown format, a fault in the text (with its line), a missing column, no rows.
    """
    log = ReadLog() if log is None else log
    found = False
    for place in places_of(source):
        for record in _records(place, columns, log):
            found = True
            yield record
    if not found:
        if log.first_bad:
            raise log.first_bad[0][1]  # a fault that every row has
        raise DataError("has no rows of data", where=str(source), mend="Check that it is the right file.")


def places_of(source: str | Path) -> list[str]:
    """The files of a source: those that a pattern matches, else the source itself.

    Raises:
        DataError: no file matches.
    """
    name = str(source)
    if name.startswith(HUB) or not glob.has_magic(name) or Path(name).exists():
        return [name]
    files = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
    if not files:
        raise DataError("no file matches", where=name, mend="Check the folder and the pattern.")
    return files


def source_hash(source: str | Path) -> str:
    """Hash of the files of a source; of its name where it is an id."""
    hashes = []
    for place in places_of(source):
        path = Path(place)
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        hashes += [place] if place.startswith(HUB) else [file_hash(file) for file in inside]
    return hashes[0] if len(hashes) == 1 else content_hash(hashes)


def _records(place: str, columns: Sequence[str], log: ReadLog) -> Iterator[Record]:
    reader = READERS[format_of(place)]
    try:
        for number, (line, row) in enumerate(reader(place, lambda said: log.said.setdefault(f"{place}: {said}")), 1):
            if isinstance(row, DataError):
                log.fault(number, row, place)
                continue
            record = Record(number, row, place, line)
            if not log.lacks(record, row, columns, first=number == 1):
                yield record
    except OSError as error:
        raise _unreadable(Path(place), error) from error
    except (EOFError, zlib.error) as error:
        raise DataError("the gzip data is cut off or damaged", where=place, mend="Copy it again.") from error


def format_of(source: str | Path) -> str:
    """The key of `READERS` for a place: its suffix, `.gz` apart. Raises `DataError` where no reader is known."""
    name = str(source)
    if name.startswith(HUB):
        return HUB
    path = Path(name)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    suffix = suffixes[-2:-1] if packed else suffixes[-1:]
    if suffix and suffix[0] in (PACKED if packed else READERS):
        return suffix[0]
    if path.is_dir():
        return FOLDER
    known = ", ".join(name for name in READERS if name.startswith("."))
    shown = f"the format {suffix[0]!r} is not known" if suffix else "the name has no suffix that says the format"
    if packed and suffix and suffix[0] in READERS:
        shown = f"a {suffix[0]} file is not gzipped from outside"
    raise DataError(shown, where=name, mend=f"Use one of {known} ({', '.join(PACKED)} with .gz too).")


def column_mend(missing: str, there: Sequence[str]) -> str:
    """The next step for a column that is not there: the nearest name, and all there are."""
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
