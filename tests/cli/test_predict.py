"""`kasauti predict`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_every_row_is_answered_in_order_with_one_of_the_labels(kasauti, finished):
    ran = kasauti("predict", finished / "test.csv", "--task", finished)
    assert ran.code == 0, ran
    answers = lines(ran.out)
    assert [one["row"] for one in answers] == list(range(1, 31))
    assert {one["answer"] for one in answers} <= {"refund", "card", "parcel"}
    assert all(set(one) == {"row", "answer", "confidence", "accepted"} for one in answers)


def test_probabilities_are_given_on_request_and_sum_to_one(kasauti, finished):
    out = finished / "out.jsonl"
    ran = kasauti("predict", finished / "test.csv", "-o", out, "--probabilities", "--task", finished)
    assert ran.code == 0
    for one in lines(out.read_text()):
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert one["confidence"] == max(one["probabilities"].values())
    assert sorted(p.name for p in finished.glob("out*")) == ["out.jsonl"]


def test_with_json_standard_output_is_one_document_either_way(kasauti, finished):
    rows, out = finished / "test.csv", finished / "out.jsonl"
    document = kasauti("predict", rows, "--task", finished, "--json").document
    assert len(document["answers"]) == document["rows"] == 30
    assert document["answered_by"].startswith("trial ")
    written = kasauti("predict", rows, "-o", out, "--task", finished, "--json").document
    assert written["output"] == str(out)
    assert lines(out.read_text()) == document["answers"]


def test_sets_of_labels_are_given_on_request(kasauti, finished):
    ran = kasauti("predict", finished / "test.csv", "--sets", "--task", finished)
    assert ran.code == 0, ran
    assert all(one["answer"] in one["labels"] for one in lines(ran.out))


def test_the_target_column_is_not_needed(kasauti, finished):
    (finished / "new.jsonl").write_text('{"text": "my refund money"}\n{"text": ""}\n')
    ran = kasauti("predict", finished / "new.jsonl", "--task", finished)
    assert [one["answer"] in ("refund", "card", "parcel") for one in lines(ran.out)] == [True, True]


def test_a_fault_far_down_the_file_is_told_before_anything_is_written(kasauti, finished, tree):
    (finished / "bad.csv").write_text("text\n" + "fine\n" * 700 + 'x,"y"\n')
    before = tree(finished)
    ran = kasauti("predict", finished / "bad.csv", "-o", finished / "out.jsonl", "--task", finished)
    assert ran.code == 2
    assert "bad.csv:702" in ran.error_line
    assert tree(finished) == before


def test_a_changed_task_is_not_answered_by_the_old_trial(kasauti, finished):
    text = (finished / "task.yaml").read_text()
    (finished / "task.yaml").write_text(text.replace("Name the category", "Say the category"))
    ran = kasauti("predict", finished / "test.csv", "--task", finished)
    assert ran.code == 2
    assert "`instructions` of the task file changed since trial" in ran.error_line


def test_after_a_kill_the_same_command_goes_on_and_the_file_is_the_same(kasauti, finished):
    kasauti("predict", finished / "test.csv", "--task", finished)  # chooses the threshold
    (finished / "many.csv").write_text("text\n" + "".join(f"my money and card number {n}\n" for n in range(4000)))
    whole, cut = finished / "whole.jsonl", finished / "cut.jsonl"
    words = ["predict", finished / "many.csv", "--task", finished, "-o"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kasauti.cli.main", *map(str, words), str(cut)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    part = Path(f"{cut}.part")
    while process.poll() is None and not (part.exists() and part.stat().st_size > 20_000):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert part.exists(), "it ended before it could be killed"
    ran = kasauti(*words, cut, "--json")
    assert ran.code == 0, ran
    assert ran.document["resumed_at"] >= 256
    assert kasauti(*words, whole, "--json").document["resumed_at"] == 0
    assert cut.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in finished.glob("cut*")) == ["cut.jsonl"]
