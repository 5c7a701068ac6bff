"""`kasauti report`: the page of a trial made anew, or two trials compared."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from kasauti.cli.command import CommandResult
from kasauti.cli.draw import percent, table

HELP = "draw a trial's report again, or compare two trials"
ABOUT = """Draw the report of a trial again from its trial.json alone, or compare two trials: `kasauti report A B`.
TRIAL is an id, the beginning of one, or the path of a trial's folder or trial.json; without it, the newest. Two trials
of the same test rows are compared row by row with a paired test for each approach; of others the intervals stand side
by side. What is said says which. Nothing is fitted and no model is loaded."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of report."""
    parser.add_argument("trial", metavar="TRIAL", nargs="?", help="the trial to draw (default: the newest)")
    parser.add_argument("other", metavar="OTHER", nargs="?", help="the trial to compare it with, the later one")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where the page goes (default: beside trial.json, of OTHER where two)"
    )


def run(args: argparse.Namespace) -> CommandResult:
    """Draw, or compare and draw."""
    from kasauti.decide.two_trials import compare_trials, find_trial, redraw, sentences, write_comparison

    folder = args.task or "."
    first = find_trial(folder, args.trial)
    if args.other is None:
        page = redraw(first, Path(args.output) if args.output else None)
        document = {"trial": first.id, "ship": first.document.get("verdict", {}).get("ship"), "report": _short(page)}
        return CommandResult(document, [f"Report of trial {first.id}: {_short(page)}"])
    second = find_trial(folder, args.other)
    compared = compare_trials(first, second)
    page = write_comparison(compared, Path(args.output) if args.output else second.folder / f"against-{first.id}.html")
    head = ("approach", first.id, second.id)
    rows = [(one["name"], *(_figure(one[side]) for side in ("a", "b"))) for one in compared["approaches"]]
    changed = [f"- {one}" for one in compared["changed"]]
    lines = [
        *sentences(compared),
        "",
        *table(head, rows, right=head[1:]),
        *(["What changed:", *changed] if changed else []),
        f"Page: {_short(page)}",
    ]
    return CommandResult({**compared, "report": _short(page)}, lines)


def _figure(one: dict[str, float]) -> str:
    return f"{percent(one['value'])} ({percent(one['low'])} – {percent(one['high'])})"


def _short(path: Path) -> str:
    return min(os.path.relpath(path), str(path), key=len)
