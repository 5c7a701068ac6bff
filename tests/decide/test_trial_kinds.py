"""A trial of the kinds of task whose answers are texts: the same document, verdict, report and resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import complaints, write_rows

from kasauti.approaches.catalogue import make, names_for
from kasauti.approaches.workbench import Workbench
from kasauti.cli.main import main
from kasauti.core.errors import UsageError
from kasauti.core.task import load_task
from kasauti.core.types import Ended
from kasauti.data.split import load_split
from kasauti.decide.trial import Trial, run_trial

SAID = {"refund": "pay it back", "card": "send a card", "parcel": "ask the courier"}


def write_task(folder: Path, model: Path, kind: str, extra: str = "", answers: dict[str, str] = SAID) -> Path:
    """A task folder of this kind: complaints, and what is to be done about them."""
    folder.mkdir()
    for name, count, seed in (("train", 90, 1), ("test", 30, 2)):
        rows = [(text, answers[label], f"assert {label!r}") for text, label in complaints(count, seed)]
        write_rows(folder / f"{name}.csv", rows, ("text", "todo", "check"))
    (folder / "task.yaml").write_text(
        f"name: todo\nkind: {kind}\ninstructions: Say what is to be done.\n"
        'input: "Complaint: {text}"\ntarget: todo\n'
        f"data: {{train: train.csv, test: test.csv}}\nmodel: {model}\ntrain: {{epochs: 1, batch: 16, r: 4}}\n{extra}",
        encoding="utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Trial:
    folder = write_task(tmp_path_factory.mktemp("kinds") / "task", tiny_model, "generation")
    return run_trial(load_task(folder), names_for("generation"))


def test_every_approach_that_writes_is_judged_and_every_pair_compared(judged):
    document = judged.document
    assert [one["name"] for one in document["approaches"]] == list(names_for("generation"))
    assert document["failed"] == []
    assert len(document["comparisons"]) == 10
    assert document["metric"] == "exact_match"
    for one in document["approaches"]:
        assert one["rows"] == 30
        assert one["latency_ms"]["p50"] > 0
        assert one["per_class"] == {}
        assert one["log_loss"] is one["ece"] is one["acceptance"] is None


def test_the_nearest_answer_wins_over_a_model_that_knows_nothing_and_ships(judged):
    by_name = {one["name"]: one for one in judged.document["approaches"]}
    assert by_name["nearest"]["accuracy"]["value"] > 0.9
    assert by_name["prompt_none"]["accuracy"]["value"] == 0
    assert by_name["prompt_none"]["invalid_rate"] == 1  # an untrained model never ends its turn
    assert judged.document["verdict"]["ship"] == "nearest"
    assert any(judged.shipped.iterdir())


def test_wrong_rows_to_read_are_those_of_lowest_score(judged):
    errors = judged.document["errors"]
    assert errors["confused_pairs"] == errors["label_next"] == []
    assert judged.document["confusion"] is None
    assert all(row["score"] < 1 for row in errors["rows"])


def test_its_report_leaves_out_what_only_labels_have(judged):
    page = (judged.folder / "report.html").read_text("utf-8")
    assert "Nearest training answer" in page
    assert "Confusion" not in page


def test_the_same_command_finds_the_finished_trial(judged):
    task = load_task(judged.folder.parents[2])
    again = run_trial(task, names_for("generation"), lambda *told: pytest.fail(f"did {told}"))
    assert again.document == judged.document


def test_answers_for_a_file_come_from_what_is_shipped(judged, capfd):
    folder = judged.folder.parents[2]
    assert main(["predict", str(folder / "test.csv"), "--task", str(folder), "--json"]) == 0
    answers = json.loads(capfd.readouterr().out)["answers"]
    assert len(answers) == 30
    assert {one["answer"] for one in answers} == set(SAID.values())
    assert all(one["confidence"] is None and not one["accepted"] for one in answers)


def test_a_summary_is_judged_by_its_own_figure_and_the_verdict_says_so(tmp_path, tiny_model):
    folder = write_task(tmp_path / "task", tiny_model, "summarization")
    document = run_trial(load_task(folder), ["nearest", "prompt_instructions"]).document
    assert document["metric"] == "rougeL"
    assert document["comparisons"][0]["test"] in ("paired_bootstrap", "mcnemar_exact")
    assert "of 100 in rougeL on the 30 test rows" in document["verdict"]["because"][0]


def test_code_is_run_with_the_rows_tests(tmp_path, tiny_model):
    answers = {label: f"said = {label!r}" for label in SAID}
    extra = 'code: {program: "{answer}\\n{check} == said"}\n'
    folder = write_task(tmp_path / "task", tiny_model, "code", extra, answers)
    document = run_trial(load_task(folder), ["nearest"]).document
    (one,) = document["approaches"]
    assert document["metric"] == "pass@1"
    assert one["accuracy"]["value"] > 0.9
    assert one["outcomes"]["passed"] + sum(n for name, n in one["outcomes"].items() if name != "passed") == 30


def test_approaches_that_only_know_labels_are_refused_in_one_line(tmp_path, tiny_model):
    folder = write_task(tmp_path / "task", tiny_model, "generation")
    with pytest.raises(UsageError, match="classical does not answer tasks of kind generation"):
        run_trial(load_task(folder), ["classical"])
    assert not (folder / ".kasauti").exists()


def test_a_tuned_model_writes_what_it_was_taught_and_ends_its_turn(tmp_path, tiny_model):
    folder = write_task(tmp_path / "task", tiny_model, "generation", answers=dict.fromkeys(SAID, "it is noted"))
    text = (folder / "task.yaml").read_text("utf-8").replace("epochs: 1, batch: 16", "epochs: 6, batch: 8")
    (folder / "task.yaml").write_text(text, "utf-8")
    task = load_task(folder)
    split, _ = load_split(task)
    tuned: Any = make("tuned", Workbench(task)).fit(split.train, split.validation_choose, split.validation_calibrate)
    given = tuned.predict(split.test)
    assert [p.answer for p in given] == ["it is noted"] * 30
    assert {p.ended for p in given} == {Ended.ANSWERED}
    tuned.save(str(tmp_path))
    again = make("tuned", Workbench(task)).load(str(tmp_path))
    assert [p.answer for p in again.predict(split.test[::-1])] == ["it is noted"] * 30
    assert dict(again.about()) == dict(tuned.about())
