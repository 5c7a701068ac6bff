"""Does a candidate win over the version in service, and what has it forgotten?

Walks in: the answers of both to the old test rows and to reviewed calls. Walks out: a `Weighed`, with the reason in one
line where the candidate does not win. It does not know how either was made.

Three questions, each with its test:

- Is it better? Exact McNemar on old and new rows together, p at most 0.05.
- Has it lost on the old rows? The lower end of a one-sided 95% interval of the difference on all has to be above
  minus the margin.
- Has it forgotten a category? One in which it is worse by more than the margin, as observed, and surely worse (an
  exact one-sided sign test, p at most 0.05, not corrected for the number of categories: to miss a loss costs more than
  to look once too often). Nobody could prove of 30 rows that no 2% of them are lost, so that is not asked of a category
  by itself; `unproved` says where the interval leaves room for a loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kasauti.core.types import Comparison, Prediction
from kasauti.measure.compare import compare_two
from kasauti.measure.metrics import correct
from kasauti.measure.statistics import mcnemar_power, paired_difference

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """Rows with what both say of them; all of one length."""

    truth: Sequence[str]
    champion: Sequence[Prediction]
    candidate: Sequence[Prediction]

    def __add__(self, other: Answered) -> Answered:
        return Answered(
            truth=[*self.truth, *other.truth],
            champion=[*self.champion, *other.champion],
            candidate=[*self.candidate, *other.candidate],
        )

    def of(self, label: str) -> Answered:
        """The rows of one category."""
        at = [place for place, truth in enumerate(self.truth) if truth == label]
        return Answered(
            truth=[self.truth[i] for i in at],
            champion=[self.champion[i] for i in at],
            candidate=[self.candidate[i] for i in at],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """What became of one category on the old rows."""

    label: str
    rows: int
    difference: float
    """Share of its rows that the candidate has right, minus the champion's."""
    low: float
    """Lower end of the one-sided 95% interval."""
    p_value: float
    """Of so many more losses than gains where nothing is lost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighed:
    """Candidate minus champion."""

    old: Comparison
    new: Comparison | None
    """On reviewed calls; None where there are none to judge on."""
    together: Comparison
    old_low: float
    """Lower end of the one-sided 95% interval of `old`."""
    margin: float
    forgotten: Sequence[Lost]
    unproved: Sequence[Lost]
    """Categories with losses that may, by the interval, be more than the margin."""
    takes: Mapping[str, Mapping[str, int]]
    """New category → old category → rows that the champion had right and that the candidate now gives the new one."""
    reason: str | None
    """Why it does not win; None where it does."""

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def weigh(old: Answered, new: Answered, margin: float, added: Sequence[str] = ()) -> Weighed:
    """Weigh a candidate.

    Args:
        old: the task's own test rows.
        new: reviewed calls that neither has learnt from; may be empty.
        margin: accuracy that may be lost on the old rows, 0 to 1.
        added: categories that the champion does not know.

    Raises:
        KasautiError: there are no old rows, or the answers are not as many.
    """
    on_old, both = _compared(old), _compared(old + new)
    low = _low(old)
    losses = [_lost(label, old.of(label)) for label in dict.fromkeys(old.truth)]
    forgotten = [one for one in losses if one.difference < -margin and one.p_value <= LEVEL]
    unproved = [one for one in losses if one not in forgotten and one.difference < 0 and one.low < -margin]
    reason = _forgets(forgotten, old) or _loses(on_old, low, margin, len(old.truth)) or _wins(both, len(new.truth))
    return Weighed(
        old=on_old,
        new=_compared(new) if new.truth else None,
        together=both,
        old_low=low,
        margin=margin,
        forgotten=forgotten,
        unproved=unproved,
        takes={label: _taken(label, old + new) for label in added},
        reason=reason,
    )


def _compared(rows: Answered) -> Comparison:
    return compare_two("candidate", "champion", rows.truth, rows.candidate, rows.champion)


def _cells(rows: Answered) -> tuple[int, int, int, int]:
    a, b = correct(rows.truth, rows.candidate), correct(rows.truth, rows.champion)
    return int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum())


def _low(rows: Answered) -> float:
    return paired_difference(*_cells(rows), level=1 - 2 * LEVEL)[0]


def _lost(label: str, rows: Answered) -> Lost:
    from scipy.stats import binom

    _, gained, lost, _ = _cells(rows)
    p = float(binom.cdf(gained, gained + lost, 0.5)) if gained + lost else 1.0
    count = len(rows.truth)
    return Lost(label=label, rows=count, difference=(gained - lost) / count, low=_low(rows), p_value=p)


def _forgets(forgotten: Sequence[Lost], old: Answered) -> str | None:
    if not forgotten:
        return None
    told = ", ".join(f"{one.label} ({100 * one.difference:+.0f} points on {one.rows} rows)" for one in forgotten)
    return f"it has forgotten {told}, and a loss so large is not chance"


def _loses(on_old: Comparison, low: float, margin: float, rows: int) -> str | None:
    if low >= -margin:
        return None
    seen = f"{100 * on_old.difference:+.1f} points on {rows:,} old test rows, by the interval {100 * low:+.1f} or more"
    mend = "more test rows, or --may-lose, would decide it" if on_old.difference >= -margin else "that is no gain"
    return f"it may lose more than {100 * margin:g} points of what the version in service knows: {seen}; {mend}"


def _wins(both: Comparison, new_rows: int) -> str | None:
    if both.difference > 0 and both.p_value <= LEVEL:
        return None
    seen = f"{100 * both.difference:+.1f} points on old and new rows together, p {both.p_value:.2g}"
    few = (
        "; no reviewed call is there to judge on" if not new_rows else f"; {new_rows:,} of the rows are reviewed calls"
    )
    return f"it is not surely better than the version in service: {seen}{few}"


def _taken(label: str, rows: Answered) -> dict[str, int]:
    right = correct(rows.truth, rows.champion)
    lost = Counter(
        truth
        for truth, was, now in zip(rows.truth, right, rows.candidate, strict=True)
        if was and now.answer == label and truth != label
    )
    return dict(lost.most_common())


def rows_to_prove(recall: float = 0.5, power: float = 0.8) -> int:
    """Rows of a new category to judge on until exact McNemar finds, with this power, that a candidate which has so many
    of them right beats a version that cannot have any right."""
    rows = 1
    while mcnemar_power(rows, recall, recall) < power:
        rows += 1
    return rows
