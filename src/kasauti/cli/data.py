"""`kasauti data`: the versions that the data of a task have had, and what changed between two of them."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.draw import table

if TYPE_CHECKING:
    from kasauti.core.types import Task
    from kasauti.data.log import Difference, StoredRow

HELP = "versions of the data, and what changed between two"
ABOUT = """List the versions of the data that audit, train and trial have seen (`kasauti data log`), or show what
changed from one to another (`kasauti data diff A B`): rows added, removed and relabelled, and each label's change. A
version is named by the beginning of its hash, or as `latest` or `previous`."""
WIDTH = 70
"""Characters of a row's text that a line shows."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of data."""
    parser.add_argument("action", choices=("log", "diff"), metavar="log|diff", help="what to show")
    parser.add_argument("versions", nargs="*", metavar="VERSION", help="diff: two versions (default: previous latest)")
    parser.add_argument(
        "--limit", metavar="N", type=int, default=20, help="rows shown of each kind of change (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> CommandResult:
    """Show the log or a difference."""
    from kasauti.core.errors import UsageError
    from kasauti.data.log import LATEST, PREVIOUS, compare_versions, find_version

    task = open_task(args)
    if args.limit < 0:
        raise UsageError(f"--limit is {args.limit}", mend="Give 0 or more.")
    if args.action == "log":
        if args.versions:
            raise UsageError("`kasauti data log` takes no version", mend="Write `kasauti data diff A B` to compare.")
        return _log(task)
    if len(args.versions) not in (0, 2):
        raise UsageError(f"diff compares two versions, {len(args.versions)} given", mend="Write `… data diff A B`.")
    a, b = (find_version(task.folder, name) for name in args.versions or (PREVIOUS, LATEST))
    return _diff(compare_versions(task.folder, a, b), args.limit)


def _log(task: Task) -> CommandResult:
    from kasauti.data.log import history

    entries = history(task.folder)[::-1]
    document = {"versions": [{**dataclasses.asdict(entry), "total": sum(entry.rows.values())} for entry in entries]}
    if not entries:
        return CommandResult(document, ["No version yet: `kasauti audit` records the first."])
    rows = [
        (
            entry.version[:12],
            entry.at[:16].replace("T", " "),
            entry.what,
            sum(entry.rows.values()),
            ", ".join(f"{name} {number}" for name, number in entry.rows.items()),
        )
        for entry in entries
    ]
    return CommandResult(document, table(("version", "seen", "by", "rows", "of which"), rows, right=("rows",)))


def _diff(found: Difference, limit: int) -> CommandResult:
    counts = {"added": len(found.added), "removed": len(found.removed), "relabelled": len(found.relabelled)}
    answers = {name: {"a": a, "b": b, "change": b - a} for name, (a, b) in found.answers.items()}
    document = {
        "a": found.a,
        "b": found.b,
        "rows": {"a": found.rows[0], "b": found.rows[1]},
        "counts": counts,
        "labels": answers,
        "added": [_plain(row) for row in found.added[:limit]],
        "removed": [_plain(row) for row in found.removed[:limit]],
        "relabelled": [{**_plain(a), "answer": a.answer, "to": b.answer} for a, b in found.relabelled[:limit]],
    }
    lines = [
        f"{found.a[:12]} → {found.b[:12]}: {found.rows[0]} → {found.rows[1]} rows; "
        + ", ".join(f"{number} {name}" for name, number in counts.items())
    ]
    if not any(counts.values()):
        return CommandResult(document, [*lines, "They hold the same rows."])
    changed = [(name, one["a"], one["b"], f"{one['change']:+d}") for name, one in answers.items() if one["change"]]
    if changed and len(changed) <= max(limit, 20):
        lines += table(("label", "before", "after", "change"), changed, right=("before", "after", "change"))
    shown = [
        *(("+", row.answer or "", _text(row)) for row in found.added[:limit]),
        *(("-", row.answer or "", _text(row)) for row in found.removed[:limit]),
        *(("~", f"{a.answer} → {b.answer}", _text(a)) for a, b in found.relabelled[:limit]),
    ]
    return CommandResult(document, [*lines, *(table(("", "answer", "row"), shown) if shown else [])])


def _plain(row: StoredRow) -> dict[str, Any]:
    return {"id": row.id, "fields": dict(row.fields), "answer": row.answer, "group": row.group}


def _text(row: StoredRow) -> str:
    text = " ".join(" | ".join(row.fields.values()).split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 2]} …"
