"""How the service stands under load: answers a second beside the engine's own, and what happens at four times that.

Walks in: connections, seconds. Walks out: one JSON line, and `benchmarks/results/load.json` with the machine it was
measured on. It does not know what is served; the demo's task is, with the version that the trial of it shipped.

Three figures of one run, in turn, on the same processor:

- engine: rows a second of the version's `predict` on batches of the service's own size, without HTTP;
- full:   64 connections that ask again as soon as they are answered, for 60 s: answers a second, and their share of
          the engine's (70% is wanted), with 50th, 95th and 99th percentile of the latency as the client sees it;
- over:   requests arriving at four times the answers a second of `full`, whether or not those before are answered, at
          a service whose queue is bounded in time: what is turned away must be so at once, with 429 and `Retry-After`,
          and what is taken must keep the latency of a full service.

The client runs beside the service: where both share one core, its share is taken from the service's (`cpu_seconds`
tells how much each took).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kasauti.core.files import write_json

CONNECTIONS, SECONDS, OVERLOAD = 64, 60.0, 4.0
BATCH = 64
"""Rows of a batch, as `kasauti serve --batch` has by default."""
QUEUE_SECONDS = 0.5
"""Of the service that is overloaded."""
WANTED = 0.7


@dataclass
class Seen:
    """What a client saw."""

    answered: list[float] = field(default_factory=list)
    """Seconds of every request that was answered."""
    refused: list[float] = field(default_factory=list)
    """Seconds of every request that was turned away with 429."""
    statuses: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0


class Client:
    """One connection of HTTP/1.1 that is kept; as little work as possible, since it shares the machine."""

    def __init__(self, port: int, column: str, seen: Seen) -> None:
        self._port, self._column, self._seen = port, column, seen
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, text: str) -> None:
        """One question; what came of it goes into `Seen`."""
        body = json.dumps({self._column: text}).encode()
        head = "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        began = time.perf_counter()
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(head.encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
            await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError) as error:
            self._streams = None
            self._seen.statuses[type(error).__name__] += 1
            return
        spent, status = time.perf_counter() - began, lines[0].split()[1]
        self._seen.statuses[status] += 1
        if status == "200":
            self._seen.answered.append(spent)
        elif status == "429":
            self._seen.refused.append(spent)
            self._seen.without_retry_after += not any(line.startswith("retry-after:") for line in lines)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()


async def full(port: int, column: str, texts: list[str], connections: int, seconds: float) -> Seen:
    """Connections that ask again as soon as they are answered."""
    seen, until = Seen(), time.monotonic() + seconds

    async def asking(place: int) -> None:
        client, at = Client(port, column, seen), place
        while time.monotonic() < until:
            await client.ask(texts[at % len(texts)])
            at += connections
        client.close()

    await asyncio.gather(*(asking(place) for place in range(connections)))
    return seen


async def over(port: int, column: str, texts: list[str], per_second: float, seconds: float) -> Seen:
    """Requests at a rate, whether or not those before are answered; connections are used again."""
    seen, free, every = Seen(), list[Client](), set[Client]()

    async def one(text: str) -> None:
        client = free.pop() if free else Client(port, column, seen)
        every.add(client)
        await client.ask(text)
        free.append(client)

    began, sent, running = time.monotonic(), 0, set[asyncio.Task[None]]()
    while (now := time.monotonic() - began) < seconds:
        while sent < per_second * now:
            task = asyncio.create_task(one(texts[sent % len(texts)]))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
        await asyncio.sleep(0.002)
    if running:
        await asyncio.wait(running)
    for client in every:
        client.close()
    return seen


def engine(folder: Path, texts: list[str], seconds: float) -> tuple[str, float]:
    """The approach of the version that answers, and its rows a second, asked directly."""
    from kasauti.core.task import load_task
    from kasauti.serve.served import Question, Served, row_of

    served = Served(load_task(folder))
    served.follow()
    now = served.current
    assert now is not None  # followed just now
    (column, *_), at, done = now.task.columns, 0, 0
    began = time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        rows = [row_of(now.task, {column: texts[(at + n) % len(texts)]}) for n in range(BATCH)]
        served.answer([Question(row=row) for row in rows])
        at, done = at + BATCH, done + BATCH
    return now.approach.name, done / spent


def told(seconds: list[float]) -> dict[str, float | int]:
    """Percentiles in milliseconds."""
    if len(seconds) < 2:
        return {"requests": len(seconds)}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"requests": len(seconds), **{f"p{p}_ms": round(1000 * cuts[p - 1], 1) for p in (50, 95, 99)}}


def texts_of(folder: Path) -> tuple[str, list[str]]:
    """The input column, and the texts of the validation rows."""
    from kasauti.core.task import load_task
    from kasauti.data.split import load_split

    task = load_task(folder)
    split, _ = load_split(task)
    return task.columns[0], [row.fields[task.columns[0]] for row in split.validation]


def run(folder: Path, connections: int, seconds: float, overload: float) -> dict[str, Any]:
    """All three, one after the other."""
    from serve.durable import Service

    column, texts = texts_of(folder)
    approach, own = engine(folder, texts, min(seconds, 20.0))
    service = Service(folder, "--queue-seconds", "60").ready()  # nobody is turned away here
    try:
        asyncio.run(full(service.port, column, texts, connections, min(seconds, 3.0)))  # warm
        before, began = _cpu(service.process.pid), time.process_time()
        seen = asyncio.run(full(service.port, column, texts, connections, seconds))
        spent = {"service": _cpu(service.process.pid) - before, "client": time.process_time() - began}
    finally:
        service.stop()
    rate = len(seen.answered) / seconds
    service = Service(folder, "--queue-seconds", str(QUEUE_SECONDS)).ready()
    try:
        asyncio.run(full(service.port, column, texts, connections, min(seconds, 3.0)))
        more = asyncio.run(over(service.port, column, texts, overload * rate, seconds))
    finally:
        code = service.stop()
    return {
        "approach": approach, "engine_rows_per_second": round(own, 1),
        "full": {
            "connections": connections, "seconds": seconds, "answers_per_second": round(rate, 1),
            "share_of_engine": round(rate / own, 3), "wanted_share": WANTED,
            "cpu_seconds": {name: round(value, 1) for name, value in spent.items()},
            "statuses": dict(seen.statuses), **told(seen.answered),
        },
        "over": {
            "times": overload, "queue_seconds": QUEUE_SECONDS, "statuses": dict(more.statuses),
            "answered": told(more.answered), "turned_away": told(more.refused),
            "without_retry_after": more.without_retry_after, "exit_code": code,
        },
    }  # fmt: skip


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process so far; 0 where the system does not tell."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: list[str] | None = None) -> int:
    """Run, print, keep."""
    from run import RESULTS, machine
    from serve.fuzz import demo

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each load (default: {SECONDS:g})")
    parser.add_argument("--overload", type=float, default=OVERLOAD, help="times the rate of a full service")
    parser.add_argument("--task", help="folder of a task with a version (default: the demo's, made anew)")
    parser.add_argument("--approach", default="classical", help="of the version that is made (default: classical)")
    parser.add_argument("--dry", action="store_true", help="print only; for a machine that does other things as well")
    given = parser.parse_args(arguments)
    with demo(given.task, given.approach) as folder:
        found = run(folder, given.connections, given.seconds, given.overload)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    found = {"at": at, "machine": machine(), "load": round(os.getloadavg()[0], 1), **found}
    if not given.dry:
        file = RESULTS / "load.json"
        kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
        RESULTS.mkdir(exist_ok=True)
        write_json(file, {**kept, found["approach"]: found})
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
