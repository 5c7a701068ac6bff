"""The reading page over HTTP: nothing but translation between requests and decisions.

Walks in: requests of one browser on this machine. Walks out: the page, its script, and what stands for a row once its
decision is on disk. It does not know what a page looks like. It keeps no state but whether the test rows may be
shown: what is decided is read from the log for every request.

Who may ask: a browser that was given the token (in the address at first, then in a cookie), under a name of this
machine (a page elsewhere that has its own name resolve to 127.0.0.1 is refused), from no other origin.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict

from kasauti.core.errors import KasautiError, StorageError
from kasauti.data.decisions import Choice, decide, standing
from kasauti.pages.reading import TEST, Desk, Row, render_reading, said

NAMES = {"127.0.0.1", "localhost", "::1"}
"""This machine, as an address may name it; the port is free, for it may be forwarded."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Asked(BaseModel):
    """The body of a decision."""

    model_config = ConfigDict(extra="forbid")
    row: str
    choice: Choice
    label: str | None = None


class Looks:
    """How often the test rows were looked at, and how one more is counted."""

    def __init__(self, so_far: Callable[[], int], count: Callable[[], int]) -> None:
        self.so_far, self.count = so_far, count
        self.looked = False


def make_app(desk: Desk, looks: Looks, token: str) -> FastAPI:
    """The application.

    Args:
        desk: what there is to read.
        looks: counts looks at the test rows. `count` is called before test rows are shown, and again after a decision
            on one of them, which makes them another test set.
        token: what the browser has to bring.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    rows = {str(row.key): row for reading in desk.readings.values() for row in reading.rows}
    writing = threading.Lock()

    @app.get("/")
    def page(name: Annotated[str, Query(alias="rows")] = "") -> Response:
        name = name or next(iter(desk.readings))
        if name not in desk.readings:
            return _problem(404, f"there is no list {name!r}. Lists: {', '.join(desk.readings)}.")
        decisions = standing(desk.task.folder)
        return HTMLResponse(render_reading(desk, name, decisions, looks.so_far(), looked=looks.looked))

    @app.get("/reading.js")
    def script() -> Response:
        return FileResponse(Path(__file__).with_name("reading.js"), media_type="text/javascript")

    @app.post("/look")
    def look(name: Annotated[str, Query(alias="rows")] = TEST) -> Response:
        looks.count()
        looks.looked = True
        return RedirectResponse(f"/?rows={name}#rows" if name in desk.readings else "/", status_code=303)

    @app.post("/decisions")
    def decision(asked: Annotated[Asked, Body()]) -> Response:
        row = rows.get(asked.row)
        if row is None or (row.part == TEST and not looks.looked):
            return _problem(404, f"there is no row {asked.row!r} on this page. Load it again.")
        with writing:
            return JSONResponse(_decided(desk, looks, row, asked))

    _refuse_others(app, token)
    app.add_exception_handler(KasautiError, _fault)
    app.add_exception_handler(RequestValidationError, _fault)
    return app


def _decided(desk: Desk, looks: Looks, row: Row, asked: Asked) -> dict[str, str]:
    """Put a decision on disk; what stands for the row now."""
    stands = decide(desk.task, row.example, row.key, asked.choice, asked.label)
    if row.part == TEST:
        looks.count()
    return {"row": asked.row, "choice": stands.choice.value if stands else "", "said": said(stands)}


def _refuse_others(app: FastAPI, token: str) -> None:
    """Let nobody in but the reader, and tell the browser what the page may do."""

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        host = request.headers.get("host", "")
        name, port = _split(host)
        cookie = f"kasauti-{port}"  # cookies do not know ports; two tasks may be read at once
        given = request.query_params.get("token", "")
        brought = given or request.cookies.get(cookie, "")
        answer: Response
        if name not in NAMES:
            answer = _problem(403, "this page is served under the name of this machine alone, 127.0.0.1.")
        elif not secrets.compare_digest(brought.encode(), token.encode()):
            answer = _problem(403, "open the address that `kasauti audit --read` prints: it changes with every start.")
        elif request.method not in ("GET", "HEAD") and request.headers.get("origin") != f"http://{host}":
            answer = _problem(403, "a decision is taken from this page alone.")
        else:
            answer = await call_next(request)
            if given:
                answer.set_cookie(cookie, token, httponly=True, samesite="strict")
        answer.headers.update(HEADERS)
        return answer


def _split(host: str) -> tuple[str, int]:
    """Name and port of a Host header; an empty name where it is none."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port or 80
    except ValueError:
        return "", 0


def _problem(status: int, detail: str) -> JSONResponse:
    """An RFC 9457 problem document."""
    return JSONResponse({"status": status, "detail": detail}, status, media_type="application/problem+json")


def _fault(request: Request, error: Exception) -> Response:
    if isinstance(error, KasautiError):
        return _problem(500 if isinstance(error, StorageError) else 422, error.line())
    return _problem(422, "a decision is {row, choice: accept, relabel, drop or undo, label}.")
