"""Reviewed calls come in, and a version comes out, or the reason why not."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from tests.conftest import WORDS, complaints, task_text, write_rows
from tests.watch.conftest import NOW, call

from kasauti.calls.log import CallLog
from kasauti.cli.main import main
from kasauti.core.errors import UsageError
from kasauti.core.task import load_task
from kasauti.data.conversation import content
from kasauti.data.duplicates import nearest_across
from kasauti.data.log import history
from kasauti.data.production import NEAR, rows_path
from kasauti.data.split import divide, load_split
from kasauti.decide.trial import run_trial
from kasauti.registry.register import register
from kasauti.registry.versions import Registry
from kasauti.watch.harvest import declare, harvest, needed_examples
from kasauti.watch.retrain import Wanted, retrain
from kasauti.watch.schedule import schedule

LOAN = ("loan", "emi", "foreclosure", "interest", "tenure", "topup", "principal", "sanction")


def slang(text: str) -> str:
    """The words of the first version's complaints, as it has never seen them."""
    known = {word: f"{word[::-1]}x" for words in WORDS.values() for word in words}
    return " ".join(known.get(word, word) for word in text.split())


@pytest.fixture
def task(tmp_path: Path):
    folder = tmp_path / "task"
    folder.mkdir()
    write_rows(folder / "train.csv", complaints(150, 1))
    write_rows(folder / "test.csv", complaints(240, 2))
    (folder / "task.yaml").write_text(task_text("kasauti/nano"), encoding="utf-8")
    made = load_task(folder)
    register(made, run_trial(made, ["classical"]))
    return made


@pytest.fixture
def ask(log: CallLog, review):
    """`ask([(text, truth)], answered="parcel")`: calls that were answered so, and read."""

    def made(rows, answered: str = "parcel", first: int = 0, reason: str = "random") -> None:
        calls = [
            call(first + n, NOW - timedelta(minutes=n + 1), answered, text=text) for n, (text, _) in enumerate(rows)
        ]
        log.append(calls)
        review({one.id: truth for one, (_, truth) in zip(calls, rows, strict=True)}, reason=reason)

    return made


def test_corrected_calls_make_a_version_that_knows_them(task, log, ask):
    ask([(slang(text), label) for text, label in complaints(240, 5)])
    made = retrain(task, log, Wanted(canary=5))
    assert made.version == 2, made.reason
    assert made.weighed["new"]["difference"] > 0.2
    assert made.weighed["old_low"] >= -0.02
    standing = Registry(task).standing()
    assert (standing.champion, standing.candidate, standing.share) == (1, 2, 5)
    assert history(task.folder)[-1].rows["production"] == made.rows["train"]
    assert Registry(task).open(2)[0].predict(divide(task).production.test)
    again = retrain(task, log, Wanted(canary=5))
    assert again.version == 2
    assert len(Registry(task).versions()) == 2


def test_nothing_to_learn_and_nothing_gained_are_reasons_in_one_line(task, log, ask):
    first = retrain(task, log)
    assert first.version is None
    assert first.reason.startswith("there is nothing new to learn: 0 reviewed calls")
    ask(complaints(30, 6), answered="refund")
    second = retrain(task, log)
    assert second.version is None
    assert "not surely better" in second.reason or "may lose" in second.reason
    assert "\n" not in second.reason
    assert [one.number for one in Registry(task).versions()] == [1]


def test_no_row_to_judge_on_is_ever_learnt_from(task, log, ask):
    before = load_split(task)[0]
    tests = [content(row) for row in before.test[:20]]
    near = [f"{text} {text.split()[0]}" for text in tests]
    ask([(text, "card") for text in [*tests, *near]])
    ask([(slang(text), label) for text, label in complaints(120, 7)], first=1000)
    ask([(slang(text) + " ok", label) for text, label in complaints(120, 7)], first=2000)
    harvest(task, log)
    divided = divide(task)
    split, calls = divided.decided, divided.production
    assert calls.kept_out >= 20
    assert split.test_sha256 == before.test_sha256
    assert {row.id for row in before.train} <= {row.id for row in split.train}
    held = [content(row) for row in (*split.test, *split.validation, *calls.test)]
    assert not nearest_across([content(row) for row in calls.train], held, NEAR)
    assert not nearest_across([content(row) for row in calls.test], [content(r) for r in split.train], NEAR)
    assert 0.05 < len(calls.test) / (len(calls.test) + len(calls.train)) < 0.4


def test_only_calls_drawn_at_random_are_judged_on(task, log, ask):
    ask([(slang(text), label) for text, label in complaints(60, 8)], reason="doubtful")
    harvest(task, log)
    assert divide(task).production.test == ()


def test_a_part_is_decided_once_and_a_second_reading_corrects_the_label(task, log, ask, review):
    ask([(slang(text), "card") for text, _ in complaints(40, 9)])
    harvest(task, log)
    before = divide(task).production
    assert harvest(task, log).added == {}
    review({"c3": "refund"}, round=2)
    assert sum(harvest(task, log).added.values()) == 1
    after = divide(task).production
    assert [content(row) for row in after.test] == [content(row) for row in before.test]
    assert [row.answer for row in (*after.train, *after.test)].count("refund") == 1


