"""Answers in the OpenAI protocol.

Walks in: an answer. Walks out: a chat completion, or its pieces for a stream. It does not know HTTP.

After the reference of `POST /v1/chat/completions`. The category is the message; confidence, acceptance, version
and, where it is asked for, the set of labels stand beside it under `kasauti`, which clients of the protocol pass over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kasauti.serve.problems import Problem
from kasauti.serve.served import Answered


def check(body: Mapping[str, Any]) -> None:
    """Refuse what would be answered otherwise than it was asked. Raises `Problem` 422."""
    if body.get("n", 1) not in (1, None):
        raise Problem(422, "`n` is 1: the answer to a question is one category")
    if not isinstance(body.get("stream", False), bool | None):
        raise Problem(422, "`stream` is true or false")
    for name in ("tools", "functions", "audio"):
        if body.get(name):
            raise Problem(422, f"`{name}` cannot be asked for: the answer is a category")


def _head(id: str, created: int, model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{id}", "object": kind, "created": created, "model": model}


def _told(answer: Answered, sets: bool) -> dict[str, Any]:
    told = {"confidence": answer.confidence, "accepted": answer.accepted, "version": answer.version}
    return {**told, "labels": answer.labels} if sets else told


def completion(answer: Answered, id: str, created: int, model: str, sets: bool = False) -> dict[str, Any]:
    """The whole answer."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.category, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    document = {**_head(id, created, model, "chat.completion"), "choices": [choice], "kasauti": _told(answer, sets)}
    given = answer.prediction
    if given.input_tokens:
        used = {"prompt_tokens": given.input_tokens, "completion_tokens": given.output_tokens}
        document["usage"] = {**used, "total_tokens": given.input_tokens + given.output_tokens}
    return document


def pieces(answer: Answered, id: str, created: int, model: str, sets: bool = False) -> Iterator[str]:
    """The answer as server-sent events. A category is known as a whole, so its text is one piece."""
    head = _head(id, created, model, "chat.completion.chunk")
    for delta, reason in (
        ({"role": "assistant", "content": ""}, None),
        ({"content": answer.category}, None),
        ({}, "stop"),
    ):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        document: dict[str, Any] = {**head, "choices": [choice]}
        if reason:
            document["kasauti"] = _told(answer, sets)
        yield f"data: {json.dumps(document, ensure_ascii=False)}\n\n"
    yield "data: [DONE]\n\n"


def models(name: str, created: int) -> dict[str, Any]:
    """The list of models: the task."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": created, "owned_by": "kasauti"}]}
