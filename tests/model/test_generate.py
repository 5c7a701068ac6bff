"""Batched generation writes what one row alone would write, and says which answers were cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import ARCHITECTURES, SLIDING, VOCABULARY, fresh_network, network

from kasauti.model.generate import Generated, generate
from kasauti.model.prefix import compute_prefix

MOST = 6
TOKENS = st.integers(3, VOCABULARY - 1)
ROWS = st.lists(st.lists(TOKENS, min_size=1, max_size=9), min_size=1, max_size=5)


def alone(model: Any, prompt: list[int], ends: list[int]) -> Generated:
    """transformers' own greedy generation of one row, without padding."""
    ids = torch.tensor([prompt])
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=MOST,
        eos_token_id=ends,
        pad_token_id=0,
    )[0, len(prompt) :].tolist()
    stop = next((at for at, token in enumerate(made) if token in ends), None)
    return Generated(tuple(made[:stop]), stop is not None)


@torch.no_grad()
def by_hand(model: Any, prompt: list[int]) -> list[int]:
    """The most probable token, again and again, each from a plain pass over all that is there."""
    ids = list(prompt)
    for _ in range(MOST):
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_writes_what_each_row_writes_alone(name):
    model = network(name)

    @settings(max_examples=5, deadline=None)
    @given(
        start=st.lists(TOKENS, max_size=6),
        rest=ROWS,
        ends=st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12, unique=True),
        shared=st.integers(0, 9),
    )
    def holds(start, rest, ends, shared):
        prompts = [[*start, *ids] for ids in rest]
        ids = prompts[0][:shared]  # what all begin with, less of it, or more
        prefix = compute_prefix(model, ids) if ids else None
        found = generate(model, prompts, end_ids=ends, max_new_tokens=MOST, prefix=prefix)
        assert found == [alone(model, p, ends) for p in prompts]

    holds()


def test_rows_of_very_different_lengths_keep_their_beginning_in_a_sliding_window():
    """The padding between a beginning and a short row must not count as distance."""
    model, start = network("mistral_sliding"), [7, 8, 9]
    prompts = [[*start, 20], [*start, *range(20, 36)]]
    assert len(prompts[1]) + MOST > SLIDING > len(prompts[0]) + MOST
    prefix = compute_prefix(model, start)
    found = generate(model, prompts, end_ids=[0], max_new_tokens=MOST, prefix=prefix)
    assert found == [alone(model, prompt, [0]) for prompt in prompts]
    assert found == generate(model, prompts, end_ids=[0], max_new_tokens=MOST)


def test_an_answer_stops_before_the_end_of_turn_and_the_others_are_marked_as_cut():
    model = network("llama")
    prompts = [[n, n + 1] for n in range(3, 40, 4)]
    free = [by_hand(model, prompt) for prompt in prompts]
    end = free[0][2]
    found = generate(model, prompts, end_ids=[end], max_new_tokens=MOST)
    for made, tokens in zip(found, free, strict=True):
        stop = tokens.index(end) if end in tokens else None
        assert made == Generated(tuple(tokens[:stop]), stop is not None)
    assert {made.ended for made in found} == {True, False}


def test_settings_that_come_with_the_model_do_not_make_it_less_than_greedy():
    """A model's own generation_config may ask for sampling, a penalty, beams or suppressed tokens."""
    model = fresh_network("llama")
    prompt = [5, 9, 5, 9]
    wanted = by_hand(model, prompt)
    for name, value in {
        "do_sample": True,
        "temperature": 5.0,
        "repetition_penalty": 9.0,
        "no_repeat_ngram_size": 1,
        "num_beams": 3,
        "suppress_tokens": wanted[:1],
        "forced_bos_token_id": 4,
        "min_new_tokens": 4,
        "max_length": 5,
    }.items():
        setattr(model.generation_config, name, value)
    assert generate(model, [prompt], end_ids=[0], max_new_tokens=MOST) == [Generated(tuple(wanted), False)]


def test_small_batches_keep_the_order_of_the_rows():
    model = network("qwen2")
    prompts = [[7] * n + [n + 8] for n in (9, 1, 5, 20, 2)]
    finished: list[int] = []
    found = generate(model, prompts, end_ids=[0], max_new_tokens=MOST, batch_tokens=30, progress=finished.append)
    assert found == [alone(model, prompt, [0]) for prompt in prompts]
    assert sum(finished) == len(prompts)
    assert len(finished) > 1


def test_no_rows_give_no_answers():
    assert generate(network("llama"), [], end_ids=[0], max_new_tokens=MOST) == []
