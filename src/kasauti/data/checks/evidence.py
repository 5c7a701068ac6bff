"""How findings quote the rows they are about.

Walks in: examples. Walks out: short texts and row numbers, at most `SHOWN` of each.
"""

from __future__ import annotations

from collections.abc import Iterable

from kasauti.core.types import Example
from kasauti.data.conversation import content

SHOWN = 20
"""Rows or texts that a finding carries."""


def row_numbers(examples: Iterable[Example]) -> list[int]:
    """The row numbers of the first few."""
    return [example.row for example, _ in zip(examples, range(SHOWN), strict=False)]


def quote(example: Example, width: int = 120) -> str:
    """The row's own words on one line, cut in the middle where they are longer than `width` characters."""
    text = " ".join(content(example).split())
    if len(text) <= width:
        return text
    return f"{text[: width * 2 // 3]} … {text[-(width // 3) :]}"


def share(part: int, whole: int) -> str:
    """`part` as a percentage of `whole`, such as `4.2%`."""
    return f"{100 * part / whole:.1f}%" if whole else "0%"
