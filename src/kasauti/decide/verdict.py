"""Figures and comparisons in, one decision out: which approach to ship, why, and what would change it.

Walks in: the task (margin, volume), one `Judged` an approach, the `Comparison`s of every pair on the same test rows.
Walks out: a `Verdict` whose sentences carry their figures. It does not know rows, models or how anything was measured.

The rule: ship the SIMPLEST approach that no other beats. To beat is to be better by more than the margin (observed) and
outside the noise (exact McNemar, p < 0.05 after Holm's correction over all pairs). Where the task says what a right
answer is worth, a gain has to be worth its cost as well, and a cheaper approach beats a dearer one where it saves more
than the accuracy that it may lose is worth: `field.Field.beats`. Otherwise cost and latency never overrule accuracy;
they are said, with the volume at which they turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from kasauti.core.types import Comparison, Task, Verdict
from kasauti.decide.cost import MONTHS, break_even
from kasauti.decide.field import SIGNIFICANT, SIMPLICITY, Field, Judged, check
from kasauti.decide.worth import Worth, amount, gain_costs, saving, too_dear
from kasauti.measure.statistics import equivalent, rows_needed, rows_to_rule_out, smallest_detectable, smallest_mean

__all__ = ["SIGNIFICANT", "SIMPLICITY", "Judged", "decide"]

EXACT = "mcnemar_exact"
"""The test of answers that are right or wrong."""
LEAST_ROWS = 200
"""Fewer test rows than this cannot carry a decision: a true 5-point win is then missed about every second time."""
MOST_LOOKS = 5
"""After more looks at the test rows than this, choices have begun to fit them."""
PRACTICAL_ROWS = 100_000
"""A number of test rows over this is not asked for."""

SHARES = ("exact_match", "pass@1")
"""Deciding figures that are a share of the rows."""


def decide(task: Task, judged: Sequence[Judged], comparisons: Sequence[Comparison], *, test_looks: int = 1) -> Verdict:
    """The verdict over approaches that were judged on the same test rows.

    Args:
        task: its `business` section is read.
        judged: the approaches that could be judged; failed ones are left out by the caller.
        comparisons: every pair of them, from `measure.compare.compare_all`.
        test_looks: how often these test rows have been looked at, this trial included.

    Raises:
        KasautiError: no approach, a name twice, an unknown family, a pair without comparison, different test rows.
    """
    check(judged, comparisons)
    field = Field(judged, comparisons, Worth.of(task.business))
    ship = field.unbeaten(field.ordered)
    rest = field.others(ship)
    runner_up = field.unbeaten(rest) if rest else None
    volume = task.business.calls_per_month
    wins, on_tuning = _tuning(field, ship)
    return Verdict(
        ship=ship.name,
        runner_up=runner_up.name if runner_up else None,
        because=[
            *_reasons(field, ship),
            *on_tuning,
            *_worth(field, ship),
            *_resolution(field, ship),
            *_money(ship, runner_up, volume),
        ],
        tuning_wins=wins,
        margin=field.margin,
        break_even_calls_per_month=break_even(ship.price, runner_up.price) if runner_up else None,
        needs=[*_open(field, ship), *_warnings(field, ship, test_looks), *_cheaper(field, ship, volume)],
    )


def _reasons(field: Field, ship: Judged) -> list[str]:
    sentences = [
        f"{ship.name} {_scored(ship, field.rows)}; it is the simplest approach "
        f"that none beats by more than the margin of {_points(field.margin)} outside the noise{_at_what(field)}."
    ]
    for other in field.others(ship):
        # a simpler one is out because someone beats it: name the shipped one where it does, else the best that does
        winners = [j for j in field.others(other) if field.beats(j, other)]
        against = ship
        if field.simpler_than(other, ship) and winners and ship not in winners:
            against = max(winners, key=lambda j: j.accuracy.value)
        pair = field.pair(other, against)
        if pair.difference == 0:
            sentences.append(f"{other.name} {_scored(other)}: no difference to {against.name}.")
            continue
        sentences.append(
            f"{other.name} {_scored(other)}: {_points(abs(pair.difference))} "
            f"{'more' if pair.difference > 0 else 'fewer'} than {against.name} "
            f"({_interval(pair)}; {_p(pair.p_adjusted)}), {_reading(pair, field.margin)}."
        )
    return sentences


def _at_what(field: Field) -> str:
    value = field.worth.value
    if value is None:
        return ""
    return f", where a right answer is worth {amount(value)} and there are {field.worth.calls:,.0f} calls a month"


def _worth(field: Field, ship: Judged) -> list[str]:
    """Where money decided, and what the gain of the shipped one over the best simpler one costs."""
    sentences = []
    for other in field.others(ship):
        pair = field.pair(other, ship)
        if field.better(other, ship):
            sentences.append(too_dear(field.worth, other.name, other.price, ship.name, ship.price, pair.difference))
        elif field.simpler_than(other, ship) and field.beats(ship, other) and not field.better(ship, other):
            sentences.append(saving(field.worth, ship.name, ship.price, other.name, other.price, -pair.high))
    simpler = field.best_simpler(ship)
    if simpler is not None and field.better(ship, simpler):
        gain = field.pair(ship, simpler).difference
        sentences += gain_costs(field.worth, ship.name, ship.price, simpler.name, simpler.price, gain)
    return sentences


def _reading(pair: Comparison, margin: float) -> str:
    """What a difference amounts to, in words."""
    size, sure = abs(pair.difference), pair.p_adjusted < SIGNIFICANT
    if not sure:
        return "not outside the noise"
    if size <= margin:
        return f"outside the noise, but within the margin of {_points(margin)}"
    surely = (pair.low if pair.difference > 0 else -pair.high) > margin
    return (
        "outside the noise and surely more than the margin"
        if surely
        else ("outside the noise, and as observed more than the margin, though the interval reaches into it")
    )


def _tuning(field: Field, ship: Judged) -> tuple[bool, list[str]]:
    """Whether tuning genuinely wins, and the sentence that says so."""
    tuned = [j for j in field.ordered if j.family == "tuned"]
    if not tuned:
        return False, []
    best = ship if ship in tuned else max(tuned, key=lambda j: j.accuracy.value)
    simpler = [j for j in field.ordered if SIMPLICITY[j.family] < SIMPLICITY[best.family]]
    if not simpler:
        return False, [f"Whether tuning is worth it is not shown: nothing simpler than {best.name} was judged."]
    unbeaten = [j.name for j in simpler if not field.beats(best, j)]
    if not unbeaten:
        still = "" if ship.family == "tuned" else f", and {ship.name} ships because it is better still"
        how = " by more than the margin" if all(field.better(best, j) for j in simpler) else ", by accuracy or by cost"
        return True, [f"Tuning wins: {best.name} beats every simpler approach{how}{still}."]
    if best is ship:
        return True, [f"Tuning wins: every simpler approach is beaten, though {_names(unbeaten)} not by {best.name}."]
    close = [j.name for j in simpler if j.name in unbeaten and not field.better(best, j)]
    dear = [name for name in unbeaten if name not in close]
    said = [f"does not beat {_names(close)} by more than the margin"] if close else []
    said += [f"is better than {_names(dear)}, but not worth what it costs more"] if dear else []
    return False, [f"Tuning does not win: {best.name} {', and '.join(said)}."]


def _money(ship: Judged, runner_up: Judged | None, volume: float) -> list[str]:
    sentences = []
    for one in (ship, runner_up):
        if one is not None:
            labels = f", {amount(one.label_cost)} for labels" if one.label_cost else ""
            spread = "fit and labels" if labels else "the fit"
            speed = "" if one.p95_ms is None else f", and 95% of its answers come within {one.p95_ms:,.0f} ms"
            sentences.append(
                f"{one.name} costs {amount(one.cost_per_1k_calls)} per 1,000 calls and {amount(one.fit_cost)} to "
                f"fit{labels}: "
                f"{amount(one.price.monthly(volume))} a month at {volume:,.0f} calls, "
                f"{spread} spread over {MONTHS:.0f} months{speed}."
            )
    calls = break_even(ship.price, runner_up.price) if runner_up else None
    if runner_up and calls is not None and calls >= 1:
        cheaper = ship if ship.cost_per_1k_calls < runner_up.cost_per_1k_calls else runner_up
        sentences.append(f"Above {calls:,.0f} calls a month {cheaper.name} is the cheaper of the two, below it dearer.")
    return sentences


def _resolution(field: Field, ship: Judged) -> list[str]:
    """The smallest difference that these test rows could show."""
    if len(field.ordered) < 2:
        return []
    nearest = max(field.others(ship), key=lambda j: j.accuracy.value)
    least = _smallest(field.pair(nearest, ship), field.rows, field.level)
    if least is None:
        return []
    return [
        f"The smallest true difference between {ship.name} and {nearest.name} that {field.rows:,} test rows show four "
        f"times out of five is {_points(least)}."
    ]


def _open(field: Field, ship: Judged) -> list[str]:
    """Comparisons that more test rows could turn against the shipped approach."""
    sentences = []
    for other in field.others(ship):
        pair = field.pair(other, ship)
        if field.simpler_than(other, ship) or pair.high <= field.margin or field.better(other, ship):
            continue
        if pair.difference > field.margin:
            needed = _needed(pair, field.rows, field.level)
            sentences.append(
                f"{other.name} may be worth it: it answers {_points(pair.difference)} more than {ship.name}, which "
                f"{field.rows:,} test rows cannot tell from noise. If that holds, {_more(needed, field.rows)} would."
            )
        else:
            needed_or_none = rows_to_rule_out(pair.difference, pair.high, field.margin, field.rows)
            sentences.append(
                f"That {other.name} is better than {ship.name} by more than the margin is not ruled out (up to "
                f"{_points(pair.high)}); {_more(needed_or_none, field.rows)} would, if the difference stays."
            )
    return sentences


def _warnings(field: Field, ship: Judged, test_looks: int) -> list[str]:
    sentences = []
    if field.rows < LEAST_ROWS:
        sentences.append(
            f"{field.rows} test rows are too few to decide on: label at least {LEAST_ROWS - field.rows} more."
        )
    if test_looks > MOST_LOOKS:
        sentences.append(
            f"These test rows have been looked at {test_looks} times: the figures are optimistic by now. "
            "Collect new test rows before the next decision."
        )
    if ship.family == "majority":
        dear = any(field.better(other, ship) for other in field.others(ship))
        sentences.append(
            f"What is better than {ship.name} costs more than its right answers are worth: nothing here pays at this "
            "volume and these prices."
            if dear
            else f"No approach beats {ship.name} by more than the margin outside the noise, so nothing here is worth "
            "shipping: look at the audit, label more rows, or try a stronger model."
        )
    for tuned, hosted in ((t, h) for t in field.ordered for h in field.ordered):
        if (tuned.family, hosted.family) == ("tuned", "hosted"):
            pair = field.pair(hosted, tuned)
            if pair.p_adjusted < SIGNIFICANT and pair.difference > 0:
                sentences.append(
                    f"{hosted.name} answers {_points(pair.difference)} more than {tuned.name}: that is a data or "
                    "training problem. Read the confused pairs and the likely mislabelled rows before tuning again."
                )
    return sentences


def _cheaper(field: Field, ship: Judged, volume: float) -> list[str]:
    """Approaches proven equal within the margin that would cost less at this volume."""
    sentences = []
    for other in field.others(ship):
        pair = field.pair(other, ship)
        saved = ship.price.monthly(volume) - other.price.monthly(volume)
        if saved > 0 and equivalent(pair.low, pair.high, field.margin):
            price = "" if field.simpler_than(other, ship) else ": take it if that is worth its being less simple"
            sentences.append(
                f"{other.name} is equal to {ship.name} within the margin and saves {amount(saved)} a month at "
                f"{volume:,.0f} calls{price}."
            )
    return sentences


def _smallest(pair: Comparison, rows: int, level: float) -> float | None:
    """The smallest true difference that is found four times out of five."""
    if pair.test == EXACT:
        return smallest_detectable(rows, _discordance(pair, rows), level=level)
    return smallest_mean(pair.low, pair.high, level=level) or None


def _needed(pair: Comparison, rows: int, level: float) -> int:
    """Rows that would find this difference four times out of five."""
    if pair.test == EXACT:
        return rows_needed(pair.difference, _discordance(pair, rows), level=level)
    return math.ceil(rows * (smallest_mean(pair.low, pair.high, level=level) / abs(pair.difference)) ** 2)


def _discordance(pair: Comparison, rows: int) -> float:
    return (pair.only_a + pair.only_b) / rows


def _more(needed: int | None, rows: int) -> str:
    if needed is None or needed - rows > PRACTICAL_ROWS:
        return "no practical number of test rows"
    more = max(1, needed - rows)
    more = round(more, 2 - len(str(more)))  # two significant figures: the difference itself is an estimate
    return f"about {more:,} more test rows"


def _scored(one: Judged, rows: int = 0) -> str:
    """Its deciding figure with the interval: a share of rows that are right, or a mean score in hundredths."""
    m = one.accuracy
    ends = f"({100 * m.low:.1f}\u2013{100 * m.high:.1f})"
    if m.metric in SHARES:
        return f"answers {100 * m.value:.1f}% {ends}" + (f" of the {rows:,} test rows right" if rows else "")
    return f"scores {100 * m.value:.1f} {ends} of 100 in {m.metric}" + (f" on the {rows:,} test rows" if rows else "")


def _interval(pair: Comparison) -> str:
    low, high = (pair.low, pair.high) if pair.difference > 0 else (-pair.high, -pair.low)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
