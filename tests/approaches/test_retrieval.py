"""Worked examples in the prompt: nearest last, of training rows alone, and as many as the window and the rows bear."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.approaches.prompt import PromptInstructions, listed_instructions
from kasauti.approaches.retrieval import Retrieval, Shots, _shifted, _still_open, matching_offsets
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import ModelError, TaskError
from kasauti.core.types import Message
from kasauti.data.conversation import content


@pytest.fixture(scope="module")
def made(place):
    """A task with its split, and an approach that was fitted on it."""
    here = place()
    split = here.split
    approach = Retrieval(here.bench, shots=(1, 2))
    return here, approach.fit(split.train, split.validation_choose, split.validation_calibrate)


def test_a_prompt_is_the_list_then_the_examples_the_nearest_last_then_the_row(made):
    here, approach = made
    row = here.split.test[0]
    near = approach.shots_of([row])[0]
    system, *turns = approach.asker._shown(row, near)
    assert system.content == listed_instructions(here.task)
    assert [turn.role for turn in turns] == ["user", "assistant"] * len(near) + ["user"]
    assert [turn.content for turn in turns[-3:]] == [near[0].text, near[0].answer, row.text]


def test_examples_are_training_rows_and_the_number_that_was_chosen(made):
    here, approach = made
    known = {row.text for row in here.split.train}
    for near in approach.shots_of(here.split.test):
        assert len(near) == approach.count
        assert {row.text for row in near} <= known
    assert approach.chosen["index_rows"] == len({content(row) for row in here.split.train})


def test_a_row_of_several_turns_keeps_its_own_instructions_and_turns_behind_the_examples(made):
    here, approach = made
    history = (Message(role="system", content="Own."), Message(role="user", content="Hi"),
               Message(role="assistant", content="Yes?"))  # fmt: skip
    row = dataclasses.replace(here.split.test[0], history=history)
    near = approach.shots_of([row])[0]
    shown = approach.asker._shown(row, near)
    assert shown[0].content.startswith("Own.")
    assert [turn.content for turn in shown[-3:]] == ["Hi", "Yes?", row.text]


@pytest.mark.parametrize("room", [0, 40, 90, 10_000])
def test_a_short_window_loses_the_farthest_examples_and_never_a_part_of_the_row(made, room):
    here, approach = made
    row = here.split.test[0]
    near = Retrieval.shots_of(approach, [row])[0]
    near = [*near, *here.split.train[:4]]
    plain = PromptInstructions(here.bench).conversation
    bench = here.bench
    asker = Shots(bench.loaded(), bench.frozen, here.task, plain, shots_of=lambda rows: [near for _ in rows])
    alone = asker.renderer.render_prompt(plain(row))
    asker.limit = len(alone) + room
    (ids,) = asker.prompts([row])
    assert len(ids) <= asker.limit
    assert bench.tokenizer.decode(ids).count(row.text) == 1
    shown = [shot for shot in near if shot.text in bench.tokenizer.decode(ids)]
    if room == 0:
        assert ids == alone
    if room == 10_000:
        assert shown == near
    assert shown == near[: len(shown)] or room not in (0, 10_000)


def test_answers_are_the_posterior_of_prompts_with_examples_whatever_is_shared(made):
    """Against the same prompts asked one at a time with nothing kept between them."""
    here, approach = made
    rows = here.split.test[:3]
    logs = approach.asker.log_probabilities(rows)
    from kasauti.model.posterior import label_log_probabilities

    for at, prompt in enumerate(approach.asker.prompts(rows)):
        alone = label_log_probabilities(
            here.bench.loaded().model, [prompt], approach.asker.trie, prefix=None, normalise=False
        )
        np.testing.assert_allclose(logs[at], alone[0], atol=1e-4)


def test_with_an_embedding_model_the_way_of_finding_is_chosen_and_kept(place, tiny_embedder, tmp_path):
    here = place(f"embedding_model: {tiny_embedder}\n")
    split = here.split
    approach = Retrieval(here.bench, shots=(1,)).fit(split.train, split.validation_choose, split.validation_calibrate)
    assert set(approach.chosen["accuracy_of_neighbours_alone"]) == {"words", "meaning", "both"}
    approach.way = "both"
    approach.save(str(tmp_path))
    again = Retrieval(Workbench(here.task)).load(str(tmp_path))
    assert again.shots_of(split.test) == approach.shots_of(split.test) or [
        [row.text for row in near] for near in again.shots_of(split.test)
    ] == [[row.text for row in near] for near in approach.shots_of(split.test)]
    with pytest.raises(TaskError, match="no embedding model"):
        Retrieval(Workbench(dataclasses.replace(here.task, embedding_model=None))).load(str(tmp_path))
    (tiny_embedder / "extra.json").write_text("{}")
    try:
        with pytest.raises(ModelError, match="hash"):
            Retrieval(Workbench(here.task)).load(str(tmp_path))
    finally:
        (tiny_embedder / "extra.json").unlink()


def test_without_rows_to_choose_on_nothing_is_chosen_and_no_bias_is_taken_out(place):
    here = place()
    approach = Retrieval(here.bench, shots=(1, 2)).fit(here.split.train, (), ())
    assert (approach.count, approach.way, approach.offsets) == (2, "words", [])
    assert len(approach.predict(here.split.test[:2])) == 2


LOGS = st.lists(st.lists(st.floats(-20, 0), min_size=3, max_size=3), min_size=1, max_size=30)


@given(LOGS, st.sampled_from([(0.2, 0.3, 0.5), (1 / 3, 1 / 3, 1 / 3)]))
def test_offsets_bring_the_labels_shares_nearer_to_those_of_the_training_rows(logs, shares):
    made = np.array(logs)
    moved = _shifted(made, matching_offsets(made, shares))

    def gap(of):
        told = np.exp(of - np.logaddexp.reduce(of, axis=1, keepdims=True)).mean(axis=0)
        return float(np.sum(np.array(shares) * np.log(np.array(shares) / told)))

    assert gap(moved) <= gap(made) + 1e-9
    np.testing.assert_allclose(np.logaddexp.reduce(moved, axis=1), np.logaddexp.reduce(made, axis=1), atol=1e-9)


def test_a_bias_for_one_name_is_taken_out_without_a_look_at_an_answer():
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 4, 200)
    logs = draw.normal(size=(200, 4)) + 3.0 * (np.arange(4) == truth[:, None]) + np.array([6.0, 0, 0, 0])
    moved = logs + np.array(matching_offsets(logs, [0.25] * 4))
    assert (logs.argmax(axis=1) == truth).mean() < 0.35
    assert (moved.argmax(axis=1) == truth).mean() > 0.9


def test_what_is_clearly_worse_is_given_up_and_what_is_close_is_not():
    good, close, bad = [True] * 30 + [False] * 2, [True] * 27 + [False] * 5, [True] * 8 + [False] * 24
    assert _still_open({2: bad, 4: close, 8: good}) == [4, 8]
    assert _still_open({2: good, 4: good}) == [2, 4]
