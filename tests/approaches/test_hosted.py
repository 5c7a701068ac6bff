"""What a hosted model is asked, how its answers are read, and where its key is not."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os

import pytest
from tests.approaches.asked import PRICES, assert_paid_once, best, rows, spent
from tests.endpoint import KEY

from kasauti.approaches.hosted.approach import Hosted
from kasauti.approaches.hosted.estimate import estimate
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.types import Business, Ended, Message


def test_every_row_is_asked_once_with_instructions_labels_and_bounds_and_never_again(make, server):
    asked = rows(25)
    approach = make()
    given = approach.predict([*asked, *asked])
    assert [p.answer for p in given] == [best(row) for row in asked] * 2
    assert_paid_once(server, asked)
    body = server.seen[0]["body"]
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"] == "Name the category.\n\nCategories:\n- refund\n- card\n- parcel"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("big", 0.0, len("refund") + 8)
    assert all(p.input_tokens > 0 and p.output_tokens == 2 and p.cost > 0 and p.seconds > 0 for p in given)
    server.forget()
    assert make().predict(asked) == given[:25]  # another process would find them as well
    assert server.seen == []
    assert spent(approach) == pytest.approx(sum(p.cost for p in given[:25]))


def test_an_optimised_prompt_can_be_handed_in(make, server):
    approach = make(conversation=lambda row: [Message(role="user", content=f"Hm: {row.text}")])
    approach.predict(rows(1))
    assert [m["content"] for m in server.seen[0]["body"]["messages"]] == [f"Hm: {rows(1)[0].text}"]


def test_a_row_that_is_refused_is_failed_and_the_others_are_answered(make, server):
    asked = rows(6)
    server.fault({}, {}, {"status": 400, "message": "content not wanted"})
    given = make(concurrency=1).predict(asked)
    assert [p.ended for p in given].count(Ended.FAILED) == 1
    assert given[2].raw == "400: content not wanted"
    assert len(server.charged) == 5


def test_requests_that_are_all_refused_are_the_settings_fault_and_three_show_it(make, server):
    server.fault(*[{"status": 400, "message": "Unsupported parameter: 'max_tokens'"}] * 20)
    with pytest.raises(KasautiError, match=r"every request is refused.*Unsupported parameter.*limit_field"):
        make(top_logprobs=0).predict(rows(9))
    assert len(server.seen) == 3


def test_a_server_that_gives_no_log_probabilities_is_asked_without_and_answers_have_no_confidence(make, server):
    server.fault({"status": 400, "message": "logprobs are not supported"})
    asked = rows(12)
    approach = make().fit((), (), asked)
    assert ["logprobs" in one["body"] for one in server.seen] == [True, *[False] * 12]
    assert all(p.confidence is None for p in approach.held_out)
    assert approach.about()["confidence"] == "none"
    assert approach.about()["validation_accuracy"] == sum(best(r) == r.answer for r in asked) / 12


def test_confidence_is_calibrated_on_rows_that_each_was_not_fitted_on(make):
    approach = make().fit((), (), rows(60))
    assert len(approach.held_out) == 60
    assert approach.about()["calibration"]["rows"] == 60
    for one in [*approach.held_out, *approach.predict(rows(10, 9))]:
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert one.confidence == one.probabilities[one.answer]
    assert len(approach.call_seconds) == 60


STRICT = {
    "a sentence": ({"says": "The category is card."}, None),
    "another case": ({"says": "Card"}, None),
    "space around": ({"says": " card\n"}, "card"),
    "cut off": ({"says": "card", "finish": "length"}, None),
    "nothing": ({"says": ""}, None),
    "half a letter": ({"says": "card \ud83d"}, None),
}


@pytest.mark.parametrize(("fault", "answer"), STRICT.values(), ids=STRICT)
def test_what_is_not_exactly_a_label_is_unparsable_and_kept_as_it_came(make, server, fault, answer):
    server.fault(fault)
    (one,) = make().predict(rows(1))
    assert one.answer == answer
    assert one.ended is (Ended.UNPARSABLE if answer is None else Ended.ANSWERED)
    assert json.dumps(one.raw).encode("utf-8")
    assert make().predict(rows(1)) == [one]
    assert len(server.seen) == 1


def test_tokens_that_are_not_counted_are_counted_at_their_most(make, server):
    server.fault({"no_usage": True})
    approach = make()
    (one,) = approach.predict(rows(1))
    assert one.input_tokens > 300
    assert approach.fit((), (), rows(1)).about()["tokens_counted_by"] == "upper bound"


def test_the_key_is_needed_only_where_something_is_asked_and_its_variable_is_named(make, monkeypatch, server):
    given = make().predict(rows(3))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert make().predict(rows(3)) == given
    with pytest.raises(UsageError, match=r"environment variable OPENAI_API_KEY: is not set.*key_env: null"):
        make().predict(rows(4))
    monkeypatch.setenv("OPENAI_API_KEY", "two words\n")
    with pytest.raises(UsageError, match="holds letters") as caught:
        make().predict(rows(4))
    assert "two" not in caught.value.line()


def test_the_key_is_in_one_header_and_in_nothing_that_is_left_or_said(make, server, tmp_path, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    approach = make()
    approach.predict(rows(3))
    assert server.seen[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps([one["body"] for one in server.seen])
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}9")  # refused, and the server repeats it in its message
    with pytest.raises(KasautiError, match=r"401: Incorrect API key: Bearer \*\*\*") as caught:
        make().predict(rows(5))
    server.fault({"says": f"your key is {KEY}9"})
    told = [caught.value.line(), repr(approach.caller.__dict__), caplog.text]
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert [text for text in (*told, *files) if KEY[:20] in text] == []


def test_a_server_without_keys_gets_none(make, server):
    (server.folder / "open").touch()
    try:
        make(key_env=None).predict(rows(1))
    finally:
        (server.folder / "open").unlink()
    assert server.seen[0]["authorization"] is None


def test_what_was_sent_is_not_kept(make):
    approach = make()
    approach.predict(rows(2))
    text = approach.caller.ledger.path.read_text()
    assert rows(2)[0].text not in text
    assert "Name the category" not in text


def test_the_estimate_is_near_the_bill_and_sends_nothing(make, server):
    asked = rows(60)
    found = estimate(make(), asked)
    assert server.seen == []
    assert (found.rows, found.answered, found.spent) == (60, 0, 0)
    approach = make()
    approach.predict(asked[:20])
    second = estimate(approach, asked)
    approach.predict(asked)
    bill = server.money(PRICES)
    assert found.price == pytest.approx(bill, rel=0.35)
    assert bill <= found.most
    assert (second.rows, second.answered) == (60, 20)
    assert second.spent + second.price == pytest.approx(bill, rel=0.02)
    assert estimate(approach, asked).price == 0
    assert not estimate(make(cap=0.0001), asked).fits


def test_prices_of_today_do_not_change_what_an_answer_has_cost(make):
    approach = make()
    (one,) = approach.predict(rows(1))
    dearer = dataclasses.replace(
        approach.bench.task, business=Business(hosted_per_1m_tokens={"input": 99, "output": 99})
    )
    assert Hosted(Workbench(dearer)).predict(rows(1)) == [one]


def test_it_works_within_a_loop_that_runs_already(make):
    async def notebook() -> int:
        return len(make().predict(rows(2)))

    assert asyncio.run(notebook()) == 2


def test_the_environment_is_not_changed(make):
    before = dict(os.environ)
    make().predict(rows(1))
    assert dict(os.environ) == before
