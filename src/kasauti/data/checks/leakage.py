"""Test and validation rows that a training row nearly repeats.

Walks in: the split. Walks out: findings, and the leaked rows, so that accuracy can be told with and without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kasauti.core.types import Example, Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN, quote, row_numbers, share
from kasauti.data.conversation import content
from kasauti.data.duplicates import nearest_across, normalise

NEAR = 0.8
"""Word-set Jaccard from which a held-out row counts as leaked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Leak:
    """A held-out row and the training row most like it."""

    held_out: Example
    train: Example
    similarity: float
    """Jaccard similarity of the two word sets, 0 to 1."""

    @property
    def exact(self) -> bool:
        """Whether they are the same text but for white space at the ends."""
        return content(self.held_out).strip() == content(self.train).strip()

    @property
    def normalised(self) -> bool:
        """Whether they are the same text once normalised."""
        return normalise(content(self.held_out)) == normalise(content(self.train))


def leaked_rows(train: Sequence[Example], held_out: Sequence[Example], threshold: float = NEAR) -> list[Leak]:
    """The held-out rows that have a training row at or above `threshold`, each with the one most like it.

    Equal texts come before equal word sets in another order. The list is in the order of `held_out`.
    """
    pairs = nearest_across([content(e) for e in held_out], [content(e) for e in train], threshold)
    texts = [content(held_out[i]) for i, _, _ in pairs]
    wanted = {*map(normalise, texts), *map(str.strip, texts)}
    by_text = {text: e for e in reversed(train) if (text := normalise(content(e))) in wanted}
    by_text |= {text: e for e in reversed(train) if (text := content(e).strip()) in wanted}
    leaks = []
    for (i, j, similarity), text in zip(pairs, texts, strict=True):
        twin = by_text.get(text.strip()) or by_text.get(normalise(text)) or train[j]
        leaks.append(Leak(held_out=held_out[i], train=twin, similarity=similarity))
    return leaks


def leakage(task: Task, split: Split) -> list[Finding]:
    """Test rows, and validation rows, with a training row at word-Jaccard 0.8 or above."""
    findings = []
    for part, examples in (("test", split.test), ("validation", split.validation)):
        leaks = leaked_rows(split.train, examples)
        if leaks:
            findings.append(_finding(part, leaks, len(examples)))
    return findings


def _finding(part: str, leaks: Sequence[Leak], rows: int) -> Finding:
    exact = sum(leak.exact for leak in leaks)
    same = sum(leak.normalised for leak in leaks)
    other = [leak for leak in leaks if leak.held_out.answer != leak.train.answer]
    shown = sorted(leaks, key=lambda leak: -leak.similarity)[:SHOWN]
    return Finding(
        check="leakage",
        severity=Severity.STOP if same else Severity.WARN,
        what=f"{len(leaks)} {part} rows ({share(len(leaks), rows)}) have a training row at word-Jaccard ≥ {NEAR}: "
        f"{exact} exactly the same, {same} after normalisation; {len(other)} of them have another answer there",
        where=part,
        count=len(leaks),
        rows=row_numbers(leak.held_out for leak in leaks),
        evidence=[f"{quote(x.held_out)} | {quote(x.train)} ({x.similarity:.2f})" for x in shown],
        why="Rows that were all but learnt make every approach look better than it will be on new input.",
        mend="Take the test rows from real production input; read accuracy without the leaked rows too.",
    )
