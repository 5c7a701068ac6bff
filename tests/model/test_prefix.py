"""What prompts begin with is found on ids, and any part of it serves."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import END, network

from kasauti.model.labels import build_trie
from kasauti.model.posterior import label_log_probabilities
from kasauti.model.prefix import alike, common_prefix, compute_prefix

SEQUENCES = st.lists(st.integers(0, 2), max_size=6)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_common_prefix_is_the_longest_that_leaves_every_prompt_a_token(prompts):
    length = common_prefix(prompts)
    assert all(p[:length] == prompts[0][:length] and len(p) > length for p in prompts)
    longer = length + 1
    assert not all(p[:longer] == prompts[0][:longer] and len(p) > longer for p in prompts)


@given(SEQUENCES, SEQUENCES)
def test_two_sequences_are_alike_up_to_where_they_differ(one, other):
    length = alike(one, other)
    assert one[:length] == other[:length]
    assert one[: length + 1] != other[: length + 1] or length == min(len(one), len(other))


def test_the_first_part_of_a_prefix_is_what_would_be_computed_for_it():
    model = network("llama")
    whole = compute_prefix(model, [9, 8, 7, 6, 5])
    for (keys, values), (wanted_keys, wanted_values) in zip(
        whole.first(3).layers, compute_prefix(model, [9, 8, 7]).layers, strict=True
    ):
        torch.testing.assert_close(keys, wanted_keys)
        torch.testing.assert_close(values, wanted_values)
    assert whole.first(9) is whole
    assert whole.first(3).ids == (9, 8, 7)
    assert whole.bytes == 2 * 2 * 2 * 5 * 8 * 4  # layers, keys and values, heads, tokens, size, float32


def test_a_row_that_begins_otherwise_takes_what_it_shares_and_the_rest_take_all():
    model, trie = network("llama"), build_trie({"a": [3, END], "b": [4, END]})
    prompts = [[9, 8, 7, 6, 30], [9, 8, 7, 6, 31], [9, 8, 33, 3], [9], [12, 13]]
    prefix = compute_prefix(model, [9, 8, 7, 6])
    found = label_log_probabilities(model, prompts, trie, prefix=prefix)
    alone = np.concatenate([label_log_probabilities(model, [prompt], trie) for prompt in prompts])
    np.testing.assert_allclose(found, alone, atol=1e-4)
