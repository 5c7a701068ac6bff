"""Pairs of answers are kept with their call, only what differs is read, and they go with the call."""

from datetime import timedelta

import pytest
from tests.calls.conftest import NOON, call

from kasauti.calls import steps
from kasauti.calls.keep import erase
from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews
from kasauti.calls.shadows import DISAGREEMENT, Shadow, Shadows, Told
from kasauti.core.types import Ended


def pair(id, other="card", at=NOON):
    first = Told(version=1, category="card", ended=Ended.ANSWERED, confidence=0.75, seconds=0.01)
    second = Told(version=2, category=other, ended=Ended.ANSWERED, confidence=None, seconds=0.02)
    return Shadow(call_id=id, champion=first, candidate=second, at=at)


@pytest.fixture
def shadows(log):
    log.append([call(id, caller=f"{id * 32}") for id in "abcd"])
    shadows = Shadows(log)
    shadows.append([pair("a"), pair("b", "refund"), pair("c", "refund"), pair("d", "refund", NOON - timedelta(days=1))])
    return shadows


def test_pairs_come_back_in_order_once_with_what_was_decided(log, shadows):
    shadows.append([pair("a", "other")])
    assert shadows.read(1, 2, NOON, 10) == [pair("a"), pair("b", "refund"), pair("c", "refund")]
    assert shadows.read(2, 1, NOON, 10) == []
    assert shadows.offer(1, 2, NOON) == 2
    (loan,) = Reviews(log).lend("me")
    assert (loan.call.id, loan.reason) == ("b", DISAGREEMENT)
    Reviews(log).decide(loan.review, "me", "refund")
    assert [one.label for one in shadows.read(1, 2, NOON, 10)] == [None, "refund", None]


def test_no_more_wait_for_a_reviewer_than_are_let(log, shadows):
    assert [shadows.offer(1, 2, NOON, most=1) for _ in range(2)] == [1, 0]
    assert Reviews(log).waiting() == {DISAGREEMENT: 1}


def test_a_pair_whose_call_has_not_come_waits(shadows):
    shadows.append([pair("later", "refund")])
    assert shadows.offer(1, 2, NOON) == 2


def test_a_pair_goes_with_its_call(log, shadows):
    assert erase(log, caller="b" * 32) == 1
    assert [one.call_id for one in shadows.read(1, 2, NOON, 10)] == ["a", "c"]


def test_a_log_from_before_there_were_pairs_keeps_its_calls_and_takes_pairs(where, monkeypatch):
    now = steps.STEPS
    for place in ("kasauti.calls.steps.STEPS", "kasauti.calls.database.STEPS"):
        monkeypatch.setattr(place, now[:1])
    before = CallLog.open(where)
    before.append([call("a")])
    before.close()
    for place in ("kasauti.calls.steps.STEPS", "kasauti.calls.database.STEPS"):
        monkeypatch.setattr(place, now)
    after = CallLog.open(where)
    Shadows(after).append([pair("a")])
    assert (after.get("a"), Shadows(after).read(1, 2, NOON, 9)) == (call("a"), [pair("a")])
    after.close()
