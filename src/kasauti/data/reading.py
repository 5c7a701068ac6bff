"""Which rows does a person read?

Walks in: parts of the data; findings; a ranking of suspects. Walks out: rows in the order in which they are read. It
does not know what is decided about them. Test rows are in no list unless they are asked for by name.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Mapping, Sequence

from kasauti.core.types import Example, Finding
from kasauti.data.conversation import content

LEARNT = ("train", "validation")
"""Parts that are read as a matter of course: to read test rows is to look at them."""

Place = tuple[str, Example]
"""(part, row)."""


def random_rows(parts: Mapping[str, Sequence[Example]], count: int, seed: int) -> list[Place]:
    """Rows drawn at random: those whose hash under the seed is lowest.

    The draw is of each row by itself, so that a row that is added or goes changes the place of no other, and who comes
    back after a correction finds the rows that they were reading.
    """
    key, numbers = str(seed).encode(), itertools.count()
    # drawn by what the row says, not by its id: a new answer must not move it
    lots = (
        (hashlib.blake2b(content(row).encode(), digest_size=16, key=key).digest(), next(numbers), (part, row))
        for part, rows in parts.items()
        for row in rows
    )
    return [place for _, _, place in heapq.nsmallest(count, lots)]


def pointed_at(finding: Finding, parts: Mapping[str, Sequence[Example]]) -> list[Place]:
    """The rows that a finding names, in its order.

    A finding names rows by number, and numbers are those of a file: where two files are meant, both rows are read.
    """
    meant = [part for part in parts if part in finding.where] or list(parts)
    numbered: dict[int, list[Place]] = {number: [] for number in finding.rows}
    for part in meant:
        for row in parts[part]:
            if row.row in numbered:
                numbered[row.row].append((part, row))
    return [place for number in dict.fromkeys(finding.rows) for place in numbered[number]]
