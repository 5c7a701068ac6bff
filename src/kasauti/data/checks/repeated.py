"""The same row again within a part: exactly, after normalisation, or nearly.

Walks in: the split. Walks out: findings. It does not know whether the answers agree (`conflicts` does), nor the other
parts (`leakage` does).
"""

from __future__ import annotations

from collections.abc import Sequence

from kasauti.core.types import Example, Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN, quote, row_numbers, share
from kasauti.data.conversation import content
from kasauti.data.duplicates import near_groups, normalise
from kasauti.data.split import parts_of

NEAR = 0.8
"""Word-set Jaccard from which two rows are nearly the same."""
MANY = 0.05
"""Share of superfluous rows from which it is a warning."""


def repeated(task: Task, split: Split) -> list[Finding]:
    """Rows of each part that add nothing: those after the first of a group of equal or nearly equal rows."""
    findings = []
    for part, examples in parts_of(split).items():
        finding = _within(part, examples)
        if finding is not None:
            findings.append(finding)
    return findings


def _within(part: str, examples: Sequence[Example]) -> Finding | None:
    texts = [content(example) for example in examples]
    near = near_groups(texts, NEAR)
    superfluous = sum(len(group) - 1 for group in near)
    if not superfluous:
        return None
    exact, normal = (
        sum(map(bool, same)) - len({text for text in same if text})
        for same in ([text.strip() for text in texts], [normalise(text) for text in texts])
    )
    near.sort(key=len, reverse=True)
    return Finding(
        check="repeated",
        severity=Severity.WARN if superfluous > MANY * len(examples) else Severity.NOTE,
        what=f"{superfluous} rows ({share(superfluous, len(examples))}) repeat another: {exact} exactly, "
        f"{normal} after normalisation, the rest nearly (word-Jaccard {NEAR} and above)",
        where=part,
        count=superfluous,
        rows=row_numbers(examples[group[1]] for group in near),
        evidence=[f"{quote(examples[g[0]])} | {quote(examples[g[1]])} ({len(g)} rows)" for g in near[:SHOWN]],
        why="Repeated rows weigh more than others, and make a part look larger than it is.",
        mend="Keep one of each, unless production repeats itself as often.",
    )
