"""The proof over many rows, by several processes.

Walks in: what `prove` takes. Walks out: the same `Proof`, or the same error of the same row. It does not know files.

Each process is started afresh (a fork of a process with threads may hang), is sent the tokenizer once, and rows a few
thousand at a time; it sends totals back, which are added up in the order of the rows. Where a process finds a fault,
those rows are checked here once more, on top of the totals so far, so that the error is the one that one process alone
would have raised. Starting takes seconds, so few rows are proved here alone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

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


def prove_many(
    frozen: FrozenTemplate,
    tokenizer: PreTrainedTokenizerBase,
    rows: Iterable[Row],
    *,
    max_length: int | None = None,
    reserve: int = 0,
    allow_unknown: bool = False,
    processes: int | None = None,
    done: Callable[[int], None] | None = None,
) -> Proof:
    """`prove` without samples and without given ids, by as many processes as there are cores.

    Args:
        processes: how many; None takes the cores that this process may use, up to `MOST`.
        done: called with the number of rows that are proved, now and then.

    Raises:
        SupervisionError: as `prove`.
    """
    prover = Prover(frozen, tokenizer, max_length=max_length, allow_unknown=allow_unknown)
    count, stream = Count(), iter(rows)
    told = done or (lambda number: None)
    wanted = min(MOST, _cores()) if processes is None else processes
    first = list(islice(stream, WORTH)) if wanted > 1 else []
    if len(first) < WORTH:
        for part in _portions(chain(first, stream)):
            count_rows(count, prover, part, reserve=reserve)
            told(count.rows)
        return count.proof(frozen, tokenizer)
    settings = (frozen, tokenizer, max_length, allow_unknown, reserve)
    for part, result in _results(_portions(chain(first, stream)), wanted, settings):
        if result is None or not count.extend(result):
            count_rows(count, prover, part, reserve=reserve)
        told(count.rows)
    return count.proof(frozen, tokenizer)


def _results(
    portions: Iterable[list[Row]], processes: int, settings: tuple[Any, ...]
) -> Iterator[tuple[list[Row], Count | None]]:
    """Portions in order, each with its totals; without where there is a fault in it or no process to ask."""
    waiting: deque[tuple[list[Row], Future[Count | None] | None]] = deque()
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, settings)
    try:
        for part in portions:
            waiting.append((part, _asked(pool, part)))
            if len(waiting) > AHEAD * processes:
                yield _received(*waiting.popleft())
        while waiting:
            yield _received(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _asked(pool: ProcessPoolExecutor, part: list[Row]) -> Future[Count | None] | None:
    try:
        return pool.submit(_count, part)
    except BrokenProcessPool:
        return None


def _received(part: list[Row], future: Future[Count | None] | None) -> tuple[list[Row], Count | None]:
    """A process that was killed (for its memory, say) leaves its rows to this one."""
    try:
        return part, None if future is None else future.result()
    except BrokenProcessPool:
        return part, None


def _portions(rows: Iterable[Row]) -> Iterator[list[Row]]:
    stream = iter(rows)
    while part := list(islice(stream, SENT)):
        yield part


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(
    frozen: FrozenTemplate, tokenizer: Any, max_length: int | None, allow_unknown: bool, reserve: int
) -> None:
    """In a new process: what every portion needs. Ctrl-C reaches all processes; the first one answers for all."""
    global _prover, _reserve
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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
