"""What is put into the review queue, and what the reading shows."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from tests.watch.conftest import call

from kasauti.calls.exchange import FORMATS, read, write
from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews
from kasauti.core.errors import DataError
from kasauti.core.types import Ended
from kasauti.measure.agreement import cohen_kappa
from kasauti.watch.queue import fill, progress, second_readings, uniform

NOW = datetime.now(UTC)


def filled(log: CallLog, calls: int, **more: object) -> dict[str, int]:
    draw = random.Random(1)
    log.append([call(n, NOW - timedelta(minutes=n), confidence=draw.random(), **more) for n in range(calls)])
    assert fill(log, NOW) == calls
    return Reviews(log).waiting()


def test_a_random_share_and_as_many_worth_correcting_each_once(log: CallLog) -> None:
    waiting = filled(log, 4000)
    assert waiting["random"] == sum(uniform(f"c{n}", "random") < 0.05 for n in range(4000))
    assert abs(waiting["random"] - 200) < 45
    assert waiting["doubtful"] == 200
    assert fill(log, NOW) == 0
    assert Reviews(log).waiting() == waiting
    taken = [loan for loan in Reviews(log).lend("asha", 100)]
    assert all(one.call.prediction.confidence < 0.1 for one in taken if one.reason == "doubtful")
    assert {one.reason for one in taken} == {"random", "doubtful"}


def test_whether_a_call_is_drawn_depends_on_nothing_that_it_says(tmp_path: Path) -> None:
    drawn = []
    for name, confidence in (("a", 0.01), ("b", 0.999)):
        log = CallLog.open(str(tmp_path / name))
        log.append([call(n, NOW, confidence=confidence) for n in range(600)])
        fill(log, NOW)
        drawn.append([one[0] for one in Reviews(log).open_calls() if one[1] == "random"])
        log.close()
    assert drawn[0] == drawn[1] != []


def test_versions_that_disagree_and_calls_without_an_answer_come_first(log: CallLog) -> None:
    same = [call(n, NOW, prompt_sha256="same", version=1 + n % 2, category=("card", "refund")[n % 2]) for n in (0, 1)]
    log.append([*same, call(2, NOW, ended=Ended.FAILED), *(call(n, NOW, confidence=0.5) for n in range(3, 80))])
    fill(log, NOW)
    reasons = {one[0]: one[1] for one in Reviews(log).open_calls() if one[1] != "random"}
    assert reasons["c2"] == "unanswered" or uniform("c2", "random") < 0.05
    assert "disagreement" in reasons.values()


def test_another_version_is_asked_about_the_least_sure(log: CallLog) -> None:
    log.append([call(n, NOW, category="refund", confidence=0.97) for n in range(100)])
    fill(log, NOW, opinions=lambda asked: {one.id: "card" for one in asked[:3]})
    assert Reviews(log).waiting()["disagreement"] == 3


def test_a_second_person_reads_a_share_and_agreement_is_told(log: CallLog) -> None:
    waiting = filled(log, 2000)
    queue = Reviews(log)
    for loan in queue.lend("asha", 300):
        queue.decide(loan.review, "asha", "card" if loan.review % 3 else "refund")
    offered = second_readings(log, NOW - timedelta(days=1))
    assert 15 <= offered <= 65
    assert queue.lend("asha", 5) == []
    for loan in queue.lend("ravi", 200):
        queue.decide(loan.review, "ravi", "card")
    found = progress(log, NOW + timedelta(minutes=1))
    assert found.kappa.pairs == offered
    assert found.read + found.others == sum(waiting.values())
    assert found.document()["agreement"]["pairs"] == offered


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    found = cohen_kappa(pairs)
    if found.value is None:
        assert len({label for pair in pairs for label in pair}) == 1
        return
    assert found.value == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("form", FORMATS)
def test_decisions_come_back_from_other_tools_once(log: CallLog, form: str) -> None:
    filled(log, 400)
    queue = Reviews(log)
    for loan in queue.lend("asha", 2):
        queue.decide(loan.review, "asha", "card")
    decided = list(queue.decisions())
    calls = [log.get(one.call_id) for one in decided]
    document = write(form, calls, decided)
    own = read(document, ["card", "refund", "parcel"], "queue.json", ["asha"])
    assert [queue.bring(one.call_id, one.reviewer, one.label) for one in own] == [False, False]
    found = read(document, ["card", "refund", "parcel"], "queue.json")
    assert [(one.call_id, one.label) for one in found] == [(one.call_id, "card") for one in decided]
    assert [queue.bring(one.call_id, one.reviewer, one.label) for one in found] == [True, True]
    assert [queue.bring(one.call_id, one.reviewer, one.label) for one in found] == [False, False]
    assert [one.round for one in queue.decisions()].count(2) == 2
    with pytest.raises(DataError, match="no label"):
        read(document, ["refund"], "queue.json")
    for wrong in ({}, ["x"], [{"data": {}}], [{"id": "1"}]):
        with pytest.raises(DataError):
            read(wrong, ["card"], "queue.json")
