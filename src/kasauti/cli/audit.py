"""`kasauti audit`: what is wrong with the data and with what a model would be taught, worst first; JSON and a page."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from kasauti.cli.command import CommandResult, open_task, state_path
from kasauti.cli.draw import table

if TYPE_CHECKING:
    from kasauti.core.progress import Progress
    from kasauti.core.types import Finding, Task

HELP = "data and supervision problems, worst first"
ABOUT = """Look for problems in the data (labels, duplicates, leaks, likely mislabelled rows, …) and prove over every
row that the model would be taught the answer and its end and nothing else. Leaves .kasauti/audit/audit.json
and audit.html; exits with 1 where a finding stops the work. With --fix, what can be mended without a human's
judgement is mended in a new data file, and every change is listed; your own files are never touched."""


class Audit(NamedTuple):
    """An audit on disk."""

    document: dict[str, Any]
    """What `audit.json` holds."""
    page: str
    """Path of `audit.html`."""

    @property
    def stops(self) -> int:
        """Findings that stop the work."""
        return sum(one["severity"] == "stop" for one in self.document["findings"])


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of audit."""
    parser.add_argument(
        "--samples", metavar="N", type=int, default=50, help="random rows laid out to read (default: %(default)s)"
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="write a mended copy of the data: white space, near-miss labels, repeats, leaks",
    )
    parser.add_argument("--mask", action="store_true", help="with --fix: put <kind> in place of personal data")


def run(args: argparse.Namespace) -> CommandResult:
    """Audit, print the findings; mend where it is asked for."""
    from kasauti.core.errors import UsageError

    if args.samples < 0:
        raise UsageError(f"--samples is {args.samples}", mend="Give 0 or more.")
    if args.mask and not args.fix:
        raise UsageError("--mask changes data, and only --fix writes them", mend="Write `kasauti audit --fix --mask`.")
    task = open_task(args)
    done = audit(task, args.samples, args.progress)
    rows = done.document["data"]["rows"]
    lines = findings_table(done.document["findings"])
    lines += [
        f"Looked at {sum(rows.values())} rows ({', '.join(f'{name} {n}' for name, n in rows.items())}).",
        f"Page: {done.page}",
    ]
    if done.stops:
        lines.append("Mend what stops the work, then audit again.")
    document = {**done.document, "page": done.page}
    if args.fix:
        from kasauti.cli.fixing import fix_document, fix_lines
        from kasauti.data.fix import fix

        fixed = fix(task, mask=args.mask)
        document["fix"] = fix_document(task, fixed)
        lines += fix_lines(task, fixed)
    return CommandResult(document, lines, 1 if done.stops else 0)


def audit(task: Task, samples: int, progress: Progress) -> Audit:
    """Run the checks and the proof, and leave both files.

    Raises:
        DataError: a file cannot be read at all.
        StorageError: the folder may not be written.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    import kasauti
    from kasauti.cli.taught import look
    from kasauti.core.files import STATE, write_json
    from kasauti.data.audit import CHECKS, audit_data
    from kasauti.data.split import load_split, parts_of
    from kasauti.pages.audit import write_audit

    split, found = load_split(task, strict=False, record="audit")
    parts = parts_of(split)
    seen = look(task, parts, samples, progress)
    names = list(CHECKS)
    findings = audit_data(
        task,
        split,
        found=[*found, *seen.findings],
        progress=lambda name: progress("audit", names.index(name), len(names), name),
    )
    progress("audit", len(names), len(names))
    rows = {name: len(examples) for name, examples in parts.items()}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    document = {
        "created": created,
        "task": task.name,
        "kasauti": kasauti.__version__,
        "data": {"version": split.data_version, "rows": rows},
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
    return Audit(document, state_path(task, "audit", "audit.html"))


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
