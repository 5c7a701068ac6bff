"""kill -9 in the middle: what is answered is never asked again, what was in flight is counted, and the cap holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.approaches.asked import PRICES, best, rows
from tests.endpoint import KEY, Endpoint

from kasauti.approaches.hosted.ledger import Ledger, ledger_path

ROWS, CONCURRENCY = 60, 4
SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[4])
from kasauti.approaches.hosted.approach import Hosted
from kasauti.approaches.workbench import Workbench
from kasauti.core.task import load_task
from kasauti.core.types import Example
texts = json.load(open(sys.argv[2]))
made = Hosted(Workbench(load_task(sys.argv[1]))).predict(
    [Example(id=t, fields={"text": t}, template="{text}", answer=None) for t in texts])
json.dump([p.answer for p in made], open(sys.argv[3], "w"))
"""


@pytest.fixture
def start(server: Endpoint, tmp_path: Path) -> Callable[[], subprocess.Popen[bytes]]:
    """`start()`: a process that asks all rows and writes its answers."""
    (tmp_path / "task.yaml").write_text(
        "kind: classification\ninput: '{text}'\ntarget: label\nlabels: [refund, card, parcel]\ndata: {train: t.csv}\n"
        f"hosted: {{base_url: '{server.url}', model: big, concurrency: {CONCURRENCY}, cap: 0.5}}\n"
    )
    (tmp_path / "texts.json").write_text(json.dumps([row.text for row in rows(ROWS)]))

    def begin() -> subprocess.Popen[bytes]:
        words = [str(tmp_path), str(tmp_path / "texts.json"), str(tmp_path / "out.json"), str(Path("src").resolve())]
        return subprocess.Popen([sys.executable, "-c", SCRIPT, *words], env={**os.environ, "OPENAI_API_KEY": KEY})

    server.forget()
    return begin


def until(server: Endpoint, requests: int, process: subprocess.Popen[bytes]) -> None:
    while len(server.seen) < requests:
        assert process.poll() is None
        time.sleep(0.005)


@pytest.mark.parametrize("knows", [False, True], ids=["plain server", "server that knows idempotency keys"])
def test_after_kills_only_what_was_in_flight_can_have_been_paid_twice(start, server, tmp_path, knows):
    if knows:
        (server.folder / "idempotent").write_text(str(tmp_path))
    server.fault({"seconds": 0.03}, repeat=4 * ROWS)
    kills = 0
    for requests in (1, 25):
        process = start()
        until(server, requests, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert start().wait() == 0
    (server.folder / "idempotent").unlink(missing_ok=True)
    assert json.loads((tmp_path / "out.json").read_text()) == [best(row) for row in rows(ROWS)]
    ledger = Ledger(ledger_path(tmp_path))
    ledger.refresh()
    again = sum(server.charged.values()) - ROWS
    in_flight = len(ledger._open)
    assert len(server.charged) == ROWS
    assert again == 0 if knows else again <= in_flight <= kills * CONCURRENCY
    assert server.money(PRICES) <= ledger.committed <= 0.5


def test_ctrl_c_lets_what_is_under_way_come_in(start, server, tmp_path):
    server.fault({}, *[{"seconds": 0.3}] * ROWS)
    process = start()
    until(server, 3, process)
    process.send_signal(signal.SIGINT)
    process.wait()
    ledger = Ledger(ledger_path(tmp_path))
    ledger.refresh()
    assert process.returncode != 0
    assert len(server.seen) < ROWS
    assert len(ledger.answers) == len(server.charged) == len(server.seen)
    assert ledger.committed == pytest.approx(server.money(PRICES))
