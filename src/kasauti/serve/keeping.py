"""An answer leaves when its call is on disk: calls of many requests are written in one commit.

Walks in: answers, from many requests at once. Walks out: nothing, or `NotKept`. It does not know HTTP, or what is kept.

There is no waiting for a batch to fill: what is answered while one batch is committed is the next. The engine that
gathers rows for a forward pass gathers calls for a commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kasauti.calls.keeper import Keeper, Kept, Policy, State
from kasauti.calls.log import CallLog
from kasauti.calls.record import Answer
from kasauti.core.errors import KasautiError
from kasauti.core.files import STATE
from kasauti.core.types import Task
from kasauti.serve.engine import Bounds, Closed, Engine, Full, Late
from kasauti.serve.figures import Figures
from kasauti.serve.logs import Log
from kasauti.serve.served import Answered, Question

LOOK_SECONDS = 1.0
SILENT_SECONDS = 5.0
"""A transaction on which nothing was heard for so long is ended."""
QUEUE_ROWS = 4096
"""Answers that may wait for their commit: more than a forward pass gives, few enough to hold in memory."""
BATCH_ROWS = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class CallSettings:
    """Where calls are kept, and how."""

    where: str
    """Path or URL of the database."""
    policy: Policy = Policy.SPOOL
    mask: bool = False
    """Mask personal data before anything is kept."""
    days: float | None = None
    """Days after which calls are deleted; None keeps them."""
    spool_bytes: int = 2**30
    bounds: Bounds = field(
        default_factory=lambda: Bounds(batch_rows=BATCH_ROWS, queue_rows=QUEUE_ROWS, queue_seconds=30.0)
    )


def calls_of(
    ids: Sequence[str], rows: Sequence[Question], answered: Sequence[Answered], milliseconds: float, key: str | None
) -> list[Answer]:
    """What is to be kept of a request's answers.

    Args:
        ids: one a row.
        milliseconds: since the request arrived.
        key: name of the key that it came with.
    """
    return [
        Answer(
            id=id, version=given.version, row=asked.row, category=given.category, accepted=given.accepted,
            prediction=given.prediction, latency_ms=milliseconds, caller=asked.caller, key=key, metadata=asked.metadata,
        )
        for id, asked, given in zip(ids, rows, answered, strict=True)
    ]  # fmt: skip


class NotKept(Exception):
    """The call could not be kept, so its answer must not leave."""


class Keeping:
    """The call log of a service.

    Args:
        task: whose calls they are.

    Raises:
        UsageError: no URL of SQLite or PostgreSQL.
    """

    def __init__(self, task: Task, settings: CallSettings, figures: Figures, log: Log) -> None:
        self._keeper = Keeper(
            settings.where, task.instructions, Path(task.folder) / STATE / "spool",
            policy=settings.policy, mask=settings.mask, days=settings.days, spool_bytes=settings.spool_bytes,
        )  # fmt: skip
        self._figures, self._log = figures, log
        self._engine: Engine[Answer, Kept] = Engine(self._keeper.keep, settings.bounds, figures.commit)
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="calls")
        self._tasks: list[asyncio.Task[None]] = []
        self._told = ""

    @property
    def calls(self) -> CallLog:
        """The log itself, to read and to review."""
        return self._keeper.log

    @property
    def state(self) -> State:
        """How the call log is."""
        return self._keeper.state

    def told(self) -> dict[str, object]:
        """How it is, for `/readyz`; without what the trouble is, which may name hosts."""
        now = self.state
        kept = "database" if now.up else "spool" if now.ready else "nowhere"
        since = None if now.up else datetime.fromtimestamp(now.since, UTC).isoformat(timespec="seconds")
        return {"kept_in": kept, "database_away_since": since, "spooled_bytes": now.waiting_bytes}

    def start(self) -> None:
        """Within a running event loop."""
        self._engine.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._look()), loop.create_task(self._hang_up())]

    async def stop(self) -> None:
        """Keep what was taken, and close."""
        await self._engine.drain()
        looking, hanging_up = self._tasks
        await _end(looking)
        await asyncio.get_running_loop().run_in_executor(self._looker, self._keeper.close)
        await _end(hanging_up)  # last: it is what keeps the others from waiting for ever
        self._looker.shutdown(wait=False)

    async def keep(self, answers: Sequence[Answer]) -> None:
        """Return when these calls are on disk.

        Raises:
            NotKept: they are not, for certain.
        """
        try:
            kept = await self._engine.ask(answers)
        except (Full, Closed, Late):
            kept = [Kept.REFUSED] * len(answers)
        for how, number in Counter(kept).items():
            self._figures.calls.labels(str(how)).inc(number)
        if Kept.REFUSED in kept:
            raise NotKept(self.state.trouble)

    async def _look(self) -> None:
        """Once a second: is the database there, and what of the spool can be brought to it?"""
        loop = asyncio.get_running_loop()
        while True:
            try:
                brought = await loop.run_in_executor(self._looker, self._keeper.look)
                trouble = self.state.trouble
            except KasautiError as error:
                brought, trouble = 0, error.line()
            except Exception as error:  # a fault while looking; it is looked again, and calls are kept meanwhile
                brought, trouble = 0, type(error).__name__
            if brought:
                self._log.event("calls", brought=brought)
            if trouble != self._told:
                self._log.event("calls", up=self.state.up, detail=trouble or None)
            self._told = trouble
            self._figures.call_log.set(self.state.up)
            self._figures.spooled.set(self.state.waiting_bytes)
            await asyncio.sleep(LOOK_SECONDS)

    async def _hang_up(self) -> None:
        """In the event loop's own thread, which waits for no database."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._keeper.log.database.hang_up(SILENT_SECONDS)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
