"""Any exception → one line and an exit code.

Walks in: an exception. Walks out: a `Fault`. With --json the fault is a document as well:
`{"error": {"what", "where", "mend", "line", "exit_code"}}`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from kasauti.core.errors import KasautiError

DEBUG = "KASAUTI_DEBUG"
"""Environment variable: 1 shows tracebacks and what the libraries say."""
INTERRUPTED = 130

_DISK = {
    errno.ENOSPC: "Free some space on that disk and run the same command again.",
    errno.EDQUOT: "Free some of your quota on that disk and run the same command again.",
    errno.EFBIG: "Allow larger files (ulimit -f) and run the same command again.",
    errno.EACCES: "Give yourself permission there, or choose another folder.",
    errno.EPERM: "Give yourself permission there, or choose another folder.",
    errno.EROFS: "That disk is mounted read-only: choose a folder on another one.",
}
_FULL = ("no space left on device", "os error 28", "storagefull", "pytorchstreamwriter failed writing")
"""What libraries say of a full disk where they raise no OSError."""


class Fault(NamedTuple):
    """What a command that failed has to say."""

    line: str
    exit_code: int
    what: str = ""
    where: str = ""
    mend: str = ""

    def document(self) -> dict[str, dict[str, object]]:
        """For standard output with --json."""
        parts = {"what": self.what or self.line, "where": self.where, "mend": self.mend}
        return {"error": {**parts, "line": self.line, "exit_code": self.exit_code}}


def fault_of(error: BaseException) -> Fault:
    """The fault that an exception stands for."""
    if isinstance(error, KasautiError):
        return Fault(error.line(), error.exit_code, error.what, error.where, error.mend)
    if isinstance(error, KeyboardInterrupt):
        return _made("interrupted", "", "What was finished is kept: run the same command to go on.", INTERRUPTED)
    if (storage := _storage(error)) is not None:
        return storage
    if isinstance(error, MemoryError):
        mend = (
            "`kasauti plan` says what training needs: lower train.micro_batch or train.length, or take a smaller model."
        )
        return _made("the memory is not enough", "", mend, 1)
    lines = str(error).strip().splitlines()
    what = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    mend = f"This is a fault of Kasauti or of a library: run it again with {DEBUG}=1 and report the traceback."
    return _made(what, "", mend, 1)


def debugging() -> bool:
    """Whether the user wants to see everything."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def _made(what: str, where: str, mend: str, exit_code: int) -> Fault:
    line = KasautiError(what, where=where, mend=mend).line()
    return Fault(line, exit_code, what, where, mend)


def _storage(error: BaseException) -> Fault | None:
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _DISK:
            return _made(os.strerror(one.errno), str(one.filename or ""), _DISK[one.errno], 2)
        if any(words in str(one).lower() for words in _FULL):
            return _made(os.strerror(errno.ENOSPC), "", _DISK[errno.ENOSPC], 2)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those behind it, the outermost first."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
