"""Rows whose input is blank.

Walks in: the split. Walks out: findings.
"""

from __future__ import annotations

from kasauti.core.types import Finding, Severity, Split, Task
from kasauti.data.checks.evidence import row_numbers, share
from kasauti.data.conversation import content
from kasauti.data.split import parts_of


def empty(task: Task, split: Split) -> list[Finding]:
    """Rows whose input columns are all blank, and (where there are several) rows with one of them blank."""
    findings = []
    for part, examples in parts_of(split).items():
        blank = [e for e in examples if not content(e).strip()]
        if blank:
            findings.append(
                Finding(
                    check="empty",
                    severity=Severity.WARN,
                    what=f"{len(blank)} rows ({share(len(blank), len(examples))}) have a blank input",
                    where=part,
                    count=len(blank),
                    rows=row_numbers(blank),
                    why="The answer cannot follow from the input: the model learns to make it up.",
                    mend="Remove the rows, or label them with the fallback if blank input does arrive in production.",
                )
            )
        for column in task.columns if len(task.columns) > 1 else ():
            some = [e for e in examples if not e.fields.get(column, "").strip() and content(e).strip()]
            if some:
                findings.append(
                    Finding(
                        check="empty",
                        severity=Severity.NOTE,
                        what=f"{len(some)} rows ({share(len(some), len(examples))}) have nothing in column {column!r}",
                        where=part,
                        count=len(some),
                        rows=row_numbers(some),
                        why="The model sees a gap there.",
                        mend="Fill the column in, or check that it may be blank in production too.",
                    )
                )
    return findings
