"""`kasauti versions`: what the registry holds."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.draw import percent, table

HELP = "list the versions of the task and which one answers"
ABOUT = """List the versions of the registry, newest first, and with --log every event that it has seen: who did what,
when and why. The registry is .kasauti/registry/, or the folder or URL (s3://…, gs://…) that `registry` of the task file
or KASAUTI_REGISTRY names. The champion is the version that answers."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of versions."""
    parser.add_argument("--log", action="store_true", help="show every event of the registry")


def run(args: argparse.Namespace) -> CommandResult:
    """List them."""
    from kasauti.registry.versions import Registry

    registry = Registry(open_task(args))
    found, standing, events = registry.versions()[::-1], registry.standing(), registry.events
    document: dict[str, Any] = {
        "registry": registry.store.url,
        "champion": standing.champion,
        "candidate": standing.candidate,
        "share": standing.share,
        "shadow": standing.shadow,
        "auto": standing.auto,
        "paused": standing.paused,
        "previous": list(standing.previous),
        "versions": [{"version": v.number, "sha256": v.sha256, "folder": v.place, **v.card} for v in found],
    }
    if args.log:
        document["log"] = [dataclasses.asdict(event) for event in events]
    if not found:
        return CommandResult(document, ["No version yet: `kasauti register` makes one of what the trial ships."])
    marks = {standing.champion: " *", standing.candidate: f" ({standing.share:g}%)" if standing.share else " (shadow)"}
    rows = [
        (
            f"{v.number}{marks.get(v.number, '')}",
            v.card["created"][:10],
            v.card["approach"],
            percent(v.card["evaluation"]["accuracy"]["value"]),
            v.card["data"]["version"][:12],
            v.sha256[:12],
        )
        for v in found
    ]
    head = ("version", "made", "approach", "accuracy", "data", "content")
    lines = [*table(head, rows, right=("accuracy",)), "* the champion"]
    if args.log:
        told = [(e.at[:19], e.did, str(e.version), e.who, e.why) for e in events]
        lines += ["", *table(("at", "did", "version", "who", "why"), told)]
    return CommandResult(document, lines)