def test_a_new_category_is_walked_through(task, log, ask):
    texts = [f"{LOAN[n % 8]} {LOAN[(n * 3 + 1) % 8]} {LOAN[n // 8 % 8]} k{n} z{n * 7} question" for n in range(120)]
    ask([(text, "loan") for text in texts[:10]])
    found = retrain(task, log).categories[0]
    assert (found.label, found.declared, found.rows, found.needed) == ("loan", False, 10, needed_examples())
    assert "--new-category" in found.said
    waiting = retrain(task, log, Wanted(declare=["loan: anything about loans"]))
    assert waiting.version is None
    assert f"10 of the {needed_examples()} examples" in waiting.categories[0].said
    assert "loan" not in load_task(task.folder).labels
    ask([(text, "loan") for text in texts[10:]], first=500)
    made = retrain(load_task(task.folder), log)
    assert made.version == 2, made.reason
    assert load_task(task.folder).labels["loan"] == "anything about loans"
    assert set(made.weighed["takes"]) == {"loan"}
    assert "loan" not in load_task(task.folder).instructions


def test_a_label_is_added_to_the_task_file_and_all_else_stays(task):
    path = Path(task.folder) / "task.yaml"
    before = path.read_text("utf-8")
    declare(task, "loan: it's about loans: all of them")
    after = path.read_text("utf-8")
    assert load_task(task.folder).labels["loan"] == "it's about loans: all of them"
    assert [line for line in after.split("\n") if line not in before.split("\n")] == [
        '  "loan": "it\'s about loans: all of them"'
    ]
    path.write_text(before.replace("labels:\n", "labels:\n  # known\n"), "utf-8")
    declare(load_task(task.folder), "loan")
    assert list(load_task(task.folder).labels)[-1] == "loan"
    with pytest.raises(UsageError, match="needs a name"):
        declare(task, ": what")


def test_it_needs_a_version_to_be_better_than(tmp_path, log):
    write_rows(tmp_path / "train.csv", complaints(60, 1))
    write_rows(tmp_path / "test.csv", complaints(30, 2))
    (tmp_path / "task.yaml").write_text(task_text("kasauti/nano"), encoding="utf-8")
    with pytest.raises(UsageError, match="no version is in service"):
        retrain(load_task(tmp_path), log)


def test_killed_at_any_step_it_ends_as_if_it_had_not_been(task, log, ask, tmp_path):
    """SIGKILL at the n-th time that a file gets its name, for some n; then once more to the end."""
    ask([(slang(text), label) for text, label in complaints(240, 5)])
    log.close()
    script = (
        "import os, signal, sys\n"
        "left, real = [int(sys.argv[1])], os.fsync\n"
        "def fsync(handle):\n"
        "    left[0] -= 1\n"
        "    if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(handle)\n"
        "os.fsync = fsync\n"
        "from kasauti.cli.main import main\n"
        "raise SystemExit(main(sys.argv[2:]))\n"
    )
    words = ["retrain", "--task", task.folder, "--calls", str(tmp_path / "calls.db"), "--canary", "5", "--json"]
    killed = 0
    for at in (30, 222):
        done = subprocess.run(
            [sys.executable, "-c", script, str(at), *words], capture_output=True, env=dict(os.environ), check=False
        )
        killed += done.returncode == -signal.SIGKILL
    assert killed == 2
    assert main(words) == 0
    standing = Registry(task).standing()
    assert (sorted(standing.versions), standing.candidate) == ([1, 2], 2)
    lines = [json.loads(line) for line in rows_path(task.folder).read_text("utf-8").splitlines() if line.strip()]
    assert len({line["call"] for line in lines}) == len(lines) == 240


def test_the_command_says_why_there_is_no_version(task, log, capfd, tmp_path):
    log.append([call(1)])
    words = ["retrain", "--task", task.folder, "--calls", str(tmp_path / "calls.db")]
    assert main(words) == 1
    assert "No new version: there is nothing new to learn" in capfd.readouterr().out
    assert main([*words, "--if-due"]) == 0
    assert "no reason to retrain stands" in capfd.readouterr().out
    assert main([*words, "--canary", "200"]) == 2


@pytest.mark.parametrize("kind", ["cron", "systemd", "kubernetes"])
def test_schedules_are_what_their_readers_expect(kind, task, capfd):
    import yaml

    assert main(["retrain", "--task", task.folder, "--schedule", kind, "--canary", "5"]) == 0
    text = capfd.readouterr().out
    assert "--if-due --canary 5" in text
    if kind == "kubernetes":
        made = yaml.safe_load(text)
        assert (made["kind"], made["spec"]["concurrencyPolicy"]) == ("CronJob", "Forbid")
    assert r"a\%b" in schedule("cron", "/a%b", [])


def test_another_kind_of_task_is_refused(task, log):
    with pytest.raises(UsageError, match="retraining from reviews"):
        retrain(dataclasses.replace(task, kind="summarization"), log)
