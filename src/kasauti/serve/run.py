"""A server process: uvicorn with patience that ends, and a shutdown that answers what was taken.

Walks in: the application, a socket that listens. Walks out: nothing until the process is told to stop. It does not know
what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""Seconds in which the head of a request has to arrive; whoever sends it a byte at a time holds a connection no
longer."""
HEADER_BYTES = 32 * 1024
CONNECTIONS = 16_384
"""Beyond them uvicorn turns away by itself; long before, the engine's queue does, with what the caller has to know."""
SWITCH_SECONDS = 0.0002
"""For how long the thread that speaks HTTP may keep the interpreter from the one that answers. A forward pass asks for
it back after each of its hundreds of operations: with Python's 5 ms, a batch takes seconds under overload."""


class Patient(H11Protocol):
    """A connection that is closed where the head of a request does not arrive in time. uvicorn bounds only the silence
    between two requests."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE and self._too_long(data):
            self.send_400_response("The head of the request is too long.")
            self.transport.close()
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._stop_waiting()

    def _too_long(self, data: bytes) -> bool:
        """Whether the head that arrives is longer than may be. h11 bounds only heads that are not whole yet."""
        head = self.conn.trailing_data[0] + data
        return len(head) > HEADER_BYTES and b"\r\n\r\n" not in head[: HEADER_BYTES + 4]

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _too_slow(self) -> None:
        self._patience = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """Stops by SIGTERM or SIGINT, and then ends as a process that did what it was told."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for one in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(one, self.handle_exit, one, None)
        try:
            yield
        finally:
            for one in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(one)


def serve(app: FastAPI, listening: socket.socket, *, seconds: float) -> None:
    """Serve until the process is told to stop; then take no new connection, and answer what was taken.

    Args:
        seconds: that the answers may take; a second signal ends it at once.
    """
    settings: dict[str, Any] = {
        "http": Patient,
        "h11_max_incomplete_event_size": HEADER_BYTES,
        "limit_concurrency": CONNECTIONS,
        "timeout_graceful_shutdown": max(1, round(seconds)),
        "timeout_keep_alive": 15,
        "server_header": False,
        "access_log": False,
        "log_config": None,
        "log_level": "critical",  # the door tells what happened, without what callers sent
        "ws": "none",
        "lifespan": "on",
    }
    sys.setswitchinterval(SWITCH_SECONDS)
    Server(uvicorn.Config(app, **settings)).run(sockets=[listening])
