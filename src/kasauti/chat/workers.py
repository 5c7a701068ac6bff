"""The proof over many rows, by several processes.

Walks in: what `prove` takes. Walks out: the same `Proof`, or the same error of the same row. It does not know files.

Each process is started afresh (a fork of a process with threads may hang), is sent the tokenizer once, and rows a few
thousand at a time; it sends totals back, which are added up in the order of the rows. Where a process finds a fault,
those rows are checked here once more, on top of the totals so far, so that the error is the one that one process alone
would have raised. Starting takes seconds, so few rows are proved here alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.proof import Prover, count_rows
from kasauti.chat.supervise import Row
from kasauti.chat.totals import Count, Proof
from kasauti.core.errors import KasautiError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WORTH = 50_000
"""Rows from which more than one process is started; with fewer the start costs more than it saves."""
MOST = 4
"""Processes at most: each holds a tokenizer and its libraries, a few hundred megabytes."""
SENT = 4096
"""Rows that are sent at a time."""
AHEAD = 2
"""Portions that wait for each process; bounds memory."""

_prover: Prover
_reserve: int


class Provers:
    """As many processes as there are cores, or none but this one where that is quicker; a context manager.

    Args:
        frozen: see `prove`.
        tokenizer: see `prove`.
        expected: how many rows will be proved in all.
        max_length: see `prove`.
        reserve: see `prove`.
        allow_unknown: see `prove`.
        processes: how many; None takes the cores that this process may use, up to `MOST`.
    """

    def __init__(
        self,
        frozen: FrozenTemplate,
        tokenizer: PreTrainedTokenizerBase,
        expected: int,
        *,
        max_length: int | None = None,
        reserve: int = 0,
        allow_unknown: bool = False,
        processes: int | None = None,
    ) -> None:
        self._settings = (frozen, tokenizer, max_length, allow_unknown, reserve)
        self._prover = Prover(frozen, tokenizer, max_length=max_length, allow_unknown=allow_unknown)
        wanted = min(MOST, _cores()) if processes is None else processes
        self._processes = wanted if expected >= WORTH else 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self._processes > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, context, _start, self._settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        if error is not None:  # nobody waits for what they are at, Ctrl-C least of all
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def prove(self, rows: Iterable[Row], done: Callable[[int], None] = lambda number: None) -> Proof:
        """`prove` without samples and without given ids.

        Args:
            rows: the rows.
            done: called with the number of rows that are proved, now and then.

        Raises:
            SupervisionError: as `prove`.
        """
        frozen, tokenizer, _, _, reserve = self._settings
        count = Count()
        for part, result in self._results(rows):
            if result is None or not count.extend(result):
                count_rows(count, self._prover, part, reserve=reserve)
            done(count.rows)
        return count.proof(frozen, tokenizer)

    def _results(self, rows: Iterable[Row]) -> Iterator[tuple[list[Row], Count | None]]:
        """Portions in order, each with its totals; without where there is a fault in it or no process to ask."""
        waiting: deque[tuple[list[Row], Future[Count | None] | None]] = deque()
        stream = iter(rows)
        while part := list(islice(stream, SENT)):
            waiting.append((part, None if self._pool is None else _asked(self._pool, part)))
            if self._pool is None or len(waiting) > AHEAD * self._processes:
                yield _received(*waiting.popleft())
        while waiting:
            yield _received(*waiting.popleft())


def _asked(pool: ProcessPoolExecutor, part: list[Row]) -> Future[Count | None] | None:
    try:
        with _sheltered():  # a process is started when there is work for it
            return pool.submit(_count, part)
    except BrokenProcessPool:
        return None


@contextlib.contextmanager
def _sheltered() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal, and the first one answers for all: what is started within this never
    gets it, not even while it imports; what comes meanwhile comes to this process afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _received(part: list[Row], future: Future[Count | None] | None) -> tuple[list[Row], Count | None]:
    """A process that was killed (for its memory, say) leaves its rows to this one."""
    try:
        return part, None if future is None else future.result()
    except BrokenProcessPool:
        return part, None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(frozen: FrozenTemplate, tokenizer: Any, max_length: int | None, allow_unknown: bool, reserve: int) -> None:
    """In a new process: what every portion needs."""
    global _prover, _reserve
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be started without it
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes share the cores already
    _prover = Prover(frozen, tokenizer, max_length=max_length, allow_unknown=allow_unknown)
    _reserve = reserve


def _count(part: list[Row]) -> Count | None:
    count = Count()
    try:
        count_rows(count, _prover, part, reserve=_reserve)
    except KasautiError:
        return None
    return count
