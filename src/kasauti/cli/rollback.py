"""`kasauti rollback`: undo the last promotion."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.standing import add_reason, standing_document, standing_lines

HELP = "undo the last promotion"
ABOUT = """Undo the last promotion: withdraw the candidate where there is one, else let the champion before this one
answer again. One event of the registry's log, with who and why; a service in operation follows within a second."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of rollback."""
    add_reason(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Roll back."""
    from kasauti.registry.release import rollback
    from kasauti.registry.versions import Registry

    standing = rollback(Registry(open_task(args)), who=args.who, why=args.why)
    return CommandResult(standing_document(standing), standing_lines(standing))
