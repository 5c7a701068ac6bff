"""Whether a gain is worth its money: accuracy and cost in one sum, at the user's volume and prices.

Walks in: two accuracies' difference, two `Price`s, the task's `business` section. Walks out: what the difference comes
to in money a month, the volume at which it turns, and sentences. It does not know noise: the verdict asks for that
first.

The sum, in currency a month: W = calls x difference x value of a right answer - extra cost. Without a
`value_per_right_answer` there is no W, and accuracy alone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import Any, Protocol

from kasauti.core.types import Business
from kasauti.decide.cost import MONTHS, Price, break_even

MOSTLY = 0.5
"""From this share of a month's extra cost on, what is paid once is named as its reason."""
POINTS = 33
"""Points of a line of the curve of cost against volume."""
SPAN = (10.0, 10_000_000.0)
"""Calls a month that the curve covers at least."""


class Priced(Protocol):
    """What is read of an approach."""

    @property
    def name(self) -> str: ...
    @property
    def price(self) -> Price: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Worth:
    """The user's volume, and what a right answer is worth at it."""

    calls: float
    """A month."""
    value: float | None
    margin: float

    @classmethod
    def of(cls, business: Business) -> Worth:
        """From the task's `business` section."""
        return cls(calls=business.calls_per_month, value=business.value_per_right_answer, margin=business.margin)

    def extra(self, a: Price, b: Price) -> float:
        """What a costs more than b in a month."""
        return a.monthly(self.calls) - b.monthly(self.calls)

    def net(self, difference: float, a: Price, b: Price) -> float | None:
        """What a brings more than b in a month, its cost taken off; None without a value of a right answer.

        Args:
            difference: accuracy of a minus accuracy of b.
        """
        return None if self.value is None else self.calls * difference * self.value - self.extra(a, b)

    def pays(self, difference: float, a: Price, b: Price) -> bool:
        """Whether a's gain over b is worth what a costs more; always where nobody says what an answer is worth."""
        net = self.net(difference, a, b)
        return net is None or net >= 0

    def saves_enough(self, difference: float, a: Price, b: Price) -> bool:
        """Whether a is so much cheaper than b that it makes up for being less simple: what it brings more, in money, is
        over what the margin is worth.

        Args:
            difference: accuracy of a minus accuracy of b; the lower end of its interval, to be sure.
        """
        net = self.net(difference, a, b)
        return net is not None and self.extra(a, b) < 0 and net > self.calls * self.margin * (self.value or 0.0)

    def per_right_answer(self, difference: float, a: Price, b: Price) -> float | None:
        """What each right answer that a gives more than b costs; None where there is none, or no calls."""
        more = self.calls * difference
        return self.extra(a, b) / more if more > 0 else None

    def pays_from(self, difference: float, a: Price, b: Price) -> float | None:
        """Calls a month from which on a's gain over b is worth its cost; None where no volume makes it so, or all do.

        Solves n x difference x value = (once_a - once_b) / months + n x (a - b) / 1000.
        """
        if self.value is None:
            return None
        each = difference * self.value - (a.per_1k_calls - b.per_1k_calls) / 1000
        once = (a.once - b.once) / MONTHS
        return once / each if each > 0 and once > 0 else None


def too_dear(worth: Worth, winner: str, a: Price, loser: str, b: Price, difference: float) -> str:
    """Why the more accurate one (a) is not shipped in place of the other (b)."""
    each = worth.per_right_answer(difference, a, b)
    said = (
        f"{winner}'s gain is not worth its cost at {worth.calls:,.0f} calls a month: each right answer more than "
        f"{loser}'s costs {amount(each or 0.0)}, and {amount(worth.value or 0.0)} is what one is worth"
    )
    calls = worth.pays_from(difference, a, b)
    if calls is None:
        return f"{said}; no volume changes that, only prices."
    return (
        f"{said}. The volume is too low for it{_once(worth, a, b)}: below {calls:,.0f} calls a month "
        f"{loser} is the answer."
    )


