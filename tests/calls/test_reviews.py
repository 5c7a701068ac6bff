"""The review queue: no call handed out twice, nothing decided is lost."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from tests.calls.conftest import NOON, call

from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews, Wish
from kasauti.core.errors import UsageError


@pytest.fixture
def queue(log):
    log.append([call(f"{n}", at=NOON + timedelta(minutes=n)) for n in range(10)])
    return Reviews(log)


def wishes(*ids, **values):
    return [Wish(call_id=id, reason="random", **values) for id in ids]


def test_the_urgent_come_first_and_an_offer_is_made_once(queue):
    assert queue.offer(wishes("1", "2", "3")) == 3
    assert queue.offer(wishes("2", "3", priority=9.0)) == 0
    assert queue.offer([Wish(call_id="4", reason="informative", priority=1.0)]) == 1
    assert queue.offer([]) == 0
    assert queue.waiting() == {"random": 3, "informative": 1}
    assert [loan.call.id for loan in queue.lend("asha", 3)] == ["4", "1", "2"]
    assert queue.lend("asha", 1)[0].call == call("4", at=NOON + timedelta(minutes=4))
    assert [loan.call.id for loan in queue.lend("ravi", 3)] == ["3"]


def test_a_loan_ends_by_itself_or_is_given_back(queue):
    queue.offer(wishes("1", "2"))
    now = datetime.now(UTC)
    (first,) = queue.lend("asha", now=now)
    assert queue.lend("ravi", 5, now=now)[0].call.id == "2"
    assert [loan.call.id for loan in queue.lend("ravi", 5, now=now + timedelta(minutes=11))] == ["1", "2"]
    with pytest.raises(UsageError, match="not on loan"):
        queue.decide(first.review, "asha", "card")
    queue.give_back(first.review, "ravi")
    assert queue.lend("asha")[0].call.id == "1"


def test_a_decision_can_be_changed_and_taken_back_by_whoever_made_it_alone(queue):
    queue.offer(wishes("1"))
    (loan,) = queue.lend("asha")
    queue.decide(loan.review, "asha", "card")
    queue.decide(loan.review, "asha", "parcel", "a slip")
    for change in (queue.undo, queue.give_back):
        with pytest.raises(UsageError):
            change(loan.review, "ravi")
    (said,) = queue.decisions()
    assert (said.label, said.note, said.answered, said.called) == (
        "parcel",
        "a slip",
        "card",
        NOON + timedelta(minutes=1),
    )
    assert queue.lend("ravi") == []
    queue.undo(loan.review, "asha")
    assert list(queue.decisions()) == []
    assert queue.lend("ravi") == []
    assert queue.lend("asha")[0].review == loan.review


def test_the_second_reading_is_another_reviewers(queue):
    queue.offer([*wishes("1"), *wishes("1", round=2)])
    (first,) = queue.lend("asha", 2)
    queue.decide(first.review, "asha", "card")
    assert queue.lend("asha") == []
    (second,) = queue.lend("ravi", 2)
    assert (second.call.id, second.round) == ("1", 2)


def test_decisions_are_read_in_order_and_by_time(queue):
    queue.offer(wishes(*"0123456789"))
    for loan in queue.lend("asha", 10):
        queue.decide(loan.review, "asha", "card")
    said = list(queue.decisions())
    assert [one.call_id for one in said] == list("0123456789")
    assert [one.call_id for one in queue.decisions(said[3].at, said[6].at)] == list("345")


def test_many_reviewers_at_once_never_get_the_same_call(log, where):
    log.append([call(f"{n}") for n in range(60)])
    Reviews(log).offer(wishes(*map(str, range(60))))
    got, lock = [], threading.Lock()

    def work(reviewer):
        queue = Reviews(CallLog.open(where))
        while loans := queue.lend(reviewer, 3):
            for loan in loans:
                queue.decide(loan.review, reviewer, "card")
            with lock:
                got.extend(loan.call.id for loan in loans)

    threads = [threading.Thread(target=work, args=(f"r{n}",)) for n in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(got, key=int) == [str(n) for n in range(60)]
    assert len(list(Reviews(log).decisions())) == 60
