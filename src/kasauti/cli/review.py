"""`kasauti review`: the review queue, and its way to and from other tools."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, add_calls, calls_at, open_task
from kasauti.core.errors import UsageError
from kasauti.core.names import suggestion

if TYPE_CHECKING:
    from kasauti.calls.log import CallLog
    from kasauti.core.types import Task

HELP = "the review queue: what waits, what was found, to and from Label Studio and Argilla"
ABOUT = """Bring the review queue up to date and say what waits and what the reviews have shown (`kasauti review`),
write what waits for another tool (`kasauti review export -o queue.json`), or take decisions back from it (`kasauti
review import queue.json`). Reviews are made on the page /review of `kasauti serve`."""
ACTIONS = ("show", "export", "import")


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of review."""
    parser.add_argument(
        "action", metavar="show|export|import", nargs="?", default="show", help="what to do (default: show)"
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="import: JSON of Label Studio or Argilla")
    add_calls(parser)
    parser.add_argument(
        "--to", metavar="TOOL", default="label-studio", help="export: label-studio or argilla (default: label-studio)"
    )
    parser.add_argument("-o", "--out", metavar="FILE", help="export: the file to write")
    parser.add_argument(
        "--decided", action="store_true", help="export: calls that were decided as well, with the decisions"
    )


def run(args: argparse.Namespace) -> CommandResult:
    """Show, export or import."""
    from kasauti.calls.log import CallLog

    task = open_task(args)
    if args.action not in ACTIONS:
        raise UsageError(f"{args.action!r} is no action", mend=suggestion(args.action, ACTIONS))
    if args.file and args.action != "import":
        raise UsageError(f"{args.action} takes no file", where=args.file, mend="Write -o FILE to export.")
    where = calls_at(args, task)
    if where is None:
        raise UsageError("--calls none names no call log", mend="Give a path or a URL.")
    if "://" not in where and not Path(where).is_file():
        raise UsageError("there is no call log yet", where=where, mend="`kasauti serve` makes it.")
    log = CallLog.open(where)
    try:
        if args.action == "import":
            return _import(log, task, args.file)
        if args.action == "export":
            return _export(log, args)
        return _show(log)
    finally:
        log.close()


def _show(log: CallLog) -> CommandResult:
    from kasauti.core.paper.words import fraction, percent
    from kasauti.watch.queue import fill, progress

    now = datetime.now(UTC)
    fill(log, now)
    found = progress(log, now)
    waits = ", ".join(f"{number:,} {reason}" for reason, number in sorted(found.waiting.items()))
    lines = [f"Waiting: {waits or 'nothing'}."]
    if found.read:
        interval = f"{percent(found.low)} to {percent(found.high)}"
        lines.append(
            f"Right in the last 7 days: {percent(found.accuracy)} of {found.read:,} calls drawn at random ({interval})."
        )
    if found.others:
        lines.append(f"Read for another reason: {found.others:,}, of which {found.corrected:,} were wrong.")
    if found.kappa.pairs:
        lines.append(
            f"Two reviewers: {percent(found.kappa.same)} of {found.kappa.pairs:,} calls alike, "
            f"Cohen's kappa {fraction(found.kappa.value, 2)}."
        )
    return CommandResult(found.document(), lines)


def _export(log: CallLog, args: argparse.Namespace) -> CommandResult:
    from kasauti.calls.exchange import FORMATS, write
    from kasauti.calls.reviews import Reviews
    from kasauti.core.files import write_json
    from kasauti.watch.queue import fill

    if args.to not in FORMATS:
        raise UsageError(f"there is no format {args.to!r}", where="--to", mend=suggestion(args.to, FORMATS))
    if not args.out:
        raise UsageError("export needs a file", mend="Write -o queue.json.")
    fill(log, datetime.now(UTC))
    queue = Reviews(log)
    calls = {id: call for id, _, _, call in queue.open_calls()}
    decided = list(queue.decisions()) if args.decided else []
    for one in decided:
        if one.call_id not in calls and (call := log.get(one.call_id)) is not None:
            calls[one.call_id] = call
    document: list[dict[str, Any]] = write(args.to, calls.values(), decided)
    write_json(Path(args.out), document)
    told = {"file": args.out, "format": args.to, "calls": len(document), "decisions": len(decided)}
    return CommandResult(told, [f"{len(document):,} calls are in {args.out}, for {args.to}."])


def _import(log: CallLog, task: Task, file: str | None) -> CommandResult:
    from kasauti.calls.exchange import read
    from kasauti.calls.reviews import Reviews
    from kasauti.core.files import read_json

    if not file:
        raise UsageError("import needs a file", mend="Write `kasauti review import queue.json`.")
    if not Path(file).is_file():
        raise UsageError("there is no such file", where=file, mend="Give the JSON that the tool exported.")
    queue = Reviews(log)
    known = {one.reviewer for one in queue.decisions()}
    found = read(read_json(Path(file)), list(task.labels), file, known)
    new = sum(queue.bring(one.call_id, one.reviewer, one.label) for one in found)
    told = {"decisions": len(found), "new": new}
    rest = f"; {len(found) - new:,} were there already, or their calls are not" if new < len(found) else ""
    return CommandResult(told, [f"{new:,} of {len(found):,} decisions are taken{rest}."])
