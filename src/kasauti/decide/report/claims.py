"""What the page concludes, in sentences: the headline and the title of every chart.

Walks in: a trial as it was read. Walks out: one sentence each, true of the figures beside it and saying no more than
they do. It does not know HTML or drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kasauti.core.paper import words
from kasauti.decide.report.read import Judged, Metric, Trial, sequence, table

MANY_LOOKS = 5
"""Test rows looked at more often than this have become part of the choosing."""


def headlines(trial: Trial) -> list[str]:
    """The verdict: whether tuning is worth it, where it was tried, and what to ship."""
    if trial.ship is None:
        return ["Nothing here can be shipped on this evidence."]
    ship = f"Ship {trial.ship.label}."
    if trial.tuned() is None:
        return [ship]
    worth = "Fine-tuning is worth it." if trial.verdict.get("tuning_wins") else "Fine-tuning is not worth it here."
    return [worth, ship]


def looked(trial: Trial) -> str:
    """How often the test rows were looked at, and what that means once it is often."""
    if trial.test_looks is None:
        return ""
    said = f"looked at {words.times(trial.test_looks)}"
    if trial.test_looks > MANY_LOOKS:
        return f"{said}, so often that the figure flatters: bring fresh test rows"
    return said


def leaked(trial: Trial) -> str:
    """What the score of what is shipped is worth without the test rows that training rows nearly repeat; empty where
    the trial does not say, or found none."""
    rows, one = trial.leaked_rows, trial.ship or next(iter(trial.approaches), None)
    if not rows or one is None or one.score.value is None:
        return ""
    count = (
        f"{words.count(rows)} test {'row has' if rows == 1 else 'rows have'} a training row of nearly the same words"
    )
    without = one.without_leaked
    if without.value is None:
        return f"{count}: there is no test row without one."
    span = trial.metric.interval(without)
    return (
        f"{count}: without {'it' if rows == 1 else 'them'}, {one.label} comes to {trial.metric.says(without.value)}"
        f"{f' ({span})' if span else ''}, not {trial.metric.says(one.score.value)}."
    )


def scores(trial: Trial) -> str:
    """Over the dot plot."""
    known = [one for one in trial.approaches if one.score.value is not None]
    if not known:
        return "No approach has a figure."
    best, ship = known[0], trial.ship
    said = f"{best.label} scores highest: {trial.metric.says(best.score.value)}"
    if ship is None or ship.name == best.name:
        second = known[1] if known[1:] else None
        return f"{said}, ahead of {second.label} with {trial.metric.says(second.score.value)}" if second else said
    return f"{said}; {ship.label}, which is shipped, comes to {trial.metric.says(ship.score.value)}"


def frontier(approaches: Sequence[Judged]) -> list[Judged]:
    """The approaches that no other equals or betters on both cost and score, cheapest first."""
    priced = [one for one in approaches if one.cost is not None and one.score.value is not None]
    found: list[Judged] = []
    for one in sorted(priced, key=lambda a: (a.cost or 0.0, -(a.score.value or 0.0))):
        if not found or (one.score.value or 0.0) > (found[-1].score.value or 0.0):
            found.append(one)
    return found


def cost(trial: Trial) -> str:
    """Over cost against score."""
    real = [one for one in trial.approaches if one.family != "majority"]
    best = frontier(real)
    if not best:
        return "No approach has a price"
    if len(best) == 1:
        return f"{best[0].label} scores highest, and of those that read the text it is the cheapest"
    said = f"{_listed([one.label for one in best])}: each costs more than the one before, and scores higher"
    return said + (
        ". For each of the others, one of these costs no more and scores no less" if len(best) < len(real) else ""
    )


def break_evens(trial: Trial) -> list[Mapping[str, Any]]:
    """The break-even volumes of approaches that read the text, those of what is shipped first, then by volume."""
    real = {one.name for one in trial.approaches if one.family != "majority"}
    rows = [row for row in sequence(table(trial.raw, "money"), "break_even") if isinstance(row, Mapping)]
    rows = [row for row in rows if {row.get("a"), row.get("b")} <= real and words.finite(row.get("calls_per_month"))]
    ship = trial.ship.name if trial.ship else None
    return sorted(rows, key=lambda row: (ship not in (row["a"], row["b"]), words.finite(row["calls_per_month"]) or 0.0))


def break_even(trial: Trial, row: Mapping[str, Any]) -> str:
    """One of them in words."""
    above = row.get("cheaper_above")
    below = row["b"] if above == row["a"] else row["a"]
    return (
        f"{trial.label(above)} costs less than {trial.label(below)} above "
        f"{words.count(row.get('calls_per_month'))} calls a month"
    )


def volume(trial: Trial) -> str:
    """Over cost a month against calls a month."""
    money = table(trial.raw, "money")
    own = words.finite(money.get("calls_per_month"))
    priced = [one for one in trial.approaches if one.family != "majority" and one.monthly is not None]
    if own is None or not priced:
        return "Cost a month by calls a month"
    cheapest = min(priced, key=lambda one: one.monthly or 0.0)
    said = f"At {words.count(own)} calls a month {cheapest.label} is the cheapest"
    turns = break_evens(trial)
    ours = [row for row in turns if trial.ship is not None and trial.ship.name in (row["a"], row["b"])]
    if ours:
        first = break_even(trial, ours[0])
        return f"{said}; {first.replace(cheapest.label, 'it', 1) if first.startswith(cheapest.label) else first}"
    return said if turns else f"{said}; no two approaches cost the same at any volume"


def comparisons(trial: Trial) -> str:
    """Over the table of paired comparisons; 5% after correction is the line."""
    known = [p for p in (words.finite(one.get("p_adjusted")) for one in trial.comparisons) if p is not None]
    outside = sum(p < 0.05 for p in known)
    if outside == len(known):
        return "Every difference is outside the noise" if known else "Differences on the same rows"
    if not outside:
        return "No difference is outside the noise"
    return f"{outside} of {len(known)} differences are outside the noise"


def reliability(one: Judged) -> str:
    """Over a reliability diagram."""
    if one.ece.value is None:
        return f"{one.label}: what it states, and how often it is right"
    rows = sum(b.rows for b in one.bins) or 1
    lean = sum(b.rows * (b.confidence - b.accuracy) for b in one.bins) / rows
    side = "too sure" if lean > 0 else "too modest"
    amount = words.points(one.ece.value).lstrip("+")
    tail = f", mostly {side}" if abs(lean) > 0.01 else ""
    return f"{one.label}: its confidence is off by {amount} points on average{tail}"


def coverage(one: Judged) -> str:
    """Over accuracy against coverage: the point nearest to four calls in five."""
    share, right = min(one.risk_coverage, key=lambda pair: abs(pair[0] - 0.8))
    surest = f"Answering only the surest {words.percent(share, 0)} of calls"
    return f"{surest}, {one.label} is right on {words.percent(right)}"


def acceptance(shown: Sequence[Judged]) -> str:
    """Over the table of thresholds: what the one that is asked for comes to, for the first approach that has one."""
    found = next(((one, each) for one in shown for each in one.acceptance if each.chosen), None)
    if found is None:
        return "Which answers are accepted"
    one, each = found
    if each.value is None:
        keeps = "is sure to keep" if each.rule == "exact" else "keeps"
        return f"{one.label}: no confidence {keeps} {words.percent(each.wanted, 0)} right, so nothing is accepted"
    said = f"{one.label} accepts {words.percent(each.coverage.value)} of the test rows"
    right = words.percent(each.accuracy.value)
    return said if each.accuracy.value is None else f"{said}, and {right} of those are right"


def sets(shown: Sequence[Judged]) -> str:
    """Over the table of sets of labels, for the first approach that has some."""
    one = next((one for one in shown if one.sets), None)
    if one is None:
        return "Sets of labels"
    each = one.sets[0]
    held, size = words.percent(each.coverage.value), words.fraction(each.size.value, 2)
    promised = words.percent(each.promised, 0)
    return f"{one.label}: sets of {size} labels hold the true one in {held}, and {promised} was promised"


def strange(shown: Sequence[Judged]) -> str:
    """Over the table of inputs that belong to no label, for the first approach that was asked."""
    one = next((one for one in shown if one.strange), None)
    if one is None or one.strange is None:
        return "Inputs out of scope"
    area, taken = words.fraction(one.strange.by_confidence.value, 2), words.percent(one.strange.accepted.value)
    return f"{one.label} tells inputs of no label by its confidence with AUROC {area}, and accepts {taken} of them"


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], of: int) -> str:
    """Over the heat map; `of` is the number of labels of the whole matrix."""
    size = range(len(labels))
    cells = [(matrix[i][j], labels[i], labels[j]) for i in size for j in size if i != j and matrix[i][j]]
    if not cells:
        return "Every answer was right"
    number, truth, answered = max(cells, key=lambda cell: cell[0])
    said = f"Most often, {truth} is answered as {answered}: {words.plural(number, 'time')}"
    return said if len(labels) == of else f"{said}. The {len(labels)} most confused of {of} labels"


def pairs(rows: Sequence[Mapping[str, Any]]) -> str:
    """Over the most confused pairs."""
    first = rows[0]
    share = words.percent(first.get("share_of_errors"), 0)
    return f"The most frequent confusion, {first['truth']} for {first['predicted']}, makes {share} of all errors"


def weakest(one: Judged) -> str:
    """Over the table of classes."""
    known = [(words.finite(row.get("f1")), label) for label, row in one.per_class.items()]
    scored = [(f1, label) for f1, label in known if f1 is not None]
    if not scored:
        return f"{one.label}, label by label"
    low, label = min(scored)
    return f"{one.label} is weakest on {label}: F1 {words.fraction(low, 2)}"


def epochs(rows: Sequence[Mapping[str, Any]]) -> tuple[str, float | None]:
    """Over the losses: the sentence, and the epoch of the lowest validation loss."""
    known = [(words.finite(row.get("validation_loss")), words.finite(row.get("epoch"))) for row in rows]
    scored = [(loss, epoch) for loss, epoch in known if loss is not None and epoch is not None]
    if not scored:
        return "Training loss by epoch", None
    best = min(scored)[1]
    if best == scored[-1][1]:
        return "Validation loss still falls at the end: more epochs could help", best
    return f"Validation loss is lowest after epoch {best:g}; what follows only fits the training rows", best


def rows_curve(name: str, curve: Sequence[Mapping[str, Any]], metric: Metric) -> str:
    """Over accuracy against training rows, for the approach that is shipped or the only one."""
    first, last = curve[0], curve[-1]
    if len(curve) < 2:
        return f"{name} by number of training rows"
    before = curve[-2]
    low, high = words.finite(last.get("low")), words.finite(before.get("high"))
    tail = "still rising" if low is not None and high is not None and low > high else "the last two intervals overlap"
    said = f"{name}: {metric.says(first.get('accuracy'))} with {words.count(first.get('rows'))} training rows, "
    return said + f"{metric.says(last.get('accuracy'))} with {words.count(last.get('rows'))}; {tail}"


def findings(tally: Sequence[tuple[str, str, int]]) -> str:
    """Over the findings of the audit."""
    if not tally:
        return "The audit found nothing to mend"
    said = {"stop": ("problem that stops", "problems that stop"), "warn": ("warning", ""), "note": ("note", "")}
    return f"The audit found {_listed([words.plural(number, *said[severity]) for severity, _, number in tally])}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
