"""What a source of examples holds, before there is a task.

Walks in: a source. Walks out: `Survey`: its shape, and what a task file over it would say. It does not know labels.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from kasauti.data.conversation import flat_records
from kasauti.data.read import ReadLog
from kasauti.data.shapes import COMPLETION, PROMPT


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """A source, looked at from its first row to its last."""

    shape: str
    """One of `SHAPES`."""
    rows: int
    """Rows that could be read."""
    input: str | None
    """The column of the user's turn; None where the shape does not say."""
    target: str | None
    """The column of the answer; None where the shape does not say."""
    instructions: str | None
    """The system turn that every row has; empty where rows have none or different ones; None where the shape has no
    place for one."""


def survey(source: str | Path, shape: str | None, log: ReadLog, wanted: Collection[str] = ()) -> Survey:
    """Look at every row.

    Args:
        source: see `read_records`.
        shape: one of `SHAPES`; None recognises it.
        log: takes bad rows and what there is to say.
        wanted: columns that were named already.

    Raises:
        DataError: the source or a row is at fault.
    """
    systems: set[str] = set()
    told: set[str] = set()
    apart, rows = True, 0
    for _, flat in flat_records(source, wanted, shape, log):
        rows += 1
        first = flat.history[0] if flat.history else None
        if len(systems) < 2:
            systems.add(first.content if first is not None and first.role == "system" else "")
        if log.shape == "alpaca" and apart:
            told.add(flat.row["instruction"] or "")
            apart = len(told) == 1 and bool((flat.row.get("input") or "").strip())
    if log.shape == "plain":
        return Survey(shape="plain", rows=rows, input=None, target=None, instructions=None)
    if log.shape == "alpaca" and apart and systems == {""}:
        # one instruction for all rows is the task's; shown in every row it would make all rows look alike
        return Survey(shape="alpaca", rows=rows, input="input", target=COMPLETION, instructions=told.pop())
    one = systems.pop() if len(systems) == 1 else ""
    return Survey(shape=log.shape, rows=rows, input=PROMPT, target=COMPLETION, instructions=one)
