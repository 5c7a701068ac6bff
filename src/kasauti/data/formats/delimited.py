"""CSV and TSV: the dialect found out, every record with the line that it begins on.

Walks in: the path of a file with a header. Walks out: its rows. It does not know encodings. The delimiter and the quote
are those that cut the first lines into columns alike. A record at fault costs its first line: what a quote that is
never closed has swallowed is read again.
"""

from __future__ import annotations

import csv
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from kasauti.core.errors import DataError
from kasauti.data.formats.row import Item, Say
from kasauti.data.formats.text import Line, lines

_FIELD_LIMIT = 16 * 2**20
"""Characters in one field. A quote that is never closed swallows the file; this bounds what it takes with it."""
_SAMPLE_LINES = 200
_SAMPLE_SIZE = 2**20
"""Characters of the sample, where lines are long."""
_DELIMITERS = (",", ";", "\t", "|")


class _Dialect(NamedTuple):
    delimiter: str
    quote: str = '"'


def read_csv(source: str, say: Say) -> Iterator[Item]:
    """A file whose delimiter is to be found out: comma, semicolon, tab or bar."""
    return _records(Path(source), say, _DELIMITERS)


def read_tsv(source: str, say: Say) -> Iterator[Item]:
    """A file whose delimiter is a tab."""
    return _records(Path(source), say, ("\t",))


def _records(path: Path, say: Say, delimiters: tuple[str, ...]) -> Iterator[Item]:
    csv.field_size_limit(_FIELD_LIMIT)
    source = lines(path, say)
    sample = _sample(source)
    dialect = _sniff([line.text for line in sample], delimiters)
    if dialect.quote == "'":
        say("was read with ' as the quote around values")
    feed = _Feed(itertools.chain(sample, source))
    reader = csv.reader(feed, delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True)
    header: list[str] | None = None
    while True:
        feed.begin()
        fault = None
        try:
            record = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            record, fault = [], _csv_fault(path, feed.first, dialect, error)
            feed.give_back()
        fault = fault or feed.fault
        if header is None:
            if fault is not None:
                raise fault
            header = _header(record, path, feed.first) if record else None
        elif fault is not None:
            yield feed.first, fault
        elif record and len(record) != len(header):
            yield feed.first, _ragged(path, feed.first, dialect, len(record), len(header))
        elif record:
            yield feed.first, dict(zip(header, record, strict=True))
    if header is None:
        raise DataError("is empty", where=str(path), mend="Check that it is the right file.")


def _sample(source: Iterator[Line]) -> list[Line]:
    taken, size = [], 0
    for line in itertools.islice(source, _SAMPLE_LINES):
        taken.append(line)
        size += len(line.text)
        if size > _SAMPLE_SIZE:
            break
    return taken


class _Feed:
    """Lines for `csv.reader`, with those of the record at hand kept, so that they can be read again."""

    def __init__(self, source: Iterable[Line]) -> None:
        self._source = iter(source)
        self._again: deque[Line] = deque()
        self._taken: list[Line] = []

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._source)
        self._taken.append(line)
        return line.text

    def begin(self) -> None:
        """A record begins with the next line."""
        self._taken.clear()

    def give_back(self) -> None:
        """All lines of the record but its first are read again."""
        self._again.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]

    @property
    def first(self) -> int:
        """The line that the record begins on."""
        return self._taken[0].number

    @property
    def fault(self) -> DataError | None:
        """What is wrong with the text of the record."""
        return next((line.fault for line in self._taken if line.fault is not None), None)


def _sniff(sample: list[str], delimiters: tuple[str, ...]) -> _Dialect:
    """The dialect that cuts the first lines into the same number of columns, the most columns winning."""
    plain = [_Dialect(delimiter) for delimiter in delimiters]
    single = [_Dialect(delimiter, "'") for delimiter in delimiters if _single_quoted(sample, delimiter)]
    best = max([*single, *plain], key=lambda dialect: _fit(sample, dialect))  # the first of equals
    return best if _fit(sample, best)[1] > 1 or best.quote == "'" else plain[0]


def _fit(sample: list[str], dialect: _Dialect) -> tuple[bool, int]:
    try:
        reader = csv.reader(sample, delimiter=dialect.delimiter, quotechar=dialect.quote)
        widths = [len(record) for record in reader if record]
    except csv.Error:
        return False, 1
    whole = widths[:-1] if _is_cut(sample) and len(widths) > 2 else widths
    width = widths[0] if widths else 1
    return width > 1 and len(set(whole)) == 1, width


def _is_cut(sample: list[str]) -> bool:
    """Whether the file may go on behind the sample, so that its last record may be cut off."""
    return len(sample) == _SAMPLE_LINES or sum(map(len, sample)) > _SAMPLE_SIZE


def _single_quoted(sample: list[str], delimiter: str) -> bool:
    """Whether ' is the quote: some value begins with it, all that do also end with it, and none begins with \"."""
    text = "".join(sample)
    if not any(line.startswith("'") or f"{delimiter}'" in line for line in sample):
        return False
    if text.startswith('"') or f'{delimiter}"' in text or '\n"' in text:
        return False
    try:
        return bool(list(csv.reader(sample, delimiter=delimiter, quotechar="'", strict=True)))
    except csv.Error as error:
        return _is_cut(sample) and "unexpected end" in str(error)


def _header(record: list[str], path: Path, line: int) -> list[str]:
    header = [name.strip() for name in record]
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two columns are named {twice!r}", where=f"{path}:{line}", mend="Rename one of them.")
    return header


def _ragged(path: Path, line: int, dialect: _Dialect, there: int, wanted: int) -> DataError:
    mend = f"Put quotes around values that hold the delimiter {dialect.delimiter!r}, or mend the row."
    fault = f"the row has {there} values, the header has {wanted}"
    return DataError(fault, where=f"{path}:{line}", mend=mend)


def _csv_fault(path: Path, line: int, dialect: _Dialect, error: csv.Error) -> DataError:
    reason, quote = str(error), dialect.quote
    mend = f"Look at the quotes of the row that starts there: inside quotes, write {quote} as {quote * 2}."
    if "new-line" in reason:
        reason, mend = "a line ends in a bare carriage return", "Save the file with the line ends of Unix or Windows."
    elif "unexpected end" in reason:
        reason = "a quote is opened and never closed"
    elif "field limit" in reason:
        reason = f"a value is longer than {_FIELD_LIMIT:,} characters"
    return DataError(reason, where=f"{path}:{line}", mend=mend)
