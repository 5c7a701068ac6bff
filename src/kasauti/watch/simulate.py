"""A year of a service in a minute: what is alerted when, what is retrained, what a canary is let through to.

Walks in: the bundled task, a seed. Walks out: a `Year`: what happened week by week, and how it compares with what was
planted. It drives the same functions as a service does (`alerts.look`, `triggers`, `weigh`, the rules of production
rows), on the classical approach so that it is fast; only calls, reviewers and time are simulated.

Planted: from week 8 on most calls are typed otherwise; from week 20 on a category comes in that the task does not list;
the reviewer needs three to ten days for a call; in week 32 somebody puts out a candidate that learnt from damaged
labels, against the advice of `weigh`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kasauti.approaches.classical import Classical
from kasauti.approaches.workbench import Workbench
from kasauti.core.call import Outcome
from kasauti.core.types import Example, Prediction, Task
from kasauti.data.conversation import content, load_examples, with_answer
from kasauti.data.production import ReadCall, production_of
from kasauti.measure.statistics import mcnemar_exact, wilson
from kasauti.registry.versions import Version
from kasauti.watch.alerts import look
from kasauti.watch.figures import DAY
from kasauti.watch.harvest import needed_examples
from kasauti.watch.seen import Baseline, Day, Review, Seen, Texts
from kasauti.watch.stream import HIDDEN, Pools, pools, rewritten, week_of
from kasauti.watch.triggers import NEW, triggers
from kasauti.watch.weigh import Answered, weigh

SHIFT, CATEGORY, BAD, WEEKS = 8, 20, 32, 52
"""Weeks, from 1, in which things begin; and how many there are."""
CALLS, READ = 420, 100
"""A week's calls, and how many of them are drawn at random to be read."""
LEARNT = 1500
"""Reviewed calls that are learnt from, at most, evenly over the year, so that a year takes a minute. (The newest alone
would have it forget what callers seldom ask: with the newest 900, `weigh` refused all candidates of some years.)"""
COMPARED = 250
"""Texts of calls and of test rows that are compared in a week."""
CANARY, NEXT = 5.0, 25.0
"""Percent of the callers that a candidate begins with, and goes on to."""
REST = 4
"""Weeks between two retrainings, at least."""
_START = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened."""

    week: int
    what: str
    """alert, retrain, candidate, share, promote, withdraw."""
    name: str
    """Of an alert its check; else the version."""
    said: str
    wanted: bool = True
    """Of an alert: whether there was cause for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Year:
    """A simulated year."""

    seed: int
    events: Sequence[Event]
    shift_alerted: int | None
    """Weeks from the shift to the first alert with that cause, the week itself being 1; None where there was none."""
    category_alerted: int | None
    false_alerts: int
    shifted_before: float
    """Accuracy on shifted rows that nobody has learnt from: of the first version."""
    shifted_after: float
    """Of the version at the end."""
    old_before: float
    """Accuracy on the old test rows."""
    old_after: float
    bad_share: float
    """The largest share of the callers, percent, that the bad candidate ever had."""
    bad_reason: str | None
    """Why `weigh` refused it."""
    covered: float
    """Share of 1,000 simulated weeks of reviews whose interval held the truth."""

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(kw_only=True)
class _World:
    """What changes as the weeks go by."""

    task: Task
    pools: Pools
    draw: random.Random
    labels: tuple[str, ...]
    champion: Classical
    number: int = 1
    baseline: Baseline | None = None
    texts: list[str] = field(default_factory=list)
    """Of the week's calls."""
    days: list[Day] = field(default_factory=list)
    reviews: list[tuple[datetime, Review]] = field(default_factory=list)
    """When each was decided."""
    read: list[ReadCall] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    standing: set[tuple[str, str]] = field(default_factory=set)
    changed: list[int] = field(default_factory=list)
    """Weeks in which what is answered changed for a cause."""
    candidate: tuple[Classical, int, bool, float] | None = None
    """Approach, number, whether it is the bad one, share."""
    disagreements: Counter[str] = field(default_factory=Counter)
    rested: int = REST
    worst_share: float = 0.0
    accuracy: dict[tuple[int, str], float] = field(default_factory=dict)

    def say(self, week: int, what: str, name: str, said: str, wanted: bool = True) -> None:
        self.events.append(Event(week=week, what=what, name=name, said=said, wanted=wanted))


