"""The next call to review → the page of `/review`, and what its script is told.

Walks in: a call on loan, the task's labels, what the reading has shown. Walks out: a page; plain values. It does not
know how a decision is kept, or who may look.

A reviewer sees what the caller sent and got, and neither why the call is in the queue nor how sure the model was: both
would sway the accuracy that is estimated from what he says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kasauti.calls.reviews import Loan
from kasauti.core.paper.page import render
from kasauti.core.types import Task
from kasauti.watch.queue import Progress

KEYS = "123456789abcdefghijklmnopqrtvwxyz"
"""Keys of the labels, in order; `s` and `u` put off and undo. Labels beyond them are found by typing a part."""
MANY = 12
"""Labels from which on there is a field to type a part of one."""


def keys_of(labels: Sequence[str]) -> list[tuple[str, str]]:
    """(key, label) in the order of the task; an empty key where they have run out."""
    return [(KEYS[place] if place < len(KEYS) else "", label) for place, label in enumerate(labels)]


def told(loan: Loan | None, waiting: int) -> dict[str, Any]:
    """What the script is told: the call to read, or none, and how many readings wait."""
    if loan is None:
        return {"call": None, "waiting": waiting}
    call = loan.call
    return {
        "waiting": waiting,
        "call": {
            "review": loan.review,
            "fields": [[name, value] for name, value in call.fields.items()],
            "history": [[turn.role, turn.content] for turn in call.history],
            "answered": call.category,
            "at": call.at.isoformat(timespec="seconds"),
            "second": loan.round > 1,
        },
    }


def render_review(task: Task, reviewer: str, found: Progress, *, keys: bool) -> str:
    """The page, which asks for its first call by itself.

    Args:
        reviewer: whose decisions these are.
        keys: whether one can sign out.
    """
    return render(
        Path(__file__).parent, "review.html", task=task.name, reviewer=reviewer, found=found, signed=keys,
        options=[(key, label, task.labels[label]) for key, label in keys_of(list(task.labels))], many=MANY,
    )  # fmt: skip


def render_login(task: Task, trouble: str = "") -> str:
    """The page where a key is given."""
    return render(Path(__file__).parent, "login.html", task=task.name, trouble=trouble)
