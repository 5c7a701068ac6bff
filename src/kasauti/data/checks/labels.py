"""Answers that are not listed, and listed labels that read alike.

Walks in: the task and the split. Walks out: findings. It does not know what the labels mean.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection
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


def near_miss(answer: str, labels: Collection[str]) -> str | None:
    """The label that an answer which is none must mean, or None where that is not certain.

    It is the only one that differs in no more than capitals, spaces, `_` and `-`; or, with at least 4 letters, the only
    one within one slip of the keyboard (two from 8 letters on) while no other label is within two slips more.
    """
    folded = _letters(answer)
    same = [label for label in labels if _letters(label) == folded]
    if same or len(folded) < 4:
        return same[0] if len(same) == 1 and folded else None
    reach = 2 if len(folded) >= 8 else 1
    ranked = sorted((slips(folded, _letters(label), reach + 2), label) for label in labels)
    clear = len(ranked) < 2 or ranked[1][0] > ranked[0][0] + 2
    return ranked[0][1] if ranked and ranked[0][0] <= reach and clear else None


def _letters(name: str) -> str:
    return "".join(sign for sign in name.casefold() if not sign.isspace() and sign not in "_-")


def slips(a: str, b: str, most: int) -> int:
    """How many letters have to be put in, left out, replaced or swapped with their neighbour to make `b` of `a`; a
    number over `most` where it is more than that."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before, row = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i, sign in enumerate(a, start=1):
        last, before, row = before, row, [i, *[0] * len(b)]
        for j, other in enumerate(b, start=1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (sign != other))
            if i > 1 and j > 1 and sign == b[j - 2] and a[i - 2] == other:
                row[j] = min(row[j], last[j - 2] + 1)
    return min(row[-1], most + 1)


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
