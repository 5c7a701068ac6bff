"""The untrained model with worked examples: the labelled training rows that are most like the row, as turns before it.

Walks in: rows. Walks out: predictions. The index is over the training rows alone; how rows are found, how many are
shown, and whether the labels' bias is taken out is chosen on the rows to choose on.

A prompt is the instructions with the list of labels, then one turn of the user and one of the assistant an example, the
nearest last, then the row. What all prompts begin with is computed once. Where the window is too short, examples are
left out, never a part of the row.
"""

from __future__ import annotations

import io
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches import calibrated
from kasauti.approaches.ask import Asker, Conversation
from kasauti.approaches.neighbours import BOTH, WORDS, Neighbours, distinct
from kasauti.approaches.prompt import PromptInstructions
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import atomic_write, read_json, write_json
from kasauti.core.types import Example, Message, Prediction
from kasauti.data.conversation import content, messages
from kasauti.measure.scaling import Calibration
from kasauti.measure.statistics import mcnemar_exact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHOTS = (2, 4, 8)
"""Numbers of examples that are tried. Each doubling of them doubles what a call costs, about."""
CHUNK = 32
"""Rows to choose on that every number of examples still in question is asked before one is given up."""
MOST_ROWS = 200
"""Rows to choose on that are asked at most: they tell accuracies apart to about four points."""
GIVEN_UP = 0.05
"""A number of examples is given up when exact McNemar puts it below the best with this p, two-sided."""
MATCHING = 10
"""Steps of matching the labels' shares; with 5, 20 and 100 as many rows come out right, give or take two in 87."""
VOTERS = 16
"""Neighbours whose labels are counted to choose the way of finding them; no model is asked for it."""


class Shots(Asker):
    """Asks with worked examples.

    Args:
        shots_of: the examples of every row, the nearest first.
        build, loaded, frozen, task: as for `Asker`; `build` is the conversation without examples.
    """

    def __init__(self, *args: Any, shots_of: Callable[[Sequence[Example]], list[list[Example]]]) -> None:
        super().__init__(*args)
        self.shots_of = shots_of

    def prompts(self, examples: Sequence[Example]) -> list[list[int]]:
        """Token ids to ask with. Of examples that do not all fit, the nearest that do; a row that does not fit alone
        loses its middle, as everywhere."""
        shots = self.shots_of(examples)
        pairs = list(zip(examples, shots, strict=True))
        made = self.renderer.render_prompts([self._shown(row, near) for row, near in pairs])
        return [
            ids if len(ids) <= self.limit else self._fitting(row, near)
            for ids, (row, near) in zip(made, pairs, strict=True)
        ]

    def _shown(self, example: Example, shots: Sequence[Example]) -> Conversation:
        asked = list(self.build(example))
        head = 1 if asked[0].role == "system" else 0
        return [*asked[:head], *(turn for shot in reversed(shots) for turn in self._worked(shot)), *asked[head:]]

    def _worked(self, shot: Example) -> list[Message]:
        return [turn for turn in messages(self.task, shot) if turn.role != "system"]

    def _fitting(self, example: Example, shots: Sequence[Example]) -> list[int]:
        kept: list[Example] = []
        ids = self.renderer.render_prompt(self._shown(example, kept), limit=self.limit)
        for shot in shots:
            longer = self.renderer.render_prompt(self._shown(example, [*kept, shot]))
            if len(longer) <= self.limit:
                kept, ids = [*kept, shot], longer
        return ids


