"""A real server process with a classical version, on a free port."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.conftest import complaints, task_text, write_rows


class Reply(NamedTuple):
    """An answer over HTTP."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Running:
    """A server process."""

    def __init__(self, process: subprocess.Popen[str], address: str, log: Path) -> None:
        self.process, self.address, self.log = process, address, log
        self.port = int(address.rpartition(":")[2])

    def ask(self, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str) -> Reply:
        """One request; POST where there is a body."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address + path, data, sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers, error.read())

    def until_ready(self) -> Running:
        """Wait until it answers questions."""
        limit = time.monotonic() + 300  # a busy machine is no fault of the code
        while time.monotonic() < limit:
            if self.ask("/readyz").status == 200:
                return self
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def running(folder: Path, *words: str) -> Iterator[Running]:
    """`kasauti serve` on a task."""
    log = folder / "serve.log"
    command = [sys.executable, "-u", "-m", "kasauti.cli.main", "serve", "--task", str(folder), "--port", "0", *words]
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ})
        try:
            first = process.stdout.readline()
            found = re.search(r"http://\S+", first)
            assert found, log.read_text()
            yield Running(process, found[0], log)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a task with two versions, the first of them the champion."""
    import dataclasses

    from kasauti.core.task import load_task
    from kasauti.decide.trial import run_trial
    from kasauti.registry.register import register

    folder = tmp_path_factory.mktemp("served")
    write_rows(folder / "train.csv", complaints(90, 1))
    write_rows(folder / "test.csv", complaints(30, 2))
    (folder / "task.yaml").write_text(task_text("kasauti/nano"), encoding="utf-8")
    task = load_task(folder)
    trial = run_trial(task, ["majority", "classical"])
    for id in "ab":
        register(task, dataclasses.replace(trial, id=id))
    return folder


@pytest.fixture(scope="session")
def server(registered: Path) -> Iterator[Running]:
    """An open server that is ready."""
    with running(registered) as one:
        yield one.until_ready()
