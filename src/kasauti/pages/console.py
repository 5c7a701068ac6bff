"""`/` and `/review` of a service over HTTP: nothing but translation between requests and the rooms.

Walks in: requests of people's browsers. Walks out: pages, and the next call once a decision is on disk. It does not
know what a page looks like, or who may come in (see `serve/browser.py`).

The queue is filled, and the service looked at, in a thread of its own when somebody looks, at most once in `FILLED` and
`LOOKED` seconds; nobody waits for it longer than `PATIENCE`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from kasauti.calls.arrivals import Arrival
from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews
from kasauti.core.errors import KasautiError, StorageError, UsageError
from kasauti.pages.dashboard import render_dashboard, seen_now
from kasauti.pages.review import render_login, render_review, told
from kasauti.serve.app import Service
from kasauti.serve.browser import LOGIN, Pages, cookie_of
from kasauti.serve.keys import Role
from kasauti.serve.limits import read_body
from kasauti.serve.problems import Problem
from kasauti.serve.served import Question, row_of
from kasauti.watch.look import Look, look
from kasauti.watch.queue import fill, offer_shifted, progress

FILLED, LOOKED, PATIENCE = 20.0, 300.0, 2.0
"""Seconds."""
LOGIN_BYTES = 4096


class Console:
    """What the pages of a service share: its call log, the last look, the thread that fills the queue."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.seen: Look | None = None
        self.trouble = ""
        self._began = {"fill": 0.0, "look": 0.0}
        self._running: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def log(self) -> CallLog:
        """The call log. Raises `Problem` 404 where no calls are kept."""
        if self.service.keeping is None:
            raise Problem(404, "this service keeps no calls: start it without `--calls none`")
        return self.service.keeping.calls

    @property
    def task(self) -> Any:
        """The task whose champion answers."""
        return self.service.served.registry.task

    def tend(self, *, looking: bool = False) -> None:
        """Fill the queue, and look at the service, where it is time."""
        log = self.log
        fresh = self._start("fill", FILLED, lambda: fill(log, datetime.now(UTC), opinions=self.opinions))
        if looking:
            self._start("look", LOOKED, lambda: self._look(log))
        if fresh is not None:
            fresh.join(PATIENCE)

    def _look(self, log: CallLog) -> None:
        self.seen = look(self.task, log, datetime.now(UTC))
        offer_shifted(log, self.seen.sight)

    def _start(self, name: str, every: float, work: Callable[[], Any]) -> threading.Thread | None:
        with self._lock:
            running = self._running.get(name)
            if running is not None and running.is_alive():
                return running
            if self._began[name] and time.monotonic() - self._began[name] < every:
                return None
            self._began[name] = time.monotonic()
            thread = self._running[name] = threading.Thread(target=self._do, args=(work,), name=name, daemon=True)
            thread.start()
            return thread

    def _do(self, work: Callable[[], Any]) -> None:
        try:
            work()
            self.trouble = ""
        except KasautiError as error:
            self.trouble = error.line()
            self.service.log.event("trouble", detail=self.trouble)
        except Exception as error:  # a fault while looking; the pages show what is known
            self.trouble = type(error).__name__
            self.service.log.event("trouble", detail=self.trouble)

    def opinions(self, asked: Sequence[Arrival]) -> Mapping[str, str]:
        """What another version in memory would answer; nothing where there is none."""
        served, rows, ids = self.service.served, [], []
        for one in asked:
            other = served.other_than(one.version)
            call = self.log.get(one.id) if other is not None else None
            if call is not None and not call.masked and not call.history:
                try:
                    row = row_of(self.task, dict(call.fields))
                except KasautiError:  # asked under columns that the task no longer has
                    continue
                rows.append(Question(row=row, by=other))
                ids.append(one.id)
        if not rows or self.loop is None:
            return {}
        try:
            waits = asyncio.run_coroutine_threadsafe(self.service.opinions(rows), self.loop)
            return dict(zip(ids, (one.category for one in waits.result(60)), strict=True))
        except (Problem, TimeoutError):
            return {}


def attach(app: FastAPI, service: Service) -> None:
    """Add the pages to a service's application."""
    console = Console(service)
    _looking(app, console)
    _reviewing(app, console)
    _signing(app, console)


def _looking(app: FastAPI, console: Console) -> None:
    @app.get("/", include_in_schema=False)
    def dashboard() -> Response:
        """What happens out there."""
        kept = console.service.keeping is not None
        if kept:
            console.tend(looking=True)
        with _Faults():
            now = seen_now(console.task, console.log if kept else None, datetime.now(UTC))
        return HTMLResponse(render_dashboard(console.task, now, console.seen, console.trouble))

    @app.get("/review", include_in_schema=False)
    async def review(request: Request) -> Response:
        """The page of one reviewer."""
        console.loop = asyncio.get_running_loop()
        reviewer, guest = reviewer_of(request)
        with _Faults():
            found = await run_in_threadpool(progress, console.log, datetime.now(UTC))
        answer = HTMLResponse(render_review(console.task, reviewer, found, keys=not guest))
        if guest:
            answer.set_cookie(
                f"{cookie_of(request)}-guest", reviewer, httponly=True, samesite="strict", max_age=31536000
            )
        return answer

    @app.get("/review.js", include_in_schema=False)
    def script() -> Response:
        """The script of that page."""
        return FileResponse(Path(__file__).with_name("review.js"), media_type="text/javascript")


