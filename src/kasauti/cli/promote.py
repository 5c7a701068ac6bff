"""`kasauti promote`: let a version answer."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.release import add_reason, standing_document, standing_lines

HELP = "let a version answer, or try it on a share of the callers"
ABOUT = """Let version N answer from now on, or with --canary P name it the candidate for P percent of the callers. One
event of the registry's log, with who and why: it happens as a whole or not at all, and a service in operation follows
within a second."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of promote."""
    parser.add_argument("number", metavar="N", type=int, help="the version")
    parser.add_argument("--canary", metavar="P", type=float, help="percent of the callers, between 0 and 100")
    add_reason(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Promote it."""
    from kasauti.registry.release import promote, try_out
    from kasauti.registry.versions import Registry

    registry = Registry(open_task(args))
    if args.canary is None:
        standing = promote(registry, args.number, who=args.who, why=args.why)
    else:
        standing = try_out(registry, args.number, args.canary, who=args.who, why=args.why)
    return CommandResult(standing_document(standing), standing_lines(standing))
