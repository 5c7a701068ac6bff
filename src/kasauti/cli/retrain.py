"""`kasauti retrain`: reviewed calls in; a new version, or the reason why not."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kasauti.cli.command import CommandResult, add_calls, lock, open_task
from kasauti.core.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    from kasauti.core.types import Task
    from kasauti.watch.retrain import Retrained

HELP = "reviewed calls in, new adapter, judged against the version in service"
ABOUT = """Take the calls that reviewers have read into the training data (a share of them is judged on and never learnt
from), audit the new data, train again, and weigh the candidate against the version in service on old and new test rows.
It is registered only where it is surely better and has forgotten nothing that matters; else one line says why not, and
the exit code is 1. The same command after a kill goes on where it stopped. With --canary the candidate gets a share of
the callers at once; without it, nobody is answered by it until `kasauti promote`."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of retrain."""
    add_calls(parser)
    parser.add_argument("--approaches", metavar="A,B,…", help="put these on trial (default: that of the champion)")
    parser.add_argument(
        "--new-category", metavar="T", action="append", default=[],
        help='a category to learn: "NAME: what belongs to it"; it is listed once it has enough examples',
    )  # fmt: skip
    parser.add_argument(
        "--may-lose", metavar="P", type=float, help="points that may be lost on the old test rows (default: the margin)"
    )
    parser.add_argument("--canary", metavar="P", type=float, help="percent of the callers that the candidate gets")
    parser.add_argument("--if-due", action="store_true", help="only where `kasauti watch` names a reason to retrain")
    parser.add_argument(
        "--schedule", metavar="S", choices=("cron", "systemd", "kubernetes"),
        help="print what runs this command every week (cron, systemd or kubernetes), and do nothing",
    )  # fmt: skip
    parser.add_argument("--who", metavar="NAME", help="who wants it, for the log (default: the user of this system)")


def run(args: argparse.Namespace) -> CommandResult:
    """Retrain, and say what came of it."""
    task = open_task(args)
    if args.canary is not None and not 0 < args.canary < 100:
        raise UsageError(f"a canary of {args.canary:g}%", where="--canary", mend="Give a percentage between 0 and 100.")
    if args.may_lose is not None and not 0 <= args.may_lose <= 100:
        raise UsageError(f"{args.may_lose:g} points", where="--may-lose", mend="Give points between 0 and 100.")
    if args.schedule:
        return _schedule(args, task)
    from kasauti.cli.trial import approaches_of
    from kasauti.cli.watch import opened
    from kasauti.watch.retrain import Wanted, retrain

    wanted = Wanted(
        approaches=approaches_of(args, task) if args.approaches else None,
        declare=args.new_category,
        margin=None if args.may_lose is None else args.may_lose / 100,
        canary=args.canary,
        who=args.who,
    )
    with lock(task), opened(args, task) as log:
        if args.if_due and (told := _not_due(task, log)):
            return told
        made = retrain(task, log, wanted, args.progress)
    return CommandResult(made.document(), _lines(made), 0 if made.version is not None else 1)


def _not_due(task: Task, log: Any) -> CommandResult | None:
    from datetime import UTC, datetime

    from kasauti.watch.look import look

    triggers = look(task, log, datetime.now(UTC)).triggers
    if any(one.stands for one in triggers):
        return None
    reason = "no reason to retrain stands: " + "; ".join(one.what for one in triggers)
    return CommandResult({"version": None, "reason": reason}, [f"No new version: {reason}."])


def _schedule(args: argparse.Namespace, task: Task) -> CommandResult:
    import os
    import shutil
    import sys

    from kasauti.watch.schedule import schedule

    words = ["--if-due"]
    words += ["--approaches", args.approaches] if args.approaches else []
    words += ["--may-lose", f"{args.may_lose:g}"] if args.may_lose is not None else []
    words += ["--canary", f"{args.canary:g}"] if args.canary is not None else []
    program = shutil.which("kasauti") or os.path.join(os.path.dirname(sys.executable), "kasauti")
    text = schedule(args.schedule, task.folder, words, program)
    return CommandResult({"schedule": args.schedule, "text": text}, text.rstrip("\n").split("\n"))


def _lines(made: Retrained) -> list[str]:
    taken, rows = made.harvest, made.rows
    lines = [
        f"{taken.read:,} reviewed calls, {taken.corrected:,} of them corrected; new: {taken.added.get('train', 0):,} "
        f"to learn from, {taken.added.get('test', 0):,} to judge on.",
        f"Now {rows['train']:,} are learnt from, {rows['test']:,} judged on; {rows['kept_out']:,} resemble a row of "
        "another part and are kept out.",
        *(f"New category: {one.said}." for one in made.categories),
    ]
    if made.audit:
        lines.append(f"Audit of the new data: {', '.join(f'{n} {name}' for name, n in sorted(made.audit.items()))}.")
    if made.weighed:
        lines += _weighed_lines(made.weighed)
    if made.version is None:
        return [*lines, f"No new version: {made.reason}."]
    lines.append(f"Version {made.version}: {made.reason}.")
    if made.canary is not None:
        return [*lines, f"{made.canary:g}% of the callers get it now: kasauti rollback withdraws it."]
    return [*lines, f"Version {made.champion} answers still: kasauti promote {made.version}"]


def _weighed_lines(found: Any) -> list[str]:
    lines = []
    for name, one in (("old test rows", found["old"]), ("reviewed calls", found["new"])):
        if one is not None:
            lines.append(
                f"On {name}: {100 * one['difference']:+.1f} points ({100 * one['low']:+.1f} to {100 * one['high']:+.1f}"
                f"), p {one['p_value']:.2g}."
            )
    if found["unproved"]:
        names = ", ".join(f"{one['label']} ({100 * one['difference']:+.0f})" for one in found["unproved"])
        lines.append(f"Too few rows to say whether these have lost something: {names}.")
    for label, taken in found["takes"].items():
        told = ", ".join(f"{number} of {name}" for name, number in taken.items()) or "nothing"
        lines.append(f"{label} takes from others, of rows that were right before: {told}.")
    return lines
