"""Figures are those of the calls, whether they were counted as they came in or are read one by one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.watch.conftest import NOW, call

from kasauti.core.call import Outcome
from kasauti.core.types import Ended
from kasauti.watch.figures import DAY, days_of, figures_of, figures_of_calls, groups_of, monday, weeks_of
from kasauti.watch.seen import Review


def some():
    made = [call(n, NOW - timedelta(hours=n % 20), "refund", latency_ms=100.0 + n) for n in range(90)]
    made += [call(100 + n, NOW - timedelta(hours=1), "card", latency_ms=3000.0, accepted=False) for n in range(6)]
    made += [call(200 + n, NOW - timedelta(hours=2), "parcel", ended=Ended.FAILED, confidence=None) for n in range(4)]
    return made


def test_figures_counted_and_read_are_the_same(log):
    log.append(some())
    span = (NOW - DAY, NOW + timedelta(minutes=30))
    counted = figures_of(log.counts(*span), log.latencies(*span), log.confidences(*span), length=DAY, fallback="parcel")
    assert counted == figures_of_calls(log.read(*span), length=DAY, fallback="parcel")


def test_figures_say_what_happened():
    found = figures_of_calls(some(), length=DAY, fallback="parcel")
    assert found.calls == 100
    assert found.per_minute == pytest.approx(100 / 1440)
    assert found.late == 0.06
    assert found.outcomes == {"accepted": 0.9, "doubted": 0.06, "abstained": 0, "unparsable": 0, "failed": 0.04}
    assert found.fallback == 0.04
    assert found.answers == {"card": 6, "parcel": 4, "refund": 90}
    assert 145 <= found.latency_ms["p50"] <= 155 * 1.05
    assert found.latency_ms["p99"] == pytest.approx(3000, rel=0.05)
    assert found.confidence == [(0.95, 96)]


def test_a_stretch_without_calls_has_no_figures():
    found = figures_of_calls([], length=DAY, fallback=None)
    assert found.calls == 0
    assert found.latency_ms == {"p50": None, "p95": None, "p99": None}
    assert found.late is None


def test_callers_are_grouped_by_key_or_by_what_they_say():
    calls = [call(n, key="shop" if n % 3 else "app", metadata={"channel": n % 2}) for n in range(9)]
    assert {name: one.calls for name, one in groups_of(calls, None, length=DAY, fallback=None).items()} == {
        "shop": 6,
        "app": 3,
    }
    assert {name: one.calls for name, one in groups_of(calls, "channel", length=DAY, fallback=None).items()} == {
        "0": 5,
        "1": 4,
    }
    many = groups_of([call(n, metadata={"id": n}) for n in range(50)], "id", length=DAY, fallback=None, most=5)
    assert len(many) == 5
    assert sum(one.calls for one in many.values()) == 50


def test_days_have_no_gaps(log):
    log.append([call(1, NOW - timedelta(days=3)), call(2, NOW - timedelta(hours=1), ended=Ended.ABSTAINED)])
    days = days_of(log.counts(offset=DAY / 2), NOW - 4 * DAY, NOW)
    assert [day.total for day in days] == [0, 1, 0, 1]
    assert days[-1].outcomes == {Outcome.ABSTAINED: 1}


def test_weekly_accuracy_is_of_calls_that_were_drawn_at_random():
    reviews = [
        Review(
            call=f"c{n}", at=NOW - timedelta(days=n), version=1, answered="a", label="a" if n % 4 else "b", sampled=True
        )
        for n in range(14)
    ]
    doubtful = [Review(call="d", at=NOW, version=1, answered="a", label="b", sampled=False)] * 9
    weeks = weeks_of([*reviews, *doubtful])
    assert sum(week.read for week in weeks) == 14
    assert all(week.start.weekday() == 0 for week in weeks)
    told = weeks[-1].document()
    assert told["accuracy"]["low"] < told["accuracy"]["value"] < told["accuracy"]["high"]
    assert weeks_of(reviews, version=2) == []
    assert monday(NOW).isoformat() == "2026-11-23T00:00:00+00:00"
