"""Whether an answer ever leaves without its call: the service killed under load, and its database taken away.

Walks in: how often and how long. Walks out: one JSON line, and `benchmarks/results/durable.json` with the machine it
was measured on.

A real `kasauti serve` answers eight connections. It is killed with SIGKILL at a random moment, started again, and so
on; then every answer that a client has seen has to be in the log, once, with the text that was sent, and the counts
have to be those of the rows. Then the database goes away for a while (PostgreSQL is stopped; SQLite's file is locked
by another process) under either policy, and the same has to hold. Last, what it costs: one client and many, with the
log and without, taking turns.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import json
import os
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kasauti.calls.log import CallLog
from kasauti.core.files import write_json

CONNECTIONS = 8
READY_SECONDS = 300.0


class Service:
    """A `kasauti serve` process on a task."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.log = folder / "serve.log"
        command = [sys.executable, "-m", "kasauti.cli.main", "serve", "--task", str(folder), "--port", "0", *words]
        with self.log.open("a") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ}
            )
        assert self.process.stdout is not None
        found = re.search(r"http://[\d.]+:(\d+)", self.process.stdout.readline())
        if found is None:
            raise RuntimeError(f"the service did not start: {self.log.read_text()[-2000:]}")
        self.port = int(found[1])

    def ready(self) -> Service:
        """Wait until it answers questions."""
        limit = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"the service is not ready: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except (OSError, http.client.HTTPException):  # between two processes
            return False

    def get(self, path: str) -> tuple[int, Any]:
        """Status, and the body where it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
        return reply.status, json.loads(body) if "json" in reply.headers["content-type"] else body.decode()

    def kill(self) -> None:
        """SIGKILL, and the end of it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def worker(self) -> int:
        """Process id of the server that `--restart` keeps running."""
        children = ["ps", "-o", "pid=", "--ppid", str(self.process.pid)]
        while not (found := subprocess.run(children, capture_output=True, text=True, check=False).stdout.split()):
            time.sleep(0.05)
        return int(found[0])


@dataclass
class Load:
    """Clients that ask until they are told to stop or nobody is there; what each of them saw."""

    service: Service
    column: str
    connections: int = CONNECTIONS
    answered: dict[str, str] = field(default_factory=dict)
    """Id of an answer → the text that was sent."""
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(self.connections)]
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for one in self._threads:
            one.join()

    def _ask(self, worker: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=60)
        number = 0
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            while not self._end.is_set():
                number += 1
                text = f"my card was declined, {os.getpid()}-{id(self)}-{worker}-{number}"
                began = time.perf_counter()
                body = json.dumps({self.column: text, "metadata": {"caller": f"c{worker}"}})
                connection.request("POST", "/classify", body, {"Content-Type": "application/json"})
                reply = connection.getresponse()
                said = json.loads(reply.read())  # an answer counts when the whole of it has arrived
                self.seconds.append(time.perf_counter() - began)
                self.statuses[reply.status] += 1
                if reply.status == 200:
                    self.answered[said["id"]] = text
                else:
                    time.sleep(0.02)


def lost(where: str, column: str, answered: dict[str, str]) -> dict[str, int]:
    """What the log says of answers that clients have seen: how many are not there, there twice, or with another text;
    and whether the counts differ from the rows. All of it has to be 0."""
    log = CallLog.open(where)
    seen: Counter[str] = Counter()
    other = 0
    for call in log.read():
        seen[call.id] += 1
        other += call.id in answered and call.fields[column] != answered[call.id]
    rows, counted = sum(seen.values()), log.latencies().total
    log.close()
    return {
        "missing": sum(id not in seen for id in answered),
        "twice": sum(number > 1 for number in seen.values()),
        "other_text": other,
        "counts_differ": abs(rows - counted),
    }


def killed(folder: Path, where: str, column: str, times: int, draw: random.Random) -> dict[str, Any]:
    """Kill the server so often under load, each time after 0.1 to 1 s of it and at least one answer; it starts again by
    itself."""
    answered: dict[str, str] = {}
    waits = []
    service = Service(folder, "--calls", where, "--restart").ready()
    try:
        for _ in range(times):
            with Load(service, column) as load:
                after = time.monotonic() + draw.uniform(0.1, 1.0)
                while time.monotonic() < after or not load.answered:
                    time.sleep(0.001)
                os.kill(service.worker(), signal.SIGKILL)
            answered |= load.answered
            began = time.perf_counter()
            service.ready()
            waits.append(time.perf_counter() - began)
        code = service.stop()
    finally:
        service.kill()
    return {
        "kills": times, "answered": len(answered), **lost(where, column, answered), "exit_code": code,
        "seconds_to_ready": {"median": round(statistics.median(waits), 2), "longest": round(max(waits), 2)},
    }  # fmt: skip


