"""The application: nothing but translation between HTTP and the rooms.

Walks in: requests. Walks out: answers in the contract's shape, or problem documents. It holds the engine's life: the
model is loaded and warmed behind a server that answers `/healthz` at once, the registry is followed, and everything
that was taken is answered before the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

import kasauti
from kasauti.core.errors import KasautiError
from kasauti.core.types import Task
from kasauti.serve import openai
from kasauti.serve.asked import caller_of, metadata_of, parse, row_of_conversation, rows_of, wants_sets
from kasauti.serve.browser import Pages
from kasauti.serve.door import Door, problem_of
from kasauti.serve.engine import Bounds, Closed, Engine, Full, Late
from kasauti.serve.figures import Figures
from kasauti.serve.keeping import CallSettings, Keeping, NotKept, calls_of
from kasauti.serve.keys import Keys
from kasauti.serve.limits import TooLarge, TooSlow, read_body
from kasauti.serve.logs import Log
from kasauti.serve.problems import Problem, problem_response
from kasauti.serve.schema import describe
from kasauti.serve.served import Answered, Question, Served, Serving
from kasauti.serve.shadowing import Shadowing
from kasauti.serve.writing import Writing


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a service behaves."""

    bounds: Bounds = field(default_factory=Bounds)
    body_bytes: int = 2**20
    """Bytes of a body; more are refused with 413."""
    body_seconds: float = 15.0
    """Seconds in which a body has to arrive; slower ones are refused with 408."""
    per_minute: float = 0.0
    """Requests a minute of one key (without keys: of one address); 0 for no bound."""
    follow_seconds: float = 0.5
    """How often the registry is asked which version answers."""
    calls: CallSettings | None = None
    """Where calls are kept; None keeps none."""
    log_inputs: bool = False
    """Write what was asked into the log; off, because it is what people complain about, with names and numbers."""


