"""How many processes do this work together, and which of them this one is: torchrun and `accelerate launch` say it.

Walks in: the environment. Walks out: two numbers. It does not know how processes talk to each other.
"""

from __future__ import annotations

import os


def count() -> int:
    """Processes that do this work together; 1 where none of these programs started it."""
    return max(1, int(os.environ.get("WORLD_SIZE") or 1))


def rank() -> int:
    """The number of this one, from 0."""
    return int(os.environ.get("RANK") or 0) if count() > 1 else 0


def here() -> int:
    """Processes of this work on this machine."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or 1)) if count() > 1 else 1


def first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return rank() == 0
