"""The real standard output, kept apart from what libraries print.

Walks in: text. Walks out: bytes on the descriptor that the command was started with. While a command runs, descriptor
1 leads to standard error, so that no library can put a line into the one JSON document.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


class ReaderGone(Exception):
    """Whoever read standard output has closed it; no OSError, so no broken connection elsewhere is taken for it."""


class Outlet:
    """Use `redirected` around a command, and `write` at any time."""

    def __init__(self) -> None:
        self._real: int | None = 1

    @contextlib.contextmanager
    def redirected(self) -> Iterator[Outlet]:
        """Send everything else that goes to standard output to standard error; what is written here still goes out."""
        _flush()
        try:
            self._real = os.dup(1)
        except OSError:  # started with standard output closed: there is nowhere to write to
            self._real = None
        with contextlib.suppress(OSError):
            os.dup2(2, 1)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield self
        finally:
            _flush()
            if self._real is not None:
                os.dup2(self._real, 1)
                os.close(self._real)
                self._real = 1

    def write(self, text: str) -> None:
        """Write all of it, unbuffered, as UTF-8.

        Raises:
            ReaderGone: the reader has gone.
            OSError: the disk behind it is full.
        """
        data = memoryview(text.encode("utf-8", "replace"))
        try:
            while data and self._real is not None:
                data = data[os.write(self._real, data) :]
        except BrokenPipeError:
            raise ReaderGone from None

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads it as it comes."""
        return self._real is not None and os.isatty(self._real)


def _flush() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