class Service:
    """What the endpoints share.

    Args:
        task: whose champion answers.
        keys: who may ask; None lets everybody do everything.
    """

    def __init__(self, task: Task, keys: Keys | None, settings: Settings, log: Log) -> None:
        self.served, self.figures = Served(task), Figures()
        self.keys, self.settings, self.log = keys, settings, log
        self.began = int(time.time())
        self.trouble = ""
        self.stopping = False
        self.engine: Engine[Question, Answered] = Engine(self.served.answer, settings.bounds, self.figures.batch)
        self.keeping = Keeping(task, settings.calls, self.figures, log) if settings.calls else None
        self.shadowing = (
            Shadowing(self.served, self.keeping.calls, lambda: self.engine.busy, self.figures, log)
            if self.keeping
            else None
        )
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")

    @contextlib.asynccontextmanager
    async def life(self, app: FastAPI) -> AsyncIterator[None]:
        """From the first request to the last answer."""
        self.engine.start()
        if self.keeping is not None:
            self.keeping.start()
        if self.shadowing is not None:
            self.shadowing.start()
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            self.stopping = True
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            await self.engine.drain()
            if self.shadowing is not None:
                await self.shadowing.stop()
            if self.keeping is not None:
                await self.keeping.stop()
            self._loader.shutdown(wait=False, cancel_futures=True)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                changed, trouble = await loop.run_in_executor(self._loader, self.served.follow), ""
            except KasautiError as error:
                changed, trouble = False, error.line()
            except Exception as error:  # a library's fault while loading; what answered before goes on
                changed, trouble = False, f"{type(error).__name__}: {error}"
            if changed and self.served.current is not None:
                number = self.served.current.version.number
                self.figures.version.set(number)
                self.log.event("version", version=number)
            if trouble and trouble != self.trouble:
                self.log.event("trouble", detail=trouble)
            self.trouble = trouble
            await asyncio.sleep(self.settings.follow_seconds)

    def ready(self) -> Serving:
        """What answers. Raises `Problem` 503 while it is loaded, and when the service stops."""
        now = self.served.current
        if self.stopping:
            raise Problem(503, "the service is stopping", {"Retry-After": "5"})
        if now is None:
            why = f"no version can be loaded: {self.trouble}" if self.trouble else "the model is being loaded"
            raise Problem(503, why, {"Retry-After": "1"})
        if self.keeping is not None and not self.keeping.state.ready:
            raise _not_kept(self.keeping.state.trouble)
        return now

    async def body(self, request: Request) -> dict[str, Any]:
        """The body as a JSON object. Raises `Problem` 408, 413, 415 or 422."""
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(415, "send application/json")
        with _in_time(self.settings.bounds):
            self.engine.check()  # who is turned away is so before anything is read
        most, seconds = self.settings.body_bytes, self.settings.body_seconds
        try:
            content = await read_body(request.stream(), request.headers.get("content-length"), most, seconds)
        except TooLarge:
            raise Problem(413, f"the body has more than {most:,} bytes", {"Connection": "close"}) from None
        except TooSlow:
            raise Problem(408, f"the body took more than {seconds:g} s to arrive", {"Connection": "close"}) from None
        if self.settings.log_inputs:
            request.scope["kasauti.input"] = content.decode("utf-8", "replace")
        return parse(content)

    async def ask(self, request: Request, rows: list[Question], *, batch: bool = False) -> list[Answered]:
        """Answers to rows; their calls are kept. Raises `Problem` 413, 422, 429, 503 or 504."""
        if len(rows) > self.settings.bounds.queue_rows:
            raise Problem(413, f"{len(rows)} inputs, and the queue takes {self.settings.bounds.queue_rows}")
        scope = request.scope
        scope["kasauti.rows"] = len(rows)
        answered = await self._answered(rows)
        scope["kasauti.version"] = answered[0].version
        if self.keeping is not None:
            ids = [f"{scope['kasauti.id']}-{at}" for at in range(len(rows))] if batch else [scope["kasauti.id"]]
            milliseconds = 1000 * (time.perf_counter() - scope["kasauti.began"])
            try:
                await self.keeping.keep(calls_of(ids, rows, answered, milliseconds, scope["kasauti.key"]))
            except NotKept:
                raise _not_kept(self.keeping.state.trouble) from None
            if self.shadowing is not None:
                self.shadowing.offer(ids, rows, answered)
        for one in answered:
            accepted = "true" if one.accepted else "false"
            self.figures.answers.labels(one.category, accepted, str(one.version)).inc()
        return answered

    async def opinions(self, rows: Sequence[Question]) -> list[Answered]:
        """What versions other than those that answered would say, as `Question.by` names them; nothing is kept.
        Raises `Problem` as `ask` does."""
        return await self._answered(list(rows))

    async def _answered(self, rows: list[Question]) -> list[Answered]:
        with _in_time(self.settings.bounds):
            try:
                return await self.engine.ask(rows)
            except KasautiError as error:
                raise Problem(422, error.line()) from None


@contextlib.contextmanager
def _in_time(bounds: Bounds) -> Iterator[None]:
    """The engine's refusals as problems."""
    try:
        yield
    except Full as full:
        detail = "the service is full; ask again a little later"
        raise Problem(429, detail, {"Retry-After": str(full.retry_after)}) from None
    except Late:
        raise Problem(504, f"there was no answer within {bounds.seconds:g} s") from None
    except Closed:
        raise Problem(503, "the service is stopping", {"Retry-After": "5"}) from None


def _not_kept(trouble: str) -> Problem:
    """No answer leaves whose call is not kept. What the trouble is may name hosts: it is told in the log."""
    detail = "calls cannot be kept at the moment, and no answer leaves without" if trouble else "the call log is full"
    return Problem(503, detail, {"Retry-After": "1"})


def make_app(
    task: Task, keys: Keys | None, settings: Settings | None = None, log: Log | None = None, pages: Pages | None = None
) -> FastAPI:
    """The application.

    Args:
        task: whose champion answers.
        keys: who may ask; None lets everybody do everything.
        log: None writes to standard error.
        pages: for people to look at, beside the endpoints.
    """
    settings, log = settings or Settings(), log or Log()
    service = Service(task, keys, settings, log)
    app = FastAPI(
        title=f"{task.name}, served by Kasauti",
        version=kasauti.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=service.life,
        default_response_class=JSONResponse,
    )
    app.state.service = service
    _watching(app, service)
    _asking(app, service)
    if pages is not None:
        pages.attach(app, service)
    describe(app, task)
    app.add_exception_handler(HTTPException, _refused)
    roles = pages.roles if pages is not None else {}
    app.add_middleware(Door, keys=keys, per_minute=settings.per_minute, figures=service.figures, log=log, pages=roles)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    """What the framework itself refuses."""
    problem = problem_of(error) if isinstance(error, HTTPException) else Problem(500, "the service has a fault")
    return problem_response(problem, request.scope["kasauti.id"], openai=request.url.path.startswith("/v1/"))


