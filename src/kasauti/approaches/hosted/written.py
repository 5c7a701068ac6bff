"""A hosted model for tasks whose answer is a text: the task's instructions, the row, and what the model writes.

Walks in: a bench, rows. Walks out: one `Prediction` a row, its answer the text; one that was cut off is none. There is
no posterior over all possible texts, and so no confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from kasauti.approaches.hosted.approach import BYTES_A_TOKEN, CUT, Conversation, Hosted, endpoint_of
from kasauti.approaches.hosted.caller import Refused
from kasauti.approaches.hosted.ledger import Answer
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import read_json, write_json
from kasauti.core.types import Ended, Example, Prediction
from kasauti.data.conversation import messages

SPARSE = 2
"""Bytes of the longest training answer that may be a token each: half as many as in prose, so that there is room."""
LEAST = 64
"""Tokens that an answer may have in any case."""
TIMED = 20
"""Calibration rows that a fit asks for, to see what calls take."""


class WrittenHosted(Hosted):
    """The model behind `hosted`, left to write."""

    def __init__(self, bench: Workbench, conversation: Callable[[Example], Conversation] | None = None) -> None:
        super().__init__(bench, conversation or (lambda row: messages(bench.task, row, with_answer=False)))
        self._longest, self._usual = 0, 0.0
        self._seconds: list[float] = []

    @property
    def most_tokens(self) -> int:
        """Tokens that an answer may have."""
        return endpoint_of(self.bench.task).max_tokens or max(LEAST, self._longest // SPARSE)

    @property
    def usual_tokens(self) -> float:
        return self._usual / BYTES_A_TOKEN + 1

    @property
    def call_seconds(self) -> list[float]:
        return self._seconds

    def prepare(self, train: Sequence[Example]) -> Self:
        """How long answers are, from the training rows."""
        sizes = [len(row.answer.encode("utf-8")) for row in train if row.answer]
        self._longest, self._usual = max(sizes, default=0), sum(sizes) / max(1, len(sizes))
        return self

    def asked_to_fit(self, calibrate: Sequence[Example]) -> Sequence[Example]:
        return calibrate[:TIMED]

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        self.prepare(train)
        rows = self.asked_to_fit(calibrate)
        given = self._ask(rows, "validation rows")
        plain = [self._prediction(one) for one in given]
        self._seconds = [one.seconds for one in plain if one.ended is not Ended.FAILED]
        about = self._about(rows, plain, given)
        self.chosen = {
            **{k: v for k, v in about.items() if k != "validation_accuracy"},
            "most_tokens": self.most_tokens,
        }
        return self

    def save(self, folder: str) -> None:
        write_json(
            Path(folder) / "hosted.json", {"longest": self._longest, "usual": self._usual, "chosen": self.chosen}
        )

    def load(self, folder: str) -> Self:
        kept: dict[str, Any] = read_json(Path(folder) / "hosted.json")
        self._longest, self._usual, self.chosen = int(kept["longest"]), float(kept["usual"]), dict(kept["chosen"])
        return self

    def _prediction(self, given: Answer | Refused) -> Prediction:
        if isinstance(given, Refused):
            return Prediction(answer=None, ended=Ended.FAILED, raw=given.why)
        whole = given.finish not in CUT
        return Prediction(
            answer=given.text.strip() if whole else None,
            ended=Ended.ANSWERED if whole else Ended.UNPARSABLE,
            raw=given.text,
            seconds=given.seconds,
            input_tokens=given.input_tokens,
            output_tokens=given.output_tokens,
            cost=given.cost,
        )
