"""A quiet time raises nothing; each thing that goes wrong raises its own alert."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from tests.watch.conftest import NOW

from kasauti.core.call import Outcome
from kasauti.core.types import Severity
from kasauti.watch.alerts import ALERTS, look
from kasauti.watch.seen import Baseline, Day, Review, Seen, Slot

SHARES = {"refund": 0.4, "card": 0.3, "parcel": 0.2, "other": 0.1}


def seen(calls: int = 400, seed: int = 0, **more) -> Seen:
    draw = np.random.default_rng(seed)
    days = []
    for back in range(35, 0, -1):
        counts = draw.multinomial(calls, list(SHARES.values()))
        failed = int(draw.binomial(calls, 0.01))
        days.append(
            Day(
                start=NOW - timedelta(days=back),
                answers=dict(zip(SHARES, counts.tolist(), strict=True)),
                outcomes={Outcome.ACCEPTED: calls - failed, Outcome.FAILED: failed},
            )
        )
    slots = [
        Slot(start=NOW - timedelta(minutes=30 * back), calls=20, late=int(draw.binomial(20, 0.02)))
        for back in range(48, 0, -1)
    ]
    given = {
        "until": NOW,
        "labels": list(SHARES),
        "fallback": "other",
        "days": days,
        "slots": slots,
        "p95_ms": {1: 900.0, 24: 900.0},
    }
    return Seen(**{**given, **more})


def last_day(of: Seen, **answers: int) -> Seen:
    day = of.days[-1]
    changed = {**day.answers, **answers}
    return replace(of, days=[*of.days[:-1], replace(day, answers=changed)])


def reviewed(weeks: int, right: float, per_week: int = 100, version: int = 1) -> list[Review]:
    draw = np.random.default_rng(1)
    return [
        Review(
            call=f"{week}-{n}", at=NOW - timedelta(days=7 * week + 2), version=version, answered="card",
            label="card" if draw.random() < right else "refund", sampled=True,
        )
        for week in range(weeks, -1, -1) for n in range(per_week)
    ]  # fmt: skip


def checks(of: Seen) -> list[str]:
    return [one.check for one in look(of)[0]]


@pytest.mark.parametrize("seed", range(5))
def test_a_quiet_time_raises_nothing(seed):
    assert checks(seen(seed=seed, baseline=Baseline(version=1, right=900, rows=1000), reviews=reviewed(8, 0.9))) == []


def test_a_look_at_nothing_raises_nothing_and_says_what_it_could_not_judge():
    found, sight = look(Seen(until=NOW, labels=list(SHARES), fallback="other"))
    assert found == []
    assert [name for name, one in sight.items() if one.get("judged") is False] == [
        "latency", "category", "fallback", "unanswered", "accuracy", "shift",
    ]  # fmt: skip


def test_slow_answers_stop_the_work_and_name_the_slowest_half_hours():
    slots = [replace(slot, late=4) if at > 30 else slot for at, slot in enumerate(seen().slots)]
    found, sight = look(seen(slots=slots, p95_ms={1: 2600.0, 6: 2600.0}))
    assert [one.check for one in found] == ["latency"]
    assert found[0].severity is Severity.STOP
    assert "p95 is 2.60 s" in found[0].what
    assert "4 of 20" in found[0].evidence[0]
    assert sight["latency"]["in 6 h"]["p_value"] < 0.0003


def test_a_95th_percentile_over_2_s_that_may_be_chance_is_no_alert():
    slots = [Slot(start=NOW - timedelta(minutes=30), calls=40, late=3)]  # p95 over 2 s, by one call
    assert checks(seen(slots=slots, p95_ms={1: 2600.0, 6: 2600.0})) == []


def test_one_burst_is_no_alert():
    slots = [replace(slot, late=20 if at == 47 else 0) for at, slot in enumerate(seen().slots)]
    assert checks(seen(slots=slots)) == []


def test_a_category_that_doubles_is_told_with_its_figures():
    found, _ = look(last_day(seen(), card=600))
    assert [(one.check, one.where) for one in found] == [("category", "card")]
    assert "times as often" in found[0].what
    assert "usual 3" in found[0].what


def test_a_category_that_ceases_is_told():
    found, _ = look(last_day(seen(), parcel=0))
    assert [(one.check, one.where) for one in found] == [("category", "parcel")]
    assert "not given any more" in found[0].what


def test_at_small_volume_a_week_is_summed():
    quiet = seen(calls=25)
    days = [
        replace(day, answers={**day.answers, "other": day.answers["other"] + 6}) if at >= 28 else day
        for at, day in enumerate(quiet.days)
    ]
    told = [one for one in look(replace(quiet, days=days))[0] if one.check == "category"]
    assert [one.where for one in told] == ["other"]
    assert "7 days" in told[0].what


def test_a_spike_of_the_fallback_points_to_the_inputs():
    found, _ = look(last_day(seen(), other=110))
    assert {"fallback", "category"} == {one.check for one in found}
    assert "doctor" in next(one.mend for one in found if one.check == "fallback")


def test_calls_without_an_answer_are_told():
    quiet = seen()
    day = replace(quiet.days[-1], outcomes={Outcome.ACCEPTED: 360, Outcome.UNPARSABLE: 40})
    assert checks(replace(quiet, days=[*quiet.days[:-1], day])) == ["unanswered"]


def test_a_fall_of_the_accuracy_is_told_with_interval_and_baseline():
    found, sight = look(seen(baseline=Baseline(version=1, right=2820, rows=3000), reviews=reviewed(10, 0.82)))
    assert [one.check for one in found] == ["accuracy"]
    assert "94.0% of 3,000 test rows" in found[0].what
    assert sight["accuracy"]["reviews"] == 1100


def test_two_bad_weeks_of_few_reviews_are_no_fall():
    assert checks(seen(baseline=Baseline(version=1, right=188, rows=200), reviews=reviewed(1, 0.85, 20))) == []


def test_reviews_of_another_version_say_nothing_of_this_one():
    base = Baseline(version=2, right=2820, rows=3000)
    assert checks(seen(baseline=base, reviews=reviewed(10, 0.7, version=1))) == []


def test_what_a_day_cannot_show_is_said():
    _, sight = look(seen(calls=25))
    day, week = sight["category"]["in day"]["other"], sight["category"]["in 7 days"]["other"]
    assert day["times"] is None or day["times"] > week["times"]
    assert not day["ceasing"]


def test_every_alert_states_how_often_it_cries_wolf():
    assert all("%" in rule.wolf for rule in ALERTS.values())
    assert all("false_alarms" in one for one in look(seen())[1].values())
