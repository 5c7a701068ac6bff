"""A hosted model, asked with the task's instructions and the list of its labels.

It is what a tuned model is measured against. Nothing is learnt from the training rows. Where the server tells how
likely its tokens were, the calibration rows say how sure its answers are; else an answer has no confidence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from kasauti.approaches import calibrated
from kasauti.approaches.hosted.caller import Caller, Refused, Request
from kasauti.approaches.hosted.ledger import Answer, Ledger, ledger_path
from kasauti.approaches.hosted.sure import label_logs
from kasauti.approaches.prompt import listed_conversation
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import UsageError
from kasauti.core.files import read_json, write_json
from kasauti.core.hosted import Endpoint
from kasauti.core.types import Ended, Example, Message, Prediction, Task
from kasauti.measure.scaling import Calibration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Conversation = Sequence[Message]
MESSAGE_TOKENS = 32
"""Tokens that a chat template puts around one turn, at most."""
HIDDEN_TOKENS = 256
"""Tokens that a server's template puts in front of every prompt, at most (a system turn of its own)."""
CUT = ("length", "content_filter")
"""Ends of an answer that the model did not choose."""
BYTES_A_TOKEN = 4
"""Of prose, in the tokenizers of today's large models: 4 to 5 in English, 3 to 6 in Hindi."""
SLACK = 8
"""Tokens that an answer may have beyond the longest label, so that what goes on is seen to go on."""


class Hosted:
    """The model behind `hosted` of the task file.

    Args:
        bench: the task.
        conversation: a row as the turns to send; None for the task's instructions, the list of labels and the row.
            A prompt that was found elsewhere is handed in here.
    """

    name = "hosted"
    family = "hosted"

    def __init__(self, bench: Workbench, conversation: Callable[[Example], Conversation] | None = None) -> None:
        self.bench = bench
        self.conversation = conversation or (lambda row: listed_conversation(bench.task, row))
        self.labels = tuple(bench.task.labels)
        self.calibration: Calibration | None = None
        self.held_out: list[Prediction] = []
        self.chosen: dict[str, Any] = {}
        self._caller: Caller | None = None

    @property
    def caller(self) -> Caller:
        """Who sends the requests; one for as long as this lives."""
        if self._caller is None:
            task = self.bench.task
            ledger = Ledger(ledger_path(task.folder))
            self._caller = Caller(endpoint_of(task), ledger, task.business.hosted_per_1m_tokens)
        return self._caller

    def requests(self, examples: Sequence[Example]) -> list[Request]:
        """What would be sent for these rows."""
        endpoint, most = endpoint_of(self.bench.task), self.most_tokens
        return [_request(endpoint, self.conversation(row), most, bool(self.labels)) for row in examples]

    @property
    def most_tokens(self) -> int:
        """Tokens that an answer may have: what the task sets, else the longest label's bytes, which are never fewer."""
        longest = max(len(label.encode("utf-8")) for label in self.labels)
        return endpoint_of(self.bench.task).max_tokens or longest + SLACK

    @property
    def usual_tokens(self) -> float:
        """Tokens that an answer has, about."""
        return sum(len(label.encode("utf-8")) for label in self.labels) / len(self.labels) / BYTES_A_TOKEN + 1

    def prepare(self, train: Sequence[Example]) -> Self:
        """Take from the training rows what requests depend on: nothing, since labels bound an answer."""
        return self

    def asked_to_fit(self, calibrate: Sequence[Example]) -> Sequence[Example]:
        """The rows that a fit asks for."""
        return calibrate

    def fit(self, train: Sequence[Example], choose: Sequence[Example], calibrate: Sequence[Example]) -> Self:
        given = self._ask(calibrate, "calibrate")
        logs, with_logs = self._logs(given)
        rows = [calibrate[at] for at in with_logs]
        plain = [self._prediction(one) for one in given]
        self.calibration, stated = None, plain
        if rows:
            self.calibration, made = calibrated.calibrate(logs, rows, self.labels)
            by_row = dict(zip(with_logs, made, strict=True))
            stated = [_sure(one, by_row.get(at)) for at, one in enumerate(plain)]
        self.held_out = stated
        self.chosen = self._about(calibrate, plain, given)
        return self

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        given = self._ask(examples, "answer")
        plain = [self._prediction(one) for one in given]
        if self.calibration is None:
            return plain
        logs, with_logs = self._logs(given)
        made = calibrated.predictions_from(logs, self.labels, self.calibration)
        by_row = dict(zip(with_logs, made, strict=True))
        return [_sure(one, by_row.get(at)) for at, one in enumerate(plain)]

    @property
    def call_seconds(self) -> list[float]:
        """How long the calls of the calibration rows took, each from sending to the last byte. An answer that is known
        is found in no time, so asking again would measure nothing."""
        return [one.seconds for one in self.held_out if one.ended is not Ended.FAILED]

    def save(self, folder: str) -> None:
        calibration = None if self.calibration is None else self.calibration.document()
        write_json(Path(folder) / "hosted.json", {"calibration": calibration, "chosen": self.chosen})

    def load(self, folder: str) -> Self:
        kept = read_json(Path(folder) / "hosted.json")
        self.calibration = None if kept["calibration"] is None else Calibration.of(kept["calibration"])
        self.chosen = dict(kept["chosen"])
        return self

    def about(self) -> Mapping[str, Any]:
        return self.chosen

    def _ask(self, rows: Sequence[Example], stage: str) -> list[Answer | Refused]:
        return self.caller.ask(self.requests(rows), self.bench.progress, f"{self.name}: {stage}") if rows else []

    def _prediction(self, given: Answer | Refused) -> Prediction:
        """Strictly one of the labels, ended by the model itself; anything else is unparsable."""
        if isinstance(given, Refused):
            return Prediction(answer=None, ended=Ended.FAILED, raw=given.why)
        text = given.text.strip()
        valid = text in self.bench.task.labels and given.finish not in CUT
        return Prediction(
            answer=text if valid else None,
            ended=Ended.ANSWERED if valid else Ended.UNPARSABLE,
            raw=given.text,
            seconds=given.seconds,
            input_tokens=given.input_tokens,
            output_tokens=given.output_tokens,
            cost=given.cost,
        )

    def _logs(self, given: Sequence[Answer | Refused]) -> tuple[NDArray[np.float64], list[int]]:
        """log P [m, labels] of the m answers that have one, and their places."""
        import numpy as np

        places = [at for at, one in enumerate(given) if isinstance(one, Answer) and one.tops]
        logs = np.zeros((len(places), len(self.labels)))
        for row, at in enumerate(places):
            one = given[at]
            assert isinstance(one, Answer)
            logs[row] = label_logs(one.tops, one.text, self.labels)
        return logs, places

    def _about(
        self, rows: Sequence[Example], plain: Sequence[Prediction], given: Sequence[Answer | Refused]
    ) -> dict[str, Any]:
        endpoint = endpoint_of(self.bench.task)
        answers = [one for one in given if isinstance(one, Answer)]
        right = sum(one.answer == row.answer for one, row in zip(plain, rows, strict=True))
        mean = {
            name: sum(getattr(one, name) for one in answers) / max(1, len(answers))
            for name in ("input_tokens", "output_tokens")
        }
        return {
            "endpoint": endpoint.base_url,
            "model": endpoint.model,
            "served_as": sorted({one.model for one in answers if one.model}),
            "validation_accuracy": right / len(rows) if rows else None,
            "refused": len(given) - len(answers),
            "unparsable": sum(one.ended is Ended.UNPARSABLE for one in plain),
            "tokens_per_call": mean,
            "tokens_counted_by": "server" if all(one.counted for one in answers) else "upper bound",
            "confidence": "none" if self.calibration is None else "log-probabilities of the server",
            **(calibrated.about(self.calibration) if self.calibration else {}),
        }


