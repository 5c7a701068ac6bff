"""`kasauti release`: how the candidate does, and what would become of it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, add_calls, calls_at, open_task
from kasauti.cli.draw import table
from kasauti.cli.standing import standing_document, standing_lines

if TYPE_CHECKING:
    from kasauti.registry.judge import Judged
    from kasauti.registry.standing import Event

HELP = "how the candidate does against the champion, and why"
ABOUT = """Say how the candidate does on the calls that both versions answered: what differs, what reviewers said of it,
faults, late answers, and how far the evidence is for a promotion or a rollback (100% settles it, however often one
looks). With --auto (see promote) the service acts on the same figures. Without a candidate: how the last one ended."""
ENDS = ("promote", "rollback", "pause")


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of release."""
    add_calls(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Show it."""
    from kasauti.registry.versions import Registry

    task = open_task(args)
    registry = Registry(task)
    standing, events = registry.standing(), registry.events
    document: dict[str, Any] = standing_document(standing)
    lines = standing_lines(standing) if standing.champion is not None else ["No version yet."]
    document["ended"] = document["judged"] = None
    if standing.candidate is None or standing.paused:
        last = next((one for one in reversed(events) if one.did in ENDS), None)
        if last is not None:
            document["ended"] = dataclasses.asdict(last)
            lines.append(_ended(last))
    where = calls_at(args, task)
    there = where is not None and ("://" in where or Path(where).is_file())
    if where is None or standing.candidate is None or not there:
        return CommandResult(document, lines)
    from kasauti.calls.log import CallLog
    from kasauti.watch.released import judge_release

    log = CallLog.open(where)
    try:
        judged = judge_release(log, standing)
    finally:
        log.close()
    document["judged"] = {"verdict": str(judged.verdict), "why": judged.why, **judged.figures}
    return CommandResult(document, [*lines, *_lines(judged)])


def _ended(event: Event) -> str:
    return f"{event.at[:19]} {event.did}, version {event.version}, by {event.who}: {event.why}"


def _lines(judged: Judged) -> list[str]:
    evidence = judged.figures["evidence"]
    rows = [
        (claim, name, f"{100 * min(1.0, far):.0f}%")
        for claim, claims in evidence.items()
        for name, far in claims.items()
    ]
    return [f"Verdict: {judged.verdict}. {judged.why}", "", *table(("to", "by", "evidence"), rows, right=("evidence",))]
