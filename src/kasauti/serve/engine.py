"""Gathers concurrent requests into one forward pass; bounded, with deadlines, and emptied before it stops.

Walks in: rows from many requests at once. Walks out: one value a row, to each request its own. It does not know HTTP,
or what answers.

There is no waiting for a batch to fill: what arrives while one batch is computed is the next batch. A queue is bounded
in rows and in the time that its rows are expected to take; whoever comes when it is full is told so at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Row = TypeVar("Row")
Value = TypeVar("Value")

SMOOTHING = 0.2
"""Weight of the newest batch in the seconds that a row is expected to take."""


class Full(Exception):
    """There is no room; come back in `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"full; room in about {retry_after} s")
        self.retry_after = retry_after


class Closed(Exception):
    """The engine is stopping and takes nothing new."""


class Late(Exception):
    """No answer within the time that the request had."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What an engine takes on."""

    batch_rows: int = 64
    """Rows of one forward pass; a request of more rows is one of its own."""
    queue_rows: int = 1024
    """Rows that may wait."""
    queue_seconds: float = 2.0
    """Seconds that the rows before a request may be expected to take; above, it is turned away."""
    seconds: float = 30.0
    """Seconds within which a request is answered, else it is `Late`."""


@dataclass(slots=True)
class _Asked(Generic[Row, Value]):
    rows: Sequence[Row]
    answer: asyncio.Future[list[Value]]
    began: float = field(default_factory=time.perf_counter)


class Engine(Generic[Row, Value]):
    """One queue, one thread that answers.

    Args:
        answer: rows to as many values, in order; called in a thread of the engine's own, never twice at once.
        bounds: see `Bounds`.
        told: called after each batch with its rows, its seconds, and the rows that wait.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Row]], Sequence[Value]],
        bounds: Bounds | None = None,
        told: Callable[[int, float, int], None] = lambda rows, seconds, waiting: None,
    ) -> None:
        self.bounds = bounds or Bounds()
        self._answer, self._told = answer, told
        self._queue: deque[_Asked[Row, Value]] = deque()
        self._waiting = 0  # rows in the queue
        self._running = 0  # rows in the batch that is computed
        self._per_row = 0.0
        self._closed = False
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return self._waiting

    @property
    def busy(self) -> bool:
        """Whether rows wait, or are being answered."""
        return self._waiting + self._running > 0

    def start(self) -> None:
        """Begin to answer; within a running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    def check(self, rows: int = 1) -> None:
        """Whether so many rows would be taken now. Raises `Full` or `Closed`."""
        if self._closed:
            raise Closed
        expected = (self._waiting + self._running) * self._per_row
        if self._waiting + rows > self.bounds.queue_rows or expected > self.bounds.queue_seconds:
            raise Full(max(1, math.ceil(expected - self.bounds.queue_seconds / 2)))

    async def ask(self, rows: Sequence[Row]) -> list[Value]:
        """The values of these rows.

        Raises:
            Full, Closed, Late: as they say.
            Exception: whatever answering these rows raised; other requests of the same batch are not touched.
        """
        self.check(len(rows))
        asked: _Asked[Row, Value] = _Asked(rows, asyncio.get_running_loop().create_future())
        self._queue.append(asked)
        self._waiting += len(rows)
        self._wake.set()
        try:
            async with asyncio.timeout(self.bounds.seconds):
                return await asked.answer
        except TimeoutError:
            raise Late from None

    async def drain(self) -> None:
        """Take nothing new, answer everything that was taken, and stop."""
        self._closed = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)

    async def _work(self) -> None:
        while True:
            while not self._queue:
                if self._closed:
                    return
                self._wake.clear()
                await self._wake.wait()
            batch = self._take()
            if batch:
                await self._run(batch)

    def _take(self) -> list[_Asked[Row, Value]]:
        """The next requests, whole, up to the bound; those that nobody waits for any more are left out."""
        batch: list[_Asked[Row, Value]] = []
        rows = 0
        while self._queue and (not batch or rows + len(self._queue[0].rows) <= self.bounds.batch_rows):
            asked = self._queue.popleft()
            self._waiting -= len(asked.rows)
            if not asked.answer.done():
                batch.append(asked)
                rows += len(asked.rows)
        return batch

    async def _run(self, batch: Sequence[_Asked[Row, Value]]) -> None:
        rows = [row for asked in batch for row in asked.rows]
        self._running, began = len(rows), time.perf_counter()
        try:
            values = list(await self._in_thread(rows))
            if len(values) != len(rows):
                raise RuntimeError(f"{len(values)} values for {len(rows)} rows")
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0], error)
            else:  # one request's rows are at fault, and the others shall not pay for it
                for asked in batch:
                    await self._run([asked])
            return
        finally:
            self._running = 0
        seconds = time.perf_counter() - began
        each = seconds / max(1, len(rows))
        self._per_row = each if not self._per_row else self._per_row + SMOOTHING * (each - self._per_row)
        self._told(len(rows), seconds, self._waiting)
        at = 0
        for asked in batch:
            _settle(asked, values[at : at + len(asked.rows)])
            at += len(asked.rows)

    async def _in_thread(self, rows: Sequence[Row]) -> Sequence[Value]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, rows)


def _settle(asked: _Asked[Row, Value], outcome: list[Value] | Exception) -> None:
    if asked.answer.done():  # it came too late for whoever asked
        return
    if isinstance(outcome, Exception):
        asked.answer.set_exception(outcome)
    else:
        asked.answer.set_result(outcome)
