"""Does the model stop after its answer? What it wrote when it was left to write, looked through.

Walks in: texts as they were generated. Walks out: how many are a label with more behind it. It does not know why.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.core.errors import DataError
from kasauti.core.files import RunFolder, read_json_lines
from kasauti.core.types import Task

SHARE = 0.02
"""Share of the texts that go on from which it is told; a row or two may be an accident."""
LEAST = 3
_TEXT = ("generated", "raw", "text", "output", "completion")
_TRUTH = ("truth", "expected", "label", "answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """One generated text."""

    text: str
    truth: str | None = None
    row: int = 0
    """Its number in its file, from 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Going:
    """Texts that go on behind a label."""

    rows: int
    """Texts looked at."""
    texts: Sequence[Written]
    """Those that go on."""
    right: int
    """Of these, those that begin with the right label, where it is known."""

    @property
    def told(self) -> bool:
        """Whether there are enough of them to speak of."""
        return len(self.texts) >= max(LEAST, SHARE * self.rows)


def going_on(written: Sequence[Written], labels: Sequence[str]) -> Going:
    """Texts that begin with a label and then say more; a text that is a label itself, or begins with none, is not.

    Text that is glued to a label (`refundrefund`) counts where the label is the right one and no label is so long: an
    invented label has words in common with others.
    """
    found, right = [], 0
    longest_first = sorted(labels, key=len, reverse=True)
    longest = max(map(len, labels), default=0)
    known = {_plain(label) for label in labels}
    for one in written:
        text = _plain(one.text)
        if text.rstrip(".!") in known:
            continue
        glued = one.truth if len(text) > longest and one.truth and text.startswith(_plain(one.truth)) else None
        label = next((name for name in longest_first if _begins(text, _plain(name))), glued)
        if label is not None:
            found.append(one)
            right += one.truth is not None and _plain(one.truth) == _plain(label)
    return Going(rows=len(written), texts=found, right=right)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _begins(text: str, label: str) -> bool:
    """Whether something follows the label; `refund_delayed` does not begin with a label `refund`, and a sign that glues
    text to a label (a special token such as <|im_start|>) does not hide it."""
    behind = text[len(label) :]
    return (
        bool(label)
        and text.startswith(label)
        and bool(behind.strip())
        and not (behind[0].isalnum() or behind[0] == "_")
    )


def of_trial(task: Task) -> tuple[list[Written], str]:
    """What the tuned approaches of the newest trial wrote; nothing where there is none. And the trial's id."""
    done = [folder for folder in RunFolder.all(task.folder, "trials", mark="trial.json") if folder.finished]
    if not done:
        return [], ""
    newest = max(done, key=lambda folder: folder.mark.stat().st_mtime)
    path = newest.path / "predictions.parquet"
    if not path.exists():
        return [], newest.id
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=["approach", "row", "truth", "generated"]).to_pylist()
    tuned = [one for one in rows if str(one["approach"]).startswith("tuned") and one["generated"] is not None]
    return [Written(text=one["generated"], truth=one["truth"], row=int(one["row"])) for one in tuned], newest.id


def read_written(path: str) -> list[Written]:
    """Texts of a file: JSON lines with `generated` (or raw, text, output, completion) and, if known, `truth`.

    Raises:
        DataError: no such file, or a line without a text.
    """
    made = []
    if not Path(path).is_file():
        raise DataError("there is no such file", where=path, mend="Name a file of JSON lines.")
    for number, row in enumerate(_lines(path), 1):
        text = next((row[name] for name in _TEXT if isinstance(row.get(name), str)), None)
        if text is None:
            mend = f"Give every line one of {', '.join(_TEXT)}."
            raise DataError(f"line {number} has no text", where=path, mend=mend)
        truth = next((row[name] for name in _TRUTH if isinstance(row.get(name), str)), None)
        made.append(Written(text=text, truth=truth, row=number))
    return made


def _lines(path: str) -> list[dict[str, Any]]:
    try:
        rows = read_json_lines(path)
    except json.JSONDecodeError as error:
        raise DataError(f"it is no JSON: {error.msg}", where=path, mend="Write a JSON object a line.") from None
    if not all(isinstance(row, dict) for row in rows):
        raise DataError("a line is no JSON object", where=path, mend="Write a JSON object a line.")
    return rows
