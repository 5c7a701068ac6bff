"""Every answer that a caller has seen is in the call log, once: real services, killed under load, their database taken
away. The same with twenty kills and half a minute is in benchmarks/serve/durable.py."""

import json
import random
import shutil
import time
from pathlib import Path

import pytest
from tests.postgres import cluster, load
from tests.serve.conftest import running

from kasauti.calls.log import CallLog

durable = load("durable")
NOTHING = {"missing": 0, "twice": 0, "other_text": 0, "counts_differ": 0}


@pytest.fixture(scope="module")
def postgres():
    with cluster() as one:
        yield one


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request, tmp_path):
    return str(tmp_path / "calls.db") if request.param == "sqlite" else request.getfixturevalue("postgres").database()


@pytest.fixture
def folder(registered, tmp_path):
    return shutil.copytree(registered, tmp_path / "task", ignore=shutil.ignore_patterns("calls.db*", "spool"))


@pytest.mark.slow
def test_a_service_that_is_killed_under_load_has_kept_every_answer_that_left(folder, where):
    found = durable.killed(folder, where, "text", 2, random.Random(1))
    assert found["answered"] > 0
    assert found["exit_code"] == 0
    assert {name: found[name] for name in NOTHING} == NOTHING


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["refuse", "spool"])
def test_nothing_is_lost_while_the_database_is_away(folder, where, policy, request):
    if "://" not in where and policy == "refuse":
        pytest.skip("the other three tell as much; tests/calls has all four")

    def gone():
        return durable.locked(where) if "://" not in where else durable.stopped(request.getfixturevalue("postgres"))

    CallLog.open(where).close()
    found = durable.away(folder, where, "text", policy, 3 if "://" in where else 6, gone)
    assert {name: found[name] for name in NOTHING} == NOTHING
    assert found["exit_code"] == 0
    status, told = found["readyz_while_away"]
    if policy == "refuse":
        assert set(found["statuses"]) == {"200", "503"}
        assert status == 503
        assert "cannot be kept" in told
    else:
        assert set(found["statuses"]) == {"200"}
        assert (status, told["kept_in"]) == (200, "spool")
        assert found["answered_while_away"] > 0


def test_a_server_ends_with_the_process_that_watches_it(folder):
    service = durable.Service(folder, "--calls", "none", "--restart")
    worker = service.worker()
    service.kill()
    limit = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def test_what_is_kept_is_what_was_asked_and_answered(folder, where):
    with running(folder, "--calls", where, "--mask") as server:
        server.until_ready()
        one = server.ask(
            "/classify", {"text": "my card 4111 1111 1111 1111", "metadata": {"caller": "C1", "shop": "a"}}
        )
        inputs = [{"text": f"parcel {n}", "metadata": {"n": n}} for n in range(3)]
        many = server.ask("/classify", {"inputs": inputs, "metadata": {"shop": "b", "caller": "C1"}})
        turn = {"role": "user", "content": "Complaint: refund"}
        talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}, turn]
        openai = server.ask("/v1/chat/completions", {"messages": talk, "user": "C1", "metadata": {"shop": "c"}})
        for refused in ({"text": 1}, {"text": "a", "metadata": {"a": "b" * 9000}}):
            assert server.ask("/classify", refused).status in (413, 422)
        figures = server.ask("/metrics").body.decode()
        assert server.ask("/readyz").json["calls"]["kept_in"] == "database"
        assert server.stop() == 0
    assert 'kasauti_calls_total{kept="committed"} 5.0' in figures
    assert "kasauti_call_log_up 1.0" in figures
    log = CallLog.open(where)
    kept = {call.id: call for call in log.read()}
    assert len(kept) == 5
    first = kept[one.json["id"]]
    assert (first.fields, first.metadata, first.masked) == ({"text": "my card <card number>"}, {"shop": "a"}, True)
    for answered in (one.json, *many.json["outputs"]):
        call = kept[answered["id"]]
        told = (call.category, round(call.prediction.confidence, 6), call.accepted, call.version)
        assert told == tuple(answered[name] for name in ("category", "confidence", "accepted", "version"))
        assert sum(call.prediction.probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert 0 < call.latency_ms <= one.json["latency_ms"] + many.json["latency_ms"] + 1000
    assert kept[many.json["outputs"][2]["id"]].metadata == {"shop": "b", "n": 2}
    talked = kept[openai.json["id"].removeprefix("chatcmpl-")]
    assert [turn.content for turn in talked.history] == ["hi", "yes?"]
    assert len({call.caller for call in kept.values()}) == 1
    assert first.caller not in (None, "C1")
    assert sum(one.calls for one in log.counts()) == 5


def test_calls_erase_and_show_on_a_task_folder(folder, capfd):
    from kasauti.cli.main import main

    with running(folder) as server:
        server.until_ready()
        for customer in ("C1", "C2", "C1"):
            assert server.ask("/classify", {"text": "my card", "metadata": {"customer": customer}}).status == 200
        server.stop()

    def command(*words):
        code = main(["calls", *words, "--task", str(folder), "--json"])
        return code, json.loads(capfd.readouterr().out)

    wrongs = (["erase"], ["erase", "--where", "customer"], ["expire"], ["show", "--caller", "x"], ["erace"])
    assert [main(["calls", *words, "--task", str(folder)]) for words in wrongs] == [2] * len(wrongs)
    code, shown = command()
    assert (code, shown["last_7_days"]["calls"], shown["last_7_days"]["categories"]) == (0, 3, {"card": 3})
    assert command("erase", "--where", "customer=C1") == (0, {"erased": 2, "service_spools": False})
    assert command("erase", "--caller", "nobody")[1]["erased"] == 0
    assert command("expire", "--days", "1") == (0, {"deleted": 0, "days": 1.0})
