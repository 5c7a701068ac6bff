"""`kasauti predict`: an answer for every row of a file, in order."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.draw import percent

if TYPE_CHECKING:
    from kasauti.registry.answer import Checked

SHOWN = 5
"""Bad rows that are named on the terminal."""
HELP = "answer every row of a file, in order; resumable with -o"
ABOUT = """Answer every row of FILE with the champion version, or, before there is one, with what the newest trial
ships. One JSON line a row: row, answer, confidence, probabilities (with --probabilities), labels (with
--sets), sources (of an answer that rests on the task's documents), accepted. The answer is always one of the labels,
where the task has some; accepted is false where the confidence is under
the threshold that the trial chose on validation rows for what the task file says under accept (by default,
that 95% of the accepted ones were right), and everywhere if no threshold did. With -o the same command goes on where
it was cut off; without it the lines go to standard output. With --skip-bad a row that cannot be read has a line
in its place: no answer, and what is wrong under error."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of predict."""
    parser.add_argument("file", metavar="FILE", help="rows to answer; the target column need not be there")
    parser.add_argument("-o", "--output", metavar="OUT", help="JSON-lines file for the answers")
    parser.add_argument("--probabilities", action="store_true", help="give the probability of every label")
    parser.add_argument(
        "--sets", action="store_true", help="give the set of labels that holds the true one in 90 of 100 rows"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="say which rows are bad and go on (default: refuse the first one)"
    )


def run(args: argparse.Namespace) -> CommandResult:
    """Answer the file."""
    from kasauti.core.progress import silent
    from kasauti.registry.answer import answer_file, answerer, answering_task, answers, check_file, check_output

    task = open_task(args)
    if args.output is not None:
        check_output(args.file, args.output)
    bad_too = task.data.skip_bad
    there = check_file(answering_task(task), args.file, skip_bad=bad_too)
    progress = silent if args.output is None and args.outlet.is_terminal else args.progress
    one = answerer(task, progress)
    who: dict[str, Any] = {"rows": there.rows, "answered_by": one.name, "threshold": one.threshold, "bad": there.bad}
    who["first_bad"] = list(there.first_bad)
    asked = {"probabilities": args.probabilities, "sets": args.sets, "skip_bad": bad_too, "progress": progress}
    if args.output is not None:
        done = answer_file(one, args.file, args.output, there.rows, **asked)
        share = f"{done.accepted} of {done.rows} answers are accepted ({percent(done.accepted / done.rows, 0)})"
        document = {**who, "accepted": done.accepted, "resumed_at": done.resumed_at, "output": args.output}
        lines = [f"Answered by {one.name}: {share}.", *_told(there), f"Answers: {args.output}"]
        return CommandResult(document, lines)
    chunks = answers(one, args.file, there.rows, **asked)
    if args.json:
        made = [row for chunk in chunks for row in chunk]
        return CommandResult({**who, "accepted": sum(row["accepted"] for row in made), "answers": made}, ())
    for chunk in chunks:
        args.outlet.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in chunk))
    return CommandResult(who, ())


def _told(there: Checked) -> list[str]:
    """The bad rows: how many, and the first with their place."""
    if not there.bad:
        return []
    shown = [f"  {line}" for line in there.first_bad[:SHOWN]]
    more = [f"  and {there.bad - len(shown)} more, each with its fault in the file of answers"]
    what = "1 row could not be read" if there.bad == 1 else f"{there.bad} rows could not be read"
    return [f"{what}, and has no answer:" if there.bad == 1 else f"{what}, and have no answer:", *shown] + (
        more if there.bad > len(shown) else []
    )
