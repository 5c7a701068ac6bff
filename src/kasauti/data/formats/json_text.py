"""JSON and JSON lines, one value at a time.

Walks in: the path of a file. Walks out: its rows. It does not know encodings or columns. A list, or an object that has
one list of objects in it, is read with a buffer that holds the value at hand and no more. In JSON lines a broken line
costs that row; in a list a value that does not parse costs the rest of the file, since nothing says where the next one
begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kasauti.core.errors import DataError
from kasauti.data.formats.row import MEND_ROW, TURNS, Item, Row, Say, Written, row_of
from kasauti.data.formats.text import Line, lines, parts

_VALUE_LIMIT = 64 * 2**20
"""Characters of one value in a list; a quote that is never closed reads on until here."""
_FIRST_LINE = 2**18
"""Characters in which the first line has to end for a file to be JSON lines under the suffix .json."""
_BORDER = 16
"""A fault this near to the end of the buffer may be only that the rest is not there yet."""
_TURNS = (*TURNS, "prompt", "completion")
"""A list under one of these names is one row's turns, never a file's rows."""
_SPACE = re.compile(r"[ \t\n\r]*")
_OBJECTS = re.compile(r"\[[ \t\n\r]*\{")
_NEVER_CLOSED = "is cut off: the list is never closed"


class _Decoder:
    """A JSON decoder that remembers a key that was given twice, anywhere in the value."""

    def __init__(self) -> None:
        self.twice: str | None = None
        self._json = json.JSONDecoder(parse_float=Written, object_pairs_hook=self._pairs)

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            keys = [key for key, _ in pairs]
            self.twice = next(key for key in keys if keys.count(key) > 1)
        return made

    def whole(self, text: str) -> Any:
        """The value that is all of a text."""
        self.twice = None
        return self._json.decode(text)

    def at(self, text: str, start: int) -> tuple[Any, int]:
        """The value that begins at `start`, and where it ends."""
        self.twice = None
        return self._json.raw_decode(text, start)

    def row(self, value: Any, where: str) -> Row | DataError:
        """The row that was decoded last."""
        if self.twice is not None:
            mend = "Rename one of them."
            return DataError(f"two values are named {self.twice!r}", where=where, mend=mend)
        return row_of(value, where)


def read_json_lines(source: str, say: Say) -> Iterator[Item]:
    """One object a line."""
    path, decoder = Path(source), _Decoder()
    for line in lines(path, say):
        text, where = line.text.strip(), f"{path}:{line.number}"
        if line.fault is not None:
            yield line.number, line.fault
        elif text:
            try:
                yield line.number, decoder.row(decoder.whole(text), where)
            except (ValueError, RecursionError) as error:
                yield line.number, _fault(error, where)


def _fault(error: Exception, where: str) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        return DataError(f"is not valid JSON: {error.msg}", where=where, mend="Mend that line.")
    reason = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return DataError(reason, where=where, mend=MEND_ROW)


def read_json(source: str, say: Say) -> Iterator[Item]:
    """A list of objects, an object that has such a list in it, or JSON lines under this suffix."""
    path = Path(source)
    buffer = _Buffer(path, parts(path, say))
    first = buffer.peek()
    if first == "{" and _is_lines(buffer):
        yield from read_json_lines(source, say)
        return
    if first == "[":
        yield from _items(buffer)
    elif first == "{":
        yield from _wrapped(buffer, say)
    elif first:
        name = type(buffer.value()).__name__
        raise buffer.fault(f"holds a {name}, not a list", "Write a list of objects, or one object a line.")
    if buffer.peek():
        raise buffer.fault("is not valid JSON: there is more behind the end", "Write one list, or one object a line.")


class _Buffer:
    """The text from where it is read, as much of it as is needed."""

    def __init__(self, path: Path, source: Iterator[Line]) -> None:
        self._path, self._source = path, source
        self._faults: dict[int, DataError] = {}
        self.text = ""
        self.at = 0
        self.line = 1
        """The line of `at`."""
        self.decoder = _Decoder()

    def more(self, size: int = 0) -> bool:
        """Read on, at least as much as is there already; False at the end of the file."""
        made, gained = [self.text[self.at :]], 0
        self.at = 0
        for part in self._source:
            made.append(part.text)
            gained += len(part.text)
            if part.fault is not None:
                self._faults.setdefault(part.number, part.fault)
            if gained >= max(len(made[0]), size):
                break
        self.text = "".join(made)
        return gained > 0

    def peek(self) -> str:
        """The next character that is no space, which stays; empty at the end."""
        while True:
            match = _SPACE.match(self.text, self.at)
            assert match is not None  # nothing at all matches too
            self._move(match.end())
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self) -> str:
        """The next character that is no space."""
        found = self.peek()
        self.at += len(found)
        return found

    def value(self) -> Any:
        """The next value.

        Raises:
            DataError: it is not JSON, or too long.
        """
        self.peek()
        ended = False
        while True:
            try:
                value, end = self.decoder.at(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self.text) - _BORDER
                if not cut or ended:
                    self._move(min(error.pos, len(self.text)))
                    raise self.fault(f"is not valid JSON: {error.msg}", "Mend that place.") from error
            except (ValueError, RecursionError) as error:
                raise _fault(error, f"{self._path}:{self.line}") from error
            else:
                if end < len(self.text) or ended or isinstance(value, dict | list | str):
                    self._end = end
                    return value
            if len(self.text) - self.at > _VALUE_LIMIT:
                raise self.fault(f"a value is longer than {_VALUE_LIMIT:,} characters", "Check its quotes.")
            ended = not self.more()

    def row(self, value: Any, number: int) -> Row | DataError:
        """The value that was read last as a row, and the place behind it.

        What could not be decoded stands in the text as U+FFFD; a value without one is whole.
        """
        row = self.decoder.row(value, f"{self._path}:{self.line}, item {number}")
        return self._undecoded(self.at, self._end) or row

    def done(self) -> None:
        """Go on behind the value that was read last."""
        self._move(self._end)

    def fault(self, what: str, mend: str) -> DataError:
        """A fault at the place where it is read; bytes near it that could not be decoded explain it better."""
        near = self._undecoded(max(0, self.at - _BORDER), self.at + _BORDER)
        return near or DataError(what, where=f"{self._path}:{self.line}", mend=mend)

    def _undecoded(self, start: int, end: int) -> DataError | None:
        """The first fault of the lines of a piece of the text, where it has characters that could not be decoded."""
        if not self._faults or "\ufffd" not in self.text[start:end]:
            return None
        first = self.line - self.text.count("\n", start, self.at)
        lines = range(first, first + self.text.count("\n", start, end) + 1)
        return next((self._faults[line] for line in lines if line in self._faults), None)

    def _move(self, to: int) -> None:
        self.line += self.text.count("\n", self.at, to)
        self.at = to


def _is_lines(buffer: _Buffer) -> bool:
    """Whether the first line is a whole object, and is a row: another line follows, or it has no list of rows in it."""
    while "\n" not in buffer.text and len(buffer.text) < _FIRST_LINE and buffer.more(_FIRST_LINE):
        pass
    if "\n" not in buffer.text and len(buffer.text) >= _FIRST_LINE:
        return False
    first, _, rest = buffer.text[buffer.at :].partition("\n")
    while not rest.strip() and buffer.more():
        rest = buffer.text[buffer.at :].partition("\n")[2]
    try:
        value = _Decoder().whole(first.strip())
    except (ValueError, RecursionError):
        return False
    return bool(rest.strip()) or not any(_is_rows(key, item) for key, item in value.items())


def _is_rows(key: str, value: Any) -> bool:
    return key not in _TURNS and isinstance(value, list) and value != [] and isinstance(value[0], dict)


def _items(buffer: _Buffer) -> Iterator[Item]:
    buffer.take()
    if buffer.peek() == "]":
        buffer.take()
        return
    number = 0
    while True:
        number += 1
        if not buffer.peek():
            raise buffer.fault(_NEVER_CLOSED, "Copy it again.")
        value, line = buffer.value(), buffer.line
        yield line, buffer.row(value, number)
        buffer.done()
        mark = buffer.take()
        if mark == "]":
            return
        if mark != ",":
            what = "is not valid JSON: a comma or ] is missing" if mark else _NEVER_CLOSED
            raise buffer.fault(what, "Mend that place." if mark else "Copy it again.")


def _wrapped(buffer: _Buffer, say: Say) -> Iterator[Item]:
    """The rows of an object with one list of objects in it; what stands beside the list is said."""
    found, beside = None, []
    buffer.take()
    while buffer.peek() != "}":
        key = buffer.value()
        buffer.done()
        if not isinstance(key, str) or buffer.take() != ":":
            raise buffer.fault("is not valid JSON: a name and a colon are expected", "Mend that place.")
        if key not in _TURNS and _opens_objects(buffer):
            if found is not None:
                mend = "Write the list of rows alone."
                raise buffer.fault(f"holds two lists of objects, {found!r} and {key!r}", mend)
            found = key
            yield from _items(buffer)
        else:
            beside.append(key)
            buffer.value()
            buffer.done()
        mark = buffer.take()
        if mark == "}":
            break
        if mark != ",":
            raise buffer.fault("is not valid JSON: a comma or } is missing", "Mend that place.")
    else:
        buffer.take()
    if found is None:
        raise buffer.fault("holds one object and no list of rows", "Write a list of objects, or one object a line.")
    more = f"; beside it stand {', '.join(map(repr, beside[:5]))}, which are no rows" if beside else ""
    say(f"the rows are the list {found!r}{more}")


def _opens_objects(buffer: _Buffer) -> bool:
    if buffer.peek() != "[":
        return False
    while not buffer.text[buffer.at + 1 :].strip():  # all that is there yet is space
        if not buffer.more():
            return False
    return _OBJECTS.match(buffer.text, buffer.at) is not None
