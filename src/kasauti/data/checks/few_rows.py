"""Too few rows to learn from, to judge on, or of one label.

Walks in: the split. Walks out: findings. It does not know what will be trained.
"""

from __future__ import annotations

from collections import Counter

from kasauti.core.types import Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN

MEMORISES, MINIMUM, IDEAL = 200, 500, 2000
"""Training rows: below the first a tuned model learns them by heart; the second is the least for LoRA."""
TEST_MINIMUM = 200
LABEL_MINIMUM = 10


def few_rows(task: Task, split: Split) -> list[Finding]:
    """Training rows against 200, 500 and 2,000; test rows against 200; training rows of each label against 10."""
    return [*_train(split), *_test(split), *_labels(task, split)]


def _train(split: Split) -> list[Finding]:
    rows = len(split.train)
    if rows >= IDEAL:
        return []
    grades = [
        (MEMORISES, Severity.STOP, f"under {MEMORISES} a tuned model learns the rows by heart, not the task"),
        (MINIMUM, Severity.WARN, f"tuning needs at least {MINIMUM}"),
        (IDEAL, Severity.NOTE, f"{IDEAL:,} and more are good"),
    ]
    severity, reason = next((s, r) for limit, s, r in grades if rows < limit)
    return [
        Finding(
            check="few_rows",
            severity=severity,
            what=f"{rows} rows to learn from: {reason}",
            where="train",
            count=rows,
            why="The fewer rows, the more a large model memorises in place of learning.",
            mend="Collect more rows; until then prefer a prompt or the classical classifier.",
        )
    ]


def _test(split: Split) -> list[Finding]:
    rows = len(split.test)
    if rows >= TEST_MINIMUM:
        return []
    width = 100 * 0.98 / rows**0.5 if rows else 100.0  # half of a 95% interval at accuracy 0.5: 1.96 · 0.5 / √n
    return [
        Finding(
            check="few_rows",
            severity=Severity.WARN,
            what=f"{rows} rows to judge on: accuracy may be off by up to {width:.0f} points",
            where="test",
            count=rows,
            why="A difference between two approaches that is smaller than that cannot be told from chance.",
            mend=f"Label at least {TEST_MINIMUM} rows of real production input for the test set.",
        )
    ]


def _labels(task: Task, split: Split) -> list[Finding]:
    counts = Counter(example.answer for example in split.train)
    rows = {label: counts[label] for label in task.labels}
    findings = []
    for severity, chosen, what, why in (
        (Severity.STOP, [n for n in rows if rows[n] == 0], "no row to learn from", "It can never be answered rightly."),
        (
            Severity.WARN,
            sorted((n for n in rows if 0 < rows[n] < LABEL_MINIMUM), key=rows.__getitem__),
            f"fewer than {LABEL_MINIMUM} rows to learn from",
            "Its accuracy is a matter of luck, and cannot be measured either.",
        ),
    ):
        if chosen:
            findings.append(
                Finding(
                    check="few_rows",
                    severity=severity,
                    what=f"{len(chosen)} of {len(rows)} labels have {what}",
                    where="train",
                    count=sum(rows[name] for name in chosen),
                    evidence=[f"{name}: {rows[name]}" for name in chosen[:SHOWN]],
                    why=why,
                    mend="Add rows of these labels, or fold them into a wider one.",
                )
            )
    return findings
