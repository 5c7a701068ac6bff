"""Errors as RFC 9457 problem documents.

Walks in: a status and what to say. Walks out: a response. It does not know what went wrong, and never holds a text
that a caller sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
"""What the OpenAI protocol calls these; others are `server_error`."""


class Problem(Exception):
    """A request that gets no answer.

    Args:
        status: of HTTP.
        detail: what is wrong and how to mend it, one line.
        headers: more than the usual.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, " ".join(detail.split()), dict(headers or {})


def problem_response(problem: Problem, request_id: str, *, openai: bool = False) -> JSONResponse:
    """The document; for the OpenAI protocol with its `error` member beside the usual ones."""
    document: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": f"urn:uuid:{request_id}",
    }
    if openai:
        kind = OPENAI_TYPES.get(problem.status, "server_error")
        code = "context_length_exceeded" if problem.status == 413 else None
        document["error"] = {"message": problem.detail, "type": kind, "param": None, "code": code}
    return JSONResponse(document, problem.status, problem.headers, media_type="application/problem+json")
