"""Run a program behind the wall and wait for how it ended.

Walks in: the text of a Python program, and limits. Walks out: an `Execution`. The program never runs in this process:
`launch.py` is started with nothing of this process but three pipes. Where it cannot isolate, nothing is run.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from kasauti.core.errors import IsolationError
from kasauti.core.progress import Progress, silent
from kasauti.measure.sandbox.outcome import Execution, Limits, Outcome

KEPT_BYTES = 10_000
"""Bytes of output that an `Execution` shows."""
_GRACE = 30.0
"""Seconds beyond a program's time after which even the watcher is given up."""
_START = "import sys; sys.path.append(sys.argv.pop(1)); from kasauti.measure.sandbox.launch import main; main()"
_numbers = count(os.getpid() % 1000 * 1000)
"""Gives programs that run at the same time user ids of their own."""


def run_programs(
    programs: Sequence[str], limits: Limits | None = None, workers: int | None = None, progress: Progress = silent
) -> list[Execution]:
    """Run every program, in parallel, results in order; a program that appears again is run once.

    Raises:
        IsolationError: programs cannot be isolated on this machine.
    """
    _check_platform()
    limits = limits or Limits()
    distinct = list(dict.fromkeys(programs))
    found: dict[str, Execution] = {}
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        try:
            for program, execution in zip(
                distinct, pool.map(partial(run_program, limits=limits), distinct), strict=True
            ):
                found[program] = execution
                progress("run programs", len(found), len(distinct))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [found[program] for program in programs]


def run_program(program: str, limits: Limits | None = None) -> Execution:
    """Run one Python program.

    Raises:
        IsolationError: programs cannot be isolated on this machine; it has not been run.
    """
    _check_platform()
    limits = limits or Limits()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kasauti-") as folder:
        status, output, too_much = _converse(program, limits, folder)
    if "refused" in status:
        raise _refused(status["refused"])
    outcome, detail = (Outcome.TOO_MUCH_OUTPUT, "") if too_much else _judged(status, limits)
    return Execution(
        outcome=outcome,
        detail=detail,
        output=output.decode("utf-8", "replace"),
        seconds=time.monotonic() - began,
    )


def _converse(program: str, limits: Limits, folder: str) -> tuple[dict[str, Any], bytes, bool]:
    """Start the launcher, hand it the job, read output and status; on the way out everything is dead."""
    job = {**asdict(limits), "wall_seconds": limits.wall_seconds, "program": program, "folder": folder}
    text = json.dumps({**job, "number": next(_numbers) % 100_000_000}).encode()
    status_end, say_status = os.pipe()
    root = str(Path(__file__).parents[3])
    command = [os.path.realpath(sys.executable), "-S", "-s", "-P", "-c", _START, root, str(say_status)]
    # one seed of hashes, so that a program that hangs on the order of a set ends alike each time
    surroundings = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=surroundings, cwd="/", start_new_session=True, pass_fds=(say_status,),
        )  # fmt: skip
    except OSError as error:
        os.close(status_end)
        raise _refused(f"Python could not be started: {error}") from error
    finally:
        os.close(say_status)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it ended already, and says why
            process.stdin.write(len(text).to_bytes(8, "big") + text)
            process.stdin.flush()
        said, output, too_much = _listen(process, status_end, limits)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # at the end of its input the launcher kills what is left
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()  # the first process of the namespace dies with it, and all others with that one
            process.wait()
        process.stdout.close()
        os.close(status_end)
    if not said and not too_much:
        words = output.decode("utf-8", "replace").strip().splitlines()
        return {"refused": f"the launcher said nothing{f': {words[-1]}' if words else ''}"}, output, False
    return (json.loads(said) if said else {}), output, too_much


def _listen(process: subprocess.Popen[bytes], status_end: int, limits: Limits) -> tuple[bytes, bytes, bool]:
    """Read until the status is whole; stop listening when there is too much output, or no time left."""
    assert process.stdout is not None
    deadline = time.monotonic() + limits.wall_seconds + _GRACE
    said, kept, written = b"", b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(status_end, selectors.EVENT_READ)
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return json.dumps({"ended": "time"}).encode(), kept, False
            for key, _ in selector.select(left):
                part = os.read(key.fd, 65536)
                if not part:
                    selector.unregister(key.fileobj)
                elif key.fd == status_end:
                    said += part
                else:
                    written += len(part)
                    kept = (kept + part)[:KEPT_BYTES]
                    if written > limits.output_bytes:
                        return b"", kept, True
    return said, kept, False


def _judged(status: dict[str, Any], limits: Limits) -> tuple[Outcome, str]:
    if status["ended"] == "time":
        return Outcome.TIMED_OUT, f"more than {limits.wall_seconds:g} seconds on the clock"
    if status["ended"] == "memory":
        return Outcome.OUT_OF_MEMORY, f"more than {limits.memory_mb} MB in all its processes"
    if status["ended"] == "processes":
        return Outcome.KILLED, f"more than {limits.processes} processes"
    code = os.waitstatus_to_exitcode(status["status"])
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        late = -code == signal.SIGXCPU or (-code == signal.SIGKILL and status.get("cpu", 0.0) >= limits.seconds)
        return (
            (Outcome.TIMED_OUT, f"more than {limits.seconds:g} processor seconds") if late else (Outcome.KILLED, name)
        )
    try:
        outcome, detail = json.loads(status.get("report", ""))
        return Outcome(outcome), str(detail)[:300]
    except (ValueError, TypeError):  # it left without the report that only its end writes
        return Outcome.EXITED, f"exit code {code}"


def _check_platform() -> None:
    if not sys.platform.startswith("linux"):
        raise _refused(f"{sys.platform} has no namespaces")


def _refused(reason: str) -> IsolationError:
    return IsolationError(
        f"code cannot be run safely here: {reason}",
        where="sandbox",
        mend="Allow user namespaces (sysctl user.max_user_namespaces=15000; on Ubuntu also "
        "kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that allows unshare and "
        "mount), or run it as root on Linux 5.12 or newer.",
    )
