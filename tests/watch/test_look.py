"""A look at a real call log: a quiet service raises nothing, and what goes wrong is seen and told once."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import complaints, task_text, write_rows
from tests.watch.conftest import NOW, call

from kasauti.core.task import load_task
from kasauti.core.types import Finding, Severity, Task
from kasauti.decide.trial import run_trial
from kasauti.registry.register import register
from kasauti.watch.channels import LogFile
from kasauti.watch.gather import gather
from kasauti.watch.look import look, notify, without_texts
from kasauti.watch.reviewed import reviews_of
from kasauti.watch.seen import Review
from kasauti.watch.triggers import triggers

TEXTS = [text for text, _ in complaints(400, 5)]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A task with one version, of a classifier."""
    folder = tmp_path_factory.mktemp("watched")
    write_rows(folder / "train.csv", complaints(90, 1))
    write_rows(folder / "test.csv", complaints(60, 2))
    (folder / "task.yaml").write_text(task_text("kasauti/nano"), encoding="utf-8")
    made = load_task(folder)
    register(made, run_trial(made, ["majority", "classical"]))
    return made


def stands(found) -> dict[str, bool]:
    return {one.name: one.stands for one in found.triggers}


def test_a_quiet_service_raises_nothing(task, quiet_month):
    found = look(task, quiet_month(texts=lambda draw: draw.choice(TEXTS)), NOW)
    assert found.alerts == []
    assert (found.day.calls, found.week.calls) == (60, 420)
    assert not any(stands(found).values())
    document = found.document(task)
    assert document["figures"]["day"]["latency_ms"]["p95"] == pytest.approx(100, rel=0.06)
    assert len(document["days"]) == 35
    assert document["could_see"]["shift"]["judged"]
    assert all(day["calls"] == 60 for day in document["days"])


def test_what_goes_wrong_is_seen(task, quiet_month, review):
    log = quiet_month(texts=lambda draw: draw.choice(TEXTS))
    hour = NOW - timedelta(minutes=50)
    slow = [call(10_000 + n, hour + timedelta(seconds=30 * n), "parcel", latency_ms=5000.0) for n in range(90)]
    log.append(slow)
    calls = list(log.read(NOW - timedelta(days=28), NOW))
    draw = random.Random(1)
    review({one.id: "card" if draw.random() < 0.5 else one.category for one in draw.sample(calls, 400)})
    found = look(task, log, NOW)
    assert {"latency", "accuracy", "category", "fallback"} <= {one.check for one in found.alerts}
    assert found.alerts[0].severity is Severity.STOP
    assert stands(found)["accuracy"]
    assert stands(found)["corrections"]
    assert [week["read"] for week in found.document(task)["reviewed"]]


def test_an_empty_log_raises_nothing(task, log):
    found = look(task, log, NOW)
    assert found.alerts == []
    assert found.day.calls == 0
    assert found.document(task)["figures"]["day"]["latency_ms"]["p50"] is None


def test_groups_and_versions_have_figures_of_their_own(task, log):
    log.append(
        [call(n, NOW - timedelta(hours=1), key="app" if n % 3 else "shop", version=1 + n % 2) for n in range(30)]
    )
    found = look(task, log, NOW, texts=False)
    assert {name: one.calls for name, one in found.groups.items()} == {"app": 20, "shop": 10}
    assert {number: one.calls for number, one in found.versions.items()} == {1: 15, 2: 15}
    assert look(task, log, NOW, version=2, texts=False).day.calls == 15


def test_a_look_back_sees_nothing_later(task, log):
    log.append([call(n, NOW + timedelta(minutes=1 + n)) for n in range(10)])
    log.append([call(100 + n, NOW - timedelta(minutes=1 + n)) for n in range(5)])
    seen = gather(task, log, NOW)
    assert seen.days[-1].total == 5
    assert sum(slot.calls for slot in seen.slots) == 5
    assert gather(task, log, NOW + timedelta(minutes=10)).days[-1].total == 15


def test_one_caller_is_one_voice_and_masked_calls_are_compared_with_masked_rows(task, log):
    asked = [
        call(n, NOW - timedelta(minutes=n + 1), text=f"call me at 98765432{n:02}", caller=f"k{n % 40}")
        for n in range(80)
    ]
    log.append([call(500 + n, NOW - timedelta(minutes=n + 1), masked=True) for n in range(3)] + asked)
    texts = gather(task, log, NOW).texts
    assert len(texts.called) == 43
    assert not any("98765432" in text for text in texts.called)


def test_a_second_review_counts_and_a_doubtful_call_is_not_sampled(log, review):
    log.append([call(n, NOW - timedelta(days=1)) for n in range(4)])
    review({"c0": "card", "c1": "refund"})
    review({"c0": "refund"}, reason="doubtful", round=2)
    review({"c2": "parcel"}, reason="doubtful")
    found = {one.call: one for one in reviews_of(log)}
    assert found["c0"].right
    assert found["c0"].sampled
    assert not found["c2"].sampled
    assert not found["c2"].right
    assert "c3" not in found


def test_alerts_are_told_once_and_trouble_is_tried_again(task, tmp_path):
    alerts = [Finding(check="latency", severity=Severity.STOP, what="slow", where="p95", mend="look")]
    folder = tmp_path / "file"
    folder.write_text("")
    broken, good = LogFile(str(folder / "alerts.jsonl")), LogFile(str(tmp_path / "alerts.jsonl"))
    first = notify(task, alerts, NOW, [broken, good])
    assert [one.told for one in first] == [0, 1]
    assert first[0].trouble
    folder.unlink()
    assert [one.told for one in notify(task, alerts, NOW + timedelta(hours=1), [broken, good])] == [1, 0]


def test_what_callers_wrote_is_not_sent():
    shift = Finding(
        check="shift", severity=Severity.WARN, what="unlike",
        evidence=["Hindi: 0% of the test rows, 40% of the calls", "new words: paisa", "call c1: my number is 98"],
    )  # fmt: skip
    assert without_texts([shift])[0].evidence == ["Hindi: 0% of the test rows, 40% of the calls"]


def test_new_categories_and_another_base_model_are_reasons_to_train(task):
    import dataclasses

    from kasauti.watch.gather import version_of

    version = version_of(task)
    reviews = [
        Review(call=f"c{n}", at=NOW, version=1, answered="card", label="gift card", sampled=False) for n in range(6)
    ]
    found = {one.name: one for one in triggers(task, version, reviews, [], {})}
    assert found["new category"].stands
    assert "gift card 6 times" in found["new category"].what
    more = dataclasses.replace(task, labels={**task.labels, "loan": ""})
    assert "task.yaml lists loan" in {one.name: one for one in triggers(more, version, [], [], {})}["new category"].what
    card = {**version.card, "family": "tuned", "model": {"id": "kasauti/nano", "sha256": "0" * 64}}
    tuned = dataclasses.replace(version, card=card)
    assert {one.name: one for one in triggers(task, tuned, [], [], {})}["base model"].stands
    other = dataclasses.replace(version, card={**card, "model": {"id": "some/model-2", "sha256": "0" * 64}})
    assert "some/model-2" in {one.name: one for one in triggers(task, other, [], [], {})}["base model"].what


def test_the_lines_of_the_log_hold_what_to_do(task, tmp_path):
    alerts = [Finding(check="latency", severity=Severity.STOP, what="slow", where="p99", mend="look")]
    notify(task, alerts, NOW, [LogFile(str(tmp_path / "a.jsonl"))])
    assert '"mend": "look"' in Path(tmp_path / "a.jsonl").read_text("utf-8")
