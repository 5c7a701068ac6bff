"""Who was judged, and who beats whom: the order of simplicity and the rule.

Walks in: one `Judged` an approach, the `Comparison` of every pair, volume and prices. Walks out: which approach no
other beats. It writes no sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from kasauti.core.errors import KasautiError
from kasauti.core.types import Comparison, Measurement
from kasauti.decide.cost import Price
from kasauti.decide.worth import Worth
from kasauti.measure.compare import swapped

SIGNIFICANT = 0.05
"""Adjusted p-values under this are outside the noise."""

SIMPLICITY: dict[str, int] = {
    "majority": 0,  # no model: one answer for all
    "classical": 1,  # milliseconds on one core, retrained in seconds, every weight can be read
    "prompt": 2,  # nothing is trained; no instructions before instructions, in the order in which they are listed
    "retrieval": 3,  # a prompt, and an index that has to be kept up to date
    "tuned": 4,  # weights of one's own: a training set, a GPU, versions, retraining
    "hosted": 5,  # someone else's model: data leaves the house, every call is paid, versions change by themselves
    "cascade": 6,  # two of the above, and the rule between them
}
"""Family → place in the order of simplicity; within a family the order in which the approaches are listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What the verdict reads of one approach."""

    name: str
    family: str
    """A key of `SIMPLICITY`."""
    accuracy: Measurement
    """The deciding metric on the test rows, with interval and number of rows."""
    cost_per_1k_calls: float = 0.0
    fit_cost: float = 0.0
    label_cost: float = 0.0
    """Of the labels that it learns from."""
    p95_ms: float | None = None
    """Milliseconds that 95% of the answers stayed under."""

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any], rows: int) -> Judged:
        """From an element of `approaches` in `trial.json` and the number of test rows."""
        value, low, high = (float(entry["accuracy"][key]) for key in ("value", "low", "high"))
        return cls(
            name=entry["name"],
            family=entry["family"],
            accuracy=Measurement(metric=entry.get("metric", "exact_match"), value=value, low=low, high=high, rows=rows),
            cost_per_1k_calls=float(entry["cost_per_1k_calls"]),
            fit_cost=float(entry["fit_cost"]),
            label_cost=float(entry.get("label_cost") or 0.0),
            p95_ms=(entry.get("latency_ms") or {}).get("p95"),
        )

    @property
    def price(self) -> Price:
        """Its price, for break-even and a month."""
        return Price(per_1k_calls=self.cost_per_1k_calls, fit=self.fit_cost, labels=self.label_cost)


class Field:
    """All approaches from simple to complex, and every pair of them from either side."""

    def __init__(self, judged: Sequence[Judged], comparisons: Sequence[Comparison], worth: Worth) -> None:
        self.worth, self.margin = worth, worth.margin
        self.ordered = sorted(judged, key=lambda j: SIMPLICITY[j.family])  # stable: listed order within a family
        self.rows = judged[0].accuracy.rows
        self.level = SIGNIFICANT / max(1, len(comparisons))
        self._pairs = {(c.a, c.b): c for c in comparisons} | {(c.b, c.a): swapped(c) for c in comparisons}

    def pair(self, a: Judged, b: Judged) -> Comparison:
        """The comparison, a minus b."""
        return self._pairs[a.name, b.name]

    def better(self, a: Judged, b: Judged) -> bool:
        """By more than the margin, outside the noise."""
        pair = self.pair(a, b)
        return pair.p_adjusted < SIGNIFICANT and pair.difference > self.margin

    def beats(self, a: Judged, b: Judged) -> bool:
        """Better and worth its cost; or cheaper by more than it may lose. Whoever beats is worth at least as much a
        month, so no circle of approaches can beat each other."""
        pair = self.pair(a, b)
        if self.better(a, b):
            return self.worth.pays(pair.difference, a.price, b.price)
        if self.simpler_than(a, b):
            return not self.worth.pays(-pair.difference, b.price, a.price)
        return self.worth.saves_enough(pair.low, a.price, b.price)

    def unbeaten(self, among: Sequence[Judged]) -> Judged:
        """The simplest that none of the others beats; should each be beaten, the most accurate."""
        for one in among:
            if not any(self.beats(other, one) for other in among if other is not one):
                return one
        return max(among, key=lambda j: j.accuracy.value)

    def simpler_than(self, a: Judged, b: Judged) -> bool:
        """By family, then by the order in which they are listed."""
        return self.ordered.index(a) < self.ordered.index(b)

    def best_simpler(self, one: Judged) -> Judged | None:
        """The most accurate of the simpler approaches that read the input, of equally accurate ones the simplest."""
        simpler = [j for j in self.ordered if self.simpler_than(j, one) and j.family != "majority"]
        return max(simpler, key=lambda j: j.accuracy.value, default=None)

    def others(self, one: Judged) -> list[Judged]:
        """All but one, from simple to complex."""
        return [j for j in self.ordered if j is not one]


def check(judged: Sequence[Judged], comparisons: Sequence[Comparison]) -> None:
    """Raises `KasautiError`: no approach, a name twice, an unknown family, a pair without comparison, different test
    rows."""
    if not judged:
        raise KasautiError("no approach could be judged", where="verdict", mend="Read the failures in the trial.")
    names = [j.name for j in judged]
    for j in judged:
        if j.family not in SIMPLICITY:
            raise KasautiError(
                f"family {j.family!r} of {j.name} has no place in the order of simplicity",
                where="verdict",
                mend=f"Use one of: {', '.join(SIMPLICITY)}.",
            )
        if names.count(j.name) > 1:
            raise KasautiError(f"{j.name} stands twice", where="verdict", mend="Judge every approach once.")
        if j.accuracy.rows != judged[0].accuracy.rows:
            raise KasautiError(
                f"{j.name} was judged on {j.accuracy.rows} rows, {names[0]} on {judged[0].accuracy.rows}",
                where="verdict",
                mend="Judge every approach on the same rows.",
            )
    have = {frozenset((c.a, c.b)) for c in comparisons}
    for a, b in combinations(names, 2):
        if frozenset((a, b)) not in have:
            raise KasautiError(
                f"{a} and {b} were not compared", where="verdict", mend="Pass the result of compare_all."
            )
