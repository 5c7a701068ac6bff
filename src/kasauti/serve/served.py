"""What answers now: the champion of the registry, loaded, warm, and changed in operation when the registry says so.

Walks in: a task. Walks out: answers to rows, each with the version that gave it. It does not know HTTP or queues.

A version is opened as the trial's was (same adapter, template, calibration, threshold), so what is served is what was
judged. Another champion is loaded and warmed beside the one that answers, and then takes its place between two batches;
the one before stays loaded, so that a rollback needs no load. A candidate answers its share of the callers, always the
same ones: by a hash of who asks, or of the row where nobody says. Where a candidate fails, the champion answers.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kasauti.calls.shadows import Shadow, Told
from kasauti.core.errors import UsageError
from kasauti.core.types import Approach, Ended, Example, Prediction, Task
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
    by: int | None = None
    """Number of the version to answer it, for those in memory; None for the one whose turn it is."""
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
class Both:
    """A call that the other version shall answer too."""

    id: str
    asked: Question
    answered: Answered


@dataclass(frozen=True, kw_only=True, slots=True)
class _Now:
    champion: Serving
    candidate: Serving | None = None
    share: float = 0.0
    shadow: float = 0.0


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
            shares = {"share": standing.share, "shadow": standing.shadow}
            self._now = _Now(champion=champion, candidate=held, **shares)
            if standing.candidate is not None:
                self._now = _Now(champion=champion, candidate=self._load(standing.candidate), **shares)
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
        turn = [self._turn(one, now) for one in asked]
        made = {
            serving.version.number: iter(
                self._made_by(serving, now)([one for one, its in zip(asked, turn, strict=True) if its is serving])
            )
            for serving in {its.version.number: its for its in turn}.values()
        }
        return [next(made[its.version.number]) for its in turn]

    @staticmethod
    def _made_by(serving: Serving, now: _Now) -> Callable[[Sequence[Question]], list[Answered]]:
        return _or_champion(serving, now.champion) if serving is now.candidate else _by(serving)

    def other_than(self, number: int) -> int | None:
        """A version in memory beside the one given: the champion or the candidate, else the one before; None where
        there is none."""
        now = self._now
        named = [] if now is None else [now.champion, *([now.candidate] if now.candidate else [])]
        held = [one.version.number for one in named] + sorted(self._held, reverse=True)
        return next((one for one in held if one != number), None)

    def _turn(self, one: Question, now: _Now) -> Serving:
        """Which version answers a row."""
        if one.by is not None and one.by in self._held:
            return self._held[one.by]
        if now.candidate is None:
            return now.champion
        tried = place_of(one.caller or one.row.id, now.candidate.version.number) < now.share
        return now.candidate if tried else now.champion

    def asks_both(self, id: str) -> bool:
        """Whether the call of this id is one that both versions answer."""
        now = self._now
        if now is None or now.candidate is None:
            return False
        return place_of(id, now.candidate.version.number) < now.shadow

    def beside(self, calls: Sequence[Both]) -> list[Shadow | None]:
        """What champion and candidate say of each call: the one has said it, the other is asked now. None where the
        call was answered by neither of them as they are now, or where the champion fails beside a candidate.

        Raises:
            Exception: the other version's, of several calls; of one, a candidate's fault is its answer.
        """
        now = self._now
        if now is None or now.candidate is None:
            return [None] * len(calls)
        made: list[Shadow | None] = [None] * len(calls)
        for given, other in ((now.champion, now.candidate), (now.candidate, now.champion)):
            own = [at for at, one in enumerate(calls) if one.answered.version == given.version.number]
            answers = _beside(
                other, [calls[at].asked for at in own], failing=other is now.candidate and len(calls) == 1
            )
            for at, answered in zip(own, answers, strict=True):
                sides = {one.version: _told(one) for one in (calls[at].answered, answered)}
                champion, candidate = (sides[one.version.number] for one in (now.champion, now.candidate))
                made[at] = Shadow(call_id=calls[at].id, champion=champion, candidate=candidate)
        return made


def _beside(other: Serving, asked: Sequence[Question], *, failing: bool) -> list[Answered]:
    try:
        return _answers(other, asked)
    except Exception:
        if not failing:
            raise
        return [_answered(other, Prediction(answer=None, ended=Ended.FAILED, confidence=None)) for _ in asked]


def _told(one: Answered) -> Told:
    said = one.prediction
    return Told(
        version=one.version, category=one.category, ended=said.ended, confidence=one.confidence, seconds=said.seconds
    )


def _by(serving: Serving) -> Callable[[Sequence[Question]], list[Answered]]:
    return lambda asked: _answers(serving, asked)


def _or_champion(candidate: Serving, champion: Serving) -> Callable[[Sequence[Question]], list[Answered]]:
    """The candidate's answers; the champion's where it fails: its callers shall not pay for a trial. A row that is at
    fault itself fails with both."""

    def made(asked: Sequence[Question]) -> list[Answered]:
        try:
            return _answers(candidate, asked)
        except Exception:
            return _answers(champion, asked)

    return made


def place_of(caller: str, number: int) -> float:
    """Where a caller stands among all callers of a candidate, 0 to 100; the same every time, and another order for
    another candidate."""
    digest = hashlib.sha256(f"{number}:{caller}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100


def _answers(serving: Serving, asked: Sequence[Question]) -> list[Answered]:
    if not asked:
        return []
    return [_answered(serving, one) for one in _predicted(serving, asked)]


def _answered(serving: Serving, one: Prediction) -> Answered:
    return Answered(
        category=answer_of(serving.task, one) if serving.task.labels else "",
        text=answer_of(serving.task, one) if serving.task.labels or one.answer is not None else one.raw,
        confidence=one.confidence,
        accepted=is_accepted(one, serving.threshold),
        labels=set_of(serving.task, serving.sets, one),
        version=serving.version.number,
        prediction=one,
    )


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
