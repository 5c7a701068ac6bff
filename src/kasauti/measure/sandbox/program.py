"""Runs one program in this very process, and reports how it ended before it can be asked anything else.

Walks in: the program's text, in a process that has given up its rights. Walks out: a report on a pipe, and the end of
the process. The program shares the interpreter with what reports on it: one that is written to cheat its tests can, as
in any harness whose tests run beside the answer. It cannot get out, and leaving early is no way to pass.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import traceback
import types
from typing import NoReturn

from kasauti.measure.sandbox.outcome import Outcome

_PLACE = "/tmp/program.py"


def run(source: str, report: int, word: bytes) -> NoReturn:
    """Run `source` as `__main__`; what is reported begins with `word`, which only this function has."""
    write, leave, dumps, process = os.write, os._exit, json.dumps, os.getpid()
    _prepare(source)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=_PLACE, __builtins__=builtins)
    sys.modules["__main__"] = module
    try:
        exec(compile(source, _PLACE, "exec"), module.__dict__)
        outcome, detail = Outcome.PASSED, ""
    except BaseException as error:
        outcome, detail = _what(error), _line(error)
        _show(error)
    if os.getpid() == process:  # a process that the program forked has nothing to say
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException:  # the program's own stream; what it lost is its loss
                continue
        write(report, word + dumps([outcome.value, detail]).encode())
    leave(0)


def _prepare(source: str) -> None:
    os.chdir("/tmp")
    os.environ.clear()
    os.environ.update(HOME="/tmp", TMPDIR="/tmp", PATH="/usr/bin:/bin", LANG="C.UTF-8")
    with open(_PLACE, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(source)
    sys.argv = [_PLACE]
    sys.path = [path for path in sys.path if path and os.path.isdir(path)]


def _what(error: BaseException) -> Outcome:
    kinds = {AssertionError: Outcome.FAILED, MemoryError: Outcome.OUT_OF_MEMORY, SystemExit: Outcome.EXITED}
    return next((outcome for kind, outcome in kinds.items() if isinstance(error, kind)), Outcome.RAISED)


def _line(error: BaseException) -> str:
    try:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300].removesuffix(": ").removesuffix(":")
    except BaseException:  # an exception that cannot be shown
        return type(error).__name__


def _show(error: BaseException) -> None:
    try:
        traceback.print_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
    except BaseException:  # for the reader's eyes only
        return
