"""The same text with different answers.

Walks in: the split. Walks out: findings. It does not know which answer is right.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from kasauti.core.types import Example, Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN, quote, row_numbers
from kasauti.data.conversation import content
from kasauti.data.duplicates import normalise


def conflicts(task: Task, split: Split) -> list[Finding]:
    """Rows of all parts together whose normalised texts are the same and whose labels are not."""
    if task.kind != "classification":
        return []
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in (*split.train, *split.validation, *split.test):
        text = normalise(content(example))
        if text:
            groups[text].append(example)
    torn = [group for group in groups.values() if len({example.answer for example in group}) > 1]
    if not torn:
        return []
    rows = [example for group in torn for example in group]
    lost = sum(len(group) - max(Counter(e.answer for e in group).values()) for group in torn)
    return [
        Finding(
            check="conflicts",
            severity=Severity.WARN,
            what=f"{len(rows)} rows share their text with a row of another label ({len(torn)} texts)",
            where="all parts",
            count=len(rows),
            rows=row_numbers(rows),
            evidence=[f"{quote(g[0])}: {' / '.join(sorted({e.answer or '' for e in g}))}" for g in torn[:SHOWN]],
            why=f"No model can be right on all of them: at least {lost} are wrong whatever it answers.",
            mend="Decide on one label for each text, or show the model what tells them apart.",
        )
    ]
