"""A trial with a hosted model, through the command line: what it costs is said before, and its key is nowhere after."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import complaints, task_text, write_rows
from tests.endpoint import KEY, Endpoint, endpoint

PRICES = "business: {hosted_per_1m_tokens: {input: 3, output: 12}}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with endpoint(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


def write_task(folder: Path, model: object, server: Endpoint, more: str = "") -> Path:
    write_rows(folder / "train.csv", complaints(90, 1))
    write_rows(folder / "test.csv", complaints(90, 2))
    hosted = f"hosted: {{base_url: '{server.url}', model: big, key_env: THEIR_KEY, cap: 1{more}}}\n"
    (folder / "task.yaml").write_text(task_text(model) + PRICES + hosted, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, server: Endpoint) -> Path:
    """The folder of a task that was judged by a process of its own, with everything that it said in `said.txt`."""
    folder = write_task(tmp_path_factory.mktemp("judged"), tiny_model, server)
    server.forget()
    server.fault({"status": 429, "headers": {"Retry-After": "0"}}, {}, {"half": True}, {"status": 500})
    words = ["trial", "--task", str(folder), "--approaches", "majority,tuned,hosted", "--json"]
    ran = subprocess.run(
        [sys.executable, "-m", "kasauti.cli.main", *words],
        env={**os.environ, "THEIR_KEY": KEY, "KASAUTI_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (folder / "said.txt").write_text(ran.stdout + ran.stderr)
    return folder


def trial_of(folder: Path) -> dict:
    return json.loads(next((folder / ".kasauti/trials").glob("*/trial.json")).read_text())


def test_it_is_judged_on_the_same_rows_and_priced_by_its_tokens(judged, server):
    trial = trial_of(judged)
    by_name = {one["name"]: one for one in trial["approaches"]}
    hosted = by_name["hosted"]
    assert trial["failed"] == []
    assert (hosted["family"], hosted["fitted_on"]) == ("hosted", ["validation"])
    assert hosted["rows"] == by_name["tuned"]["rows"] == 90
    assert hosted["accuracy"]["value"] > 0.9
    assert hosted["log_loss"] < 1
    assert 0 < hosted["latency_ms"]["p95"] < 60_000
    counts = {one["body"]["messages"][-1]["content"]: one["charged"] for one in server.seen if one["charged"]}
    tests = [f"Complaint: {text}" for text, _ in complaints(90, 2)]
    used = [counts[text] for text in tests]
    paid = sum(3 * a + 12 * b for a, b in used) / 1e6
    assert hosted["cost_per_1k_calls"] == pytest.approx(1000 * paid / 90)
    assert hosted["fit_cost"] > 0


def test_the_verdict_says_what_it_costs_and_that_a_tuned_model_below_it_is_a_data_or_training_problem(judged):
    verdict = trial_of(judged)["verdict"]
    assert verdict["ship"] == "hosted"
    assert any(line.startswith("hosted costs 0.") and "per 1,000 calls" in line for line in verdict["because"])
    assert any("than tuned: that is a data or training problem" in line for line in verdict["needs"])
    page = next((judged / ".kasauti/trials").glob("*/report.html")).read_text()
    assert "that is a data or training problem" in page


def test_the_key_is_nowhere(judged):
    files = [path for path in judged.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY[8:].encode() in path.read_bytes()] == []


def test_again_it_is_found_without_a_key_and_other_prices_need_no_new_answers(judged, kasauti, server, tmp_path):
    folder = shutil.copytree(judged, tmp_path / "copy")
    before, asked = trial_of(folder), len(server.seen)
    words = ("trial", "--task", folder, "--approaches", "majority,tuned,hosted", "--json")
    assert kasauti(*words).document["verdict"] == before["verdict"]
    text = (folder / "task.yaml").read_text()
    (folder / "task.yaml").write_text(text.replace("input: 3, output: 12", "input: 6, output: 24"))
    dearer = kasauti(*words)
    assert dearer.code == 0, dearer.err
    costs = [{a["name"]: a for a in d["approaches"]}["hosted"] for d in (before, dearer.document)]
    assert costs[1]["cost_per_1k_calls"] == pytest.approx(2 * costs[0]["cost_per_1k_calls"])
    assert costs[1]["fit_cost"] == pytest.approx(2 * costs[0]["fit_cost"])
    assert len(server.seen) == asked


def test_a_dry_run_says_rows_tokens_and_price_and_sends_and_writes_nothing(
    kasauti, tree, tiny_model, server, tmp_path, monkeypatch
):
    monkeypatch.delenv("THEIR_KEY", raising=False)
    folder = write_task(tmp_path, tiny_model, server)
    server.forget()
    before = tree(folder)
    ran = kasauti("trial", "--task", folder, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert tree(folder) == before
    assert server.seen == []
    found = ran.document["hosted"]
    assert [one["name"] for one in ran.document["approaches"]][-1] == "hosted"
    assert found["answered"] == 0
    assert 90 < found["rows"] < 100
    assert 0 < found["price"] < found["most"] < found["cap"] == 1
    told = kasauti("trial", "--task", folder, "--dry-run").out
    assert f"the texts of {found['rows']} rows would be sent to {server.url} (big)" in told
    assert f"{found['input_tokens']:,} tokens in" in told


def test_a_dry_run_of_what_is_done_has_nothing_to_pay(judged, kasauti, tree):
    before = tree(judged)
    told = kasauti("trial", "--task", judged, "--approaches", "hosted,majority", "--dry-run").out
    assert "nothing would be sent" in told
    assert "to do" not in told
    assert tree(judged) == before


def test_without_a_key_or_a_section_it_is_one_line_and_nothing_is_written(
    kasauti, tree, tiny_model, server, tmp_path, monkeypatch, make_task
):
    monkeypatch.delenv("THEIR_KEY", raising=False)
    (tmp_path / "with").mkdir()
    folder = write_task(tmp_path / "with", tiny_model, server)
    before = tree(folder)
    ran = kasauti("trial", "--task", folder)
    assert ran.code == 2
    assert "THEIR_KEY: is not set" in ran.error_line
    assert tree(folder) == before
    plain = make_task()
    before = tree(plain)
    ran = kasauti("trial", "--task", plain, "--approaches", "hosted")
    assert ran.code == 2
    assert "there is no `hosted` section" in ran.error_line
    assert tree(plain) == before


def test_a_cap_that_is_reached_is_a_row_that_says_so_and_a_higher_one_goes_on(
    kasauti, tiny_model, server, tmp_path, monkeypatch
):
    monkeypatch.setenv("THEIR_KEY", KEY)
    server.forget()
    folder = write_task(tmp_path, tiny_model, server)
    text = (folder / "task.yaml").read_text()
    (folder / "task.yaml").write_text(text.replace("cap: 1", "cap: 0.01"))
    words = ("trial", "--task", folder, "--approaches", "majority,hosted", "--json")
    first = kasauti(*words).document
    assert [one["name"] for one in first["approaches"]] == ["majority"]
    assert "the cap of 0.01 is reached" in first["failed"][0]["why"]
    assert 0 < server.money({"input": 3, "output": 12}) <= 0.01
    (folder / "task.yaml").write_text(text)
    second = kasauti(*words).document
    assert [one["name"] for one in second["approaches"]] == ["majority", "hosted"]
    assert set(server.charged.values()) == {1}


def test_predict_answers_with_it(judged, kasauti, server, tmp_path, monkeypatch):
    monkeypatch.setenv("THEIR_KEY", KEY)
    folder = shutil.copytree(judged, tmp_path / "copy")
    rows = write_rows(tmp_path / "new.csv", [(text,) for text, _ in complaints(5, 77)], head=("text",))
    ran = kasauti("predict", rows, "--task", folder, "-o", tmp_path / "out.jsonl")
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    assert all(0 < line["confidence"] <= 1 for line in lines)


def test_a_task_whose_answer_is_a_text_is_answered_too(kasauti, server, tmp_path, monkeypatch):
    monkeypatch.setenv("THEIR_KEY", KEY)
    server.forget()
    write_rows(tmp_path / "train.csv", complaints(90, 1))
    write_rows(tmp_path / "test.csv", complaints(30, 2))
    (tmp_path / "task.yaml").write_text(
        "kind: generation\ninstructions: Name it.\ninput: '{text}'\ntarget: label\n"
        "data: {train: train.csv, test: test.csv}\n"
        f"hosted: {{base_url: '{server.url}', model: big, key_env: THEIR_KEY}}\n"
    )
    words = ("trial", "--task", tmp_path, "--approaches", "nearest,hosted", "--json")
    before = kasauti(*words, "--dry-run").document["hosted"]
    ran = kasauti(*words)
    assert ran.code == 0, ran.err
    assert ran.document["failed"] == []
    by_name = {one["name"]: one for one in ran.document["approaches"]}
    assert by_name["hosted"]["accuracy"]["value"] > 0.9
    assert by_name["hosted"]["about"]["most_tokens"] == 64
    assert by_name["hosted"]["latency_ms"]["p95"] > 0
    assert before["rows"] == len(server.charged)
    assert before["price"] == pytest.approx(server.money({"input": 2.5, "output": 10}), rel=0.5)
    body = server.seen[0]["body"]
    assert [m["content"] for m in body["messages"]][:1] == ["Name it."]
    assert "logprobs" not in body
    rows = write_rows(tmp_path / "new.csv", [(text,) for text, _ in complaints(4, 78)], head=("text",))
    assert kasauti("predict", rows, "--task", tmp_path, "-o", tmp_path / "out.jsonl").code == 0
