"""What calls cost and what they answered: an append-only file, written before a request is sent and after it is
answered.

Walks in: what a request may cost at most, then its outcome. Walks out: answers that are never paid for twice, and a
promise that the cap is not passed. It does not know HTTP, prompts or labels, and never sees a key or a text that was
sent: a request is known by its hash.

Four kinds of line: `send` (what this request may cost at most), then for the same id `answer` (what it said and cost),
`void` (nothing came of it and nothing is paid), or `lost` (it may have been paid, and the answer is gone). A `send`
that a kill left without a second line counts as lost. Several processes may write at once: every line is written under
a lock, by whoever has read all lines before it. Answers are synced to the disk before they count; what was set aside
for requests under way survives a kill, but may be forgotten in a power cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from kasauti.core.files import STATE, make_folder, storage_errors, sync_file, sync_folder

Alternatives = Sequence[tuple[str, float]]
"""(token's text, log-probability) at one place of an answer; the token that was written stands first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What an endpoint answered to one request."""

    text: str
    finish: str
    """`stop`, or why it ended otherwise: `length`, `content_filter`, …"""
    input_tokens: int
    output_tokens: int
    counted: bool
    """The tokens are the server's count; False where it gave none and they are the most that there can have been."""
    cost: float
    """In the task's currency, at the prices of that day."""
    seconds: float
    """From sending to the last byte, of the request that was answered; waits and retries are not in it."""
    model: str = ""
    """The model as the server names it."""
    tops: tuple[Alternatives, ...] = ()
    """One entry a token that was written; empty where the server gives no log-probabilities."""


def ledger_path(task_folder: str | Path) -> Path:
    """Where the ledger of a task lies."""
    return Path(task_folder) / STATE / "hosted" / "calls.jsonl"


class Ledger:
    """Answers and money of a task's hosted calls, as its file says.

    Args:
        path: the file; it is made at the first request.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {}
        """By the hash of the request."""
        self.spent = 0.0
        """Paid for answers, and counted at its worst for what was lost."""
        self.lost = 0
        """Requests whose answer is gone, and which may have been paid."""
        self._open: dict[str, tuple[str, float]] = {}  # id → the request's hash and its cost at most
        self._told: Counter[str] = Counter()  # errors that servers told, by the request's hash
        self._read = 0  # bytes of the file that are known

    @property
    def committed(self) -> float:
        """Spent, and what is under way at its worst."""
        return self.spent + sum(most for _, most in self._open.values())

    def refresh(self) -> None:
        """Read what was written since, by this process or another; a file that is not there is empty."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), self.path.open("rb") as file:
            self._catch_up(file)

    def reserve(self, key: str, most: float, cap: float) -> str | None:
        """Set aside what a request may cost, before it is sent.

        Args:
            key: the request's hash.
            most: what it may cost.
            cap: what all requests may cost together.

        Returns:
            The id under which the outcome is to be told; None where the cap leaves too little. Where another process
            has the answer by now, it is in `answers` and the id is empty.
        """
        with self._locked() as file:
            if key in self.answers:
                return ""
            if self.committed + most > cap:
                return None
            id = uuid.uuid4().hex
            self._append(file, {"did": "send", "id": id, "key": key, "most": most})
            return id

    def idempotency(self, key: str) -> str:
        """What is sent along as `Idempotency-Key`: the same again after a kill or a lost answer, so that a server that
        knows such keys answers without charging twice; another one after an error that the server itself told."""
        return f"{key[:40]}-{self._told[key]}"

    def answered(self, id: str, answer: Answer) -> None:
        """Keep an answer: no kill takes it away from now on, and no power cut after `sync`."""
        with self._locked() as file:
            self._append(file, {"did": "answer", "id": id, **asdict(answer)})

    def sync(self) -> None:
        """Everything that was written, on the disk itself."""
        with storage_errors(self.path):
            sync_file(self.path)
            sync_folder(self.path.parent)

    def void(self, id: str, why: str) -> None:
        """The request was refused before it cost anything."""
        with self._locked() as file:
            self._append(file, {"did": "void", "id": id, "why": why})

    def gone(self, id: str, why: str, *, told: bool = False) -> None:
        """The request may have been paid, and there is no answer: it stays counted at its worst.

        Args:
            told: the server (or what stands before it) said so itself.
        """
        with self._locked() as file:
            self._append(file, {"did": "lost", "id": id, "why": why, "told": told})

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        make_folder(self.path.parent)
        with storage_errors(self.path), self.path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._catch_up(file)
            if file.seek(0, os.SEEK_END) > self._read:  # a kill cut the last line short
                file.write(b"\n")
                self._catch_up(file)
            yield file

    def _append(self, file: BinaryIO, line: dict[str, Any]) -> None:
        line["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        data = json.dumps(line, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
        file.write(data)
        self._catch_up(file)

    def _catch_up(self, file: BinaryIO) -> None:
        """Take in every whole line that is new."""
        file.flush()
        file.seek(self._read)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for text in whole.split(b"\n"):
            with contextlib.suppress(ValueError, KeyError, TypeError):  # no line, or one that was cut short
                self._take(json.loads(text))

    def _take(self, line: Mapping[str, Any]) -> None:
        id = line["id"]
        if line["did"] == "send":
            self._open[id] = (line["key"], line["most"])
            return
        key, most = self._open.pop(id, ("", 0.0))
        if line["did"] == "void":
            self._told[key] += 1
        elif line["did"] == "lost":
            self.spent += most
            self.lost += 1
            self._told[key] += bool(line["told"])
        elif line["did"] == "answer":
            tops = tuple(tuple((text, log) for text, log in place) for place in line["tops"])
            fields = {k: v for k, v in line.items() if k not in ("did", "id", "at", "tops")}
            answer = Answer(**fields, tops=tops)
            self.answers[key] = answer
            self.spent += answer.cost
