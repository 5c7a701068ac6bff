"""What leaves the log: old calls, and everything of one customer, from the disk too."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.calls.conftest import call

from kasauti.calls.keep import erase, expire
from kasauti.calls.log import CallLog
from kasauti.calls.record import Answer, Recorder, secret_of
from kasauti.calls.reviews import Reviews, Wish
from kasauti.core.errors import UsageError
from kasauti.core.types import Example, Message, Prediction

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PHONE = "9876543210"


def answer(id, text="hello", **values):
    row = Example(
        id="x", fields={"text": text}, template="Complaint: {text}", answer=None, history=values.pop("history", ())
    )
    return Answer(
        id=id, version=1, row=row, category="card", accepted=True, prediction=Prediction(answer="card", raw=text),
        latency_ms=1.0, **values,
    )  # fmt: skip


def test_calls_older_than_so_many_days_go_with_reviews_that_nobody_decided(log):
    log.append([call(f"{n}", at=NOW - timedelta(days=n, seconds=1)) for n in range(1200)])
    queue = Reviews(log)
    queue.offer([Wish(call_id="1100", reason="random"), Wish(call_id="1101", reason="random")])
    (loan,) = queue.lend("asha")
    queue.decide(loan.review, "asha", "parcel")
    counted = log.latencies().total
    assert expire(log, 90, now=NOW) == 1110
    assert expire(log, 90, now=NOW) == 0
    assert [one.id for one in log.read(newest_first=True)] == [f"{n}" for n in range(90)]
    (decision,) = queue.decisions()
    assert (decision.call_id, decision.label, decision.answered, decision.version) == ("1100", "parcel", "card", 1)
    assert queue.waiting() == {}
    assert log.latencies().total == counted


def test_a_bounded_look_deletes_whole_batches(log):
    log.append([call(f"{n}", at=NOW - timedelta(days=2)) for n in range(1100)])
    assert expire(log, 1, most=1, now=NOW) == 500


@pytest.mark.parametrize("masking", [False, True])
def test_every_call_of_a_customer_goes_and_nobody_elses(log, masking):
    recorder = Recorder("Sort.", secret_of(log.database), mask=masking)
    odd = 'C-1"\\ü\ud800'
    log.append([
        recorder.record(answer("a", metadata={"customer": PHONE})),
        recorder.record(answer("b", f"it says \"customer\":\"{PHONE}\"", metadata={"customer": "someone else"})),
        recorder.record(answer("c", metadata={"customer": int(PHONE)})),
        recorder.record(answer("d", metadata={"customer": odd}, caller=PHONE)),
        recorder.record(answer("e", metadata={"other": PHONE})),
        recorder.record(answer("f", metadata={"customer": True})),
        recorder.record(answer("g", caller="x")),
    ])  # fmt: skip
    Reviews(log).offer([Wish(call_id="a", reason="random"), Wish(call_id="b", reason="random")])

    def gone(**where):
        return erase(log, where={name: recorder.forms(value) for name, value in where.items()})

    assert gone(customer=PHONE) == 2
    assert {one.id for one in log.read()} == set("bdefg")
    assert Reviews(log).waiting() == {"random": 1}
    assert gone(customer=odd, other="x") == 0
    assert gone(customer=odd) == 1
    assert gone(customer="true") == 1
    assert gone(text="hello") == 2
    assert erase(log, caller=recorder.hashed("x")) == 0
    assert {one.id for one in log.read()} == {"b"}
    with pytest.raises(ValueError, match="needs"):
        erase(log)


def test_what_is_erased_is_not_on_the_disk(tmp_path):
    log = CallLog.open(str(tmp_path / "calls.db"))
    word = "a-word-that-nobody-else-writes"
    log.append([call(f"{n}", fields={"text": f"{word} {n}"}, caller="f" * 32) for n in range(300)])
    log.append([call(f"other {n}") for n in range(300)])

    def bytes_on_disk():
        return b"".join(path.read_bytes() for path in Path(tmp_path).iterdir())

    assert word.encode() in bytes_on_disk()
    assert erase(log, caller="f" * 32) == 300
    assert word.encode() not in bytes_on_disk()


def test_masked_calls_hold_nothing_personal_and_who_asks_is_a_keyed_hash(log):
    card = "4111 1111 1111 1111"
    history = (Message(role="user", content=f"mail me: me@example.com {PHONE}"),)
    asked = answer("a", f"my card {card}", caller=PHONE, history=history,
                   metadata={"caller": PHONE, "note": [f"call {PHONE}"], "deep": {"n": int(PHONE)}})  # fmt: skip
    open_, hiding = (Recorder("Sort.", secret_of(log.database), mask=mask) for mask in (False, True))
    log.append([hiding.record(asked)])
    kept = log.get("a")
    for private in (card, "4111", PHONE, "me@example.com"):
        assert private not in repr(kept)
    assert kept.masked
    assert kept.fields == {"text": "my card <card number>"}
    assert kept.caller == hiding.hashed(PHONE) == open_.hashed(PHONE)
    plain = open_.record(asked)
    assert (plain.fields, plain.caller, "caller" in plain.metadata) == (asked.row.fields, kept.caller, False)
    assert plain.prompt_sha256 != kept.prompt_sha256
    assert plain.prompt_sha256 == open_.record(answer("b", f"my card {card}", history=history)).prompt_sha256


def test_the_callers_key_is_made_once_and_another_is_refused(log, where, monkeypatch):
    secret = secret_of(log.database)
    assert secret_of(CallLog.open(where).database) == secret
    with pytest.raises(UsageError, match="another key"):
        secret_of(log.database, "mine")


def test_a_key_of_the_operator_is_not_in_the_database(log, monkeypatch, tmp_path):
    monkeypatch.setenv("KASAUTI_CALLER_KEY", "of-the-operator")
    assert secret_of(log.database) == b"of-the-operator"
    with pytest.raises(UsageError, match="another key"):
        secret_of(log.database, "of-somebody")
    monkeypatch.delenv("KASAUTI_CALLER_KEY")
    with pytest.raises(UsageError, match="another key"):
        secret_of(log.database)
