"""A service that starts again by itself: a process that does nothing but hold the socket and watch the one that serves.

Walks in: a command line, a socket that listens. Walks out: the exit code of the last process. It does not know what is
served.

The socket stays open while the server starts again, so whoever connects meanwhile waits and is answered; connections
that the dead process had are gone. The server ends when this process is killed: two would answer otherwise.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from kasauti.serve.logs import Log

LIVED_SECONDS = 10.0
"""Whoever lives so long has started well; the next start comes at once."""
LONGEST_WAIT = 2.0
ENDED = (0, 2)
"""Exit codes of a server that was told to stop, or that cannot start as it is asked to."""

_PR_SET_PDEATHSIG = 1


def keep_running(command: Sequence[str], listening: socket.socket, log: Log) -> int:
    """Run a command, and again whenever it dies, until this process is told to stop.

    Args:
        command: gets the descriptor of the socket as its last word.
        log: says why it is started again.

    Returns:
        The exit code of the process that was told to stop, or that could not start.
    """
    wait = 0.0
    with _Told() as told:
        while True:
            began = time.monotonic()
            words = [*command, str(listening.fileno())]
            told.child = subprocess.Popen(
                words, pass_fds=[listening.fileno()], stdout=subprocess.DEVNULL, preexec_fn=_end_with_parent
            )
            if told.stop:  # between two children
                told.child.send_signal(signal.SIGTERM)
            code = told.child.wait()
            told.child = None
            if told.stop or code in ENDED:
                return code
            lived = time.monotonic() - began
            wait = 0.0 if lived > LIVED_SECONDS else min(LONGEST_WAIT, 2 * wait + 0.1)
            log.event("restart", code=code, lived_seconds=round(lived, 1), in_seconds=round(wait, 1))
            with contextlib.suppress(InterruptedError):
                told.sleep(wait)
            if told.stop:
                return 0


class _Told:
    """SIGTERM and SIGINT, handed to the child and remembered."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self.stop = False

    def __enter__(self) -> _Told:
        self._before = {one: signal.signal(one, self._take) for one in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *error: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def sleep(self, seconds: float) -> None:
        """Wait, but not when told to stop."""
        until = time.monotonic() + seconds
        while not self.stop and time.monotonic() < until:
            time.sleep(0.05)

    def _take(self, number: int, frame: object) -> None:
        self.stop = True
        if self.child is not None:
            self.child.send_signal(number)


def _end_with_parent() -> None:
    """On Linux the kernel ends the child when its parent dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def inherited(descriptor: int) -> Iterator[socket.socket]:
    """The socket that the watching process holds."""
    with socket.socket(fileno=descriptor) as listening:
        yield listening
