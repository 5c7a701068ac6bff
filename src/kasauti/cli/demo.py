"""`kasauti demo`: the whole main job on the bundled task and model."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kasauti.cli.command import CommandResult, lock, open_task

if TYPE_CHECKING:
    from kasauti.core.types import Task
    from kasauti.decide.trial import Trial
    from kasauti.registry.versions import Version

HELP = "the whole job on the bundled task and model: audit, trial, verdict, version 1"
ABOUT = """Copy the bundled task (a payment-dispute classifier) into DIR, audit it, put every approach on trial, and
register what the verdict ships as a version. What is in DIR already is kept as it is; a second run goes on
from there."""
FOLDER = "kasauti-demo"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of demo."""
    parser.add_argument("dir", metavar="DIR", nargs="?", help=f"folder of the demo (default: --task, or ./{FOLDER})")


def run(args: argparse.Namespace) -> CommandResult:
    """The whole job."""
    from kasauti.approaches.catalogue import default_names
    from kasauti.cli.audit import audit
    from kasauti.cli.trial import check_trial, document, judge
    from kasauti.registry.register import register

    args.task = args.dir or args.task or FOLDER
    copy_task(Path(args.task))
    task = open_task(args)
    names = default_names(task)
    check_trial(task, names)
    with lock(task):
        args.progress("demo", 0, 3, "audit")
        audited = audit(task, 50, args.progress)
        args.progress("demo", 1, 3, "trial")
        made = judge(task, names, args.progress)
        args.progress("demo", 2, 3, "version")
        version = register(task, made)
        args.progress("demo", 3, 3)
    whole = {**document(task, made), "version": version.number, "audit": audited.page}
    findings = len(audited.document["findings"])
    return CommandResult(
        whole, _lines(task, made, version, f"{findings} findings, {audited.stops} of them stop: {audited.page}")
    )


def copy_task(folder: Path) -> None:
    """The bundled task file and data, each where there is no such file yet: what a user changed is never overwritten.

    Raises:
        StorageError: the folder may not be written.
    """
    import contextlib

    import kasauti.bundled
    from kasauti.core.files import atomic_write

    source = Path(kasauti.bundled.__path__[0]) / "disputes"
    if (folder / "task.yaml").exists():
        return
    # the task file comes last: it marks the copy as whole
    for path in sorted(source.rglob("*"), key=lambda p: p.name == "task.yaml"):
        if path.is_file() and "__pycache__" not in path.parts:
            with contextlib.suppress(FileExistsError):
                atomic_write(folder / path.relative_to(source), path.read_bytes(), overwrite=False)


def _lines(task: Task, made: Trial, version: Version, audited: str) -> list[str]:
    from kasauti.cli.trial import verdict_lines

    where = min(os.path.relpath(task.folder), task.folder, key=len)
    return [
        *verdict_lines(task, made),
        f"Audit: {audited}",
        f"Version {version.number} ({version.card['approach']}) answers now: kasauti predict --task {where} FILE",
    ]
