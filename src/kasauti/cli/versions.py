"""`kasauti versions`: what the registry holds."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.draw import percent, table

HELP = "list the versions of the task and which one answers"
ABOUT = """List the versions in .kasauti/versions/, newest first; the champion is the one that `kasauti predict`
answers with."""


def add(parser: argparse.ArgumentParser) -> None:
    """Versions takes the common arguments only."""


def run(args: argparse.Namespace) -> CommandResult:
    """List them."""
    from kasauti.registry.versions import champion, list_versions

    task = open_task(args)
    found = list_versions(task)[::-1]
    best = champion(task) if found else None
    number = best.number if best else None
    document = {
        "champion": number,
        "versions": [{"version": v.number, "sha256": v.sha256, "folder": str(v.folder), **v.card} for v in found],
    }
    if not found:
        return CommandResult(
            document, ["No version yet: `kasauti demo` and later releases of your own task register them."]
        )
    rows = [
        (
            f"{v.number}{' *' if v.number == number else ''}",
            v.card["created"][:10],
            v.card["approach"],
            percent(v.card["evaluation"]["accuracy"]["value"]),
            v.card["data"]["version"][:12],
            v.sha256[:12],
        )
        for v in found
    ]
    head = ("version", "made", "approach", "accuracy", "data", "content")
    return CommandResult(document, [*table(head, rows, right=("accuracy",)), "* the champion"])