def endpoint_of(task: Task) -> Endpoint:
    """The endpoint of a task. Raises `UsageError` where it has none."""
    if task.hosted is None:
        mend = "Add one: hosted: {base_url: https://api.openai.com/v1, model: gpt-4.1, cap: 5}."
        raise UsageError("there is no `hosted` section", where="task.yaml", mend=mend)
    return task.hosted


def identity(task: Task) -> dict[str, Any]:
    """What the answers depend on, for hashes; not how fast or for how much money they may be asked for."""
    endpoint = endpoint_of(task)
    names = ("url", "model", "limit_field", "max_tokens", "temperature", "top_logprobs")
    return {**{name: getattr(endpoint, name) for name in names}, "parameters": dict(endpoint.parameters)}


def _request(endpoint: Endpoint, conversation: Conversation, most: int, labelled: bool) -> Request:
    turns = [{"role": turn.role, "content": _clean(turn.content)} for turn in conversation]
    body: dict[str, Any] = {"model": endpoint.model, "messages": turns, endpoint.limit_field: most}
    if endpoint.temperature is not None:
        body["temperature"] = endpoint.temperature
    if endpoint.top_logprobs and labelled:
        body |= {"logprobs": True, "top_logprobs": endpoint.top_logprobs}
    sent = sum(len(turn["content"].encode("utf-8")) for turn in turns) + MESSAGE_TOKENS * len(turns) + HIDDEN_TOKENS
    return Request(body={**body, **endpoint.parameters}, input_tokens=sent, output_tokens=most).to(endpoint)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _sure(plain: Prediction, stated: Prediction | None) -> Prediction:
    """The answer as it was written, with the probabilities that its row has."""
    if stated is None or plain.answer is None or stated.probabilities is None:
        return plain
    probabilities = stated.probabilities
    return dataclasses.replace(
        plain, confidence=probabilities[plain.answer], probabilities=probabilities, log_mass=stated.log_mass
    )
