"""The untrained model, asked with the best prompt of a search: instructions, descriptions of the labels, worked
examples and their order.

Prompts are made from the task and the training rows, and told apart on the validation rows to choose on, by the exact
probability of every label: log loss at the best temperature, with the prior over labels taken off where that is lower.
All candidates are scored on few rows, the better half on more (`halving`). The task's own prompt is scored to the end,
so what the search gained is known. The same seed finds the same prompt.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches.ask import Asker, Conversation
from kasauti.approaches.candidates import Candidate, Rewriter, as_written, candidates
from kasauti.approaches.halving import Score, Search, halve, rounds_of
from kasauti.approaches.prior import loss_of, ways_of
from kasauti.approaches.prompt import Prompt
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import atomic_write, read_json, read_json_lines, write_json
from kasauti.core.types import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PROMPT = "searched.json"
LOG = "search.jsonl"
ROOM = 0.5
"""Share of the model's window that may go to what stands before a row."""


class PromptOptimised(Prompt):
    """The winner of a search over prompts.

    Args:
        bench: the task, whose `prompt_search` is the search's budget, and the model.
        rewriter: gives further instructions to try; None: only those that are made here.
    """

    name = "prompt_optimised"

    def __init__(self, bench: Workbench, rewriter: Rewriter | None = None) -> None:
        super().__init__(bench)
        self.rewriter = rewriter
        self.prompt = as_written(bench.task)
        self.log: list[Mapping[str, Any]] = []

    def conversation(self, example: Example) -> Conversation:
        return self.prompt.conversation(self.bench.task, example)

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        task = self.bench.task
        rewritten = self.rewriter(task, train) if self.rewriter else ()
        tried = candidates(task, train, task.prompt_search.candidates if choose else 1, task.seed, rewritten)
        tried = [self._fitting(one) for one in tried]
        found = self._search(tried, choose)
        self.prompt, self._asker = tried[found.best], None
        super().fit(train, choose, calibrate)
        self.log = [{**one, **tried[int(one["candidate"])].made_of} for one in found.log]
        self.chosen = {**self._told(tried, found), **self.chosen}
        return self

    def _fitting(self, one: Candidate) -> Candidate:
        """The candidate with as many of its worked examples as leave room for the row; the first ones go first."""
        task = self.bench.task
        row = Example(id="", fields=dict.fromkeys(task.columns, "a"), template=task.input, answer=None)
        while one.shots:
            asker = self._asker_for(one)
            if len(asker.renderer.render_prompt(one.conversation(task, row))) <= asker.limit * ROOM:
                break
            one = dataclasses.replace(one, shots=one.shots[max(1, len(one.shots) // 8) :])
        return one

    def _asker_for(self, one: Candidate) -> Asker:
        task = self.bench.task
        return Asker(self.bench.loaded(), self.bench.frozen, task, lambda row: one.conversation(task, row))

    def _search(self, tried: Sequence[Candidate], choose: Sequence[Example]) -> Search:
        import numpy as np

        budget, labels = self.bench.task.prompt_search, tuple(self.bench.task.labels)
        # In an order of chance, since the first rounds see the first rows only.
        rows = random.Random(self.bench.task.seed).sample(list(choose), min(budget.rows, len(choose)))
        if len(tried) < 2 or not rows:
            return Search(best=0, log=(), cut_off=False, seconds=0.0)
        truth = np.array([labels.index(row.answer or "") for row in rows], dtype=np.intp)
        answered: dict[int, NDArray[np.float64]] = {}
        total, done = sum(number for number, _ in rounds_of(len(tried), len(rows))), 0

        def score(candidate: int, some: int) -> Score:
            nonlocal done
            self.bench.progress(f"{self.name}: search", done, total, f"{some} rows")
            before = answered.get(candidate, np.zeros((0, len(labels))))
            if len(before) < some:  # what an earlier round asked is not asked again
                new = self._asker_for(tried[candidate]).log_probabilities(rows[len(before) : some])
                answered[candidate] = np.concatenate([before, new])
            done += 1
            return scored(answered[candidate][:some], truth[:some])

        found = halve(len(tried), len(rows), score, seconds=budget.seconds, keep=0)
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
            "search_log": [
                f"{one['rows']} rows, log loss {one['loss']:.3f}, accuracy {one['accuracy']:.3f}: "
                + ", ".join(f"{part} {name}" for part, name in tried[int(one["candidate"])].made_of.items())
                for one in found.log
            ],
        }

    def save(self, folder: str) -> None:
        super().save(folder)
        lines = "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in self.log)
        atomic_write(Path(folder) / LOG, lines)
        write_json(Path(folder) / PROMPT, self.prompt.document())

    def load(self, folder: str) -> Self:
        super().load(folder)
        self.prompt = Candidate.of(read_json(Path(folder) / PROMPT))
        self.log, self._asker = read_json_lines(Path(folder) / LOG), None
        return self


def scored(logs: NDArray[np.float64], truth: NDArray[np.intp]) -> Score:
    """Of log-probabilities [n, k]: the log loss at the best temperature, plain or divided by these rows' own prior,
    whichever is lowest; the prior is of what they ask, not of their answers."""
    found = ways_of(logs, logs)
    losses = {way: loss_of(one, truth) for way, one in found.items()}
    best = min(losses, key=losses.__getitem__)
    right = float((found[best].argmax(axis=1) == truth).mean())
    return Score(loss=losses[best], told={"accuracy": right, "prior": best})
