"""Requests and answers in the OpenAI protocol.

Walks in: a body, an answer. Walks out: what is wished for, a chat completion, or its pieces for a stream. It does not
know HTTP.

After the reference of `POST /v1/chat/completions`. The message is the category, or the text that was written;
confidence, acceptance, version and, where it is asked for, the set of labels stand beside it under `kasauti`, which
clients of the protocol pass over. A version answers as it was judged, so how to draw tokens (`temperature`, `top_p`,
`seed`, …) is passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kasauti.core.types import Ended, Task
from kasauti.serve.problems import Problem
from kasauti.serve.served import Answered

MOST_ALTERNATIVES = 20
LEAST_LOG = -9999.0
"""What the protocol writes for the logarithm of nothing."""
DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """How an answer is wanted."""

    stream: bool = False
    usage: bool = False
    """A stream ends with how many tokens there were."""
    alternatives: int | None = None
    """Other labels whose log-probabilities are wanted; None where none are wanted, not even the answer's."""
    most: int | None = None
    """Tokens of a text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What a completion and each piece of one begin with."""

    id: str
    created: int
    model: str
    sets: bool = False
    """Whether the set of labels is wanted."""

    def document(self, kind: str) -> dict[str, Any]:
        """As JSON."""
        return {"id": f"chatcmpl-{self.id}", "object": kind, "created": self.created, "model": self.model}


def read_wish(body: Mapping[str, Any], task: Task) -> Wish:
    """How the answer is wanted. Raises `Problem` 404 for another model, 422 for what would be answered otherwise than
    it was asked."""
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise Problem(422, "`model` is a text")
    if model is not None and model != task.name:
        detail = f"the model {model[:80]!a} is not served here; {task.name!r} is"
        raise Problem(404, detail, code="model_not_found")
    if _whole(body, "n", 1, None) not in (1, None):
        raise Problem(422, "`n` is 1: a question has one answer")
    for name in ("tools", "functions", "audio"):
        if body.get(name):
            raise Problem(422, f"`{name}` cannot be asked for: the answer is a {'category' if task.labels else 'text'}")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise Problem(422, "`stream_options` is an object")
    logs, alternatives = _flag(body, "logprobs"), _whole(body, "top_logprobs", 0, MOST_ALTERNATIVES)
    if alternatives is not None and not logs:
        raise Problem(422, "`top_logprobs` goes with `logprobs`: true")
    limits = [_whole(body, name, 1, None) for name in ("max_completion_tokens", "max_tokens")]
    return Wish(
        stream=_flag(body, "stream"),
        usage=_flag(options or {}, "include_usage"),
        alternatives=(alternatives or 0) if logs else None,
        most=next((one for one in limits if one is not None), None),
    )


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise Problem(422, f"`{name}` is true or false")
    return bool(value)


def _whole(body: Mapping[str, Any], name: str, least: int, most: int | None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():  # 1.0 is the same number in JSON
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        raise Problem(422, f"`{name}` is a whole number from {least}{f' to {most}' if most is not None else ' on'}")
    return value


def completion(answer: Answered, head: Head, wish: Wish) -> dict[str, Any]:
    """The whole answer."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text, "refusal": None},
        "logprobs": _logprobs(answer, wish),
        "finish_reason": _reason(answer),
    }
    document = {**head.document("chat.completion"), "choices": [choice], "kasauti": _told(answer, head.sets)}
    used = _usage(answer)
    return {**document, "usage": used} if used else document


def pieces(answer: Answered, head: Head, wish: Wish) -> Iterator[str]:
    """A category as server-sent events: it is known as a whole, so its text is one piece."""
    yield opening(head)
    yield piece(head, answer.text, _logprobs(answer, wish))
    yield from closing(answer, head, wish)


def opening(head: Head) -> str:
    """The first event of a stream."""
    return _event(head, {"role": "assistant", "content": ""})


def piece(head: Head, text: str, logprobs: dict[str, Any] | None = None) -> str:
    """The event of a piece of the text."""
    return _event(head, {"content": text}, logprobs=logprobs)


def closing(answer: Answered, head: Head, wish: Wish) -> Iterator[str]:
    """The last events of a stream."""
    yield _event(head, {}, reason=_reason(answer), kasauti=_told(answer, head.sets))
    if wish.usage:
        document = {**head.document("chat.completion.chunk"), "choices": [], "usage": _usage(answer)}
        yield f"data: {json.dumps(document)}\n\n"
    yield DONE


def _event(
    head: Head, delta: Mapping[str, str], *, reason: str | None = None, logprobs: Any = None, **more: Any
) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
    document = {**head.document("chat.completion.chunk"), "choices": [choice], **more}
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"


def _reason(answer: Answered) -> str:
    """A text that was cut off did not end by itself; a category is always whole."""
    return "length" if not answer.category and answer.prediction.ended is Ended.UNPARSABLE else "stop"


def _told(answer: Answered, sets: bool) -> dict[str, Any]:
    told = {"confidence": answer.confidence, "accepted": answer.accepted, "version": answer.version}
    return {**told, "labels": answer.labels} if sets else told


def _usage(answer: Answered) -> dict[str, int] | None:
    given = answer.prediction
    if not given.input_tokens:
        return None
    total = given.input_tokens + given.output_tokens
    return {"prompt_tokens": given.input_tokens, "completion_tokens": given.output_tokens, "total_tokens": total}


def _logprobs(answer: Answered, wish: Wish) -> dict[str, Any] | None:
    """The logarithms of the labels' probabilities, a label standing in the place of a token; None where there are no
    probabilities, or none are wanted."""
    table = answer.prediction.probabilities
    if wish.alternatives is None or table is None or not answer.category:
        return None

    def one(label: str) -> dict[str, Any]:
        p = table.get(label, 0.0)
        return {"token": label, "logprob": math.log(p) if p > 0 else LEAST_LOG, "bytes": list(label.encode("utf-8"))}

    best = sorted(table, key=lambda label: -table[label])[: wish.alternatives]
    return {"content": [{**one(answer.category), "top_logprobs": [one(label) for label in best]}], "refusal": None}


def models(name: str, created: int) -> dict[str, Any]:
    """The list of models: the task."""
    return {"object": "list", "data": [model(name, created)]}


def model(name: str, created: int) -> dict[str, Any]:
    """One model."""
    return {"id": name, "object": "model", "created": created, "owned_by": "kasauti"}
