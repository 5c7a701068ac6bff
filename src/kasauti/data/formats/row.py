"""What every reader gives: rows of text, and faults that cost one row and not the file.

Walks in: nothing. Walks out: the types that readers share, and the text of a value. It does not know any format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, time
from typing import Any

from kasauti.core.errors import DataError

Row = dict[str, str | None]
"""Column → value as it was written; None where the file has null."""
Item = tuple[int, Row | DataError]
"""The line that a row begins on (0 where the format has no lines), and the row or what is wrong with it."""
Say = Callable[[str], None]
"""Takes a sentence about the whole file that its reader has to know, such as a guessed encoding."""
Reader = Callable[[str, Say], Iterator[Item]]
"""A file's place → its rows. A fault that costs one row is yielded; one that costs the rest of the file is raised."""

TURNS = ("messages", "conversations", "conversation")
"""Columns that hold a conversation."""
MEND_ROW = "Mend that row."


class Written(float):
    """A number that remembers how it was written: 1.10 stays 1.10, for it may be the name of a label."""

    text: str

    def __new__(cls, text: str) -> Written:
        number = super().__new__(cls, text)
        number.text = text
        return number


def text_of(value: Any) -> str | None:
    """A value as the text of its column; lists and objects become JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Written):
        return value.text
    if isinstance(value, bool | int | float | dict | list):
        return json.dumps(value, ensure_ascii=False, default=_named)
    return _named(value)


def _named(value: Any) -> str:
    """Values that JSON has no word for. Raises UnicodeDecodeError for bytes that are no text."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def row_of(value: Any, where: str) -> Row | DataError:
    """An object → its values as text, or what is wrong with it."""
    if not isinstance(value, dict):
        mend = 'A row is an object such as {"text": "…", "label": "…"}.'
        return DataError(f"a row is a {type(value).__name__}, not an object", where=where, mend=mend)
    try:
        row = {key: text_of(item) for key, item in value.items()}
        "".join([*row, *(text or "" for text in row.values())]).encode("utf-8")
    except UnicodeEncodeError:
        mend = "Export the file again: half of a character is missing."
        return DataError("a character is broken (a lone surrogate)", where=where, mend=mend)
    except UnicodeDecodeError:
        mend = "Store text as text: an image or another file is no input."
        return DataError("a value is bytes that are no text", where=where, mend=mend)
    except RecursionError:
        return DataError("a value is nested too deeply", where=where, mend=MEND_ROW)
    return row