class Retrieval:
    """Retrieved examples in the prompt."""

    name = "retrieval"
    family = "retrieval"

    def __init__(self, bench: Workbench, shots: Sequence[int] = SHOTS) -> None:
        self.bench = bench
        self.tried = tuple(shots)
        self.count, self.way = self.tried[len(self.tried) // 2], WORDS
        self.index = Neighbours(())
        self.offsets: list[float] = []
        self.calibration = Calibration()
        self.held_out: list[Prediction] = []
        self.chosen: dict[str, Any] = {}
        self._asker: Shots | None = None
        self._fitting = False

    @property
    def asker(self) -> Shots:
        bench, loaded = self.bench, self.bench.loaded()
        if self._asker is None or self._asker.loaded is not loaded:
            plain = PromptInstructions(bench).conversation
            self._asker = Shots(loaded, bench.frozen, bench.task, plain, shots_of=self.shots_of)
        return self._asker

    def shots_of(self, examples: Sequence[Example]) -> list[list[Example]]:
        """The examples that are shown with every row, the nearest first."""
        found = self._nearest(examples, self.count, self.way)
        return [[self.index.rows[place] for place in places] for places in found]

    def _nearest(self, examples: Sequence[Example], count: int, way: str) -> list[list[int]]:
        texts = [content(row) for row in examples]
        vectors = None if way == WORDS else self.bench.needed_embedder.embed(texts, remember=self._fitting)
        return self.index.nearest(texts, count, way, vectors)

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        self._fitting = True
        try:
            return self._fit(train, choose, calibrate)
        finally:
            self._fitting = False

    def _fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        asker, embedder, progress = self.asker, self.bench.embedder, self.bench.progress
        rows = distinct(train)
        texts = [content(row) for row in rows]
        vectors = None if embedder is None else embedder.embed(texts, progress, "retrieval: embed", remember=True)
        self.index = Neighbours(rows, vectors)
        self.offsets = []
        votes = self._choose_way(choose)
        asked = self._choose_count(train, choose)
        logs = self._corrected(asker.log_probabilities(calibrate, progress, "retrieval: calibrate"))
        self.calibration, self.held_out = calibrated.calibrate(logs, calibrate, asker.labels)
        self.chosen = {
            "examples": self.count,
            "found_by": self.way,
            "bias_taken_out": bool(self.offsets),
            "validation_accuracy": {str(count): shares for count, shares in asked.items()},
            "accuracy_of_neighbours_alone": votes,
            "index_rows": len(rows),
            **calibrated.about(self.calibration),
        }
        return self

    def _choose_way(self, rows: Sequence[Example]) -> dict[str, float]:
        """The way whose neighbours' labels, counted, are right most often; of equal ones the simplest."""
        self.way = BOTH if BOTH in self.index.ways else WORDS
        if not rows:
            return {}
        shares = {way: self._votes_right(rows, way) for way in self.index.ways}
        self.way = max(shares, key=shares.__getitem__)  # the first of equal ones
        return shares

    def _votes_right(self, rows: Sequence[Example], way: str) -> float:
        right = 0
        for row, places in zip(rows, self._nearest(rows, VOTERS, way), strict=True):
            # Nearer ones count a little more, so that the nearest breaks ties.
            votes: dict[str | None, float] = {}
            for rank, place in enumerate(places):
                answer = self.index.rows[place].answer
                votes[answer] = votes.get(answer, 0.0) + math.exp(-rank / VOTERS)
            right += bool(votes) and max(votes, key=votes.__getitem__) == row.answer
        return right / len(rows)

    def _choose_count(self, train: Sequence[Example], rows: Sequence[Example]) -> dict[int, dict[str, float]]:
        """How many examples, and whether the bias is taken out: the most accurate, of equal ones the fewest examples.

        All numbers are asked the same rows, some at a time, and one that is clearly worse than the best is asked no
        more.

        Returns:
            Number of examples → accuracy `as_is`, `corrected`, and the `rows` that it was asked.
        """
        order = random.Random(self.bench.task.seed).sample(list(rows), min(len(rows), MOST_ROWS))
        logs: dict[int, NDArray[np.float64]] = {}
        told: dict[int, dict[str, float]] = {}
        open_ones = list(self.tried)
        for start in range(0, len(order), CHUNK):
            some, seen = order[start : start + CHUNK], order[: start + CHUNK]
            right = {}
            for count in open_ones:
                self.count = count
                logs[count] = _joined(logs.get(count), self._raw(some, count))
                right[count], told[count] = self._judge(logs[count], seen, train)
            open_ones = _still_open(right)
            if len(open_ones) == 1:
                break
        if told:
            best = max(open_ones, key=lambda count: (max(told[count]["as_is"], told[count]["corrected"]), -count))
            self.count = best
            if told[best]["corrected"] > told[best]["as_is"]:
                self.offsets = self._offsets(logs[best], train)
        return told

    def _raw(self, rows: Sequence[Example], count: int) -> NDArray[np.float64]:
        return self.asker.log_probabilities(rows, self.bench.progress, f"retrieval: choose, {count} examples")

    def _judge(
        self, logs: NDArray[np.float64], rows: Sequence[Example], train: Sequence[Example]
    ) -> tuple[list[bool], dict[str, float]]:
        """Which rows the better of both readings has right, and what each comes to."""
        labels = self.asker.labels
        readings = {"as_is": logs, "corrected": _shifted(logs, self._offsets(logs, train))}
        right = {
            name: [labels[int(best)] == row.answer for best, row in zip(read.argmax(axis=1), rows, strict=True)]
            for name, read in readings.items()
        }
        told = {name: sum(hits) / len(rows) for name, hits in right.items()}
        return max(right.values(), key=sum), {**told, "rows": float(len(rows))}

    def _offsets(self, logs: NDArray[np.float64], train: Sequence[Example]) -> list[float]:
        labels = self.asker.labels
        counts = Counter(row.answer for row in train)
        return matching_offsets(logs, [(counts[label] + 1) / (len(train) + len(labels)) for label in labels])

    def _corrected(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        return _shifted(logs, self.offsets) if self.offsets else logs

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        asker = self.asker  # loads the model, which is not part of an answer's time
        if self.way != WORDS:
            self.bench.needed_embedder.ready()
        began = time.perf_counter()
        logs = self._corrected(asker.log_probabilities(examples, self.bench.progress, self.name))
        spent = time.perf_counter() - began
        return calibrated.predictions_from(logs, asker.labels, self.calibration, seconds=spent)

    def generate(self, examples: Sequence[Example]) -> list[Prediction]:
        """Free generation for the same rows, after the same examples."""
        return self.asker.generate(examples, self.bench.progress, f"{self.name}: generate")

    def save(self, folder: str) -> None:
        import numpy as np

        place = Path(folder)
        rows = [
            {"fields": dict(row.fields), "answer": row.answer, "history": [[t.role, t.content] for t in row.history]}
            for row in self.index.rows
        ]
        write_json(place / "examples.json", rows)
        kept = {"count": self.count, "way": self.way, "offsets": self.offsets, "chosen": self.chosen}
        if self.way != WORDS and self.index.vectors is not None:
            stream = io.BytesIO()
            np.save(stream, self.index.vectors)
            atomic_write(place / "examples.npy", stream.getvalue())
            kept["embedder_sha256"] = self.bench.needed_embedder.sha256
        write_json(place / "retrieval.json", {**kept, "calibration": self.calibration.document()})

    def load(self, folder: str) -> Self:
        import numpy as np

        place = Path(folder)
        kept = read_json(place / "retrieval.json")
        rows = [_example(self.bench.task.input, row) for row in read_json(place / "examples.json")]
        if kept["way"] == WORDS:
            self.index = Neighbours(rows)
        else:
            self.bench.needed_embedder.check(kept["embedder_sha256"])
            self.index = Neighbours(rows, np.load(place / "examples.npy"))
        self.count, self.way, self.offsets = int(kept["count"]), str(kept["way"]), list(kept["offsets"])
        self.calibration, self.chosen = Calibration.of(kept["calibration"]), dict(kept["chosen"])
        return self

    def about(self) -> Mapping[str, Any]:
        return self.chosen


def _example(template: str, row: Mapping[str, Any]) -> Example:
    history = tuple(Message(role=role, content=text) for role, text in row["history"])
    return Example(id="", fields=row["fields"], template=template, answer=row["answer"], history=history)


def _joined(before: NDArray[np.float64] | None, more: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return more if before is None else np.concatenate([before, more])


def _shifted(logs: NDArray[np.float64], offsets: Sequence[float]) -> NDArray[np.float64]:
    """Log-probabilities [rows, labels] with something added to every label's; what a row's labels have together stays
    as it is."""
    import numpy as np

    moved = logs + np.array(offsets)
    before, after = (np.logaddexp.reduce(x, axis=1, keepdims=True) for x in (logs, moved))
    shifted: NDArray[np.float64] = moved - after + before
    return shifted


def matching_offsets(logs: NDArray[np.float64], shares: Sequence[float]) -> list[float]:
    """What to add to every label's log-probability so that, over these rows, the labels come out as often as `shares`.

    Prior matching (Liusie, Manakul and Gales 2023, arXiv 2309.04992): small models prefer some names whatever the text
    says. It reads no answers. One row with the shares is added to the rows, so that few rows change little. On 87 rows
    of the bundled task with 8 examples, offsets of one half judged on the other, kasauti/nano went from 36.8% to 67.8%
    right, and to 51.7% with a single step (batch calibration, arXiv 2309.17249).

    Args:
        logs: [rows, labels], need not be normalised.
        shares: [labels], above 0, together 1.
    """
    import numpy as np

    wanted, offsets = np.array(shares), np.zeros(len(shares))
    for _ in range(MATCHING):
        moved = logs + offsets
        told = np.exp(moved - np.logaddexp.reduce(moved, axis=1, keepdims=True))
        offsets += np.log(wanted) - np.log((told.sum(axis=0) + wanted) / (len(logs) + 1))
    found: list[float] = offsets.tolist()
    return found


def _still_open(right: Mapping[int, Sequence[bool]]) -> list[int]:
    """The numbers of examples that are not clearly worse than the best on the same rows."""
    best = max(right, key=lambda count: (sum(right[count]), -count))
    kept = []
    for count, hits in right.items():
        only_best = sum(a and not b for a, b in zip(right[best], hits, strict=True))
        only_this = sum(b and not a for a, b in zip(right[best], hits, strict=True))
        if count == best or mcnemar_exact(only_best, only_this) >= GIVEN_UP:
            kept.append(count)
    return kept
