"""One JSON line an event, on standard error. What a caller sent is not in it, unless the operator asked for it.

Walks in: the facts of an event. Walks out: a line. It does not decide what is worth telling.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any


class Log:
    """Lines of JSON.

    Args:
        write: takes a line with its end; None writes to standard error.
    """

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write or _to_stderr

    def event(self, what: str, **facts: Any) -> None:
        """Tell an event; facts that are None are left out. Its own failure never stops a request."""
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": what}
        line |= {name: value for name, value in facts.items() if value is not None}
        try:
            self._write(json.dumps(line, ensure_ascii=True) + "\n")
        except (OSError, ValueError):  # whoever read the log has gone
            return


def _to_stderr(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()
