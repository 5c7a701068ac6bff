"""Several processes that train one adapter: they agree, they wait, and the first to fail speaks for all.

Walks in: the environment that torchrun or `accelerate launch` made. Walks out: values on which all agree. With one
process nothing here does anything. It does not know what is trained.

Two channels: a gloo group for values (whatever carries the gradients), and the store that the processes met in, which
still answers when one of them has failed and the others are about to be cut off.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

from kasauti.core import ranks
from kasauti.core.errors import TrainingError, UsageError

T = TypeVar("T")
FAILED = "kasauti/failed"
"""Key of the store: rank and exit code of the process that failed first."""
CUT_OFF = ("connection closed by peer", "connection reset by peer", "broken pipe", "gloo", "nccl", "socket")
"""What the libraries say when another process has ended."""
_met: tuple[Any, Any] | None = None
"""The store and the group, once the processes have met."""


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Around the work of a process that is one of several; nothing where it is alone."""
    if ranks.count() == 1:
        yield
        return
    for name, what in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(name, "").lower() in ("1", "true"):
            raise UsageError(
                f"{what} is asked for, and training is divided among processes by DDP alone",
                mend=f"Start it without {what}; `train.method: qlora` needs least memory.",
            )
    _end_with_launcher()
    _meet()
    yield
    leave()


def leave() -> None:
    """The work is done, in every process."""
    global _met
    import torch

    wait()
    if _met is not None:
        torch.distributed.destroy_process_group()
        _met = None


def agree(value: T) -> T:
    """The first process's value, in every process; all of them have to ask."""
    if ranks.count() == 1:
        return value
    import torch

    held = [value]
    torch.distributed.broadcast_object_list(held, src=0, group=_meet()[1])
    return held[0]


def wait() -> None:
    """Until every process is here."""
    if ranks.count() > 1:
        import torch

        torch.distributed.barrier(group=_meet()[1])


def failed_first(exit_code: int) -> int | None:
    """Say that this process has failed.

    Returns:
        None where it is the first to do so, and speaks for all; else the exit code of the one that was.
    """
    if _met is None:  # what goes wrong before they meet goes wrong in each of them
        return None if ranks.first() else exit_code
    try:
        mine = f"{ranks.rank()} {exit_code}"
        kept = _met[0].compare_set(FAILED, "", mine).decode()
    except Exception:  # the store went down with the process that held it
        return None if ranks.first() else exit_code
    return None if kept == mine else int(kept.partition(" ")[2])


def cut_off(error: BaseException) -> BaseException:
    """The error itself, or, where it only says that another process is gone, one that says so in plain words."""
    if ranks.count() == 1 or not isinstance(error, RuntimeError) or isinstance(error, NotImplementedError):
        return error
    if not any(sign in str(error).lower() for sign in CUT_OFF):
        return error
    return TrainingError(
        f"one of the {ranks.count()} processes has ended without a word; it may have been killed for its memory",
        where="train",
        mend="run the same command to go on",
    )


def _meet() -> tuple[Any, Any]:
    """Wait for the others, once.

    Raises:
        UsageError: the environment is not what torchrun or `accelerate launch` make.
    """
    global _met
    if _met is not None:
        return _met
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        store, number, size = next(distributed.rendezvous("env://"))
    except ValueError as error:
        raise UsageError(
            f"WORLD_SIZE is {ranks.count()}, and the processes cannot meet: {error}",
            mend="Start them with torchrun or `accelerate launch`.",
        ) from error
    if not distributed.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        own = distributed.PrefixStore("group", store)
        distributed.init_process_group(backend, store=own, rank=number, world_size=size)
    _met = (store, distributed.new_group(backend="gloo"))
    return _met


def _end_with_launcher() -> None:
    """Linux: a launcher that is killed outright takes its processes with it; else they would train on unseen, and hold
    the task's lock."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM, 0, 0, 0)
