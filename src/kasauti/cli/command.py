"""What every command shares: its result, its two common options, and the checks before any long work.

Walks in: parsed arguments. Walks out: a checked task, a lock on it. It does not know any single verb, and imports
nothing heavy at module level, because `kasauti --help` imports it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from kasauti.approaches.workbench import Workbench
    from kasauti.core.files import Lock
    from kasauti.core.types import Finding, Task


class CommandResult(NamedTuple):
    """What a command ends with."""

    document: Any
    """Printed as the one JSON document with --json."""
    lines: Sequence[str]
    """Printed without it."""
    exit_code: int = 0
    """0 done; 1 it ran and found a blocking problem."""


def add_common(parser: argparse.ArgumentParser) -> None:
    """--task and --json, which every command takes."""
    parser.add_argument("--task", metavar="DIR", help="folder of task.yaml (default: the current folder)")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document and nothing else on standard output"
    )


def add_skip_bad(parser: argparse.ArgumentParser) -> None:
    """--skip-bad, for commands that read the task's data."""
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave bad rows out and count them (default: refuse the first one)"
    )


def add_calls(parser: argparse.ArgumentParser) -> None:
    """--calls, for commands that write or read the call log."""
    parser.add_argument(
        "--calls", metavar="WHERE", help="call log: a path, sqlite:/// or postgresql:// URL, or none (default: "
        "KASAUTI_DATABASE_URL, else .kasauti/calls.db)",
    )  # fmt: skip


def calls_at(args: argparse.Namespace, task: Task) -> str | None:
    """Where the call log is, by --calls, KASAUTI_DATABASE_URL, or beside the task; None for `--calls none`."""
    import os

    where = args.calls or os.environ.get("KASAUTI_DATABASE_URL") or state_path(task, "calls.db")
    return None if where == "none" else where


def left_out(findings: Sequence[Finding]) -> list[str]:
    """What a command says about rows that could not be read, and about sources that were read by a guess."""
    lines = []
    for one in findings:
        if one.check == "reading" and one.severity == "warn":
            places = [evidence.partition(": ")[0] for evidence in one.evidence[:3]]
            told = f" ({', '.join(places)}{', …' if one.count > 3 else ''})" if places else ""
            lines.append(f"{one.where}: {one.what}{told}")
    return lines


def open_task(args: argparse.Namespace) -> Task:
    """The task of --task, its recipe checked as well; with --skip-bad its bad rows are left out.

    Raises:
        TaskError: the task file is at fault, in one line.
    """
    import dataclasses

    from kasauti.core.task import load_task
    from kasauti.train.recipe import KEYS, recipe_for
    from kasauti.train.search import variants_of

    task = load_task(args.task or ".", KEYS)
    if getattr(args, "skip_bad", False):
        task = dataclasses.replace(task, data=dataclasses.replace(task.data, skip_bad=True))
    # The size of the model changes defaults, never whether a value is allowed.
    variants_of(task.train, lambda settings: recipe_for(settings, 0, task.seed))
    return task


def check_model(bench: Workbench) -> None:
    """Find now, before anything is written, what would stop every approach that needs the model.

    Raises:
        ModelError: the model is not there, or lacks a part.
        TemplateError: it has no chat template, or one that cannot express the task.
    """
    bench.frozen  # noqa: B018
    bench.model_sha256  # noqa: B018


def lock(task: Task) -> Lock:
    """One command at a time trains or judges on a task."""
    from pathlib import Path

    from kasauti.core.files import STATE, Lock

    return Lock(Path(task.folder) / STATE / "lock", f"the task {task.name!r}")


def state_path(task: Task, *parts: str) -> str:
    """A path below the task's state folder, as a user would type it: relative to the current folder where that is
    shorter.
    """
    import os

    from kasauti.core.files import STATE

    path = os.path.join(task.folder, STATE, *parts)
    return min(os.path.relpath(path), path, key=len)
