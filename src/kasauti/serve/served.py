"""What answers now: the champion of the registry, loaded, warm, and changed in operation when the registry says so.

Walks in: a task. Walks out: answers to rows, each with the version that gave it. It does not know HTTP or queues.

A version is opened as the trial's was (same adapter, template, temperature, threshold), so what is served is what was
judged. Another champion is loaded and warmed beside the one that answers, and then takes its place between two batches;
the one before stays loaded, so that a rollback needs no load.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from kasauti.core.errors import UsageError
from kasauti.core.types import Approach, Example, Prediction, Task
from kasauti.data.conversation import make_example
from kasauti.registry.answer import answer_of
from kasauti.registry.threshold import is_accepted
from kasauti.registry.versions import Registry, Version, task_of

WARM_TEXTS = ("", "a", "The first words that a new process answers take longest. " * 4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    """A version in memory."""

    version: Version
    task: Task
    """As it was when the version was judged."""
    approach: Approach
    threshold: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """The answer to one row."""

    category: str
    """Always one of the task's labels."""
    confidence: float | None
    accepted: bool
    version: int
    prediction: Prediction


class Served:
    """The champion in memory.

    Args:
        task: whose registry is followed.
    """

    def __init__(self, task: Task) -> None:
        self.registry = Registry(task)
        self._held: dict[int, Serving] = {}
        self._current: Serving | None = None
        self._loading = threading.Lock()

    @property
    def current(self) -> Serving | None:
        """What answers; None before `follow` has loaded it."""
        return self._current

    def follow(self) -> bool:
        """Do what the registry says: load its champion where that is another one now, warm it, put it in place.

        Returns:
            Whether the version that answers has changed.

        Raises:
            UsageError: there is no version yet.
            KasautiError: the champion cannot be loaded; what answered before goes on.
        """
        with self._loading:
            standing = self.registry.standing()
            number = standing.champion
            if number is None:
                mend = "Run `kasauti register` first: it makes one of what the trial ships."
                raise UsageError("there is no version to serve", where=self.registry.task.folder, mend=mend)
            if self._current is not None and self._current.version.number == number:
                return False
            if number not in self._held:
                self._held[number] = self._load(number)
            before, self._current = self._current, self._held[number]
            keep = {number, *([before.version.number] if before else [])}
            self._held = {held: serving for held, serving in self._held.items() if held in keep}
            return True

    def _load(self, number: int) -> Serving:
        approach, version = self.registry.open(number)
        task = task_of(self.registry.task, version)
        serving = Serving(version=version, task=task, approach=approach, threshold=version.card["threshold"]["value"])
        for texts in (WARM_TEXTS[:1], WARM_TEXTS):  # one row, as most requests are, and several
            approach.predict([row_of(task, dict.fromkeys(task.columns, text)) for text in texts])
        return serving

    def answer(self, rows: Sequence[Example]) -> list[Answered]:
        """One answer a row, all from one version."""
        now = self._current
        if now is None:
            raise UsageError("nothing is loaded yet")
        given = now.approach.predict(rows)
        return [
            Answered(
                category=answer_of(now.task, one),
                confidence=one.confidence,
                accepted=is_accepted(one, now.threshold),
                version=now.version.number,
                prediction=one,
            )
            for one in given
        ]


def row_of(task: Task, fields: dict[str, str]) -> Example:
    """A row that is only to be answered. Raises `DataError` for a column that is not there."""
    row: dict[str, str | None] = {**fields}
    if task.group is not None:
        row.setdefault(task.group, None)
    return make_example(task, row, 1, "request", with_answer=False)
