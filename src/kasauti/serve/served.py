"""What answers now: the champion of the registry, loaded, warm, and changed in operation when the registry says so.

Walks in: a task. Walks out: answers to rows, each with the version that gave it. It does not know HTTP or queues.

A version is opened as the trial's was (same adapter, template, calibration, threshold), so what is served is what was
judged. Another champion is loaded and warmed beside the one that answers, and then takes its place between two batches;
the one before stays loaded, so that a rollback needs no load. A candidate answers its share of the callers, always the
same ones: by a hash of who asks, or of the row where nobody says.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kasauti.core.errors import UsageError
from kasauti.core.types import Approach, Example, Prediction, Task
from kasauti.data.conversation import make_example
from kasauti.measure.selective import is_accepted
from kasauti.registry.answer import answer_of
from kasauti.registry.promises import rule_of, set_of, threshold_of
from kasauti.registry.versions import Registry, Version, task_of

if TYPE_CHECKING:
    from kasauti.measure.conformal import Conformal

WARM_TEXTS = ("", "a", "The first words that a new process answers take longest. " * 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A version in memory."""

    version: Version
    task: Task
    """As it was when the version was judged."""
    approach: Approach
    threshold: float | None
    """Confidence from which on an answer is accepted; None accepts nothing."""
    sets: Conformal | None
    """Makes the set of labels of a row; None where the version promises none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One row that is asked."""

    row: Example
    caller: str | None = None
    """Who asks, as the caller says; None where it does not."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the caller sends beside the input."""
    tell: Callable[[str], None] | None = None
    """Is handed a text that grows, the whole of it each time, by the thread that answers; for tasks without labels."""
    most: int | None = None
    """Tokens that a text may have; None for as many as the version allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """The answer to one row."""

    category: str
    """Always one of the task's labels; empty where the task has none."""
    text: str
    """What the caller gets: the category, or the text that was written."""
    confidence: float | None
    accepted: bool
    labels: list[str] | None
    """The set that holds the true label as often as the version promises; None where it promises none."""
    version: int
    prediction: Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class _Now:
    champion: Serving
    candidate: Serving | None = None
    share: float = 0.0


class Served:
    """The champion in memory, and the candidate where there is one.

    Args:
        task: whose registry is followed.
    """

    def __init__(self, task: Task) -> None:
        self.registry = Registry(task)
        self._held: dict[int, Serving] = {}
        self._now: _Now | None = None
        self._loading = threading.Lock()

    @property
    def current(self) -> Serving | None:
        """The champion; None before `follow` has loaded it."""
        return self._now.champion if self._now else None

    def follow(self) -> bool:
        """Do what the registry says: load what it names, warm it, put it in place.

        Returns:
            Whether the champion has changed.

        Raises:
            UsageError: there is no version yet.
            KasautiError: a version cannot be loaded; where it is the champion, what answered before goes on, and where
                it is the candidate, the champion answers everybody.
        """
        with self._loading:
            standing, before = self.registry.standing(), self.current
            if standing.champion is None:
                mend = "Run `kasauti register` first: it makes one of what the trial ships."
                raise UsageError("there is no version to serve", where=self.registry.task.folder, mend=mend)
            champion = self._load(standing.champion)
            held = self._now.candidate if self._now else None
            if held is not None and held.version.number != standing.candidate:
                held = None  # withdrawn, or promoted: at once, before anything else is loaded
            self._now = _Now(champion=champion, candidate=held, share=standing.share)
            if standing.candidate is not None:
                self._now = _Now(champion=champion, candidate=self._load(standing.candidate), share=standing.share)
            keep = {standing.champion, standing.candidate, *standing.previous[-1:]}
            self._held = {number: serving for number, serving in self._held.items() if number in keep}
            return before is not champion

    def _load(self, number: int) -> Serving:
        if number not in self._held:
            approach, version = self.registry.open(number)
            task = task_of(self.registry.task, version)
            for texts in (WARM_TEXTS[:1], WARM_TEXTS):  # one row, as most requests are, and several
                approach.predict([row_of(task, dict.fromkeys(task.columns, text)) for text in texts])
            threshold, sets = threshold_of(version.card), rule_of(task, version.card)
            self._held[number] = Serving(version=version, task=task, approach=approach, threshold=threshold, sets=sets)
        return self._held[number]

    def answer(self, asked: Sequence[Question]) -> list[Answered]:
        """One answer a row: the candidate's for its share of the callers, the champion's for the others."""
        now = self._now
        if now is None:
            raise UsageError("nothing is loaded yet")
        if now.candidate is None:
            return _answers(now.champion, asked)
        number = now.candidate.version.number
        tried = [place_of(one.caller or one.row.id, number) < now.share for one in asked]
        made = {
            side: iter(_answers(serving, [one for one, new in zip(asked, tried, strict=True) if new == side]))
            for side, serving in ((True, now.candidate), (False, now.champion))
        }
        return [next(made[new]) for new in tried]


def place_of(caller: str, number: int) -> float:
    """Where a caller stands among all callers of a candidate, 0 to 100; the same every time, and another order for
    another candidate."""
    digest = hashlib.sha256(f"{number}:{caller}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100


def _answers(serving: Serving, asked: Sequence[Question]) -> list[Answered]:
    if not asked:
        return []
    return [
        Answered(
            category=answer_of(serving.task, one) if serving.task.labels else "",
            text=answer_of(serving.task, one) if serving.task.labels or one.answer is not None else one.raw,
            confidence=one.confidence,
            accepted=is_accepted(one, serving.threshold),
            labels=set_of(serving.task, serving.sets, one),
            version=serving.version.number,
            prediction=one,
        )
        for one in _predicted(serving, asked)
    ]


def _predicted(serving: Serving, asked: Sequence[Question]) -> list[Prediction]:
    rows, write = [one.row for one in asked], getattr(serving.approach, "write", None)
    if serving.task.labels or write is None:
        return serving.approach.predict(rows)
    given: list[Prediction] = write(rows, [one.tell for one in asked], [one.most for one in asked])
    return given


def row_of(task: Task, fields: dict[str, str]) -> Example:
    """A row that is only to be answered. Raises `DataError` for a column that is not there."""
    row: dict[str, str | None] = {**fields}
    if task.group is not None:
        row.setdefault(task.group, None)
    return make_example(task, row, 1, "request", with_answer=False)