def simulate(task: Task, seed: int, progress: Callable[[int], None] | None = None, weeks: int = WEEKS) -> Year:
    """One year.

    Args:
        task: the bundled one, with all its categories.
        seed: of everything that is drawn.
        progress: told each week's number as it begins.
        weeks: that are lived through; the later incidents do not come in a shorter year.
    """
    draw = random.Random(seed)
    rows = [row for part in ("train", "test") for row in load_examples(task, part)]
    made = pools(rows, draw)
    started = replace(task, labels={name: said for name, said in task.labels.items() if name != HIDDEN})
    first = _fit(started, made.train, made.calibrate)
    world = _World(task=started, pools=made, draw=draw, labels=tuple(started.labels), champion=first)
    world.baseline = _baseline(first, 1, made.test)
    bad: dict[str, str | None] = {"reason": None}
    for week in range(1, weeks + 1):
        if progress is not None:
            progress(week)
        _live(world, week)
        _look(world, week)
        if week == BAD:
            bad["reason"] = _put_out_bad(world, week)
        _canary(world, week)
    return Year(
        seed=seed,
        events=world.events,
        shift_alerted=_first(world.events, SHIFT, ("shift", "accuracy", "fallback")),
        category_alerted=_first(world.events, CATEGORY, ("new category",)),
        false_alerts=sum(one.what == "alert" and not one.wanted for one in world.events),
        shifted_before=_accuracy(first, made.shifted),
        shifted_after=_accuracy(world.champion, made.shifted),
        old_before=_accuracy(first, made.test),
        old_after=_accuracy(world.champion, made.test),
        bad_share=world.worst_share,
        bad_reason=bad["reason"],
        covered=coverage([first, world.champion], made, draw),
    )


def _fit(task: Task, train: Sequence[Example], calibrate: Sequence[Example]) -> Classical:
    return Classical(Workbench(task), strengths=(0.6,)).fit(train, (), calibrate)


def _ask(approach: Classical, rows: Sequence[Example]) -> list[Prediction]:
    return approach.predict([replace(row, answer=None) for row in rows]) if rows else []


def _accuracy(approach: Classical, rows: Sequence[Example]) -> float:
    return sum(p.answer == row.answer for p, row in zip(_ask(approach, rows), rows, strict=True)) / len(rows)


def _baseline(approach: Classical, number: int, rows: Sequence[Example]) -> Baseline:
    return Baseline(version=number, right=round(_accuracy(approach, rows) * len(rows)), rows=len(rows))


