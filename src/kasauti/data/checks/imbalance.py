"""Labels that are much more common than others.

Walks in: the split. Walks out: findings. It does not know whether real life is as uneven as the data.
"""

from __future__ import annotations

from collections import Counter

from kasauti.core.types import Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN, share

RATIO = 10
"""Most common over least common label, from which it is told."""
MAJORITY = 0.5
"""Share of the most common label from which accuracy says little."""


def imbalance(task: Task, split: Split) -> list[Finding]:
    """The most common label against the least common one that has rows, and against all rows."""
    if not task.labels:
        return []
    counts = Counter(example.answer for example in split.train if example.answer in task.labels).most_common()
    if not counts:
        return []
    (top, most), (rare, least) = counts[0], counts[-1]
    total = sum(rows for _, rows in counts)
    if most < RATIO * least and most < MAJORITY * total:
        return []
    return [
        Finding(
            check="imbalance",
            severity=Severity.WARN if most >= MAJORITY * total else Severity.NOTE,
            what=f"{top!r} has {most} rows ({share(most, total)}), {rare!r} has {least}: "
            f"always answering {top!r} would be right for {share(most, total)}",
            where="train",
            count=most,
            evidence=[f"{label}: {rows}" for label, rows in counts[:SHOWN]],
            why="A rare label can be wrong every time and accuracy hardly moves.",
            mend="Look at macro-F1 beside accuracy, and collect rows of the rare labels.",
        )
    ]
