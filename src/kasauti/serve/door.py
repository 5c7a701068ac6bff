"""The door: what happens to every request before and after it is answered.

Walks in: a raw request. Walks out: its response with an id and the security headers, a line in the log, a count. It
does not know models. Whatever goes wrong behind it becomes a problem document without a trace of the inside.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kasauti.core.call import new_id
from kasauti.serve import browser
from kasauti.serve.figures import Figures
from kasauti.serve.keys import Keys, Role
from kasauti.serve.limits import Rate
from kasauti.serve.logs import Log
from kasauti.serve.problems import Problem, problem_response

ROLES = {
    "/classify": Role.CALLER,
    "/v1/chat/completions": Role.CALLER,
    "/v1/models": Role.CALLER,
    "/openapi.json": Role.CALLER,
    "/versions": Role.REVIEWER,
    "/metrics": Role.OPERATOR,
}
"""The least role for a path; without one it is open to everybody."""
OPEN = ("/healthz", "/readyz")
HUNG_UP = 499
"""What the log and the figures say of a caller that hung up before its request was whole; nobody gets it."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Door:
    """Middleware around the whole application.

    Args:
        app: what is behind it.
        keys: who may come in; None is everybody.
        per_minute: requests of one caller, unless the key says otherwise; 0 for no bound.
        pages: paths of pages, with the least role for each; None is open to everybody.
    """

    def __init__(
        self, app: ASGIApp, keys: Keys | None, per_minute: float, figures: Figures, log: Log,
        pages: Mapping[str, Role | None] | None = None,
    ) -> None:  # fmt: skip
        self._app, self._keys, self._per_minute, self._pages = app, keys, per_minute, pages or {}
        self._figures, self._log, self._rate = figures, log, Rate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, id = time.perf_counter(), new_id()
        scope["kasauti.id"], scope["kasauti.began"] = id, began
        said: dict[str, Any] = {"status": 0}

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                said["status"] = message["status"]
                page = browser.HEADERS if scope["path"] in self._pages else {}
                own = {**HEADERS, **page, "x-request-id": id}
                kept = [(name, value) for name, value in message.get("headers", ()) if name.decode() not in own]
                message["headers"] = [*kept, *((name.encode(), value.encode()) for name, value in own.items())]
            await send(message)

        try:
            said["key"] = scope["kasauti.key"] = self._let_in(Request(scope))
            await self._app(scope, receive, send_on)
        except ClientDisconnect:
            said["status"] = HUNG_UP
        except Exception as error:
            if not isinstance(error, Problem):
                said["error"] = type(error).__name__  # never its text, which may hold the caller's
            if said["status"] == 0:
                problem = error if isinstance(error, Problem) else Problem(500, "the service has a fault")
                openai = scope["path"].startswith("/v1/")
                await problem_response(problem, id, openai=openai)(scope, receive, send_on)
        finally:
            self._tell(scope, id, time.perf_counter() - began, said)

    def _let_in(self, request: Request) -> str | None:
        """The caller's name. Raises `Problem` 401, 403 or 429."""
        path = request.scope["path"]
        if path in OPEN:
            return None
        if path in self._pages:
            browser.check_origin(request, guarded=self._keys is not None)
            if self._pages[path] is None:
                return None
        name, per_minute = f"address {request.client.host if request.client else ''}", self._per_minute
        if self._keys is not None:
            needed = self._pages.get(path) or ROLES.get(path, Role.CALLER)
            key = self._keys.whose(self._given(request))
            if key is None:
                if path in self._pages:
                    raise browser.refused(request)
                detail = "a key is needed: `Authorization: Bearer …`"
                raise Problem(401, detail, {"WWW-Authenticate": "Bearer"})
            name, per_minute = key.name, key.per_minute or per_minute
            if key.role < needed:
                raise Problem(403, f"the role {key.role.name.lower()} may not do this; {needed.name.lower()} may")
        if per_minute and (wait := self._rate.wait(name, per_minute)):
            detail = f"more than {per_minute:g} requests a minute"
            raise Problem(429, detail, {"Retry-After": str(max(1, math.ceil(wait)))})
        return name if self._keys is not None else None

    def _given(self, request: Request) -> str:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        given = value.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        if not given and request.scope["path"] in self._pages:
            return request.cookies.get(browser.cookie_of(request), "")
        return given

    def _tell(self, scope: Scope, id: str, seconds: float, said: dict[str, Any]) -> None:
        path = (
            scope["path"] if scope["path"] in (*ROLES, *OPEN, *self._pages) else "other"
        )  # a label for each made-up path would add up
        self._figures.requests.labels(path, str(said["status"])).inc()
        self._figures.seconds.labels(path).observe(seconds)
        if path in OPEN and said["status"] < 500:
            return
        more = {name: scope.get(f"kasauti.{name}") for name in ("rows", "version", "input")}
        self._log.event(
            "request", id=id, method=scope["method"], path=path, ms=round(1000 * seconds, 2), **said, **more
        )


def problem_of(error: HTTPException) -> Problem:
    """What the framework itself refuses: an unknown path, a method that a path does not take."""
    details = {404: "there is no such path", 405: "this path does not take this method"}
    return Problem(error.status_code, details.get(error.status_code, "the request cannot be read"), error.headers)
