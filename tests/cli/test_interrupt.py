"""Ctrl-C while processes of the proof run: one line, 130, nobody left behind, nothing half-written.

A real command in a session of its own; the signal goes to all its processes, as a terminal sends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
SCRIPT = """
import sys
import kasauti.chat.workers as workers
from kasauti.cli.main import main

workers.WORTH, workers.SENT, workers._cores = 1, 16, lambda: 2  # two processes, for few rows and on one core too
if __name__ == "__main__":
    sys.exit(main(["audit", "--task", sys.argv[1]]))
"""


def children(pid: int) -> list[int]:
    """Processes that the process has started, by number."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):  # whichever of its threads did
        with contextlib.suppress(OSError):
            found += [int(one) for one in thread.read_text().split()]
    return found


def provers(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            found.append(child)
    return found


def until(condition: Callable[[], Any], seconds: float = 1800.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["while they start", "while they work"])
def test_ctrl_c_while_processes_prove_is_one_line_and_130_and_leaves_nobody(make_task, tmp_path, moment):
    folder = make_task(rows=1500)
    script = tmp_path / "audit.py"
    script.write_text(SCRIPT, encoding="utf-8")
    words = [sys.executable, str(script), str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: len(provers(process.pid)) == 2 or process.poll() is not None)
    started = provers(process.pid)
    assert len(started) == 2
    if moment == "while they work":  # they have read their imports
        until(lambda: all(b"tokenizers" in Path(f"/proc/{one}/maps").read_bytes() for one in started))
        time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert out == ""
    told = [line for line in err.splitlines() if not line.startswith(("kasauti: prove", "kasauti: audit"))]
    assert told == ["kasauti: interrupted. What was finished is kept: run the same command to go on."]
    until(lambda: not any(Path(f"/proc/{one}").exists() for one in started))
    state = folder / ".kasauti"
    assert not (state / "audit" / "audit.json").exists()
    assert not [path for path in state.rglob("*") if ".part" in path.name]
