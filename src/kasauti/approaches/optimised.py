"""The untrained model, asked with the best prompt of a search: instructions, descriptions of the labels, worked
examples and their order.

Prompts are made from the task and the training rows, and told apart on the validation rows to choose on, by the exact
probability of every label: log loss at the best temperature, with the prior over labels taken off where that is lower.
All candidates are scored on few rows, the better half on more (`halving`). The task's own prompt is scored to the end,
so what the search gained is known. The same seed finds the same prompt. Answers that are texts are written and graded
by the task's own figure instead.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches.ask import Asker, Conversation
from kasauti.approaches.candidates import Candidate, Rewriter, as_written, candidates
from kasauti.approaches.halving import Score, Search, halve, rounds_of
from kasauti.approaches.prior import loss_of, ways_of
from kasauti.approaches.prompt import Prompt
from kasauti.approaches.workbench import Workbench
from kasauti.approaches.written import Written
from kasauti.chat.render import Renderer
from kasauti.core.files import atomic_write, read_json, read_json_lines, write_json
from kasauti.core.types import Example
from kasauti.measure import kinds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROMPT = "searched.json"
LOG = "search.jsonl"
ROOM = 0.5
"""Share of the model's window that may go to what stands before a row."""


class _Searched:
    """What a search for a prompt is, whatever the answer is; mixed in before an approach that asks by `conversation`.

    Args:
        bench: the task, whose `prompt_search` is the search's budget, and the model.
        rewriter: gives further instructions to try; None: only those that are made here.
    """

    name = "prompt_optimised"
    bench: Workbench

    def __init__(self, bench: Workbench, rewriter: Rewriter | None = None) -> None:
        super().__init__(bench)  # type: ignore[call-arg]
        self.rewriter = rewriter
        self.prompt = as_written(bench.task)
        self.log: list[Mapping[str, Any]] = []

    def conversation(self, example: Example) -> Conversation:
        """The turns that end with the user's."""
        return self.prompt.conversation(self.bench.task, example)

    def room(self) -> int:
        """Tokens that a prompt may have."""
        raise NotImplementedError

    def scorer(self, tried: Sequence[Candidate], rows: Sequence[Example]) -> Callable[[int, int], Score]:
        """(number of a candidate, first so many rows) → its score."""
        raise NotImplementedError

    def search(self, train: Sequence[Example], choose: Sequence[Example]) -> dict[str, Any]:
        """Find the prompt, keep the log, and say what a report says of it."""
        task, budget = self.bench.task, self.bench.task.prompt_search
        rewritten = self.rewriter(task, train) if self.rewriter else ()
        tried = candidates(task, train, budget.candidates if choose else 1, task.seed, rewritten)
        tried = [self.fitting(one) for one in tried]
        # In an order of chance, since the first rounds see the first rows only.
        rows = random.Random(task.seed).sample(list(choose), min(budget.rows, len(choose)))
        found = Search(best=0, log=(), cut_off=False, seconds=0.0)
        if len(tried) > 1 and rows:
            found = self._halved(tried, rows)
        self.prompt = tried[found.best]
        self.log = [{**one, **tried[int(one["candidate"])].made_of} for one in found.log]
        return self._told(tried, found)

    def fitting(self, one: Candidate) -> Candidate:
        """The candidate with as many of its worked examples as leave room for the row; the first ones go first."""
        task, loaded = self.bench.task, self.bench.loaded()
        renderer, most = Renderer(self.bench.frozen, loaded.tokenizer), self.room() * ROOM
        row = Example(id="", fields=dict.fromkeys(task.columns, "a"), template=task.input, answer=None)
        while one.shots and len(renderer.render_prompt(one.conversation(task, row))) > most:
            one = dataclasses.replace(one, shots=one.shots[max(1, len(one.shots) // 8) :])
        return one

    def _halved(self, tried: Sequence[Candidate], rows: Sequence[Example]) -> Search:
        budget, score = self.bench.task.prompt_search, self.scorer(tried, rows)
        total, done = sum(number for number, _ in rounds_of(len(tried), len(rows))), 0

        def told(candidate: int, some: int) -> Score:
            nonlocal done
            self.bench.progress(f"{self.name}: search", done, total, f"{some} rows")
            done += 1
            return score(candidate, some)

        found = halve(len(tried), len(rows), told, seconds=budget.seconds, keep=0)
        self.bench.progress(f"{self.name}: search", total, total, f"{found.seconds:.0f} s")
        return found

    def _told(self, tried: Sequence[Candidate], found: Search) -> dict[str, Any]:
        last = {int(one["candidate"]): one for one in found.log}
        best, own = last.get(found.best), last.get(0)
        return {
            "prompt": {
                **self.prompt.made_of,
                "system": self.prompt.system(self.bench.task),
                "worked_examples": len(self.prompt.shots),
            },
            "search": {
                "candidates": len(tried),
                "scores": len(found.log),
                "seconds": found.seconds,
                "cut_off_by_time": found.cut_off,
                "best": dict(best) if best else None,
                "task_prompt": dict(own) if own else None,
            },
            "search_log": [_line(one, tried[int(one["candidate"])]) for one in found.log],
        }

    def save(self, folder: str) -> None:
        """Write all that `load` needs into an empty folder, the log of the search with it."""
        super().save(folder)  # type: ignore[misc]
        lines = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in self.log)
        atomic_write(Path(folder) / LOG, lines)
        write_json(Path(folder) / PROMPT, self.prompt.document())

    def load(self, folder: str) -> Self:
        """The inverse of `save`."""
        super().load(folder)  # type: ignore[misc]
        self.prompt = Candidate.of(read_json(Path(folder) / PROMPT))
        self.log = read_json_lines(Path(folder) / LOG)
        return self


def _line(one: Mapping[str, Any], candidate: Candidate) -> str:
    figures = [f"{one['rows']} rows", *(f"{name} {one[name]:.3f}" for name in ("loss", "accuracy") if name in one)]
    return f"{', '.join(figures)}: {', '.join(f'{part} {name}' for part, name in candidate.made_of.items())}"


class PromptOptimised(_Searched, Prompt):
    """The winner of a search over prompts, by the log loss of the labels' exact probabilities."""

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        told, self._asker = self.search(train, choose), None
        super().fit(train, choose, calibrate)
        self.chosen = {**told, **self.chosen}
        return self

    def load(self, folder: str) -> Self:
        self._asker = None  # it knows what the prompt before began with
        return super().load(folder)

    def room(self) -> int:
        return self._asker_for(self.prompt).limit

    def _asker_for(self, one: Candidate) -> Asker:
        task = self.bench.task
        return Asker(self.bench.loaded(), self.bench.frozen, task, lambda row: one.conversation(task, row))

    def scorer(self, tried: Sequence[Candidate], rows: Sequence[Example]) -> Callable[[int, int], Score]:
        import numpy as np

        labels = tuple(self.bench.task.labels)
        truth = np.array([labels.index(row.answer or "") for row in rows], dtype=np.intp)
        answered: dict[int, NDArray[np.float64]] = {}

        def score(candidate: int, some: int) -> Score:
            before = answered.get(candidate, np.zeros((0, len(labels))))
            if len(before) < some:  # what an earlier round asked is not asked again
                new = self._asker_for(tried[candidate]).log_probabilities(rows[len(before) : some])
                answered[candidate] = np.concatenate([before, new])
            return scored(answered[candidate][:some], truth[:some])

        return score


class WrittenOptimised(_Searched, Written):
    """The same for answers that are texts: the loss is 1 - the mean of the task's own figure over what is written."""

    family = "prompt"

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        super().fit(train, choose, calibrate)  # how much may be written
        self.chosen |= self.search(train, choose)
        return self

    def room(self) -> int:
        return self.bench.recipe.length - self.most

    def scorer(self, tried: Sequence[Candidate], rows: Sequence[Example]) -> Callable[[int, int], Score]:
        task, grade = self.bench.task, kinds.load_kind(self.bench.task.kind).grade
        answered: dict[int, list[float]] = {}

        def score(candidate: int, some: int) -> Score:
            values = answered.setdefault(candidate, [])
            if len(values) < some:
                new, self.prompt = rows[len(values) : some], tried[candidate]
                values += grade(task, new, self.predict(new)).scores.tolist()
            return Score(loss=1 - sum(values[:some]) / some, told={})

        return score


def scored(logs: NDArray[np.float64], truth: NDArray[np.intp]) -> Score:
    """Of log-probabilities [n, k]: the log loss at the best temperature, plain or divided by these rows' own prior,
    whichever is lowest; the prior is of what they ask, not of their answers."""
    found = ways_of(logs, logs)
    losses = {way: loss_of(one, truth) for way, one in found.items()}
    best = min(losses, key=losses.__getitem__)
    right = float((found[best].argmax(axis=1) == truth).mean())
    return Score(loss=losses[best], told={"accuracy": right, "prior": best})
