"""`kasauti promote`: let a version answer."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.standing import add_reason, standing_document, standing_lines
from kasauti.core.errors import UsageError

HELP = "let a version answer, or try it on a share of the callers"
ABOUT = """Let version N answer from now on, or with --canary P name it the candidate for P percent of the callers. One
event of the registry's log, with who and why: it happens as a whole or not at all, and a service in operation follows
within a second. With --shadow both versions answer, the caller gets the champion's answer (with --canary his own
version's), and the other one is kept with the call; reviewers read only what differs. With --auto the service promotes
the candidate, withdraws it, or leaves it to a person, by what `kasauti release` shows."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of promote."""
    parser.add_argument("number", metavar="N", type=int, help="the version")
    parser.add_argument("--canary", metavar="P", type=float, help="percent of the callers, between 0 and 100")
    parser.add_argument(
        "--shadow", metavar="P", type=float, nargs="?", const=100.0,
        help="percent of the calls that both versions answer (without P all; default with --auto: all)",
    )  # fmt: skip
    parser.add_argument("--auto", action="store_true", help="let the service promote it or withdraw it by itself")
    add_reason(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Promote it."""
    from kasauti.registry.release import promote, try_out
    from kasauti.registry.versions import Registry

    registry = Registry(open_task(args))
    if args.canary is None and args.shadow is None:
        if args.auto:
            mend = "Give --canary P, --shadow, or both."
            raise UsageError("a promotion is not tried first", where="--auto", mend=mend)
        standing = promote(registry, args.number, who=args.who, why=args.why)
    else:
        if args.canary == 0:
            raise UsageError(
                "a canary of 0%", where="--canary", mend="Leave it out: --shadow alone gives nobody its answers."
            )
        share, shadow = args.canary or 0.0, args.shadow
        if shadow is None:
            shadow = 100.0 if args.auto else 0.0
        standing = try_out(registry, args.number, share, shadow=shadow, auto=args.auto, who=args.who, why=args.why)
    return CommandResult(standing_document(standing), standing_lines(standing))