def _watching(app: FastAPI, service: Service) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> dict[str, Any]:
        """A version is loaded and warm, and the service is not stopping."""
        now = service.ready()
        told = {"status": "ready", "version": now.version.number, "trouble": service.trouble or None}
        return told if service.keeping is None else {**told, "calls": service.keeping.told()}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Figures in the Prometheus format."""
        service.figures.waiting.set(service.engine.waiting)
        return Response(service.figures.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/versions")
    def versions() -> dict[str, Any]:
        """The versions of the registry, and which one answers."""
        registry = service.served.registry
        standing, now = registry.standing(), service.served.current
        told = ("version", "created", "approach", "trial", "judged", "data", "evaluation", "threshold", "conformal")
        return {
            "serving": now.version.number if now else None,
            "champion": standing.champion,
            "candidate": standing.candidate,
            "share": standing.share,
            "shadow": standing.shadow,
            "auto": standing.auto,
            "paused": standing.paused,
            "previous": list(standing.previous),
            "versions": [
                {**{name: one.card.get(name) for name in told}, "sha256": one.sha256}
                for one in reversed(registry.versions())
            ],
        }


def _asking(app: FastAPI, service: Service) -> None:
    @app.post("/classify")
    async def classify(request: Request) -> dict[str, Any]:
        """The category of a text, or of each of a list of texts."""
        began, now = time.perf_counter(), service.ready()
        sets = wants_sets(request.query_params)
        if not now.task.labels:
            raise Problem(422, "this task has no labels: ask POST /v1/chat/completions, which answers with a text")
        rows, batch = rows_of(now.task, await service.body(request))
        answered, id = await service.ask(request, rows, batch=batch), request.scope["kasauti.id"]
        milliseconds = round(1000 * (time.perf_counter() - began), 3)
        if not batch:
            return {"id": id, **_shape(answered[0], sets), "latency_ms": milliseconds, "version": answered[0].version}
        outputs = [{"id": f"{id}-{at}", **_shape(one, sets), "version": one.version} for at, one in enumerate(answered)]
        return {"id": id, "outputs": outputs, "latency_ms": milliseconds}

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        """The same answer in the OpenAI protocol."""
        now, sets = service.ready(), wants_sets(request.query_params)
        body = await service.body(request)
        wish = openai.read_wish(body, now.task)
        row = row_of_conversation(now.task, body.get("messages"))
        metadata = metadata_of(body, "") if body.get("metadata") is not None else {}
        head = openai.Head(id=request.scope["kasauti.id"], created=int(time.time()), model=now.task.name, sets=sets)
        question = Question(row=row, caller=caller_of({"caller": body.get("user")}), metadata=metadata, most=wish.most)
        if wish.stream and not now.task.labels:
            writing = Writing()
            await writing.begin(service.ask(request, [replace(question, tell=writing.tell)]))
            events = writing.events(head, wish, lambda fault: service.log.event("fault", id=head.id, error=fault))
            return StreamingResponse(events, media_type="text/event-stream")
        (answered,) = await service.ask(request, [question])
        if wish.stream:
            return StreamingResponse(openai.pieces(answered, head, wish), media_type="text/event-stream")
        return JSONResponse(openai.completion(answered, head, wish))

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model: the task."""
        return openai.models(service.ready().task.name, service.began)

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """That model, where it is the one."""
        known = service.ready().task.name
        if name != known:
            detail = f"the model {name[:80]!a} is not served here; {known!r} is"
            raise Problem(404, detail, code="model_not_found")
        return openai.model(known, service.began)


def _shape(one: Answered, sets: bool) -> dict[str, Any]:
    confidence = None if one.confidence is None else round(one.confidence, 6)
    shape = {"category": one.category, "confidence": confidence, "accepted": one.accepted}
    return {**shape, "labels": one.labels} if sets else shape
