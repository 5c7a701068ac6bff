"""How long work says how far it is: a callable that the library calls and the command line draws.

The library itself prints nothing; `silent` is the default everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Remark = str | Mapping[str, float]
"""A short remark, or figures by name: `loss`, `validation_loss`, `validation_accuracy`, `tokens_per_second`,
`share_of_limit` (0 to 1), …; whoever draws decides how they look."""


class Progress(Protocol):
    """Called with a stage's name, what is done and what there is to do, and a remark."""

    def __call__(self, stage: str, done: int, total: int, remark: Remark = "") -> None: ...


def silent(stage: str, done: int, total: int, remark: Remark = "") -> None:
    """Says nothing."""
