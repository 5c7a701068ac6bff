"""Answers that are not listed, and listed labels that read alike.

Walks in: the task and the split. Walks out: findings. It does not know what the labels mean.
"""

from __future__ import annotations

import difflib
from collections import Counter
from itertools import combinations

from kasauti.core.names import nearest
from kasauti.core.types import Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN, row_numbers
from kasauti.data.split import parts_of

ALIKE = 0.9
"""Similarity of two label names (0 to 1, matching letters) from which they are told as easily confused."""


def labels(task: Task, split: Split) -> list[Finding]:
    """Rows whose answer is empty or not in the list, and pairs of labels that differ by a few letters."""
    return [*_rows(task, split), *_names(task)]


def _rows(task: Task, split: Split) -> list[Finding]:
    findings = []
    for part, examples in parts_of(split).items():
        blank = [e for e in examples if not (e.answer or "").strip()]
        if blank:
            findings.append(
                Finding(
                    check="labels",
                    severity=Severity.STOP,
                    what=f"{len(blank)} rows have no answer",
                    where=part,
                    count=len(blank),
                    rows=row_numbers(blank),
                    why="There is nothing to learn from them or to judge them by.",
                    mend="Fill the answers in, or remove the rows.",
                )
            )
        strange = [e for e in examples if task.labels and e.answer and e.answer not in task.labels]
        if strange:
            counts = Counter(e.answer or "" for e in strange)
            findings.append(
                Finding(
                    check="labels",
                    severity=Severity.STOP,
                    what=f"{len(strange)} rows have an answer that is not one of the task's labels",
                    where=part,
                    count=len(strange),
                    rows=row_numbers(strange),
                    evidence=[_told(task, name, rows) for name, rows in counts.most_common(SHOWN)],
                    why="Such an answer can never be given, and teaches the model to break the list.",
                    mend="Correct the rows, or add the label to the task file.",
                )
            )
    return findings


def _told(task: Task, name: str, rows: int) -> str:
    near = nearest(name, task.labels)
    return f"{name!r} ({rows} rows)" + (f": {near!r} is meant?" if near else "")


def _names(task: Task) -> list[Finding]:
    same, alike = [], []
    for a, b in combinations(task.labels, 2):
        x, y = (" ".join(name.casefold().replace("_", " ").replace("-", " ").split()) for name in (a, b))
        matcher = difflib.SequenceMatcher(None, x, y, autojunk=False)
        if x == y:
            same.append(f"{a!r} and {b!r}")
        elif matcher.real_quick_ratio() >= ALIKE and matcher.quick_ratio() >= ALIKE and matcher.ratio() >= ALIKE:
            alike.append(f"{a!r} and {b!r}")
    findings = []
    for severity, pairs, what, mend in (
        (Severity.WARN, same, "differ only in capitals or separators", "Fold each pair into one label."),
        (Severity.NOTE, alike, "differ by a few letters", "Give them names that differ in the first word."),
    ):
        if pairs:
            findings.append(
                Finding(
                    check="labels",
                    severity=severity,
                    what=f"{len(pairs)} pairs of labels {what}",
                    where="labels",
                    count=len(pairs),
                    evidence=pairs[:SHOWN],
                    why="People who label, and models, take one for the other.",
                    mend=mend,
                )
            )
    return findings
