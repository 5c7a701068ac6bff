"""`kasauti register`: a version of what the trial ships."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, add_skip_bad, lock, open_task
from kasauti.cli.standing import add_reason, standing_document

HELP = "seal what the trial ships as a version"
ABOUT = """Put every approach on trial, or find the finished trial, and register what its verdict ships: a sealed,
numbered folder with its model card. The first version answers at once; a later one waits for `kasauti promote`. The
same content is registered once. The newest three versions are kept, and any that is in service or that a rollback
leads to."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of register."""
    parser.add_argument("--approaches", metavar="A,B,…", help="the trial of only these approaches (default: all)")
    add_reason(parser)
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Register and say what answers."""
    from kasauti.cli.trial import approaches_of, check_trial, judge
    from kasauti.registry.register import register
    from kasauti.registry.versions import Registry

    task = open_task(args)
    names = approaches_of(args, task)
    said = check_trial(task, names)
    with lock(task):
        made = judge(task, names, args.progress)
        version = register(task, made, who=args.who, why=args.why)
    standing = Registry(task).standing()
    document = {"version": version.number, "sha256": version.sha256, "folder": version.place}
    lines = [*said, f"Version {version.number} ({version.card['approach']}): {version.place}"]
    if standing.champion == version.number:
        lines.append("It answers now.")
    else:
        lines.append(f"Version {standing.champion} answers still: kasauti promote {version.number}")
    return CommandResult({**document, **standing_document(standing)}, lines)
