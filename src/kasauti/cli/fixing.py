"""`kasauti audit --fix`: what was mended, as a document and as lines.

Walks in: `Fixed`. Walks out: plain values. It does not know how anything is mended.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import state_path
from kasauti.cli.draw import table

if TYPE_CHECKING:
    from kasauti.core.types import Task
    from kasauti.data.fix import Fixed

SHOWN = 30
"""Changes that the table shows; the file has them all."""
WIDTH = 48
_SAID = {
    "whitespace": "white space taken off",
    "label": "labels corrected",
    "personal": "values masked",
    "duplicate": "repeated rows taken out",
    "leaked": "leaked rows moved or taken out",
}


def fix_document(task: Task, fixed: Fixed) -> dict[str, Any]:
    """What `--json` shows of it."""
    from kasauti.data.fix import CHANGES, count_changes

    return {
        "version": fixed.version,
        "data": {part: fixed.files.get(part) for part in ("train", "validation", "test")},
        "rows": dict(fixed.rows),
        "counts": count_changes(fixed.changes),
        "changes": [dataclasses.asdict(one) for one in fixed.changes[:SHOWN]],
        "changes_file": state_path(task, "data", fixed.folder.name, CHANGES) if fixed.folder else None,
    }


def fix_lines(task: Task, fixed: Fixed) -> list[str]:
    """What a terminal shows of it."""
    document = fix_document(task, fixed)
    if fixed.folder is None:
        return ["Nothing can be mended without a human's judgement; no file was written."]
    rows = [
        (one["part"], one["row"], one["what"], one["column"], _cut(one["before"]), _cut(one["after"]))
        for one in document["changes"]
    ]
    counts = ", ".join(f"{number} {_SAID[what]}" for what, number in document["counts"].items())
    lines = [*table(("part", "row", "mended", "column", "before", "after"), rows, right=("row",)), f"Mended: {counts}."]
    if len(fixed.changes) > SHOWN:
        lines.append(f"These are the first {SHOWN} of {len(fixed.changes)} changes.")
    lines.append(f"All changes: {document['changes_file']}")
    return [
        *lines,
        "Your files are as they were. To use the mended ones, put this line into task.yaml:",
        fixed.data_line,
    ]


def _cut(text: str) -> str:
    shown = text if text == " ".join(text.split()) else repr(text)
    return shown if len(shown) <= WIDTH else f"{shown[: WIDTH - 2]} …"
