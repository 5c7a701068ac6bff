"""A generated year of calls: real complaints, some of them written otherwise from some week on, some of a new category.

Walks in: the rows of the bundled task, a seed. Walks out: what is learnt and judged at the start, and calls week by
week. It does not know alerts or models.

One category is hidden at the start, and its complaints come in from some week on: so the texts of the new category are
real too. Calls are drawn from complaints that neither the first version nor any test row has.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kasauti.core.types import Example

HIDDEN = "subscription_cancelled_still_charged"
"""The category that is new in the year."""
SHIFTED = 0.6
"""Share of the calls that are written otherwise after the shift."""
NEW_SHARE = 0.15
"""Share of the calls that are of the new category once it is there."""
_SAID = {
    "the": "wo", "my": "mera", "not": "nahi", "is": "hai", "and": "aur", "me": "mujhe", "money": "paisa", "was": "tha",
    "for": "ke liye", "but": "lekin", "they": "unhone", "from": "se", "bank": "bnk", "why": "kyu", "today": "aaj",
    "order": "ordr", "again": "phirse", "twice": "2baar", "received": "mila", "is not": "nhi h", "what": "kya",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pools:
    """The bundled rows, divided by the seed."""

    train: Sequence[Example]
    calibrate: Sequence[Example]
    test: Sequence[Example]
    stream: Sequence[Example]
    """What callers ask; never in the parts above."""
    hidden: Sequence[Example]
    """Complaints of the new category that callers send."""
    shifted: Sequence[Example]
    """Rows that no caller sends, written as after the shift: what accuracy on shifted rows is measured on."""


def pools(rows: Sequence[Example], draw: random.Random, hidden: str = HIDDEN) -> Pools:
    """Divide the rows.

    Args:
        rows: of all categories, at least 1,800.
    """
    known = [row for row in rows if row.answer != hidden]
    draw.shuffle(known)
    parts, at = [], 0
    for size in (620, 120, 400, 250):
        parts.append(known[at : at + size])
        at += size
    late = [row for row in rows if row.answer == hidden]
    return Pools(
        train=parts[0],
        calibrate=parts[1],
        test=parts[2],
        shifted=[rewritten(row, draw) for row in parts[3]],
        stream=known[at:],
        hidden=late,
    )


def week_of(pools: Pools, calls: int, draw: random.Random, *, shifted: bool, new: bool) -> list[Example]:
    """The calls of a week, in order; no complaint twice but where there are too few."""
    late = round(calls * NEW_SHARE) if new else 0
    rows = [*_drawn(pools.stream, calls - late, draw), *_drawn(pools.hidden, late, draw)]
    draw.shuffle(rows)
    return [rewritten(row, draw) if shifted and draw.random() < SHIFTED else row for row in rows]


def _drawn(rows: Sequence[Example], count: int, draw: random.Random) -> list[Example]:
    found: list[Example] = []
    while len(found) < count:
        found += draw.sample(list(rows), min(len(rows), count - len(found)))
    return found


def rewritten(row: Example, draw: random.Random) -> Example:
    """The row as it is typed on a phone by who mixes Hindi and English: words of the one for words of the other, vowels
    left out, letters swapped."""

    def typed(match: re.Match[str]) -> str:
        word = match[0].lower()
        if word in _SAID and draw.random() < 0.8:
            return _SAID[word]
        if len(word) > 3 and word.isascii() and draw.random() < 0.75:
            word = word[0] + re.sub("[aeiou]", "", word[1:])
        if len(word) > 3 and draw.random() < 0.15:
            at = draw.randrange(len(word) - 1)
            word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return word

    return replace(row, fields={name: _WORD.sub(typed, text) for name, text in row.fields.items()})
