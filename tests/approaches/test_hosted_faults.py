"""A server that goes wrong in every way there is: no answer is lost, none is paid twice, the cap holds."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from tests.approaches.asked import PRICES, assert_paid_once, best, rows, spent

from kasauti.approaches.hosted import caller as caller_module
from kasauti.approaches.hosted.ledger import Ledger, ledger_path
from kasauti.approaches.hosted.reply import Means, Reply
from kasauti.core.errors import KasautiError, StorageError

FAULTS = {
    "429 without Retry-After": {"status": 429, "code": "rate_limit_exceeded"},
    "429 with Retry-After": {"status": 429, "headers": {"Retry-After": "0.05"}},
    "429 with milliseconds": {"status": 429, "headers": {"retry-after-ms": "50"}},
    "500": {"status": 500},
    "503": {"status": 503, "headers": {"Retry-After": "0"}},
    "reset before anything": {"reset": True, "before": True},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_passes_is_asked_again_and_nothing_is_lost_or_paid_twice(make, server, fault):
    asked = rows(12)
    approach = make()
    server.fault({}, fault, fault, {}, fault, repeat=2)
    assert [p.answer for p in approach.predict(asked)] == [best(row) for row in asked]
    assert_paid_once(server, asked)
    assert sum(bool(one["fault"]) for one in server.seen) == 6
    assert spent(approach) >= server.money(PRICES) - 1e-12


BROKEN = {
    "half a body": {"half": True},
    "no JSON": {"body": "<html>busy</html>"},
    "other JSON": {"body": '{"choices": []}'},
    "no message": {"body": '{"choices": [{"text": "card"}]}'},
    "reset after the work": {"reset": True},
    "502 of a gateway": {"status": 502},
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_an_answer_that_breaks_off_is_asked_for_again_and_counted_at_its_worst(make, server, fault):
    asked = rows(8)
    approach = make()
    server.fault({}, fault, {}, fault)
    assert [p.answer for p in approach.predict(asked)] == [best(row) for row in asked]
    assert approach.caller.ledger.lost == 2
    assert spent(approach) >= server.money(PRICES)
    assert set(server.charged) == {row.text for row in asked}


@pytest.mark.parametrize("fault", [{"half": True}, {"reset": True}])
def test_a_server_that_knows_idempotency_keys_charges_once_even_then(make, server, fault):
    (server.folder / "idempotent").write_text(str(fault))
    try:
        asked = rows(8)
        server.fault({}, fault, {}, fault)
        assert [p.answer for p in make().predict(asked)] == [best(row) for row in asked]
        assert_paid_once(server, asked)
    finally:
        (server.folder / "idempotent").unlink()


def test_an_error_that_the_server_told_is_not_asked_for_under_the_same_idempotency_key(make, server):
    server.fault({"status": 500})
    make().predict(rows(1))
    first, second = (one["key"] for one in server.seen)
    assert first != second
    assert first[:40] == second[:40]


def test_a_slow_stream_is_cut_at_the_time_out_however_steadily_it_drips(make, server):
    asked = rows(3)
    approach = make(timeout=0.6, top_logprobs=0)
    server.fault({}, {"drip": 1}, {"seconds": 5})
    assert [p.answer for p in approach.predict(asked)] == [best(row) for row in asked]
    assert approach.caller.ledger.lost == 2


def test_when_nothing_helps_it_says_so_and_keeps_what_is_answered(make, server):
    asked = rows(10)
    server.fault({}, {}, {}, *[{"status": 500, "message": "down for\nmaintenance"}] * 50)
    with pytest.raises(KasautiError, match=r"no answer after 3 attempts: 500: down for maintenance") as caught:
        make(retries=2, concurrency=2).predict(asked)
    assert "\n" not in caught.value.line()
    server.fault()
    assert [p.answer for p in make().predict(asked)] == [best(row) for row in asked]
    assert_paid_once(server, asked)


def test_the_whole_of_a_row_has_a_time_out_too(make, server):
    server.fault({"status": 429, "headers": {"Retry-After": "3000"}})
    with pytest.raises(KasautiError, match="it asks to wait 3000 s"):
        make(total_timeout=5.0).predict(rows(1))
    server.fault(*[{"status": 429}] * 400)
    with pytest.raises(KasautiError, match=r"no answer within 0\.3 s: 429"):
        make(total_timeout=0.3, retries=100).predict(rows(1))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 404, "message": "no model big"}, "404: no model big. Check hosted.base_url"),
        ({"status": 429, "code": "insufficient_quota"}, "429: trouble 429. Mend that at the provider"),
        ({"status": 302}, "302: trouble 302"),
    ],
)
def test_what_no_waiting_mends_stops_at_the_first_request(make, server, fault, said):
    server.fault(*[fault] * 20)
    with pytest.raises(KasautiError) as caught:
        make().predict(rows(9))
    assert said in caught.value.line()
    assert len(server.seen) == 1


def test_a_server_that_is_not_there_is_one_line(make):
    with pytest.raises(KasautiError, match="no connection") as caught:
        make(url="http://127.0.0.1:9/v1", retries=1).predict(rows(2))
    assert caught.value.where == "http://127.0.0.1:9/v1/chat/completions"


@pytest.mark.parametrize("concurrency", [1, 8])
def test_the_cap_is_never_passed_and_a_higher_one_goes_on(make, server, concurrency):
    asked = rows(40)
    cap = 0.004
    with pytest.raises(KasautiError, match=r"the cap of 0.004 is reached.*what is answered is kept") as caught:
        make(cap=cap, concurrency=concurrency).predict(asked)
    assert caught.value.where == "task.yaml: hosted.cap"
    first = server.money(PRICES)
    assert 0 < first <= spent(make()) <= cap
    assert cap - first < 0.0026  # less than two requests at their worst are left
    assert [p.answer for p in make(cap=1.0).predict(asked)] == [best(row) for row in asked]
    assert_paid_once(server, asked)


def test_the_cap_holds_while_answers_break_off(make, server):
    server.fault({"half": True}, {}, {"reset": True}, {"body": "x"}, repeat=40)
    with pytest.raises(KasautiError, match="cap"):
        make(cap=0.006, retries=50).predict(rows(60))
    assert server.money(PRICES) <= spent(make()) <= 0.006


def test_a_cap_of_nothing_sends_nothing(make, server):
    with pytest.raises(KasautiError, match="cap of 0 is reached"):
        make(cap=0.0).predict(rows(1))
    assert server.seen == []


def test_no_more_requests_are_under_way_than_is_allowed(make, server):
    server.fault({"seconds": 0.05}, repeat=20)
    make(concurrency=3).predict(rows(20))
    under_way = [one["under_way"] for one in server.seen]
    # What a test before this one has hung up on may still be answered, and counts throughout.
    assert 1 <= max(under_way) - min(under_way) <= 2


def test_no_more_requests_are_sent_in_a_minute_than_is_allowed_whatever_sends_them(make, server, monkeypatch):
    clock, at = [1000.0], []

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(caller_module, "_now", lambda: clock[0])
    monkeypatch.setattr(caller_module, "_sleep", sleep)
    approach = make(requests_per_minute=30.0, concurrency=1)
    reserve = approach.caller.ledger.reserve
    monkeypatch.setattr(approach.caller.ledger, "reserve", lambda *args: (at.append(clock[0]), reserve(*args))[1])
    server.fault({}, {}, {"status": 500}, {"status": 429, "headers": {"Retry-After": "60"}})
    approach.predict(rows(6))
    apart = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert len(at) == 8
    assert min(apart) >= 2.0
    assert max(apart) >= 60.0


@pytest.mark.parametrize("attempt", [0, 3, 50])
def test_waits_are_drawn_from_zero_to_twice_as_much_each_time_up_to_a_bound(make, monkeypatch, attempt):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(caller_module, "FIRST_WAIT", 0.5)
    monkeypatch.setattr(caller_module, "_sleep", sleep)
    caller = make().caller
    for _ in range(400):
        asyncio.run(caller._wait(Reply(means=Means.AGAIN), attempt, time.monotonic() + 1000))
    most = min(0.5 * 2**attempt, caller_module.LONGEST_WAIT)
    assert 0 <= min(waits) < 0.1 * most
    assert 0.9 * most < max(waits) <= most


def test_answers_are_on_the_disk_before_they_count_and_those_that_come_together_go_together(make, monkeypatch):
    synced: list[int] = []

    def sync(self: Ledger) -> None:
        time.sleep(0.02)
        synced.append(len(self.answers))

    monkeypatch.setattr(Ledger, "sync", sync)
    make().predict(rows(24))
    assert synced[0] == 1
    assert synced[-1] == 24
    assert len(synced) < 20


def test_two_that_ask_the_same_at_once_share_ledger_cap_and_answers(make, server):
    from concurrent.futures import ThreadPoolExecutor

    asked = rows(20)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda approach: approach.predict(asked), [make(cap=1.0), make(cap=1.0)]))
    assert both[0] == both[1] or [p.answer for p in both[0]] == [p.answer for p in both[1]]
    assert set(server.charged) == {row.text for row in asked}
    assert server.money(PRICES) <= spent(make())


def test_a_ledger_cut_anywhere_is_read_as_far_as_it_goes_and_written_on(make, server):
    asked = rows(4)
    make(concurrency=1).predict(asked)
    path = ledger_path(make().bench.task.folder)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in (len(whole) - 1, len(whole) - 40, len(whole) - len(lines[-1]) - 5, 10):
        path.write_bytes(whole[:cut])
        server.forget()
        assert [p.answer for p in make().predict(asked)] == [best(row) for row in asked]
        done = sum(b'"did": "answer"' in line for line in whole[:cut].split(b"\n") if line.endswith(b"}"))
        assert len(server.seen) == 4 - done


def test_a_disk_that_takes_nothing_stops_before_anything_is_sent(make, server, tmp_path):
    (tmp_path / ".kasauti").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        make().predict(rows(2))
    assert server.seen == []