def _reviewing(app: FastAPI, console: Console) -> None:
    @app.post("/review/next", include_in_schema=False)
    async def following(request: Request) -> dict[str, Any]:
        """The next call of this reviewer; `skip` puts one off."""
        console.loop = asyncio.get_running_loop()
        body = await console.service.body(request)
        return await run_in_threadpool(_next, console, reviewer_of(request)[0], _number(body, "skip"))

    @app.post("/review/decide", include_in_schema=False)
    async def decide(request: Request) -> dict[str, Any]:
        """Put a decision on disk; then the next call."""
        body = await console.service.body(request)
        review, label, note = _number(body, "review"), body.get("label"), body.get("note")
        if review is None or label not in console.task.labels or not isinstance(note, str | None):
            raise Problem(422, "a decision is {review, label, note}, with a label of the task")
        return await run_in_threadpool(_decide, console, reviewer_of(request)[0], review, str(label), note)

    @app.post("/review/undo", include_in_schema=False)
    async def undo(request: Request) -> dict[str, Any]:
        """Take back this reviewer's last decision, and show its call again."""
        body = await console.service.body(request)
        return await run_in_threadpool(_undo, console, reviewer_of(request)[0], _number(body, "current"))


def _next(console: Console, reviewer: str, skip: int | None = None) -> dict[str, Any]:
    console.tend()
    with _Faults():
        queue = Reviews(console.log)
        loans = queue.lend(reviewer, 1 if skip is None else 2)
        chosen = next((one for one in loans if one.review != skip), loans[0] if loans else None)
        for one in loans:
            if chosen is not None and one.review != chosen.review:
                queue.give_back(one.review, reviewer)
        return told(chosen, sum(queue.waiting().values()))


def _decide(console: Console, reviewer: str, review: int, label: str, note: str | None) -> dict[str, Any]:
    with _Faults():
        Reviews(console.log).decide(review, reviewer, label, note)
    return {**_next(console, reviewer), "change": 1}


def _undo(console: Console, reviewer: str, current: int | None) -> dict[str, Any]:
    with _Faults():
        queue = Reviews(console.log)
        last = queue.latest(reviewer)
        if last is None:
            return {**_next(console, reviewer), "said": "There is nothing to take back"}
        queue.undo(last, reviewer)
        if current is not None and current != last:
            with contextlib.suppress(UsageError):  # its loan has ended meanwhile
                queue.give_back(current, reviewer)
        return {**_next(console, reviewer), "change": -1}


def _signing(app: FastAPI, console: Console) -> None:
    @app.get(LOGIN, include_in_schema=False)
    def login() -> Response:
        """Where a key is given."""
        if console.service.keys is None:
            return RedirectResponse("/review", 303)
        return HTMLResponse(render_login(console.task))

    @app.post(LOGIN, include_in_schema=False)
    async def sign_in(request: Request) -> Response:
        """Keep a key in the browser, where it is one."""
        content = await read_body(request.stream(), request.headers.get("content-length"), LOGIN_BYTES, 15.0)
        given = parse_qs(content.decode("utf-8", "replace")).get("key", [""])[0].strip()
        key = console.service.keys.whose(given) if console.service.keys is not None else None
        if key is None or key.role < Role.REVIEWER:
            why = "There is no such key." if key is None else "This key may not review: it is a caller's."
            return HTMLResponse(render_login(console.task, why), 403)
        answer = RedirectResponse("/review" if key.role is Role.REVIEWER else "/", 303)
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        answer.set_cookie(cookie_of(request), given, httponly=True, samesite="strict", secure=secure)
        return answer

    @app.post("/logout", include_in_schema=False)
    def sign_out(request: Request) -> Response:
        """Forget it."""
        answer = RedirectResponse(LOGIN, 303)
        answer.delete_cookie(cookie_of(request), httponly=True, samesite="strict")
        return answer


def reviewer_of(request: Request) -> tuple[str, bool]:
    """Who reviews: the name of the key; without keys a name that the browser keeps, so that two never share one."""
    name = request.scope.get("kasauti.key")
    if name is not None:
        return str(name), False
    kept = request.cookies.get(f"{cookie_of(request)}-guest", "")
    known = kept.startswith("guest-") and kept[6:].isalnum() and len(kept) < 40
    return (kept if known else f"guest-{secrets.token_hex(4)}"), True


def _number(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Problem(422, f"{name} is the number of a review")
    return value


class _Faults:
    """What is wrong with the queue, as HTTP says it."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, StorageError):  # its text may name hosts
            raise Problem(503, "the call log cannot be reached", {"Retry-After": "1"}) from None
        if isinstance(error, UsageError):
            raise Problem(409, error.line()) from None


PAGES = Pages(
    roles={
        "/": Role.REVIEWER, "/review": Role.REVIEWER, "/review.js": Role.REVIEWER, "/review/next": Role.REVIEWER,
        "/review/decide": Role.REVIEWER, "/review/undo": Role.REVIEWER, LOGIN: None, "/logout": None,
    },
    attach=attach,
)  # fmt: skip
"""What `kasauti serve` shows to people."""
