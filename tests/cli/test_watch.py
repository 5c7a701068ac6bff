"""`kasauti watch` on a real call log: figures, alerts, exit codes, what is told and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import complaints
from tests.watch.conftest import NOW, call

from kasauti.calls.log import CallLog

TEXTS = [text for text, _ in complaints(200, 5)]
UNTIL = ("--until", "2026-11-24T12:00")


@pytest.fixture
def served(make_task) -> Path:
    """A task with a month of calls, the last hour of them slow, and no version."""
    folder = make_task()
    log = CallLog.open(str(folder / ".kasauti" / "calls.db"))
    made = [
        call(n, NOW - timedelta(hours=2 * n, minutes=70), ("refund", "card", "parcel")[n % 3], text=TEXTS[n % 200])
        for n in range(400)
    ]
    slow = [
        call(1000 + n, NOW - timedelta(minutes=58 - n), latency_ms=4000.0, metadata={"shop": "a"}) for n in range(55)
    ]
    log.append([*made, *slow])
    log.close()
    return folder


def test_an_alert_stands_and_the_code_is_1(kasauti, served):
    ran = kasauti("watch", "--task", served, *UNTIL)
    assert ran.code == 1
    assert "ALERT latency: answers are too slow: p95 is 4" in ran.out
    assert "What to do: " in ran.out
    assert "parcel" in ran.out  # the table of categories


def test_the_document_is_one_and_whole(kasauti, served):
    ran = kasauti("watch", "--task", served, "--json", *UNTIL, "--by", "shop", "--no-inputs")
    assert ran.code == 1
    assert {"figures", "days", "reviewed", "alerts", "could_see", "triggers", "told"} <= set(ran.document)
    assert "latency" in [one["check"] for one in ran.document["alerts"]]
    assert ran.document["figures"]["groups"]["a"]["calls"] == 55
    assert ran.document["could_see"]["latency"]["false_alarms"]


def test_a_look_before_anything_went_wrong_is_0(kasauti, served):
    ran = kasauti("watch", "--task", served, "--until", "2026-11-24T10:30", "--no-inputs")
    assert ran.code == 0
    assert "No alert stands." in ran.out


def test_an_alert_is_logged_once(kasauti, served, tmp_path):
    for _ in range(2):
        assert kasauti("watch", "--task", served, *UNTIL, "--no-inputs", "--log", tmp_path / "a.jsonl").code == 1
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert [line["check"] for line in lines].count("latency") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--until", "noon"), "--until is 'noon'"),
        (("--webhook",), "KASAUTI_WEBHOOK"),
        (("--mail", "a@example.org"), "KASAUTI_SMTP"),
        (("--log", "x", "--quiet", "late"), "the quiet hours are 'late'"),
        (("--calls", "nowhere.db"), "there is no call log yet"),
    ],
)
def test_wrong_words_are_one_line_and_2(kasauti, served, monkeypatch, words, told):
    monkeypatch.delenv("KASAUTI_WEBHOOK", raising=False)
    monkeypatch.delenv("KASAUTI_SMTP", raising=False)
    ran = kasauti("watch", "--task", served, *words)
    assert ran.code == 2
    assert told in ran.error_line
