"""The model with an adapter trained on the training rows, asked with the task's instructions as written."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches import calibrated
from kasauti.approaches.ask import Asker, Conversation
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import read_json, write_json
from kasauti.core.types import Example, Prediction
from kasauti.data.conversation import messages
from kasauti.measure.scaling import Calibration

if TYPE_CHECKING:
    from kasauti.model.load import Loaded
    from kasauti.train.recipe import Recipe
    from kasauti.train.run import Run
    from kasauti.train.search import Searched

WATCHED = 500
"""Validation rows (of those to choose on) that a checkpoint's figures are from, at most: more take longer to ask, and
500 tell accuracies apart to about two points."""


class Tuned:
    """LoRA by the task's recipe; the checkpoint with the highest validation accuracy, the lowest loss among equals; a
    calibration from the rows that are kept for it."""

    name = "tuned"
    family = "tuned"

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.adapter = ""
        self.calibration = Calibration()
        self.held_out: list[Prediction] = []
        self.length = 0
        self.chosen: dict[str, Any] = {}
        self._asker: Asker | None = None

    def conversation(self, example: Example) -> Conversation:
        """The very turns of training."""
        return messages(self.bench.task, example, with_answer=False)

    @property
    def asker(self) -> Asker:
        loaded = self.bench.loaded(self.adapter)
        if self._asker is None or self._asker.loaded is not loaded:
            self._asker = Asker(loaded, self.bench.frozen, self.bench.task, self.conversation, self.length)
        return self._asker

    def evaluation(self, loaded: Loaded, rows: Sequence[Example]) -> Callable[[Any], dict[str, float]]:
        """The figures of a checkpoint on validation rows, from the exact probability of every label."""
        bench = self.bench

        def evaluate(model: Any) -> dict[str, float]:
            asked = dataclasses.replace(loaded, model=model)
            asker = Asker(asked, bench.frozen, bench.task, self.conversation, bench.recipe.length)
            return calibrated.figures_of(asker.log_probabilities(rows), rows, asker.labels)

        return evaluate

    def trained(self, train: Sequence[Example], choose: Sequence[Example]) -> Run:
        """The finished run, the best of a search where the task has one: found, gone on with, or made."""
        return self.searched(train, choose).run

    def searched(self, train: Sequence[Example], choose: Sequence[Example]) -> Searched:
        """The finished runs of all recipes that are tried, and the best of them."""
        from kasauti.train.search import minutes_of, search

        task = self.bench.task
        variants, minutes = self.bench.variants(len(train)), minutes_of(task.train)
        return search(
            task.folder, variants, lambda recipe: self._run(train, choose, recipe), minutes, self.bench.progress
        )

    def _run(self, train: Sequence[Example], choose: Sequence[Example], recipe: Recipe) -> Run:
        from kasauti.train.run import train_adapter

        bench = self.bench
        held: list[Loaded] = []
        seen = choose[:WATCHED]

        def evaluate(model: Any) -> dict[str, float]:
            return self.evaluation(held[0], seen)(model)

        def load() -> Loaded:
            held.append(bench.fresh())
            return held[0]

        run = train_adapter(
            bench.task,
            train,
            choose,
            load,
            bench.frozen,
            recipe,
            model_sha256=bench.model_sha256,
            evaluate=evaluate,
            progress=bench.progress,
        )
        held.clear()  # the trained copy; what is asked from here on is what lies on disk
        gc.collect()
        return run

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        found, labels = self.searched(train, choose), tuple(self.bench.task.labels)
        run = found.run
        self.adapter, self.length = str(run.adapter), int(run.summary["recipe"]["length"])
        logs = self.asker.log_probabilities(calibrate, self.bench.progress, "tuned: calibrate")
        self.calibration, self.held_out = calibrated.calibrate(logs, calibrate, labels)
        self.chosen = {
            "run": run.id,
            "fit_seconds": sum(one["seconds"] for one in found.tried),
            **found.about(),
            **calibrated.about(self.calibration),
            "parameters": run.summary["parameters"],
            "recipe": run.summary["recipe"],
            "curve": run.summary["curve"],
            "findings": run.summary["findings"],
        }
        return self

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        asker = self.asker  # loads the model, which is not part of an answer's time
        began = time.perf_counter()
        logs = asker.log_probabilities(examples, self.bench.progress, self.name)
        spent = time.perf_counter() - began
        return calibrated.predictions_from(logs, asker.labels, self.calibration, seconds=spent)

    def generate(self, examples: Sequence[Example]) -> list[Prediction]:
        """Free generation for the same rows."""
        return self.asker.generate(examples, self.bench.progress, f"{self.name}: generate")

    def save(self, folder: str) -> None:
        target = Path(folder) / "adapter"
        shutil.copytree(self.adapter, target, dirs_exist_ok=True)
        kept = {"calibration": self.calibration.document(), "length": self.length, "chosen": self.chosen}
        write_json(Path(folder) / "tuned.json", kept)

    def load(self, folder: str) -> Self:
        kept = read_json(Path(folder) / "tuned.json")
        inner = Path(folder) / "adapter"  # a version has the adapter's files at its top, as model folders do
        self.adapter = str(inner if inner.is_dir() else folder)
        self.calibration = Calibration.of(kept["calibration"])
        self.length, self.chosen = int(kept["length"]), dict(kept["chosen"])
        return self

    def about(self) -> Mapping[str, Any]:
        return self.chosen
