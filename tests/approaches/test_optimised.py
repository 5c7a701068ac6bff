"""The search for a prompt: what is tried, that the validation rows decide, and what is kept of it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from kasauti.approaches.candidates import Candidate, as_written, candidates, telling_words
from kasauti.approaches.halving import LAST
from kasauti.approaches.optimised import LOG, PromptOptimised, scored
from kasauti.approaches.workbench import Workbench
from kasauti.core.types import Example, Message, PromptSearch
from kasauti.data.split import load_split


def budget(task, **given):
    return dataclasses.replace(task, prompt_search=PromptSearch(**{"candidates": 6, "rows": 12, **given}))


def fit(here, task, split=None, rewriter=None):
    split = split or here.split
    approach = PromptOptimised(Workbench(task), rewriter)
    return approach.fit(split.train, split.validation_choose, split.validation_calibrate)


def test_the_first_candidate_is_the_tasks_own_and_no_two_are_alike(place):
    here = place()
    made = candidates(here.task, here.split.train, 200, 7)
    assert made[0] == as_written(here.task)
    assert len(made) > 40
    assert len({tuple(one.made_of.values()) for one in made}) == len(made)
    assert candidates(here.task, here.split.train, 200, 7) == made
    assert candidates(here.task, here.split.train, 200, 8) != made


@pytest.mark.parametrize("number", [1, 2, 8, 16])
def test_of_few_candidates_half_have_examples_and_no_instructions_crowd_out_others(place, number):
    here = place()
    made = candidates(here.task, here.split.train, number, 7)
    assert len(made) == number
    with_shots = sum(bool(one.shots) for one in made)
    assert abs(2 * with_shots - number) <= 2
    if number == 16:
        told = [one.made_of["instructions"] for one in made]
        assert max(map(told.count, told)) <= 8
        assert len(set(told)) == 4


def test_every_candidate_says_what_an_answer_may_be(place):
    here = place()
    for one in candidates(here.task, here.split.train, 200, 7):
        said = one.system(here.task) + " ".join(answer for _, answer in one.shots)
        assert all(label in said for label in here.task.labels), one.made_of


def test_worked_examples_come_from_the_training_rows_with_their_own_answers(place):
    here = place()
    known = {(row.text, row.answer) for row in here.split.train}
    shots = [shot for one in candidates(here.task, here.split.train, 200, 7) for shot in one.shots]
    assert shots
    assert set(shots) <= known


def test_a_conversation_has_its_system_turn_examples_earlier_turns_and_the_row(place):
    task = place().task
    one = Candidate(
        instructions="Say which.", descriptions={"card": "", "parcel": "box"}, shots=(("q", "card"),), made_of={}
    )
    turns = (Message(role="system", content="Own."), Message(role="user", content="before"))
    row = Example(id="1", fields={"text": "now"}, template="{text}", answer=None, history=turns)
    made = [(turn.role, turn.content) for turn in one.conversation(task, row)]
    assert made == [
        ("system", "Own.\n\nCategories:\n- card\n- parcel: box"),
        ("user", "q"),
        ("assistant", "card"),
        ("user", "before"),
        ("user", "now"),
    ]
    bare = dataclasses.replace(one, instructions="", descriptions=None)
    plain = dataclasses.replace(row, history=())
    assert [turn.role for turn in bare.conversation(task, plain)] == ["user", "assistant", "user"]


def test_telling_words_are_those_that_a_label_has_and_the_others_lack():
    def row(text: str, label: str) -> Example:
        return Example(id=text, fields={"t": text}, template="{t}", answer=label)

    train = [
        row(f"my {word} is {end}", label)
        for label, word in (("card", "chip"), ("parcel", "courier"))
        for end in ("late", "lost", "late again")
    ]
    made = telling_words(train, ("card", "parcel", "never"))
    assert made == {"card": ["chip"], "parcel": ["courier"], "never": []}


def test_the_validation_rows_to_choose_on_decide_and_the_log_says_how(place, tmp_path):
    here = place()
    task = budget(here.task)
    approach = fit(here, task)
    about, log = approach.about(), approach.log
    best, own = about["search"]["best"], about["search"]["task_prompt"]
    assert best["loss"] <= own["loss"]
    assert best["rows"] == own["rows"] == min(12, len(here.split.validation_choose))
    assert len(about["search_log"]) == len(log) == about["search"]["scores"] == 6 + LAST
    last = [one for one in log if one["round"] == 2]
    assert best["loss"] == min(one["loss"] for one in last)
    approach.save(str(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text("utf-8").splitlines()]
    assert lines == [dict(one) for one in log]
    assert {"candidate", "rows", "loss", "accuracy", "instructions", "labels", "examples"} <= set(lines[0])


def test_other_answers_of_the_calibration_rows_choose_no_other_prompt(place):
    here = place()
    wrong = [dataclasses.replace(row, answer="card") for row in here.split.validation_calibrate]
    split = dataclasses.replace(here.split, validation_calibrate=wrong)
    one, other = fit(here, budget(here.task)), fit(here, budget(here.task), split)
    assert one.prompt == other.prompt
    assert one.prior == other.prior
    assert one.log == other.log


def test_without_rows_to_choose_on_the_prompt_is_the_tasks(place):
    here = place()
    split = dataclasses.replace(here.split, validation_choose=[])
    approach = fit(here, budget(here.task), split)
    assert approach.prompt == as_written(here.task)
    assert approach.log == []
    assert approach.about()["search"]["best"] is None


def test_worked_examples_that_leave_no_room_for_the_row_are_left_out(place):
    here = place()
    long = [dataclasses.replace(row, fields={"text": "money " * 30}) for row in here.split.train]
    task = budget(here.task)
    approach = PromptOptimised(Workbench(task))
    wanted = next(one for one in candidates(task, long, 20, 1) if len(one.shots) == 6)
    made = approach.fitting(wanted)
    assert 0 < len(made.shots) < 6
    assert made.shots == wanted.shots[-len(made.shots) :]
    asker = approach._asker_for(made)
    assert len(asker.prompts([dataclasses.replace(long[0], fields={"text": "a"})])[0]) <= asker.limit / 2


def test_instructions_from_a_rewriter_are_tried_beside_the_others(place):
    here = place()
    seen = []

    def rewriter(task, train):
        seen.append((task.name, len(train)))
        return ["Sort the message into its box."]

    approach = fit(here, budget(here.task, candidates=20), rewriter=rewriter)
    assert seen == [(here.task.name, len(here.split.train))]
    assert "rewritten 1" in {one["instructions"] for one in approach.log}


def test_a_score_forgives_being_too_sure_and_a_liking_for_one_label():
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 3, 200)
    logs = draw.normal(0, 1, (200, 3)) + 2 * np.eye(3)[truth]
    fair = scored(logs, truth)
    assert scored(20 * logs, truth).loss == pytest.approx(fair.loss, abs=0.02)
    liked = scored(logs + np.array([8.0, 0, 0]), truth)
    assert liked.told["prior"] != "plain"
    assert liked.loss == pytest.approx(fair.loss, abs=0.05)
    assert fair.told["accuracy"] > 0.7


def test_the_budget_stands_in_the_key_of_this_approach_and_of_no_other(place):
    from kasauti.decide.fitted import fitted_key

    here = place()
    split, _ = load_split(here.task)
    more = budget(here.task, candidates=9)
    keys = {name: (fitted_key(Workbench(here.task), split, name), fitted_key(Workbench(more), split, name))
            for name in ("prompt_instructions", "prompt_optimised")}  # fmt: skip
    assert keys["prompt_instructions"][0] == keys["prompt_instructions"][1]
    assert keys["prompt_optimised"][0] != keys["prompt_optimised"][1]


def test_a_prompt_for_texts_is_searched_by_what_is_written(place, tiny_model, tmp_path):
    from kasauti.approaches.optimised import WrittenOptimised
    from kasauti.core.task import parse_task

    here = place()
    text = (
        "kind: generation\ninstructions: Copy it.\ninput: '{text}'\ntarget: label\ndata: {train: train.csv}\n"
        f"model: {tiny_model}\nprompt_search: {{candidates: 5, rows: 4}}\n"
    )
    task = parse_task(text, folder=here.task.folder)
    made = candidates(task, here.split.train, 50, 7)
    assert made[0] == as_written(task)
    assert {one.made_of["instructions"] for one in made} == {"as written", "like the examples", "none"}
    assert all(one.shots or one.instructions for one in made)
    approach = WrittenOptimised(Workbench(task)).fit(here.split.train, here.split.validation_choose, [])
    assert approach.about()["search"]["best"]["loss"] == min(one["loss"] for one in approach.log if one["round"] == 2)
    assert all(0 <= one["loss"] <= 1 for one in approach.log)
    approach.save(str(tmp_path))
    again = WrittenOptimised(Workbench(task)).load(str(tmp_path))
    rows = here.split.test[:2]
    assert again.prompt == approach.prompt
    assert [p.raw for p in again.predict(rows)] == [p.raw for p in approach.predict(rows)]
