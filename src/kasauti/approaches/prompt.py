"""The untrained model, asked: with the input alone, or with the task's instructions and its labels listed.

Nothing is learnt from the training rows' answers. What the model would answer to anything is taken off where that
helps on the rows to choose on; the calibration rows say how sure the answers are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches import calibrated
from kasauti.approaches.ask import Asker, Conversation
from kasauti.approaches.prior import LEAST_ROWS, ROWS, Prior, choose_prior
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import read_json, write_json
from kasauti.core.types import Example, Message, Prediction, Task
from kasauti.measure.scaling import Calibration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def listed_instructions(
    task: Task, instructions: str | None = None, descriptions: Mapping[str, str] | None = None
) -> str:
    """The task's instructions (or others) followed by its labels, one a line, with their descriptions (or others)."""
    listed = task.labels if descriptions is None else descriptions
    lines = [f"- {label}: {description}" if description else f"- {label}" for label, description in listed.items()]
    told = task.instructions if instructions is None else instructions
    return f"{told.strip()}\n\nCategories:\n{chr(10).join(lines)}".lstrip()


def listed_conversation(task: Task, row: Example) -> Conversation:
    """The task's instructions (or the row's own), the labels with their descriptions, then the row."""
    own = next((turn.content for turn in row.history if turn.role == "system"), None)
    earlier = [turn for turn in row.history if turn.role != "system"]
    system = Message(role="system", content=listed_instructions(task, own))
    return [system, *earlier, Message(role="user", content=row.text)]


class Prompt:
    """What all prompts share."""

    name = ""
    family = "prompt"

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.calibration = Calibration()
        self.prior = Prior()
        self.held_out: list[Prediction] = []
        self.chosen: dict[str, Any] = {}
        self._asker: Asker | None = None

    def conversation(self, example: Example) -> Conversation:
        """The turns that end with the user's."""
        raise NotImplementedError

    @property
    def asker(self) -> Asker:
        loaded = self.bench.loaded()
        if self._asker is None or self._asker.loaded is not loaded:
            self._asker = Asker(loaded, self.bench.frozen, self.bench.task, self.conversation)
        return self._asker

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        self.prior = self.prior_of(train, choose)
        logs = self.logs(calibrate, "calibrate")
        self.calibration, self.held_out = calibrated.calibrate(logs, calibrate, self.asker.labels)
        self.chosen = {
            "validation_accuracy": calibrated.accuracy_of(logs, calibrate, self.asker.labels),
            "prior": self.prior.about(self.asker.labels),
            **calibrated.about(self.calibration),
        }
        return self

    def prior_of(self, train: Sequence[Example], choose: Sequence[Example]) -> Prior:
        """The prior over labels that answers are divided by; of the training rows only what they ask is read."""
        if len(choose) < LEAST_ROWS or not train:
            return Prior()
        unlabelled = random.Random(self.bench.task.seed).sample(list(train), min(ROWS, len(train)))
        told, stage = self.bench.progress, f"{self.name}: prior"
        logs = self.asker.log_probabilities([*unlabelled, *choose], told, stage)
        reference, chosen = logs[: len(unlabelled)], logs[len(unlabelled) :]
        return choose_prior(reference, chosen, choose, self.asker.labels)

    def logs(self, examples: Sequence[Example], stage: str = "") -> NDArray[np.float64]:
        """log P(label | row), [rows, labels], without the prior where that helped."""
        named = f"{self.name}: {stage}" if stage else self.name
        return self.prior.apply(self.asker.log_probabilities(examples, self.bench.progress, named))

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        asker = self.asker  # loads the model, which is not part of an answer's time
        began = time.perf_counter()
        logs = self.logs(examples)
        spent = time.perf_counter() - began
        return calibrated.predictions_from(logs, asker.labels, self.calibration, seconds=spent)

    def generate(self, examples: Sequence[Example]) -> list[Prediction]:
        """Free generation for the same rows."""
        return self.asker.generate(examples, self.bench.progress, f"{self.name}: generate")

    def save(self, folder: str) -> None:
        kept = {"calibration": self.calibration.document(), "prior": self.prior.document(), "chosen": self.chosen}
        write_json(Path(folder) / "prompt.json", kept)

    def load(self, folder: str) -> Self:
        kept = read_json(Path(folder) / "prompt.json")
        self.calibration, self.chosen = Calibration.of(kept["calibration"]), dict(kept["chosen"])
        self.prior = Prior.of(kept["prior"]) if "prior" in kept else Prior()  # versions of before have none
        return self

    def about(self) -> Mapping[str, Any]:
        return self.chosen


class PromptNone(Prompt):
    """The input alone, with no instructions: what the model makes of it by itself."""

    name = "prompt_none"

    def conversation(self, example: Example) -> Conversation:
        earlier = [turn for turn in example.history if turn.role != "system"]
        return [*earlier, Message(role="user", content=example.text)]


class PromptInstructions(Prompt):
    """The task's instructions, the labels with their descriptions, then the input."""

    name = "prompt_instructions"

    def conversation(self, example: Example) -> Conversation:
        return listed_conversation(self.bench.task, example)
