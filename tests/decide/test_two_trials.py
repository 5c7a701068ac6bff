"""A report made again, two trials compared, and a verdict that follows the prices without asking anybody again."""

import json
import shutil
from pathlib import Path

import pytest
from tests.conftest import complaints, task_text, write_rows

from kasauti.approaches.classical import Classical
from kasauti.cli.main import main
from kasauti.core.errors import UsageError
from kasauti.core.files import read_json
from kasauti.core.task import load_task
from kasauti.decide.trial import Trial, run_trial
from kasauti.decide.two_trials import compare_trials, find_trial, redraw

NAMES = ("majority", "classical")
BUSINESS = "business: {calls_per_month: 100000, margin: 0.02, value_per_right_answer: 0.001, price_per_label: 0.05}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "train.csv", complaints(90))
    write_rows(tmp_path / "test.csv", complaints(60, seed=9))
    (tmp_path / "task.yaml").write_text(task_text("kasauti/nano") + BUSINESS, encoding="utf-8")
    return tmp_path


def judged(folder: Path, old: str = "", new: str = "") -> Trial:
    path = folder / "task.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new) if old else text, encoding="utf-8")
    return run_trial(load_task(folder), NAMES)


def test_volume_and_prices_change_the_verdict_and_nobody_is_asked_again(folder, monkeypatch):
    many = judged(folder)
    assert many.document["verdict"]["ship"] == "classical"
    [classical] = [one for one in many.document["approaches"] if one["name"] == "classical"]
    assert classical["label_cost"] == pytest.approx(0.05 * 90)

    def never(*_: object) -> None:
        raise AssertionError("an answer is on disk already")

    monkeypatch.setattr(Classical, "fit", never)
    monkeypatch.setattr(Classical, "predict", never)
    few = judged(folder, "calls_per_month: 100000", "calls_per_month: 100")
    assert few.document["verdict"]["ship"] == "majority", "4.50 for labels are not paid back by 100 calls a month"
    dear = judged(folder, "price_per_label: 0.05", "price_per_label: 0")
    assert dear.document["verdict"]["ship"] == "classical", "without them they are"
    same = [trial.document["approaches"][1]["accuracy"] for trial in (many, few, dear)]
    assert same[0] == same[1] == same[2]
    assert few.document["money"]["calls_per_month"] == 100


def test_a_report_is_made_again_from_its_trial_alone(folder, tmp_path_factory):
    trial = judged(folder)
    page = (trial.folder / "report.html").read_text("utf-8")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(trial.folder / "trial.json", elsewhere / "trial.json")
    assert redraw(find_trial(elsewhere, str(elsewhere))).read_text("utf-8") == page
    (trial.folder / "report.html").unlink()
    assert main(["report", "--task", str(folder)]) == 0
    assert (trial.folder / "report.html").read_text("utf-8") == page


def test_two_trials_of_the_same_rows_are_compared_row_by_row(folder, capfd):
    first = judged(folder)
    wrong = [(text, "card" if label == "refund" and n % 2 else label) for n, (text, label) in enumerate(complaints(60))]
    write_rows(folder / "train.csv", wrong)
    second = judged(folder)
    compared = compare_trials(find_trial(folder, first.id), find_trial(folder, second.id))
    assert compared["paired"]
    [classical] = [one for one in compared["approaches"] if one["name"] == "classical"]
    assert classical["difference"] == pytest.approx(classical["b"]["value"] - classical["a"]["value"])
    assert classical["only_b"] - classical["only_a"] == pytest.approx(classical["difference"] * 60)
    assert classical["difference"] < 0, "it has learnt wrong labels"
    assert any(one.startswith("training rows: ") for one in compared["changed"])
    assert main(["report", first.id[:8], second.id, "--task", str(folder)]) == 0
    said = capfd.readouterr().out
    assert "same 60 test rows" in said
    page = second.folder / f"against-{first.id}.html"
    assert "row by row" in page.read_text("utf-8")


def test_trials_of_other_rows_stand_side_by_side_and_say_so(folder, capfd):
    first = judged(folder)
    write_rows(folder / "test.csv", complaints(60, seed=10))
    second = judged(folder)
    assert main(["report", first.id, second.id, "--task", str(folder), "--json"]) == 0
    compared = json.loads(capfd.readouterr().out)
    assert not compared["paired"]
    assert "different test rows" in compared["why"]
    assert all("p_value" not in one and one["a"]["low"] <= one["a"]["value"] for one in compared["approaches"])


def test_without_the_answers_beside_it_a_trial_is_compared_by_its_intervals(folder):
    first, second = judged(folder), judged(folder, "margin: 0.02", "margin: 0.03")
    (first.folder / "predictions.parquet").unlink()
    compared = compare_trials(find_trial(folder, first.id), find_trial(folder, second.id))
    assert not compared["paired"]
    assert "predictions.parquet" in compared["why"]
    assert compared["changed"] == ["margin: 0.02 → 0.03"]


def test_what_is_no_trial_is_one_line(folder, capfd):
    assert main(["report", "--task", str(folder)]) == 2
    trial = judged(folder)
    assert main(["report", "zzz", "--task", str(folder)]) == 2
    assert trial.id in capfd.readouterr().err
    with pytest.raises(UsageError, match="same trial twice"):
        compare_trials(find_trial(folder, trial.id), find_trial(folder))
    odd = folder / "odd.json"
    odd.write_text("[]", encoding="utf-8")
    with pytest.raises(UsageError, match="is no trial"):
        find_trial(folder, str(odd))
    assert find_trial(folder).document == read_json(trial.folder / "trial.json")
