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
    404: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
"""What the OpenAI protocol calls these; others are `server_error`."""
OPENAI_CODES = {401: "invalid_api_key", 413: "context_length_exceeded", 429: "rate_limit_exceeded"}


class Problem(Exception):
    """A request that gets no answer.

    Args:
        status: of HTTP.
        detail: what is wrong and how to mend it, one line.
        headers: more than the usual.
        code: what the OpenAI protocol calls it, where it has a name for it.
    """

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, *, code: str | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, " ".join(detail.split()), dict(headers or {})
        self.code = code or OPENAI_CODES.get(status)


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
        document["error"] = openai_error(problem)
    return JSONResponse(document, problem.status, problem.headers, media_type="application/problem+json")


def openai_error(problem: Problem) -> dict[str, Any]:
    """A problem as the OpenAI protocol tells it."""
    kind = OPENAI_TYPES.get(problem.status, "server_error")
    return {"message": problem.detail, "type": kind, "param": None, "code": problem.code}
