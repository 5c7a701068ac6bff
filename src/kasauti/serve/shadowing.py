"""Calls that both versions answer, and what is made of them: kept, read, judged, acted on.

Walks in: calls that were answered and kept. Walks out: the other version's answers in the call log, and events of the
registry. No caller waits for any of it: the other version is asked when nobody else is, a few rows at a time, and what
there is no time for is left out and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kasauti.calls.log import CallLog
from kasauti.calls.shadows import Shadows
from kasauti.core.errors import KasautiError, StorageError
from kasauti.registry.judge import Judged, Verdict
from kasauti.registry.release import settle
from kasauti.registry.standing import Standing
from kasauti.serve.engine import Bounds, Closed, Engine, Full, Late
from kasauti.serve.figures import Figures
from kasauti.serve.logs import Log
from kasauti.serve.served import Answered, Both, Question, Served
from kasauti.watch.released import judge_release, since_of

BOUNDS = Bounds(batch_rows=8, queue_rows=512, queue_seconds=60.0, seconds=120.0)
"""A batch is small, so that a caller who comes while it is computed waits for no more than that."""
PATIENCE = 1.0
"""Seconds after which a batch is computed although callers wait; else a busy service would never be judged."""
PAUSE = 0.002
LOOK_SECONDS = 2.0
SHARE = 0.05
"""Of the time, at most, that looks may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    id: str
    asked: Question
    answered: Answered


class Shadowing:
    """The other version's answers of one service.

    Args:
        served: the versions.
        log: where the calls are.
        busy: whether callers wait or are being answered.
    """

    def __init__(self, served: Served, log: CallLog, busy: Callable[[], bool], figures: Figures, told: Log) -> None:
        self._served, self._calls, self._busy, self._figures, self._log = served, log, busy, figures, told
        self._engine: Engine[_Job, bool] = Engine(self._answer, BOUNDS)
        self._judges = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._running: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._stopping = False
        self._trouble = ""

    def start(self) -> None:
        """Within a running event loop."""
        self._engine.start()
        self._looking = asyncio.get_running_loop().create_task(self._look())

    async def stop(self) -> None:
        """What is not answered yet is left out; whoever asked has an answer."""
        self._stopping = True
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await self._engine.drain()
        await asyncio.gather(*self._running)
        self._judges.shutdown(wait=True)

    def offer(self, ids: Sequence[str], asked: Sequence[Question], answered: Sequence[Answered]) -> None:
        """Have the other version answer these calls too, the share of them that shall be; returns at once."""
        jobs = [
            _Job(id=id, asked=one, answered=given)
            for id, one, given in zip(ids, asked, answered, strict=True)
            if self._served.asks_both(id)
        ]
        for at in range(0, len(jobs), BOUNDS.batch_rows):  # a request of many rows would be one long batch
            task = asyncio.get_running_loop().create_task(self._ask(jobs[at : at + BOUNDS.batch_rows]))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _ask(self, jobs: Sequence[_Job]) -> None:
        try:
            kept = await self._engine.ask(jobs)
        except (Full, Late, Closed):
            kept = [False] * len(jobs)
        except Exception as error:  # the other version's, or this machine's; the caller has an answer
            kept = [False] * len(jobs)
            self._tell(error.line() if isinstance(error, KasautiError) else type(error).__name__)
        self._figures.shadows.labels("kept").inc(sum(kept))
        self._figures.shadows.labels("left_out").inc(len(kept) - sum(kept))

    def _answer(self, jobs: Sequence[_Job]) -> list[bool]:
        """In the thread of this engine: whether each was answered, and kept."""
        limit = time.monotonic() + PATIENCE
        while self._busy() and time.monotonic() < limit and not self._stopping:
            time.sleep(PAUSE)
        if self._stopping:
            return [False] * len(jobs)
        made = self._served.beside([Both(id=job.id, asked=job.asked, answered=job.answered) for job in jobs])
        try:
            Shadows(self._calls).append([one for one in made if one is not None])
        except StorageError:
            return [False] * len(jobs)
        return [one is not None for one in made]

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = time.monotonic()
            try:
                await loop.run_in_executor(self._judges, self.look)
                self._trouble = ""
            except KasautiError as error:
                self._tell(error.line())
            except Exception as error:  # a fault while judging; the champion and the candidate go on as they are
                self._tell(f"{type(error).__name__}: {error}")
            await asyncio.sleep(max(LOOK_SECONDS, (time.monotonic() - began) / SHARE))

    def look(self) -> Standing:
        """Put what differs before the reviewers; where the release is left to the service, judge it and act.

        Raises:
            StorageError: the call log or the registry cannot be reached.
            KasautiError: see `settle`.
        """
        registry = self._served.registry
        standing = registry.standing()
        if standing.candidate is None or standing.champion is None or not standing.shadow:
            return standing
        Shadows(self._calls).offer(standing.champion, standing.candidate, since_of(standing))
        if not standing.auto:
            return standing
        judged = judge_release(self._calls, standing)
        if judged.verdict is Verdict.GO_ON:
            return standing
        after = settle(registry, standing, judged)
        self._did(standing, judged)
        return after

    def _did(self, standing: Standing, judged: Judged) -> None:
        self._log.event("release", verdict=str(judged.verdict), version=standing.candidate, why=judged.why)

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._log.event("trouble", detail=f"the other version: {trouble}")
        self._trouble = trouble