def _live(world: _World, week: int) -> None:
    """A week's calls are answered, and some are drawn to be read."""
    rows = week_of(world.pools, CALLS, world.draw, shifted=week >= SHIFT, new=week >= CATEGORY)
    said = _ask(world.champion, rows)
    begin = _START + (week - 1) * 7 * DAY
    moments = sorted(begin + world.draw.random() * 7 * DAY for _ in rows)
    counted = [Counter[str]() for _ in range(7)]
    for at, one in zip(moments, said, strict=True):
        counted[(at - begin) // DAY][str(one.answer)] += 1
    world.days += [
        Day(start=begin + n * DAY, answers=dict(c), outcomes={Outcome.ACCEPTED: c.total()})
        for n, c in enumerate(counted)
    ]
    world.accuracy[week, "calls"] = sum(p.answer == r.answer for p, r in zip(said, rows, strict=True)) / len(rows)
    for n in sorted(world.draw.sample(range(len(rows)), READ)):
        row, at, id = rows[n], moments[n], f"{week}-{n}"
        label, decided = str(row.answer), at + timedelta(days=world.draw.uniform(3, 10))  # a slow reviewer
        review = Review(call=id, at=at, version=world.number, answered=str(said[n].answer), label=label, sampled=True)
        world.reviews.append((decided, review))
        world.read.append(
            ReadCall(call=id, at=at.isoformat(), version=world.number, fields=row.fields, label=label, sampled=True)
        )
    if world.candidate is not None:  # both answer all calls, and people read where they differ
        other = _ask(world.candidate[0], rows)
        for row, a, b in zip(rows, said, other, strict=True):
            if a.answer != b.answer:
                world.disagreements["champion"] += a.answer == row.answer
                world.disagreements["candidate"] += b.answer == row.answer
    world.texts = [content(row) for row in rows]


def _look(world: _World, week: int) -> None:
    """Alerts and reasons to retrain at the end of a week; each is told where it did not stand a week before."""
    now = _START + week * 7 * DAY
    decided = [one for at, one in world.reviews if at <= now]
    # while a shift stands it is looked at every fourth week: to deal texts 1,999 times takes two seconds
    again = not any(check == "shift" for check, _ in world.standing) or week % 4 == 0
    texts = Texts(reference=[content(row) for row in world.pools.test[:COMPARED]], called=world.texts[:COMPARED])
    seen = Seen(
        until=now,
        labels=world.labels,
        fallback=world.task.fallback,
        days=world.days[-35:] if len(world.days) >= 14 else [],
        reviews=decided,
        baseline=world.baseline,
        texts=texts if again else None,
        seed=week,
    )
    alerts, sight = look(seen)
    version = Version(
        number=world.number, sha256="", folder=Path("/nonexistent"), place="", card={"family": "classical"}
    )
    reasons = triggers(world.task, version, decided, alerts, sight["accuracy"])
    stands = {(one.check, one.where): one.what for one in alerts}
    stands |= {} if again else {key: "" for key in world.standing if key[0] == "shift"}
    stands |= {(one.name, ""): one.what for one in reasons if one.stands and one.name == "new category"}
    for key, what in stands.items():
        if key not in world.standing:
            world.say(week, "alert", key[0], f"{key[0]}: {what}", _cause(world, week, key[0]))
    world.standing = set(stands)
    world.rested += 1
    if world.candidate is None and world.rested >= REST and any(one.stands for one in reasons):
        _retrain(world, week, now)


def _cause(world: _World, week: int, check: str) -> bool:
    """Whether there was cause: calls are unlike the test rows from the shift on; what is answered changed within the
    five weeks that are compared; a category is there that nobody listed; answers really are worse by two points."""
    changes = (SHIFT, CATEGORY, *world.changed)
    if check == "shift":
        return week >= SHIFT
    if check == "new category":
        return week >= CATEGORY
    if check == "accuracy" and world.baseline is not None:
        recent = [world.accuracy[w, "calls"] for w in range(max(1, week - 4), week + 1)]
        return sum(recent) / len(recent) < world.baseline.accuracy - 0.02
    return any(change <= week < change + 6 for change in changes)


def _retrain(world: _World, week: int, now: datetime) -> None:
    decided = {one.call for at, one in world.reviews if at <= now}
    given = [one for one in world.read if one.call in decided]
    named = Counter(one.label for one in given)
    added = [n for n, count in named.items() if n not in world.labels and count >= max(NEW, needed_examples())]
    task = replace(world.task, labels={**world.task.labels, **dict.fromkeys(added, "")})
    made = production_of(task, given, world.pools.train, [*world.pools.calibrate, *world.pools.test])
    world.rested = 0
    candidate = _fit(task, [*world.pools.train, *made.train[:: 1 + len(made.train) // LEARNT]], world.pools.calibrate)

    def answered(rows: Sequence[Example]) -> Answered:
        truth = [row.answer or "" for row in rows]
        return Answered(truth=truth, champion=_ask(world.champion, rows), candidate=_ask(candidate, rows))

    found = weigh(answered(world.pools.test), answered(made.test), world.task.business.margin, added)
    name = f"version {world.number + 1}"
    if found.reason is not None:
        world.say(week, "retrain", "none", f"no new version: {found.reason}")
        return
    gain = f"{100 * found.old.difference:+.1f} points on old rows, "
    gain += f"{100 * found.new.difference:+.1f} on reviewed calls" if found.new else "no reviewed calls"
    world.say(week, "retrain", name, f"{name}: {gain}, {len(made.train)} calls learnt from")
    world.task, world.labels = task, tuple(task.labels)
    world.number, world.champion = world.number + 1, candidate
    recent = made.test[-200:]
    world.baseline = _baseline(candidate, world.number, recent if len(recent) >= 100 else world.pools.test)
    world.changed.append(week)


def _put_out_bad(world: _World, week: int) -> str | None:
    """A candidate whose training labels were damaged; what `weigh` says of it is not listened to."""
    names = list(world.labels)
    wrong = [
        with_answer(row, world.draw.choice(names)) if world.draw.random() < 0.5 else row for row in world.pools.train
    ]
    bad = _fit(world.task, wrong, world.pools.calibrate)
    rows = world.pools.test
    truth = [row.answer or "" for row in rows]
    old = Answered(truth=truth, champion=_ask(world.champion, rows), candidate=_ask(bad, rows))
    reason = weigh(old, Answered(truth=[], champion=[], candidate=[]), world.task.business.margin).reason
    world.candidate, world.worst_share = (bad, 0, True, CANARY), CANARY
    world.disagreements.clear()
    world.say(week, "candidate", "bad", f"a bad candidate gets {CANARY:g}% by hand; the advice was: {reason}")
    return reason


def _canary(world: _World, week: int) -> None:
    """A candidate goes on only where it is surely better on calls that both answered, and off where surely worse."""
    if world.candidate is None:
        return
    approach, number, is_bad, _ = world.candidate
    good, worse = world.disagreements["candidate"], world.disagreements["champion"]
    if mcnemar_exact(good, worse) > 0.01:
        return
    if good < worse:
        world.candidate = None
        world.say(week, "withdraw", "bad", f"withdrawn: right in {good} of {good + worse} disagreements")
        return
    world.candidate = (approach, number, is_bad, NEXT)
    world.worst_share = max(world.worst_share, NEXT)
    world.say(week, "share", "bad", f"goes on to {NEXT:g}%")


def _first(events: Sequence[Event], since: int, names: Sequence[str]) -> int | None:
    found = [one.week for one in events if one.what == "alert" and one.name in names and one.week >= since]
    return found[0] - since + 1 if found else None


def coverage(approaches: Sequence[Classical], made: Pools, draw: random.Random, weeks: int = 1000) -> float:
    """Share of weeks of reviews whose 95% interval holds the accuracy that all calls of such weeks have."""
    shifted = [rewritten(row, draw) for row in made.stream]
    kinds: list[list[bool]] = []
    for approach in approaches:
        for rows in (made.stream, shifted):
            said = _ask(approach, rows)
            kinds.append([p.answer == row.answer for p, row in zip(said, rows, strict=True)])
    held = 0
    for _ in range(weeks):
        right = draw.choice(kinds)
        count = draw.randint(60, 140)
        low, high = wilson(sum(draw.choices(right, k=count)), count)
        held += low <= sum(right) / len(right) <= high
    return held / weeks


def summary(years: Sequence[Year]) -> Mapping[str, Any]:
    """What the years come to, beside what is asked of them."""
    shift = [one.shift_alerted for one in years]
    category = [one.category_alerted for one in years]
    return {
        "years": len(years),
        "shift_alerted_within_2_weeks": sum(one is not None and one <= 2 for one in shift),
        "category_alerted_within_2_weeks": sum(one is not None and one <= 2 for one in category),
        "false_alerts": sum(one.false_alerts for one in years),
        "gain_on_shifted_rows": min(one.shifted_after - one.shifted_before for one in years),
        "loss_on_old_rows": max(one.old_before - one.old_after for one in years),
        "bad_candidate_at_most": max(one.bad_share for one in years),
        "covered": sum(one.covered for one in years) / len(years),
    }
