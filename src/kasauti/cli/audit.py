"""`kasauti audit`: what is wrong with the data and with what a model would be taught, worst first; JSON and a page."""

from __future__ import annotations

import argparse
import dataclasses
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, add_skip_bad, open_task, state_path
from kasauti.cli.draw import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kasauti.cli.taught import Audit
    from kasauti.core.progress import Progress
    from kasauti.core.types import Finding, Task
    from kasauti.data.audit import Check
    from kasauti.data.checks.mislabelled import Ranking

HELP = "data and supervision problems, worst first"
ABOUT = """Look for problems in the data (labels, duplicates, leaks, likely mislabelled rows, …) and prove over every
row that the model would be taught the answer and its end and nothing else. Leaves .kasauti/audit/audit.json
and audit.html; exits with 1 where a finding stops the work. With --read the page is served on this machine, and
each row on it is accepted, relabelled or dropped with a key: decisions are kept in .kasauti/audit/decisions.jsonl,
every command works with the rows as decided, and your files stay as they are. With --fix, what can be
mended without a human's judgement is mended in a new data file, and every change is listed."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of audit."""
    parser.add_argument(
        "--samples", metavar="N", type=int, default=50, help="random rows laid out to read (default: %(default)s)"
    )
    parser.add_argument(
        "--read", action="store_true", help="serve the page on this machine to decide rows; Ctrl C ends it"
    )
    parser.add_argument("--port", metavar="N", type=int, help="with --read: port to serve at (default: a free one)")
    parser.add_argument(
        "--fix",
        action="store_true",
        help="write a mended copy of the data: white space, near-miss labels, repeats, leaks",
    )
    parser.add_argument("--mask", action="store_true", help="with --fix: put <kind> in place of personal data")
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Audit, print the findings; mend where it is asked for."""
    from kasauti.core.errors import UsageError

    if args.samples < 0:
        raise UsageError(f"--samples is {args.samples}", mend="Give 0 or more.")
    if args.port is not None and not args.read:
        raise UsageError("--port is for the page of --read", mend="Add --read, or leave --port out.")
    if args.mask and not args.fix:
        raise UsageError("--mask changes data, and only --fix writes them", mend="Write `kasauti audit --fix --mask`.")
    if args.fix and args.read:
        raise UsageError("--fix and --read are two steps", mend="Fix first, name the new files, then read.")
    if args.read:
        return _read(args)
    task = open_task(args)
    done = audit(task, args.samples, args.progress)
    return _fix(task, done, mask=args.mask) if args.fix else _told(done, [])


def _fix(task: Task, done: Audit, *, mask: bool) -> CommandResult:
    """The mended copy, told below the findings."""
    from kasauti.cli.fixing import fix_document, fix_lines
    from kasauti.data.fix import fix

    fixed = fix(task, mask=mask)
    return _told(done, fix_lines(task, fixed), {"fix": fix_document(task, fixed)})


def _read(args: argparse.Namespace) -> CommandResult:
    """Audit, then serve the page until it is interrupted."""
    from kasauti.cli.reading import listen, remembering, serve

    task = open_task(args)
    with listen(args.port) as listening:
        rankings: list[Ranking] = []
        done = audit(task, args.samples, args.progress, remembering(task, rankings))
        tally = serve(args, task, done, rankings, listening)
    line = (
        "{accept} rows are accepted, {relabel} relabelled, {drop} dropped; {left} of the random ones are left to read."
    )
    return _told(done, [line.format(**tally)], {"decisions": tally})


def _told(done: Audit, more: Sequence[str], extra: dict[str, Any] | None = None) -> CommandResult:
    rows = done.document["data"]["rows"]
    lines = findings_table(done.document["findings"])
    lines += [
        f"Looked at {sum(rows.values())} rows ({', '.join(f'{name} {n}' for name, n in rows.items())}).",
        f"Read as: {', '.join(f'{name} {shape}' for name, shape in done.document['data']['shapes'].items())}.",
        f"Page: {done.page}",
    ]
    lines += more
    if done.stops:
        lines.append("Mend what stops the work, then audit again.")
    return CommandResult({**done.document, "page": done.page, **(extra or {})}, lines, 1 if done.stops else 0)


def audit(task: Task, samples: int, progress: Progress, checks: Mapping[str, Check] | None = None) -> Audit:
    """Run the checks (all, unless `checks` are given) and the proof, and leave both files.

    Raises:
        DataError: a file cannot be read at all.
        StorageError: the folder may not be written.
    """
    from kasauti.data.duplicates import reading_once

    with reading_once(), _uncollected():
        return _audit(task, samples, progress, checks)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for reference cycles: over millions of rows that stay it took a quarter of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _audit(task: Task, samples: int, progress: Progress, checks: Mapping[str, Check] | None) -> Audit:
    from datetime import UTC, datetime
    from pathlib import Path

    import kasauti
    from kasauti.cli.taught import Audit, look
    from kasauti.core.files import STATE, write_json
    from kasauti.data.audit import CHECKS, audit_data, worst_first
    from kasauti.data.conversation import shapes_of
    from kasauti.data.split import divide, parts_of
    from kasauti.pages.audit import write_audit

    divided, checks = divide(task, strict=False, record="audit"), checks or CHECKS
    split = divided.decided
    parts = parts_of(split)
    names, found = list(checks), list(divided.findings)

    def check() -> None:
        at = {name: number for number, name in enumerate(names)}
        told = lambda name: progress("audit", at[name], len(names), name)  # noqa: E731
        found.extend(audit_data(task, split, checks=checks, progress=told))
        progress("audit", len(names), len(names))

    seen = look(task, parts, samples, progress, check)
    findings = worst_first([*found, *seen.findings])
    rows = {name: len(examples) for name, examples in parts.items()}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    document = {
        "created": created,
        "task": task.name,
        "kasauti": kasauti.__version__,
        "data": {"version": split.data_version, "rows": rows, "shapes": shapes_of(task)},
        "findings": [_plain(one) for one in findings],
        "proof": seen.proof,
    }
    context = {
        "task": task.name,
        "created": created,
        "kasauti": kasauti.__version__,
        "data_version": split.data_version,
        "rows": rows,
        "labels": _labels(task, parts),
        "proof": seen.proof or {},
        "lengths": seen.lengths,
        "samples": seen.samples,
        "duplicates": seen.duplicates,
    }
    folder = Path(task.folder) / STATE / "audit"
    write_audit(findings, context, folder / "audit.html")
    write_json(folder / "audit.json", document)
    return Audit(document, state_path(task, "audit", "audit.html"), findings, context, divided)


def findings_table(findings: Sequence[dict[str, Any]]) -> list[str]:
    """The findings as a table, in the order given."""
    if not findings:
        return ["Nothing was found."]
    rows = [(f["severity"], f["check"], f["where"], f["what"], f["mend"]) for f in findings]
    return table(("", "check", "where", "what was found", "next step"), rows)


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        **dataclasses.asdict(finding),
        "severity": finding.severity.value,
        "rows": list(finding.rows),
        "evidence": list(finding.evidence),
        "ranked": [dict(one) for one in finding.ranked],
    }


def _labels(task: Task, parts: Any) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {label: dict.fromkeys(parts, 0) for label in task.labels}
    for part, examples in parts.items():
        for example in examples if task.labels else ():
            counts.setdefault(example.answer or "(no answer)", dict.fromkeys(parts, 0))[part] += 1
    return counts
