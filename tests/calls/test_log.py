"""The call log: every call once, in order, as it was; figures that agree with the rows."""

import math
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.calls.conftest import NOON, call

from kasauti.calls import steps
from kasauti.calls.figures import AIM_MS, RATIO, Histogram, bucket_of, edge_of
from kasauti.calls.log import CallLog
from kasauti.core.call import Outcome, new_id
from kasauti.core.errors import StorageError, UsageError
from kasauti.core.types import Ended, Message, Prediction

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
METADATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
PREDICTIONS = st.builds(
    Prediction,
    answer=st.none() | TEXTS.filter(lambda one: "\0" not in one),
    ended=st.sampled_from(Ended),
    confidence=st.none() | st.floats(0, 1),
    probabilities=st.none() | st.dictionaries(TEXTS, st.sampled_from([0.0, 0.25, 0.999999, 1e-12]), max_size=4),
    raw=TEXTS.filter(lambda one: "\0" not in one),
    seconds=st.floats(0, 100),
    input_tokens=st.integers(0, 10**6),
    cost=st.floats(0, 10),
    log_mass=st.none() | st.floats(-1e6, 0),
)
CALLS = st.builds(
    lambda **values: call(new_id(), **values),
    at=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    version=st.integers(1, 10**6),
    fields=st.dictionaries(TEXTS, TEXTS, max_size=3),
    accepted=st.booleans(),
    latency_ms=st.floats(0, 1e6),
    caller=st.none() | st.just("0" * 32),
    key=st.none() | st.sampled_from(["shop", "बैंक"]),
    metadata=st.dictionaries(st.text(max_size=10), METADATA, max_size=3),
    history=st.lists(st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=TEXTS), max_size=2).map(
        tuple
    ),
    masked=st.booleans(),
    prediction=PREDICTIONS,
)


