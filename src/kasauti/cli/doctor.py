"""`kasauti doctor`: the known failures, looked for on this task's data, runs and calls."""

from __future__ import annotations

import argparse
from typing import Any

from kasauti.cli.command import CommandResult, add_calls, calls_at, open_task

HELP = "look for the known failures, and say how to mend them"
ABOUT = """Look for what usually goes wrong, in what the task has left: a right label followed by more text, with its
cause in the supervision; training loss near zero while validation loss rises; a response template that is not found in
the tokens; inputs in production unlike those of the test. Says what, why and what to type, the worst first; exits with
1 where something has to be mended before going on. A run of another trainer is looked at with --run (its
trainer_state.json), --rows (its input_ids and labels as JSON lines) and --generated (what its model wrote)."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of doctor."""
    add_calls(parser)
    parser.add_argument("--run", dest="folder", metavar="DIR", help="a run, ours or a trainer's (default: the newest)")
    parser.add_argument("--rows", metavar="FILE", help="input_ids and labels (or a mask) as a trainer feeds them")
    parser.add_argument(
        "--generated", metavar="FILE", help="texts of a model, JSON lines (default: the newest trial's)"
    )
    parser.add_argument("--response-template", metavar="T", help="a text that a trainer searches for before the answer")
    parser.add_argument("--version", metavar="N", type=int, help="a registered version (default: the champion)")
    parser.add_argument("--until", metavar="TIME", help="look at calls up to then (UTC; default: now)")


def run(args: argparse.Namespace) -> CommandResult:
    """Diagnose and print."""
    import contextlib
    from dataclasses import asdict
    from pathlib import Path

    from kasauti.cli.watch import moment
    from kasauti.core.errors import DataError
    from kasauti.core.types import Severity
    from kasauti.watch.doctor import Asked, diagnose

    task = open_task(args)
    if args.folder is not None and not Path(args.folder).is_dir():
        raise DataError("there is no such folder", where=args.folder, mend="Name the folder of a run.")
    asked = Asked(
        run=None if args.folder is None else Path(args.folder),
        rows=args.rows,
        generated=args.generated,
        template=args.response_template,
        version=args.version,
    )
    with contextlib.ExitStack() as stack:
        log = _log(args, task)
        if log is not None:
            stack.callback(log.close)
        found = diagnose(task, asked, log, moment(args.until))
    findings = [
        {**asdict(one), "severity": one.severity.value, "rows": list(one.rows), "evidence": list(one.evidence)}
        for one in found.findings
    ]
    document = {"findings": findings, "looked": list(found.looked), "not_looked": list(found.not_looked)}
    stops = any(one.severity is Severity.STOP for one in found.findings)
    return CommandResult(document, _lines(found), 1 if stops else 0)


def _log(args: argparse.Namespace, task: Any) -> Any:
    """The call log, where there is one."""
    from pathlib import Path

    where = calls_at(args, task)
    if where is None or ("://" not in where and not Path(where).exists()):
        return None
    from kasauti.calls.log import CallLog

    return CallLog.open(where)


def _lines(found: Any) -> list[str]:
    lines = []
    for number, one in enumerate(found.findings, 1):
        lines += [f"{number}. {one.check} ({one.severity.value}, {one.where}): {one.what.rstrip('.')}."]
        lines += [f"   {line}" for line in one.evidence[:12]]
        lines += [f"   Why it matters: {one.why}", f"   What to do: {one.mend}"]
    lines += [] if found.findings else ["Nothing is wrong with what was looked at."]
    lines += [f"Looked at: {'; '.join(found.looked) or 'nothing'}."]
    return lines + [f"Not looked at: {one}." for one in found.not_looked]
