"""Runs work in a real process that is killed with SIGKILL: at a chosen touch of the disk, or at a moment in time.

The server that new processes are forked from has the heavy libraries loaded, so that a process costs no import.
"""

from __future__ import annotations

import fnmatch
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"}
"""Audit events that change the disk, beside files that are opened for writing."""
HEAVY = [
    "torch",
    "transformers",
    "peft",
    "trl.trainer.sft_trainer",
    "trl.trainer.sft_config",
    "sklearn.svm",
    "datasets",
    "scipy.stats",
]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(HEAVY)


def run(
    work: Callable[[str], Any],
    folder: Path,
    *,
    at: str = "",
    nth: int = 1,
    after: float | None = None,
    grown: tuple[Path, int] | None = None,
) -> tuple[int, int, float]:
    """Run `work(folder)` in a process of its own.

    Args:
        work: a function at the top of a module.
        folder: what it works on; only changes below it count.
        at: kill right before the `nth` change of the disk whose path (relative to `folder`) fits this pattern.
        after: kill after so many seconds.
        grown: kill once this file has more than so many bytes.

    Returns:
        Exit code (-9 where killed), changes of the disk that were seen, seconds.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    seen = _context.Value("i", 0)
    process = _context.Process(target=_child, args=(work, str(folder), at, nth, seen))
    began = time.perf_counter()
    process.start()
    if grown is not None:
        file, most = grown
        while process.is_alive() and not (file.exists() and file.stat().st_size > most):
            time.sleep(0.001)
        after = 0.0
    if after is not None:
        process.join(after)
        if process.exitcode is None and process.pid:
            os.kill(process.pid, signal.SIGKILL)
    process.join()
    return int(process.exitcode or 0), seen.value, time.perf_counter() - began


def _child(work: Callable[[str], Any], folder: str, at: str, nth: int, seen: Any) -> None:
    import torch

    torch.set_num_threads(1)
    matched = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal matched
        if event == "open":
            name, mode, flags = arguments
            if not (flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(mode or "") & set("wax+")):
                return
        elif event not in CHANGES:
            return
        name = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
        if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # named within an open folder
            name = os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), name)
        if name.startswith(folder):
            seen.value += 1
            matched += fnmatch.fnmatch(os.path.relpath(name, folder), at)
            if at and matched == nth:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    work(folder)


def train(folder: str) -> Any:
    """What `kasauti train` does: train, or go on, or find what is finished."""
    from kasauti.approaches.workbench import Workbench
    from kasauti.core.task import load_task
    from kasauti.data.split import load_split
    from kasauti.train.run import train_adapter

    task = load_task(folder)
    split, _ = load_split(task)
    bench = Workbench(task)
    return train_adapter(
        task,
        split.train,
        split.validation_choose,
        bench.fresh,
        bench.frozen,
        bench.recipe,
        model_sha256=bench.model_sha256,
    )


def judge(folder: str) -> Any:
    """What `kasauti trial` does."""
    from kasauti.approaches.catalogue import DEFAULT
    from kasauti.core.task import load_task
    from kasauti.decide.trial import run_trial

    return run_trial(load_task(folder), DEFAULT)
