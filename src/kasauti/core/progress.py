"""How long work says how far it is: a callable that the library calls and the command line draws.

The library itself prints nothing; `silent` is the default everywhere.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with a stage's name, what is done and what there is to do, and a short remark."""

    def __call__(self, stage: str, done: int, total: int, remark: str = "") -> None: ...


def silent(stage: str, done: int, total: int, remark: str = "") -> None:
    """Says nothing."""
