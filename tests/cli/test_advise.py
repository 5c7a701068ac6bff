"""`kasauti advise`: by options, asked on a terminal, from the task, and from its trial."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.decide.test_advise import SAMPLE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a task."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_options_are_enough_and_what_was_assumed_is_said(kasauti, elsewhere):
    ran = kasauti("advise", "--calls-per-month", "300k", "--labelled-rows", "2,400", "--gpu", "yes")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("Try in this order: Classical classifier, then Prompt, then ")
    assert "5. Tuned adapter (LoRA): try." in ran.out
    assert "use when: " in ran.out
    assert "do not use when: " in ran.out
    assert "Assumed, since nobody said: --problem format" in ran.out
    assert list(elsewhere.iterdir()) == []


def test_json_is_one_document(kasauti):
    document = kasauti("advise", "--json", "--problem", "Knowledge", "--private", "no", "--latency-ms", "none").document
    assert document["situation"]["problem"] == "knowledge"
    assert document["trial"] is None
    assert document["steps"][0]["name"] == "prompt"
    assert "calls_per_month" in document["assumed"]
    assert "problem" not in document["assumed"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gpu", "perhaps"], "--gpu: 'perhaps' cannot be read. Write yes or no."),
        (["--calls-per-month", "many"], "Write a number."),
        (["--problem", "xyzzy"], "Write format, knowledge or both."),
        (["--latency-ms", "-4"], "Write a number, or none."),
        (["--task", "absent"], "no such file"),
        (["--gpus", "yes"], "Did you mean '--gpu'?"),
    ],
)
def test_wrong_input_is_one_line(kasauti, words, said):
    ran = kasauti("advise", *words)
    assert ran.code == 2
    assert said in ran.error_line


def test_a_task_says_volume_and_rows_and_its_trial_replaces_the_rule(kasauti, make_task):
    folder = make_task(extra="business: {calls_per_month: 7000}\n")
    first = kasauti("advise", "--task", folder, "--json").document
    assert first["situation"]["calls_per_month"] == 7000
    assert first["situation"]["labelled_rows"] == 120
    assert first["trial"] is None
    assert not (folder / ".kasauti" / "trials").exists()
    for id, created in (("old", "2020-01-01T00:00:00+00:00"), ("new", "2026-01-01T00:00:00+00:00")):
        trial = folder / ".kasauti" / "trials" / id / "trial.json"
        trial.parent.mkdir(parents=True)
        trial.write_text(json.dumps({**SAMPLE, "created": created}))
    second = kasauti("advise", "--task", folder, "--json").document
    assert second["trial"] == "new"
    assert second["headline"].startswith(f"Ship {SAMPLE['verdict']['ship']}")
    told = kasauti("advise", "--task", folder).out
    assert "measured: " in told


def test_on_a_terminal_it_asks_what_no_option_said(elsewhere):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kasauti.cli.main", "advise", "--labelled-rows", "900", "--gpu", "yes"],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
    )
    os.close(theirs)
    os.write(ours, b"500k\n\nmaybe\nno\n\n\n200\n\n\n")
    out = process.stdout.read()
    assert process.wait() == 0
    asked = os.read(ours, 100_000).decode()
    os.close(ours)
    assert asked.count("?") == 8 + 1  # eight questions, one of them twice
    assert "Please write yes or no." in asked
    assert "Labelled rows?" not in asked
    assert "at 500,000 calls" in out
    assert "200 ms" in out
    assert "Assumed" not in out