@given(batch=st.lists(CALLS, max_size=5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_call_is_read_as_it_was_written(log, batch):
    assert log.append(batch) == len(batch)
    for one in batch:
        assert log.get(one.id) == one


def test_what_a_database_cannot_store_is_replaced_and_nothing_fails(log):
    odd = call("a", category="c\0", prediction=Prediction(answer="c\0", raw="x\0y"), metadata={"\ud800\0": "\udfff"})
    log.append([odd])
    read = log.get("a")
    assert (read.category, read.prediction.answer, read.prediction.raw) == ("c\ufffd", "c\ufffd", "x\ufffdy")
    assert read.metadata == odd.metadata


def test_a_call_that_is_there_already_is_passed_over_and_counted_once(log):
    assert log.append([call("a"), call("b"), call("a")]) == 2
    assert log.append([call("b"), call("c")]) == 1
    assert log.append([]) == 0
    assert [one.id for one in log.read()] == ["a", "b", "c"]
    assert sum(one.calls for one in log.counts()) == log.latencies().total == 3


def test_calls_are_read_in_order_of_time_a_page_at_a_time(log):
    minutes = [5, 1, 3, 3, 3, 2, 4, 0]
    log.append([call(f"{n}", at=NOON + timedelta(minutes=m), version=1 + n % 2) for n, m in enumerate(minutes)])
    for page in (1, 2, 3, 100):
        forward = [one.id for one in log.read(page=page)]
        assert forward == ["7", "1", "5", "2", "3", "4", "6", "0"]
        assert [one.id for one in log.read(newest_first=True, page=page)] == forward[::-1]
        some = log.read(NOON + timedelta(minutes=1), NOON + timedelta(minutes=4), 2, page=page)
        assert [one.id for one in some] == ["1", "5", "3"]
    assert log.bounds() == (NOON, NOON + timedelta(minutes=5))


def test_counts_are_those_of_the_rows_whatever_the_zone(log):
    kinds = [("card", True, Ended.ANSWERED), ("card", False, Ended.ANSWERED), ("parcel", False, Ended.ABSTAINED)]
    batch = [
        call(f"{n}", at=NOON + timedelta(minutes=37 * n), version=1 + n % 2, category=kinds[n % 3][0],
             accepted=kinds[n % 3][1], prediction=Prediction(answer="card", ended=kinds[n % 3][2]))
        for n in range(100)
    ]  # fmt: skip
    log.append(batch)
    for zone in (timedelta(0), timedelta(hours=5, minutes=30), timedelta(hours=-8)):
        days = Counter(
            (one.at.astimezone(timezone(zone)).date(), one.version, one.category, one.outcome) for one in batch
        )
        counted = Counter()
        for one in log.counts(offset=zone):
            counted[(one.start + zone).date(), one.version, one.category, one.outcome] += one.calls
        assert counted == days
    hours = log.counts(NOON, NOON + timedelta(hours=1), version=1, per=timedelta(hours=1))
    assert [(one.start, one.category, one.outcome, one.calls) for one in hours] == [(NOON, "card", Outcome.ACCEPTED, 1)]
    assert log.counts(version=9) == []


def test_percentiles_are_right_within_a_bucket_and_the_aim_exactly(log):
    values = [0.5 + 3 * n for n in range(1000)] + [AIM_MS, AIM_MS + 1e-3]
    log.append([call(f"{n}", latency_ms=value) for n, value in enumerate(values)])
    found = log.latencies()
    for share in (0.01, 0.5, 0.95, 0.99, 1.0):
        exact = sorted(values)[math.ceil(share * len(values)) - 1]
        assert exact * 0.999 <= found.percentile(share) <= exact * RATIO * 1.01
    assert found.above(AIM_MS) == sum(value > AIM_MS for value in values)
    assert Histogram(edges=[], calls=[]).percentile(0.5) is None
    assert log.confidences().total == len(values)


@given(st.floats(0, 1e7))
def test_a_latency_is_at_most_its_buckets_edge_and_above_the_one_before(ms):
    bucket = bucket_of(ms)
    assert ms <= edge_of(bucket) * (1 + 1e-8)
    assert ms >= edge_of(bucket - 1) * (1 - 1e-8) or ms < 1e-3


def test_batches_from_many_threads_all_arrive(log, where):
    logs = [log, CallLog.open(where)]

    def write(worker):
        for n in range(10):
            logs[worker % 2].append([call(f"{worker}-{n}-{m}") for m in range(3)])

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len({one.id for one in log.read(page=50)}) == sum(one.calls for one in log.counts()) == 180


def test_two_services_may_make_one_database_at_once(where):
    opened, barrier = [], threading.Barrier(4)

    def first():
        barrier.wait()
        opened.append(CallLog.open(where))

    threads = [threading.Thread(target=first) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(opened) == 4
    opened[0].append([call("a")])
    assert opened[3].get("a") == call("a")


def test_steps_are_done_once_and_a_newer_database_is_refused(log, where, monkeypatch):
    log.append([call("a")])
    newer = (*steps.STEPS, ("a column", ("ALTER TABLE calls ADD COLUMN later TEXT",)))
    monkeypatch.setattr(steps, "STEPS", newer)
    monkeypatch.setattr("kasauti.calls.database.STEPS", newer)
    for _ in range(2):
        after = CallLog.open(where)
        assert after.get("a") == call("a")
        with after.database.read() as connection:
            done = connection.execute(text("SELECT step FROM steps ORDER BY step")).scalars().all()
        assert done == list(range(1, len(newer) + 1))
        after.close()
    monkeypatch.undo()
    known = len(steps.STEPS)
    with pytest.raises(UsageError, match=f"step {known + 1}, and this Kasauti knows {known}"):
        CallLog.open(where)


@pytest.mark.parametrize("url", ["mysql://a/b", "sqlite://", "sqlite:///:memory:", "://", "postgresql://a:b@h:port/x"])
def test_other_databases_are_refused_in_one_line(url):
    with pytest.raises(UsageError) as error:
        CallLog.open(url)
    assert "\n" not in error.value.line()


def test_a_database_that_is_not_there_is_one_line_without_the_password():
    with pytest.raises(StorageError) as error:
        CallLog.open("postgres://me:secret@127.0.0.1:1/x")
    assert "secret" not in error.value.line()
    assert "\n" not in error.value.line()


def test_a_file_that_is_no_database_is_one_line_and_stays_as_it_is(tmp_path):
    file = tmp_path / "calls.db"
    file.write_text("notes of somebody " * 500)
    with pytest.raises(StorageError, match="not a database") as error:
        CallLog.open(str(file))
    assert "\n" not in error.value.line()
    assert file.read_text() == "notes of somebody " * 500


def test_the_file_is_for_its_owner_alone_and_a_moved_one_loses_nothing(tmp_path):
    file = tmp_path / "calls.db"
    log = CallLog.open(str(file))
    log.append([call("a")])
    assert {one.stat().st_mode & 0o777 for one in tmp_path.glob("calls.db*")} == {0o600}
    file.rename(tmp_path / "moved.db")
    for one in ("-wal", "-shm"):
        (tmp_path / f"calls.db{one}").rename(tmp_path / f"moved.db{one}")
    log.append([call("b")])
    assert [one.id for one in log.read()] == ["b"]
    assert [one.id for one in CallLog.open(str(tmp_path / "moved.db")).read()] == ["a"]


def test_ids_are_uuids_that_rise_with_time():
    ids = [new_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert all(one[14] == "7" and one[19] in "89ab" for one in ids)
    heads = [one[:13] for one in ids]
    assert heads == sorted(heads)
