"""One approach at a time: fitted once, asked once, found again, and gone on with after a kill."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import complaints, write_rows

from kasauti.approaches.catalogue import DEFAULT, make
from kasauti.approaches.workbench import Workbench
from kasauti.core.task import load_task
from kasauti.core.types import Ended, Prediction, Split, Task
from kasauti.data.split import load_split
from kasauti.decide.fitted import LATENCY_ROWS, fit_and_answer, fitted_key, has_answers, pack, unpack

SHARE = st.floats(0, 1)
ANSWERS = st.lists(
    st.builds(
        Prediction,
        answer=st.none() | st.sampled_from(["a", "b"]),
        ended=st.sampled_from(Ended),
        confidence=st.none() | SHARE,
        probabilities=st.builds(lambda a, b: {"a": a, "b": b}, SHARE, SHARE),
        raw=st.text(max_size=9),
        seconds=SHARE,
        input_tokens=st.integers(0, 99),
        output_tokens=st.integers(0, 99),
        cost=SHARE,
    ),
    max_size=5,
)


@pytest.fixture
def made(make_task: Callable[..., Path]) -> tuple[Task, Split]:
    task = load_task(make_task(rows=60, test=9))
    return task, load_split(task)[0]


def key(task: Task, split: Split, name: str = "tuned") -> str:
    return fitted_key(Workbench(task), split, name)


@settings(max_examples=40)
@given(ANSWERS)
def test_predictions_come_back_from_disk_as_they_were_but_for_the_seventh_digit(answers):
    again = unpack(pack(answers))
    assert [dataclasses.replace(p, probabilities=None) for p in again] == [
        dataclasses.replace(p, probabilities=None) for p in answers
    ]
    for one, other in zip(again, answers, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, rel=1e-5)


def test_predictions_without_probabilities_come_back_without():
    answers = [
        Prediction(answer=None, ended=Ended.FAILED),
        Prediction(answer="a", probabilities={"a": 0.75, "b": 0.25}),
    ]
    assert unpack(pack(answers)) == answers
    assert unpack(pack([])) == []


def test_an_approach_is_fitted_and_asked_once(made):
    task, split = made
    assert not has_answers(Workbench(task), split, "classical")
    first = fit_and_answer(Workbench(task), split, "classical")
    assert has_answers(Workbench(task), split, "classical")
    told: list[str] = []
    bench = Workbench(task, lambda stage, done, total, remark="": told.append(stage))
    assert fit_and_answer(bench, split, "classical") == first
    assert told == []


def test_what_a_fit_leaves_is_complete(made):
    task, split = made
    one = fit_and_answer(Workbench(task), split, "prompt_instructions")
    assert len(one.predictions) == len(one.generated) == len(split.test)
    assert len(one.latencies) == min(LATENCY_ROWS, len(split.validation))
    assert all(seconds > 0 for seconds in one.latencies)
    assert one.fit_seconds > 0
    assert one.device in ("cpu", "gpu")
    assert one.about["temperature"] > 0
    assert one.about["calibration"]["rows"] == len(one.held_out) == len(split.validation_calibrate)
    assert one.strange == []


def test_inputs_of_no_label_are_answered_once_and_need_no_other_fit(made):
    task, split = made
    odd = [dataclasses.replace(row, id=f"odd{row.id}", answer=None) for row in split.train[:5]]
    one = fit_and_answer(Workbench(task), split, "classical", odd)
    assert all(p.log_mass is not None for p in one.strange)
    assert len(one.strange) == 5
    assert fit_and_answer(Workbench(task), split, "classical", odd) == one
    assert fit_and_answer(Workbench(task), split, "classical").folder == one.folder


def test_what_is_said_of_calibration_rows_is_by_a_calibration_that_has_not_seen_them(made):
    task, split = made
    one = fit_and_answer(Workbench(task), split, "classical")
    seen = make("classical", Workbench(task)).load(str(one.folder)).predict(split.validation_calibrate)
    assert [p.answer for p in seen] == [p.answer for p in one.held_out]
    assert [p.confidence for p in seen] != pytest.approx([p.confidence for p in one.held_out])


def test_other_test_rows_are_asked_without_another_fit(made):
    task, split = made
    fit_and_answer(Workbench(task), split, "classical")
    write_rows(Path(task.folder) / "test.csv", complaints(6, 9))
    other, _ = load_split(task)
    assert key(task, other, "classical") == key(task, split, "classical")
    assert not has_answers(Workbench(task), other, "classical")
    assert len(fit_and_answer(Workbench(task), other, "classical").predictions) == 6
    assert has_answers(Workbench(task), split, "classical")


def test_answers_follow_the_rows_when_the_test_file_is_sorted_otherwise(made):
    task, split = made
    first = fit_and_answer(Workbench(task), split, "classical").predictions
    turned = dataclasses.replace(split, test=split.test[::-1])
    assert fit_and_answer(Workbench(task), turned, "classical").predictions == first[::-1]


@pytest.mark.parametrize("name", DEFAULT)
def test_prices_margins_and_names_do_not_ask_for_another_fit(made, name):
    task, split = made
    business = dataclasses.replace(task.business, margin=0.3, gpu_per_hour=9.0, calls_per_month=1.0)
    other = dataclasses.replace(task, business=business, name="other", fallback="card")
    if name == "cascade":  # its threshold may lose the margin
        assert key(other, split, name) != key(task, split, name)
        other = dataclasses.replace(other, business=dataclasses.replace(business, margin=task.business.margin))
    assert key(other, split, name) == key(task, split, name)


def test_a_cascade_is_made_of_the_fits_that_are_there_and_costs_what_they_cost(made, monkeypatch):
    task, split = made
    task = dataclasses.replace(task, cascade=("majority", "classical"))
    members = [fit_and_answer(Workbench(task), split, name) for name in ("majority", "classical")]
    before = {path: path.stat().st_mtime_ns for one in members for path in one.folder.rglob("*")}
    monkeypatch.setattr("kasauti.approaches.classical.Classical.fit", None)
    one = fit_and_answer(Workbench(task), split, "cascade")
    assert {path: path.stat().st_mtime_ns for one in members for path in one.folder.rglob("*")} == before
    assert one.fit_seconds >= sum(member.fit_seconds for member in members)
    assert one.about["members"] == ["majority", "classical"]
    for place, member in zip(("cheap", "dear"), members, strict=True):
        held = sorted(path.relative_to(member.folder) for path in member.folder.rglob("*"))
        assert sorted(path.relative_to(one.folder / place) for path in (one.folder / place).rglob("*")) == held
    for answer, *both in zip(one.predictions, *(member.predictions for member in members), strict=True):
        assert (answer.answer, answer.confidence) in [(other.answer, pytest.approx(other.confidence)) for other in both]
    assert fit_and_answer(Workbench(task), split, "cascade") == one


def test_members_that_nobody_judged_are_fitted_once_for_the_cascade_and_the_trial(made):
    task, split = made
    task = dataclasses.replace(task, cascade=("majority", "classical"))
    fit_and_answer(Workbench(task), split, "cascade")
    assert not has_answers(Workbench(task), split, "classical")
    folder = next((Path(task.folder) / ".kasauti" / "approaches").glob("classical-*"))
    before = (folder / "fitted.json").stat().st_mtime_ns
    fit_and_answer(Workbench(task), split, "classical")
    assert (folder / "fitted.json").stat().st_mtime_ns == before


def test_what_a_cascade_and_retrieval_depend_on_asks_for_another_fit(made, tmp_path):
    task, split = made
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "modules.json").write_text(f'["{name}"]')
    others = [
        key(task, split, "cascade"),
        key(dataclasses.replace(task, cascade=("majority", "tuned")), split, "cascade"),
        key(dataclasses.replace(task, cascade=("tuned", "majority")), split, "cascade"),
        key(dataclasses.replace(task, train={**task.train, "r": 8}), split, "cascade"),
        key(task, split, "retrieval"),
        *(
            key(dataclasses.replace(task, embedding_model=str(tmp_path / model)), split, name)
            for model in ("one", "other")
            for name in ("retrieval", "classical_embedding")
        ),
        key(dataclasses.replace(task, instructions="Other."), split, "retrieval"),
        key(task, dataclasses.replace(split, train=split.train[1:]), "retrieval"),
    ]
    assert len(set(others)) == len(others)
    plain = key(task, split, "classical")
    assert key(dataclasses.replace(task, embedding_model=str(tmp_path / "one")), split, "classical") == plain


def test_what_a_fit_depends_on_asks_for_another(made, tmp_path, tiny_model):
    task, split = made
    copy = shutil.copytree(tiny_model, tmp_path / "model")
    config = (copy / "config.json").read_text("utf-8")
    (copy / "config.json").write_text(config + " ", encoding="utf-8")
    others = [
        key(dataclasses.replace(task, train={**task.train, "r": 8}), split),
        key(dataclasses.replace(task, instructions="Other."), split),
        key(dataclasses.replace(task, input="Text: {text}"), split),
        key(dataclasses.replace(task, labels=dict(reversed(task.labels.items()))), split),
        key(dataclasses.replace(task, model=str(copy)), split),
        key(task, dataclasses.replace(split, train=split.train[1:])),
        key(task, dataclasses.replace(split, train=split.train[::-1])),
        key(task, dataclasses.replace(split, validation_calibrate=split.validation_choose)),
        *(key(task, split, name) for name in DEFAULT),
    ]
    assert len(set(others)) == len(others)


def test_a_fit_that_was_cut_off_before_its_mark_is_done_again(made):
    task, split = made
    first = fit_and_answer(Workbench(task), split, "classical")
    folder = first.folder.parent
    (folder / "fitted.json").unlink()
    (folder / "model" / "classical.joblib").write_bytes(b"half")
    (folder / "model" / "left.tmp").write_text("left")
    again = fit_and_answer(Workbench(task), split, "classical")
    assert [p.answer for p in again.predictions] == [p.answer for p in first.predictions]
    assert not (folder / "model" / "left.tmp").exists()
