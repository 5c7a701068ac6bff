"""Asking: what is asked is what was trained, shortened alike, and a shared beginning changes no answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.tiny import plain_log_probability

from kasauti.approaches.ask import SLACK, Asker
from kasauti.approaches.workbench import Workbench
from kasauti.core.types import Ended, Example, Task
from kasauti.data.conversation import messages
from kasauti.train.run import proved_rows


@pytest.fixture(scope="module")
def here(place):
    """One place and one bench for this file."""
    made = place()
    return made, made.bench


def asker(bench: Workbench, most: int | None = None) -> Asker:
    return Asker(
        bench.loaded(), bench.frozen, bench.task, lambda row: messages(bench.task, row, with_answer=False), most
    )


def row_of(task: Task, text: str) -> Example:
    return Example(id="", fields={"text": text}, template=task.input, answer=None)


def test_the_prompts_are_those_of_training_also_where_they_are_shortened(here):
    made, bench = here
    for length in (512, 72):
        recipe = dataclasses.replace(bench.recipe, length=length)
        rows = made.split.train[:20]
        trained, proof = proved_rows(bench.task, rows, bench.frozen, bench.tokenizer, recipe)
        assert asker(bench, length).prompts(rows) == [list(r.ids[: r.prefix_length]) for r in trained]
    assert proof.shortened_rows > 0


def test_a_text_longer_than_the_window_is_shortened_and_answered(here):
    _, bench = here
    asking = asker(bench)
    long = row_of(bench.task, "my card " * 600)
    assert len(asking.prompts([long])[0]) <= 512 - asking.reserve
    assert np.isfinite(asking.log_probabilities([long])).all()


@pytest.mark.parametrize("texts", [["", "my card"], ["a", "a", "a b"], ["Ω≈ç", "पैसा वापस", "<|im_end|>", "{text}"]])
def test_any_text_is_answered_and_the_beginning_computed_ahead_changes_nothing(here, texts):
    _, bench = here
    rows = [row_of(bench.task, text) for text in texts]
    asking, plain = asker(bench), asker(bench)
    plain._beginning = ()
    found = asking.log_probabilities(rows)
    np.testing.assert_allclose(found, plain.log_probabilities(rows), atol=1e-4)
    mass = np.exp(found).sum(axis=1)  # that the model answers with some label at all, among all that it could write
    assert (mass > 0).all()
    assert (mass < 1).all()


def test_the_beginning_is_computed_once_and_stops_before_what_a_row_says(here):
    made, bench = here
    asking = asker(bench)
    asking.log_probabilities(made.split.test[:2])
    beginning = asking.beginning
    assert all(tuple(p[: len(beginning)]) == beginning for p in asking.prompts(made.split.test))
    assert "Complaint" in bench.tokenizer.decode(beginning)
    prefix = asking.engine.prefix(beginning)
    asking.log_probabilities(made.split.test[2:4])
    assert asking.engine.prefix(beginning) is prefix


def test_progress_counts_every_row(here):
    made, bench = here
    told: list[tuple[str, int, int]] = []
    asker(bench).log_probabilities(
        made.split.test, lambda stage, done, total, remark="": told.append((stage, done, total)), "ask"
    )
    assert told[-1] == ("ask", len(made.split.test), len(made.split.test))


def test_an_untrained_model_that_goes_on_writing_is_cut_and_unparsable(here):
    made, bench = here
    asking = asker(bench)
    longest = max(len(edges) for edges in asking.trie.label_edges)
    for one in asking.generate(made.split.test[:4]):
        assert one.output_tokens <= longest + SLACK
        if one.ended is Ended.UNPARSABLE:
            assert one.answer is None
            assert one.raw not in bench.task.labels


def test_labels_of_one_sign_with_spaces_and_in_devanagari_have_the_probability_of_a_plain_pass(here):
    made, bench = here
    names = ["r", "refund", "refund late", "refund later", "पैसा", "पैसा वापस", "पैसा वापस नहीं आया", "card – lost"]
    task = dataclasses.replace(bench.task, labels=dict.fromkeys(names, ""), fallback=None)
    asking = Asker(bench.loaded(), bench.frozen, task, lambda row: messages(task, row, with_answer=False))
    rows = made.split.test[:2]
    ids = [[asking.trie.edge_tokens[edge] for edge in path] for path in asking.trie.label_edges]
    joint = np.array(
        [[plain_log_probability(bench.loaded().model, p, one) for one in ids] for p in asking.prompts(rows)]
    )
    wanted = joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)
    logs = asking.log_probabilities(rows)
    np.testing.assert_allclose(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True), wanted, atol=1e-4)
    np.testing.assert_allclose(logs, joint, atol=1e-4)
    best = asking.engine.best(asking.prompts(rows), asking.trie)
    assert [one.label for one in best] == wanted.argmax(axis=1).tolist()


def test_labels_that_begin_others_are_told_apart(here):
    made, bench = here
    task = dataclasses.replace(
        bench.task, labels=dict.fromkeys(["re", "refund", "refund late", "refund later", "r"], "")
    )
    asking = Asker(bench.loaded(), bench.frozen, task, lambda row: messages(task, row, with_answer=False))
    logs = asking.log_probabilities(made.split.test[:2])
    assert logs.shape == (2, 5)
    assert len(set(np.round(logs[0], 9))) == 5
