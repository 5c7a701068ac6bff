"""The search names the full posterior's argmax, bounds its probability, and opens no branch that cannot hold it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.labelled import some_labels
from tests.model.test_posterior import LABELS, PROMPTS
from tests.tiny import ARCHITECTURES, END, VOCABULARY, fresh_network, network

from kasauti.model.engine import Engine
from kasauti.model.labels import build_trie
from kasauti.model.posterior import label_log_probabilities


def check(model, prompts, trie, **given) -> list:
    """Holds every answer to the full posterior."""
    full = label_log_probabilities(model, prompts, trie)
    found = Engine(model).best(prompts, trie, **given)
    assert [one.label for one in found] == full.argmax(axis=1).tolist()
    for one, line in zip(found, np.exp(full), strict=True):
        assert one.low - 1e-4 <= line[one.label] <= one.high + 1e-4
        assert 0 < one.low <= one.high <= 1 + 1e-9
    return found


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_answer_is_the_argmax_and_its_probability_lies_within_the_bounds(name):
    model = network(name)

    @settings(max_examples=12, deadline=None)
    @given(prompts=PROMPTS, labels=LABELS, batch=st.sampled_from([None, 1, 17]), within=st.sampled_from([None, 0.1]))
    def holds(prompts, labels, batch, within):
        found = check(model, prompts, build_trie(labels), batch_tokens=batch, within=within)
        assert within is None or all(one.high - one.low <= within for one in found)

    holds()


@pytest.mark.parametrize("count", [12, 150, 1000])
def test_many_texts_get_the_answer_of_the_full_posterior(count):
    draw = random.Random(count)
    prompts = [[9, 8, *(draw.randrange(3, VOCABULARY) for _ in range(draw.randint(1, 9)))] for _ in range(60)]
    trie = build_trie(some_labels(count))
    found = check(network("llama"), prompts, trie)
    assert np.mean([one.opened for one in found]) < trie.size


def test_bounds_that_are_asked_to_meet_meet_at_the_exact_probability():
    model, trie = network("qwen3"), build_trie(some_labels(40))
    prompts = [[9, 8, 7], [9, 10, 11, 12]]
    exact = np.exp(label_log_probabilities(model, prompts, trie)).max(axis=1)
    for one, wanted in zip(Engine(model).best(prompts, trie, within=1e-9), exact, strict=True):
        assert one.low == pytest.approx(wanted, abs=1e-4)
        assert one.high - one.low <= 1e-9


def test_of_equal_labels_the_first_of_the_list_is_the_answer():
    model = fresh_network("llama")
    torch.nn.init.zeros_(model.lm_head.weight)  # every token is as probable as any other
    labels = {"b": [7, 4, END], "a": [5, 4, END], "c": [3, 9, END], "longer": [3, 9, 9, END]}
    found = Engine(model).best([[9, 8], [10]], build_trie(labels))
    assert [one.label for one in found] == [0, 0]
    assert all(one.low == pytest.approx(one.high) for one in found)


def test_a_network_that_is_sure_opens_little():
    model = fresh_network("llama")
    model.lm_head.weight.data *= 6
    trie = build_trie(some_labels(300))
    draw = random.Random(1)
    found = check(model, [[9, *(draw.randrange(3, VOCABULARY) for _ in range(6))] for _ in range(30)], trie)
    assert np.mean([one.opened for one in found]) < trie.size / 4


def test_no_rows_give_no_answers_and_every_row_is_counted():
    engine, trie = Engine(network("llama")), build_trie({"a": [3, END], "b": [4, END]})
    assert engine.best([], trie) == []
    told: list[int] = []
    engine.best([[5, at] for at in range(3, 9)], trie, batch_tokens=4, progress=told.append)
    assert sum(told) == 6
