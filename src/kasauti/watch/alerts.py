"""What is wrong out there, each alert with how often it cries wolf.

Walks in: `Seen`. Walks out: `Finding`s, the worst first, and what could have been found. It does not know where figures
come from or whom to tell.

Rules as they are usually written alarm all the time (a category that doubles: on 83% of the days with 100 calls, with
nothing wrong). Here a figure has to be large enough to matter *and* beyond what chance and the usual differences
between days give, at a level that is stated in `ALERTS`; `benchmarks/watch/alarms.py` simulates both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kasauti.core.call import Outcome
from kasauti.core.types import Finding, Severity
from kasauti.measure.statistics import wilson
from kasauti.watch.counts import LEAST_DAYS, history, sees, share_above, tails
from kasauti.watch.figures import WEEK, monday, weeks_of
from kasauti.watch.seen import Day, Seen, Slot, slot_end
from kasauti.watch.sequential import WEEKS, fallen, floor_of, reviews_needed
from kasauti.watch.shift import compare

if TYPE_CHECKING:
    from kasauti.watch.counts import Array, History

LEVEL = 0.001
"""How often a look alarms with nothing wrong, for each of the rules that look at days."""
HISTORY = 28
"""Days before the judged ones that say what is usual."""
SPANS: Mapping[int, tuple[float, float]] = {1: (0.5, 0.1), 7: (0.3, 0.1)}
"""Days that are summed and judged together → the share of `LEVEL` that is spent on categories that grow, and on
categories that cease. One day finds what happens at once; seven find what a day's calls are too few for."""
DOUBLED = 2.0
SPIKE = 1.5
"""The fallback, and calls without an answer, are told from half as many again."""
LATE = 0.05
"""Share of the answers that may take longer than the aim: a 95th percentile at the aim."""
HOURS = (1, 6, 24)
"""Stretches that are judged for latency; most of their half hours, and two, have to be slow, so that no single burst of
calls that wait for one another is an alert."""
POINTS = 0.03
"""Fall of the accuracy that is told."""
ACCURACY_LEVEL = 0.01
"""How often it is told within a year with nothing wrong."""
BASELINE_ERROR = 0.8
"""Share of `ACCURACY_LEVEL` that is spent on the baseline being measured, not known; the rest is for the reviews. A
tighter bound of the baseline is worth more than a lower bound of the bets."""
RECENT = 4
"""Weeks whose reviews say how large a fall is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One alert."""

    look: Callable[[Seen], tuple[list[Finding], dict[str, Any]]]
    """What stands, and what could be seen: plain values."""
    wolf: str
    """How often it alarms with nothing wrong, in words."""


