"""The OpenAPI document: what may be sent and what comes back, from the task's own columns and labels.

Walks in: the application, the task. Walks out: the document at `/openapi.json`. It does not answer anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from kasauti.core.types import Task
from kasauti.serve.asked import MOST_CHARACTERS, MOST_ROWS
from kasauti.serve.openai import MOST_ALTERNATIVES

Schema = dict[str, Any]
PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
    },
}
_EVENT: Schema = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
"""A server-sent event, as tools that read the document see one."""
REFUSALS = {
    "401": "no key, or an unknown one",
    "403": "the key's role may not do this",
    "404": "there is no such model",
    "408": "the body arrived too slowly",
    "413": "the body is too large",
    "415": "the body is no JSON by its content type",
    "422": "the body is not what is expected",
    "429": "full, or too many requests of this caller; see Retry-After",
    "500": "a fault of the service",
    "503": "the model is being loaded, or the service is stopping",
    "504": "no answer in time",
}


def describe(app: FastAPI, task: Task) -> None:
    """Complete the document that the framework makes from the routes."""
    plain = app.openapi

    def document() -> Schema:
        if app.openapi_schema is None:
            made = plain()
            if not task.labels:
                del made["paths"]["/classify"]
            for path, methods in made["paths"].items():
                for operation in methods.values():
                    _complete(path, operation, task)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _complete(path: str, operation: Schema, task: Task) -> None:
    problem = {"content": {"application/problem+json": {"schema": PROBLEM}}}
    body = {"/classify": _classify_body(task), "/v1/chat/completions": _chat_body(task)}.get(path)
    codes = {*(REFUSALS if body else ("401", "403", "429", "500", "503"))} - {"404"}
    if path in ("/v1/chat/completions", "/v1/models/{name}"):
        codes.add("404")
    told = {code: {"description": text, **problem} for code, text in REFUSALS.items() if code in codes}
    operation["responses"] = {"200": operation["responses"]["200"], **told}  # without the framework's own 422
    if body:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
        about = "also give the set of labels that holds the true one as often as the version promises"
        sets = {"type": "boolean", "default": False}
        operation["parameters"] = [{"name": "sets", "in": "query", "description": about, "schema": sets}]
    if path == "/classify":
        operation["responses"]["200"] = _json("the answer", {"oneOf": [_answer(task), _answers(task)]})
    if path == "/v1/chat/completions":
        streamed = {"text/event-stream": {"schema": _EVENT}}
        found = _json("a chat completion", _completion(task))
        operation["responses"]["200"] = {**found, "content": {**found["content"], **streamed}}
    if path == "/metrics":
        text = {"text/plain": {"schema": {"type": "string"}}}
        operation["responses"]["200"] = {"description": "figures", "content": text}


def _json(description: str, schema: Mapping[str, Any]) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _row(task: Task) -> Schema:
    properties: Schema = {name: {"type": "string", "maxLength": MOST_CHARACTERS} for name in task.columns}
    properties.setdefault("metadata", {"type": "object"})
    if task.group is not None:  # a column of the data that no question needs
        properties.setdefault(task.group, {})
    return {
        "type": "object",
        "required": list(task.columns),
        "properties": properties,
        "additionalProperties": False,
    }


def _classify_body(task: Task) -> Schema:
    inputs = {"type": "array", "minItems": 1, "maxItems": MOST_ROWS, "items": _row(task)}
    batch = {
        "type": "object",
        "required": ["inputs"],
        "properties": {"inputs": inputs, "metadata": {"type": "object"}},
        "additionalProperties": False,
    }
    return _row(task) if "inputs" in task.columns else {"oneOf": [_row(task), batch]}


def _chat_body(task: Task) -> Schema:
    """What is read; other members of the protocol are passed over."""
    text = {"type": "string", "maxLength": MOST_CHARACTERS}
    part = {"type": "object", "required": ["type", "text"], "properties": {"type": {"enum": ["text"]}, "text": text}}
    turn = {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {"anyOf": [text, {"type": "array", "minItems": 1, "items": part}]},
        },
    }
    flag: Schema = {"type": ["boolean", "null"]}
    tokens: Schema = {"type": ["integer", "null"], "minimum": 1}
    return {
        "type": "object",
        "required": ["messages"],
        "properties": {
            "model": {"enum": [task.name, None]},
            "messages": {"type": "array", "minItems": 1, "items": turn},
            "n": {"enum": [1, None]},
            "stream": flag,
            "stream_options": {"type": ["object", "null"], "properties": {"include_usage": flag}},
            "logprobs": flag,
            "top_logprobs": {"type": ["integer", "null"], "minimum": 0, "maximum": MOST_ALTERNATIVES},
            "max_tokens": tokens,
            "max_completion_tokens": tokens,
            "metadata": {"type": ["object", "null"]},
        },
    }


def _completion(task: Task) -> Schema:
    message = {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"enum": ["assistant"]}, "content": _category(task)},
    }
    choice = {
        "type": "object",
        "required": ["index", "message", "logprobs", "finish_reason"],
        "properties": {
            "index": {"enum": [0]},
            "message": message,
            "logprobs": {"type": ["object", "null"]},
            "finish_reason": {"enum": ["stop", "length"]},
        },
    }
    told = {"confidence": _confidence(), "accepted": {"type": "boolean"}, "version": {"type": "integer"}}
    shape = {
        "id": {"type": "string"},
        "object": {"enum": ["chat.completion"]},
        "created": {"type": "integer"},
        "model": {"enum": [task.name]},
        "choices": {"type": "array", "minItems": 1, "maxItems": 1, "items": choice},
        "kasauti": {"type": "object", "required": list(told), "properties": {**told, **_sets(task)}},
    }
    return {"type": "object", "required": list(shape), "properties": {**shape, "usage": {"type": "object"}}}


def _category(task: Task) -> Schema:
    return {"enum": list(task.labels)} if task.labels else {"type": "string"}


def _confidence() -> Schema:
    return {"type": ["number", "null"], "minimum": 0, "maximum": 1}


def _shape(task: Task) -> Schema:
    return {
        "id": {"type": "string"},
        "category": _category(task),
        "confidence": _confidence(),
        "accepted": {"type": "boolean"},
    }


def _sets(task: Task) -> Schema:
    """What is there only where it is asked for; null where the version promises no sets."""
    return {"labels": {"type": ["array", "null"], "items": _category(task)}}


def _answer(task: Task) -> Schema:
    shape = {**_shape(task), "latency_ms": {"type": "number"}, "version": {"type": "integer"}}
    return {"type": "object", "required": list(shape), "properties": {**shape, **_sets(task)}}


def _answers(task: Task) -> Schema:
    each = {**_shape(task), "version": {"type": "integer"}}
    one = {"type": "object", "required": list(each), "properties": {**each, **_sets(task)}}
    shape = {"id": {"type": "string"}, "outputs": {"type": "array", "items": one}, "latency_ms": {"type": "number"}}
    return {"type": "object", "required": list(shape), "properties": shape}