def away(folder: Path, where: str, column: str, policy: str, seconds: float, gone: Callable[[], Any]) -> dict[str, Any]:
    """Take the database away for so long under load; then wait until what was spooled is back in it."""
    service = Service(folder, "--calls", where, "--when-away", policy).ready()
    told: list[tuple[int, Any]] = []
    try:
        with Load(service, column) as load:
            time.sleep(1)
            before = len(load.answered)
            with gone():
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    time.sleep(min(0.5, seconds / 4))
                    told.append(service.get("/readyz"))
                during = len(load.answered) - before
            limit = time.monotonic() + 60
            back = time.monotonic()
            while service.get("/readyz")[1].get("calls", {}).get("kept_in") != "database" and time.monotonic() < limit:
                time.sleep(0.02)
            back = time.monotonic() - back
            time.sleep(1)
        while service.get("/readyz")[1]["calls"]["spooled_bytes"] and time.monotonic() < limit:
            time.sleep(0.05)
    finally:
        code = service.stop()
    status, body = told[-1]
    return {
        "policy": policy, "seconds_away": seconds, "answered": len(load.answered), "answered_while_away": during,
        "statuses": {str(one): number for one, number in sorted(load.statuses.items())},
        "readyz_while_away": [status, body.get("calls", body.get("detail"))], "seconds_until_back": round(back, 2),
        "exit_code": code, **lost(where, column, load.answered),
    }  # fmt: skip


@contextlib.contextmanager
def locked(file: str) -> Iterator[None]:
    """SQLite's file, locked by somebody else."""
    other = sqlite3.connect(file, isolation_level=None, timeout=30)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def cost(folder: Path, column: str, places: dict[str, str], connections: int, seconds: float) -> dict[str, Any]:
    """Latency and answers a second, the services taking turns of `seconds` five times."""
    services = {name: Service(folder, "--calls", where).ready() for name, where in places.items()}
    times: dict[str, list[float]] = {name: [] for name in places}
    try:
        for turn in range(6):
            for name, service in services.items():
                with Load(service, column, connections) as load:
                    time.sleep(seconds)
                if turn:  # the first is for warming
                    times[name] += load.seconds
        commits = {name: _commit_ms(service) for name, service in services.items()}
    finally:
        for service in services.values():
            service.kill()
    return {
        name: {
            "p50_ms": round(1000 * statistics.median(found), 2),
            "p95_ms": round(1000 * statistics.quantiles(found, n=20)[-1], 2),
            "answers_per_second": round(len(found) / (5 * seconds)),
            "commit_ms": commits[name],
        }
        for name, found in times.items()
    }


def _commit_ms(service: Service) -> float | None:
    """Mean milliseconds of a commit."""
    lines = str(service.get("/metrics")[1]).splitlines()
    kinds = ("sum", "count")
    total, number = (
        sum(float(line.split()[1]) for line in lines if line.startswith(f"kasauti_commit_seconds_{kind} "))
        for kind in kinds
    )
    return round(1000 * total / number, 2) if number else None


def task_with_version(folder: Path, approach: str) -> str:
    """A task with a version of one approach; its input column."""
    from complaints import write_task
    from kasauti.core.task import load_task
    from kasauti.decide.trial import run_trial
    from kasauti.registry.register import register

    write_task(folder, 600, 42)
    task = load_task(folder)
    register(task, run_trial(task, [approach]))
    return task.columns[0]


PARTS = ("killed", "away", "cost")


def run(parts: tuple[str, ...], kills: int, seconds: float, turn: float = 3.0, seed: int = 42) -> dict[str, Any]:
    """Some of it or all, on SQLite and on PostgreSQL."""
    from serve.postgres import cluster

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, cluster("fsync = on") as server:
        folder = Path(name)
        # what answers is nothing to durability, and this answers and starts fastest; the cost is beside a real answer's
        column = task_with_version(folder, "classical" if parts == ("cost",) else "majority")
        places: dict[str, Callable[[str], str]] = {
            "sqlite": lambda what: str(folder / f"{what}.db"),
            "postgresql": lambda what: str(server.database()),
        }
        if "killed" in parts:
            found["killed"] = {
                kind: killed(folder, place("killed"), column, kills, random.Random(seed))
                for kind, place in places.items()
            }
        if "away" in parts:
            found["away"] = {
                kind: [_away(folder, place(policy), column, policy, seconds, server) for policy in ("refuse", "spool")]
                for kind, place in places.items()
            }
        if "cost" in parts:
            where = {"none": "none", **{kind: place("cost") for kind, place in places.items()}}
            found["cost"] = {
                f"{connections}_connections": cost(folder, column, where, connections, turn) for connections in (1, 16)
            }
    return found


def _away(folder: Path, where: str, column: str, policy: str, seconds: float, server: Any) -> dict[str, Any]:
    CallLog.open(where).close()
    gone = functools.partial(locked, where) if "://" not in where else functools.partial(stopped, server)
    return away(folder, where, column, policy, seconds, gone)


@contextlib.contextmanager
def stopped(server: Any) -> Iterator[None]:
    """A PostgreSQL cluster, stopped as an operator would in a hurry."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def main(arguments: list[str] | None = None) -> int:
    """Run, print, keep; parts that are not run stay as they were."""
    from run import RESULTS, machine

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"some of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--kills", type=int, default=20, help="for each database (default: 20)")
    parser.add_argument("--seconds", type=float, default=30.0, help="that the database is away (default: 30)")
    given = parser.parse_args(arguments)
    file = RESULTS / "durable.json"
    kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for part in given.parts:
        found = run((part,), given.kills, given.seconds)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        kept[part] = {"at": at, "machine": machine(), "load": round(os.getloadavg()[0], 1), **found[part]}
        RESULTS.mkdir(exist_ok=True)
        write_json(file, kept)
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