def look(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """All rules.

    Returns:
        The alerts that stand, the worst first; and what each rule could see, by its name.
    """
    found: list[Finding] = []
    sight: dict[str, Any] = {}
    for name, rule in ALERTS.items():
        stands, could = rule.look(seen)
        found += stands
        sight[name] = {"false_alarms": rule.wolf, **could}
    order = list(Severity)
    return sorted(found, key=lambda one: order.index(one.severity)), sight


def latency(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """95th percentile over 2 s: the share of answers over 2 s is surely more than 5%, and not in one burst alone."""
    could: dict[str, Any] = {"judged": bool(seen.slots)}
    best: tuple[float, Finding] | None = None
    for hours in HOURS:
        slots = [slot for slot in seen.slots if slot.start >= slot_end(seen.until) - timedelta(hours=hours)]
        calls, late = sum(slot.calls for slot in slots), sum(slot.late for slot in slots)
        if not calls:
            continue
        p = share_above(calls, late, LATE)
        slow = [slot for slot in slots if slot.late > LATE * slot.calls]
        could[f"in {hours} h"] = {"calls": calls, "over_2s": late / calls, "p_value": p}
        if p <= LEVEL / len(HOURS) and 2 * len(slow) > len(slots) > 1 and (best is None or p < best[0]):
            best = p, _slow(slow, hours, calls, late, seen.p95_ms.get(hours))
    return ([best[1]] if best else []), could


def _slow(slow: Sequence[Slot], hours: int, calls: int, late: int, p95: float | None) -> Finding:
    worst = sorted(slow, key=lambda slot: -slot.late)[:5]
    told = "" if p95 is None else f": p95 is {p95 / 1000:.2f} s"
    span = "hour" if hours == 1 else f"{hours} hours"
    return Finding(
        check="latency",
        severity=Severity.STOP,
        what=f"answers are too slow{told}, and {late / calls:.1%} of {calls:,} calls of the last {span} took more than "
        "2 s (5% may)",
        where="p95",
        count=late,
        evidence=[f"{one.start:%d %b %H:%M} UTC: {one.late:,} of {one.calls:,} over 2 s" for one in worst],
        why="Callers wait, time out and ask again, which makes it worse.",
        mend="Look at kasauti_waiting_rows and kasauti_batch_seconds under /metrics; start another service, raise "
        "`kasauti serve --batch`, or `kasauti rollback` if it began with a version.",
    )


def categories(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """A category that is given more than twice as often as before, or not any more."""
    import numpy as np

    found: dict[str, tuple[float, Finding]] = {}
    could: dict[str, Any] = {"judged": False}
    for span, (grow, cease) in SPANS.items():
        cut = _parts(seen.days, span)
        if cut is None:
            continue
        before, now = cut
        names = sorted({*seen.labels, *(name for day in (*before, *now) for name in day.answers)})
        table = [[[day.answers.get(name, 0) for name in names] for day in part] for part in (before, now)]
        usual = history(np.array(table[0], dtype=float), _totals(before))
        counts, totals = np.array(table[1], dtype=float).sum(axis=0), _totals(now)
        upper, lower = tails(usual, counts, totals)
        levels = LEVEL * grow / len(names), LEVEL * cease / len(names)
        for at, name in enumerate(names):
            one = _moved(name, span, at, usual, counts, totals, (float(upper[at]), float(lower[at])), levels)
            if one is not None and (name not in found or one[0] < found[name][0]):
                found[name] = one
        grown, gone = sees(usual, totals, DOUBLED, levels[0])
        could["judged"] = True
        could[f"in {_days(span)}"] = {
            name: {"share": float(usual.share[at]), "times": grown[at], "ceasing": gone[at]}
            for at, name in enumerate(names)
        }
    return [one for _, one in sorted(found.values(), key=lambda pair: pair[0])], could


def _moved(
    name: str,
    span: int,
    at: int,
    usual: History,
    counts: Array,
    totals: Array,
    p: tuple[float, float],
    levels: tuple[float, float],
) -> tuple[float, Finding] | None:
    n, share, count = float(totals.sum()), float(usual.share[at]), int(counts[at])
    now = count / n
    grown = now >= DOUBLED * share and p[0] <= levels[0] and count > 0
    ceased = count == 0 and p[1] <= levels[1]
    if not grown and not ceased:
        return None
    times = f"{now / share:.1f} times as often as" if share else "for the first time in"
    told = (
        f"the category {name} is given {times} in the {HISTORY} days before: {count:,} of {n:,.0f} calls in the last "
        f"{_days(span)} ({now:.1%}, usual {share:.1%})"
        if grown
        else f"the category {name} is not given any more: none of {n:,.0f} calls in the last {_days(span)} "
        f"(usual {share:.1%}, {share * n:.0f} calls)"
    )
    mend = (
        "Read some of these calls. Where the inputs have changed, label them and retrain; where they have not, "
        "`kasauti rollback`."
    )
    finding = Finding(
        check="category",
        severity=Severity.WARN,
        what=told,
        where=name,
        count=count,
        evidence=[f"probability by chance {min(p):.1e}, alarm at {levels[0] if grown else levels[1]:.1e}"],
        why="Either the world has changed, or the model has.",
        mend=mend,
    )
    return min(p), finding


def fallback(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """More calls than usual get the fallback label: inputs unlike the training data."""
    if seen.fallback is None:
        return [], {"judged": False}
    name = seen.fallback
    return _spike(
        seen,
        lambda day: day.answers.get(name, 0),
        check="fallback",
        where=name,
        said=f"the fallback {name} is given",
        why="A spike of the fallback means inputs unlike the training data.",
        mend="Run `kasauti doctor`: it shows the inputs that are unlike the training rows; label those and retrain.",
    )


def unanswered(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """More calls than usual without an answer of the model's: it abstained, wrote no label, or failed."""
    without = (Outcome.ABSTAINED, Outcome.UNPARSABLE, Outcome.FAILED)
    return _spike(
        seen,
        lambda day: sum(day.outcomes.get(one, 0) for one in without),
        check="unanswered",
        where="calls",
        said="calls without an answer (abstained, unparsable or failed) come",
        why="The caller gets the fallback each time, right or not.",
        mend="Run `kasauti doctor`, and look for events with a status of 500 in the service's log.",
    )


def _spike(
    seen: Seen, count: Callable[[Day], int], *, check: str, where: str, said: str, why: str, mend: str
) -> tuple[list[Finding], dict[str, Any]]:
    import numpy as np

    could: dict[str, Any] = {"judged": False}
    best: tuple[float, Finding] | None = None
    for span in SPANS:
        cut = _parts(seen.days, span)
        if cut is None:
            continue
        before, now = cut
        usual = history(np.array([[count(day)] for day in before], dtype=float), _totals(before))
        number, totals = sum(map(count, now)), _totals(now)
        p, level = float(tails(usual, np.array([float(number)]), totals)[0][0]), LEVEL / len(SPANS)
        n, share = float(totals.sum()), float(usual.share[0])
        grown, _ = sees(usual, totals, SPIKE, level)
        could["judged"] = True
        could[f"in {_days(span)}"] = {"share": share, "now": number / n, "times": grown[0], "p_value": p}
        if p <= level and number / n >= SPIKE * share and (best is None or p < best[0]):
            times = f"{number / n / share:.1f} times as often as" if share else "for the first time in"
            what = (
                f"{said} {times} in the {HISTORY} days before: {number:,} of {n:,.0f} calls in the last {_days(span)} "
                f"({number / n:.1%}, usual {share:.1%})"
            )
            shown = [f"probability by chance {p:.1e}, alarm at {level:.1e}"]
            severity = Severity.WARN
            best = (
                p,
                Finding(
                    check=check,
                    severity=severity,
                    what=what,
                    where=where,
                    count=number,
                    evidence=shown,
                    why=why,
                    mend=mend,
                ),
            )
    return ([best[1]] if best else []), could


def accuracy(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """Reviewed accuracy more than 3 points under what the version was shipped with."""
    base = seen.baseline
    if base is None or not base.rows:
        return [], {"judged": False}
    weeks = weeks_of(seen.reviews, base.version)
    floor = floor_of(base.right, base.rows, ACCURACY_LEVEL * BASELINE_ERROR)
    level = ACCURACY_LEVEL * (1 - BASELINE_ERROR)
    could: dict[str, Any] = {
        "judged": bool(weeks),
        "baseline": base.accuracy,
        "baseline_at_least": floor,
        "reviews": sum(week.read for week in weeks),
        "reviews_needed": {
            f"{drop:.0%}": reviews_needed(floor, base.accuracy - drop, level) for drop in (0.03, 0.05, 0.1)
        },
    }
    if not weeks or not 0 < floor < 1:
        return [], could
    by_start = {week.start: week for week in weeks}
    first, last = weeks[0].start, monday(seen.until)
    every = [by_start.get(first + at * WEEK) for at in range((last - first) // WEEK + 1)]
    bet = fallen([w.right if w else 0 for w in every], [w.read if w else 0 for w in every], floor, level)
    recent = [week for week in weeks if week.start > seen.until - (RECENT + 1) * timedelta(days=7)]
    right, read = sum(week.right for week in recent), sum(week.read for week in recent)
    could |= {"recent": right / read if read else None, "log_wealth": bet.log_wealth[-1] if bet.log_wealth else None}
    if bet.alarm is None or not read or right / read >= base.accuracy - POINTS:
        return [], could
    low, high = wilson(right, read)
    return [
        Finding(
            check="accuracy",
            severity=Severity.STOP,
            what=f"accuracy has fallen by {100 * (base.accuracy - right / read):.1f} points: {right / read:.1%} of "
            f"{read:,} reviewed calls of the last {RECENT} weeks were right ({low:.1%} to {high:.1%}), and version "
            f"{base.version} was shipped with {base.accuracy:.1%} of {base.rows:,} test rows",
            where=f"version {base.version}",
            count=read - right,
            evidence=[
                f"week of {week.start:%d %b}: {week.right} of {week.read} right" for week in weeks[-8:] if week.read
            ],
            why="More answers are wrong than was promised when this version was shipped.",
            mend="Run `kasauti doctor` for the cause; correct the reviewed mistakes, retrain, or `kasauti rollback`.",
        )
    ], could


def shift(seen: Seen) -> tuple[list[Finding], dict[str, Any]]:
    """Inputs unlike those that the version was judged on."""
    found = None if seen.texts is None else compare(seen.texts, seen.seed)
    if found is None or seen.texts is None:
        return [], {"judged": False, "inputs": 0 if seen.texts is None else len(seen.texts.called)}
    could = {
        "judged": True,
        "p_value": found.p_value,
        "auc": found.auc,
        "unseen_words": found.unseen,
        "unseen_words_usual": found.unseen_usual,
        "distance": found.distance,
        "distance_usual": found.distance_usual,
        "mix": {name: {seen.texts.named: there, "calls": here} for name, there, here in found.mix},
        "inputs": found.rows[1],
    }
    if not found.stands:
        return [], could
    could["unlike"] = [id for id, _ in found.inputs]
    return [
        Finding(
            check="shift",
            severity=Severity.WARN,
            what=f"inputs are {'unlike' if found.clear else 'somewhat unlike'} the {seen.texts.named} rows: a "
            f"classifier tells them apart with AUC {found.auc:.2f} (0.5 is chance), and {found.unseen:.1%} of their "
            f"words are new ({found.unseen_usual:.1%} would be by chance)",
            where="inputs",
            count=found.rows[1],
            evidence=shift_evidence(found, seen.texts.named),
            why=f"What was measured on the {seen.texts.named} rows need not hold for inputs like these.",
            mend="Label inputs like those shown, add them to the training data, and run `kasauti trial` again.",
        )
    ], could


def shift_evidence(found: Any, named: str) -> list[str]:
    """What tells the inputs apart, and the inputs that show it."""
    lines = [f"{name}: {there:.1%} of the {named} rows, {here:.1%} of the calls" for name, there, here in found.moved]
    lines += [f"words of calls: {', '.join(found.telling)}"] if found.telling else []
    lines += [f"new words: {', '.join(found.new)}"] if found.new else []
    return [*lines, *(f"call {id}: {' '.join(text.split())[:160]}" for id, text in found.inputs)]


ALERTS: Mapping[str, Rule] = {
    "latency": Rule(look=latency, wolf="of looks while no call is late more often than 5%, 0.1% at most"),
    "category": Rule(look=categories, wolf="of looks with nothing changed, 0.1% at most, over all categories together"),
    "fallback": Rule(look=fallback, wolf="of looks with nothing changed, 0.1% at most"),
    "unanswered": Rule(look=unanswered, wolf="of looks with nothing changed, 0.1% at most"),
    "accuracy": Rule(look=accuracy, wolf=f"1% at most in {WEEKS} weeks, however often it is looked at"),
    "shift": Rule(look=shift, wolf="of looks with inputs like the reference, 0.1% at most"),
}
"""Every alert, in the order in which they are looked at."""


def _parts(days: Sequence[Day], span: int) -> tuple[Sequence[Day], Sequence[Day]] | None:
    """The days before and those that are judged; None where either says nothing."""
    before, now = [day for day in days[-span - HISTORY : -span] if day.total], days[-span:]
    return (before, now) if len(before) >= LEAST_DAYS and sum(day.total for day in now) > 0 else None


def _totals(days: Sequence[Day]) -> Array:
    import numpy as np

    return np.array([day.total for day in days], dtype=float)


def _days(span: int) -> str:
    return "day" if span == 1 else f"{span} days"
