"""`kasauti simulate`: a year of a service in a minute."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kasauti.cli.command import CommandResult

if TYPE_CHECKING:
    from typing import Any

    from kasauti.watch.simulate import Year

HELP = "a year of a service in a minute: what is alerted when, what is retrained"
ABOUT = """Live through a year of the bundled task with generated calls: from week 8 on they are typed otherwise,
from week 20 on a category comes in that nobody has listed, reviewers are slow, and in week 32 somebody puts out a bad
candidate.
Says what was alerted and retrained when, and whether it is what had to be. The rules are those of `kasauti watch` and
`kasauti retrain`; the classical approach answers. Nothing is kept."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of simulate."""
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of all that is drawn (default: 1)")
    parser.add_argument("--years", metavar="N", type=int, default=1, help="years, each with the next seed (default: 1)")


def run(args: argparse.Namespace) -> CommandResult:
    """Live through it."""
    import tempfile
    from pathlib import Path

    from kasauti.cli.demo import copy_task
    from kasauti.core.errors import UsageError
    from kasauti.core.task import load_task
    from kasauti.watch.simulate import WEEKS, simulate, summary

    if not 1 <= args.years <= 1000:
        raise UsageError(f"{args.years} years", where="--years", mend="Give a number from 1 to 1000.")
    with tempfile.TemporaryDirectory() as folder:
        copy_task(Path(folder))
        task = load_task(folder)
        years = []
        for seed in range(args.seed, args.seed + args.years):
            told = lambda week, seed=seed: args.progress(f"year {seed}", week - 1, WEEKS, f"week {week}")  # noqa: E731
            years.append(simulate(task, seed, told))
            args.progress(f"year {seed}", WEEKS, WEEKS)
    found = dict(summary(years))
    lines = [line for year in years for line in _year(year)]
    return CommandResult({"summary": found, "years": [one.document() for one in years]}, [*lines, *_summary(found)])


def _year(year: Year) -> list[str]:
    lines = [f"Seed {year.seed}:"]
    for one in year.events:
        told = "" if one.wanted else " (false)"
        lines.append(f"  week {one.week:2}  {one.what}{told}: {one.said}")
    return lines


def _summary(found: dict[str, Any]) -> list[str]:
    of = found["years"]
    return [
        f"Shift alerted within 2 weeks: {found['shift_alerted_within_2_weeks']} of {of}; new category: "
        f"{found['category_alerted_within_2_weeks']} of {of}; false alerts: {found['false_alerts']}.",
        f"Retraining: at least {100 * found['gain_on_shifted_rows']:+.1f} points on shifted rows, at most "
        f"{100 * found['loss_on_old_rows']:.1f} lost on old ones. The bad candidate had at most "
        f"{found['bad_candidate_at_most']:g}% of the callers.",
        f"95% intervals of reviewed weeks held the truth in {found['covered']:.1%} of them.",
    ]