def gain_costs(worth: Worth, winner: str, a: Price, loser: str, b: Price, difference: float) -> list[str]:
    """What the gain of the shipped one over the best simpler one costs; empty where it costs nothing more."""
    each = worth.per_right_answer(difference, a, b)
    if each is None or each <= 0:
        return []
    said = (
        f"At {worth.calls:,.0f} calls a month each right answer that {winner} gives more than {loser} costs "
        f"{amount(each)}"
    )
    if worth.value is None:
        reason = _once(worth, a, b)
        low = f"{reason}: where so few calls are not worth that, {loser} is the answer" if reason else ""
        return [f"{said}{low}."]
    calls = worth.pays_from(difference, a, b)
    tail = "" if calls is None else f"; below {calls:,.0f} calls a month it would not, and {loser} is the answer"
    return [f"{said}, and {amount(worth.value)} is what one is worth, so the gain pays{tail}."]


def _once(worth: Worth, a: Price, b: Price) -> str:
    """The words that blame what is paid once, where that is most of the extra cost."""
    once, extra = (a.once - b.once) / MONTHS, worth.extra(a, b)
    if extra <= 0 or once < MOSTLY * extra:
        return ""
    what = "its fit and labels" if a.labels > b.labels else "its fit"
    return f", most of it for {what} ({amount(a.once - b.once)} once)"


def saving(worth: Worth, cheap: str, a: Price, dear: str, b: Price, low: float) -> str:
    """Why the less simple but cheaper one (a) ships in place of the other (b).

    Args:
        low: the lower end of the interval of a's accuracy minus b's.
    """
    calls = break_even(a, b)
    above = "" if calls is None or calls >= worth.calls else f"; below {calls:,.0f} calls a month it would cost more"
    lost = worth.calls * (worth.margin - min(low, 0.0)) * (worth.value or 0.0)
    return (
        f"{cheap} saves {amount(-worth.extra(a, b))} a month against {dear} at {worth.calls:,.0f} calls: more than the "
        f"margin and the accuracy that it may lose are worth ({amount(lost)}){above}."
    )


def amount(money: float) -> str:
    """Money: two decimals, or two significant figures where that would read 0.00."""
    return f"{money:,.2f}" if money == 0 or abs(money) >= 0.1 else f"{Decimal(f'{money:.1e}'):f}"


def money_of(business: Business, judged: Sequence[Priced]) -> dict[str, Any]:
    """The `money` part of `trial.json`: the user's figures, the break-even of every pair, and the curve of cost a month
    against calls a month, one line an approach."""
    priced = [(one.name, one.price) for one in judged]
    pairs: list[dict[str, Any]] = []
    for (a, price_a), (b, price_b) in combinations(priced, 2):
        calls = break_even(price_a, price_b)
        if calls is not None and calls >= 1:  # under one call, one of the two is cheaper at every volume
            above = a if price_a.per_1k_calls < price_b.per_1k_calls else b
            pairs.append({"a": a, "b": b, "calls_per_month": calls, "cheaper_above": above,
                          "monthly_cost": price_a.monthly(calls)})  # fmt: skip
    volumes = _volumes([business.calls_per_month, *(pair["calls_per_month"] for pair in pairs)])
    return {
        "calls_per_month": business.calls_per_month,
        "value_per_right_answer": business.value_per_right_answer,
        "price_per_label": business.price_per_label,
        "months": MONTHS,
        "break_even": pairs,
        "curve": [
            {"approach": name, "points": [{"calls": n, "cost": price.monthly(n)} for n in volumes]}
            for name, price in priced
        ],
    }


def _volumes(named: Sequence[float]) -> list[float]:
    """Volumes at even steps of a logarithm, over the usual span and what is named, as far as that is of any use."""
    import math

    useful = [n for n in named if 1.0 <= n <= 1e10]
    low, high = min(SPAN[0], *useful, SPAN[0]), max(SPAN[1], *useful, SPAN[1])
    step = (math.log10(high) - math.log10(low)) / (POINTS - 1)
    return [float(f"{10 ** (math.log10(low) + step * at):.6g}") for at in range(POINTS)]
