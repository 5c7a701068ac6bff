"""The exact posterior is what one plain pass per label gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.labelled import brute_force, normalised, some_labels
from tests.tiny import ARCHITECTURES, END, SIZES, SLIDING, VOCABULARY, WINDOW, fresh_network, network
from transformers import AutoModelForCausalLM
from transformers.models.gemma2.configuration_gemma2 import Gemma2Config

from kasauti.core.errors import ModelError
from kasauti.model import attention, padded
from kasauti.model.adapters import LoraSettings, attach
from kasauti.model.engine import Engine
from kasauti.model.fits import packs
from kasauti.model.labels import build_trie
from kasauti.model.posterior import label_log_probabilities, tokens_for
from kasauti.model.prefix import compute_prefix

TOKENS = st.integers(3, VOCABULARY - 1)
FEW = st.integers(3, 6)  # few tokens make shared beginnings, and labels that begin others
ENDED = st.lists(FEW, max_size=4).map(lambda ids: (*ids, END))
BARE = st.lists(FEW, min_size=1, max_size=4).map(tuple)
LABELS = st.lists(ENDED | BARE, min_size=1, max_size=6, unique=True).map(
    lambda made: {f"l{at}": list(ids) for at, ids in enumerate(made)}
)
PROMPTS = st.tuples(
    st.lists(TOKENS, max_size=5), st.lists(st.lists(TOKENS, min_size=1, max_size=8), min_size=1, max_size=4)
).map(lambda parts: [[*parts[0], *rest] for rest in parts[1]])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_posterior_equals_one_plain_pass_per_label(name):
    model = network(name)

    @settings(max_examples=12, deadline=None)
    @given(prompts=PROMPTS, labels=LABELS, batch=st.sampled_from([1, 17, 40, 8192]), given_prefix=st.integers(0, 12))
    def holds(prompts, labels, batch, given_prefix):
        ids = prompts[0][:given_prefix]  # short enough, too long, or not what the others begin with
        prefix = compute_prefix(model, ids) if ids else None
        trie = build_trie(labels)
        joint = label_log_probabilities(model, prompts, trie, prefix=prefix, normalise=False, batch_tokens=batch)
        wanted = brute_force(model, prompts, labels)
        np.testing.assert_allclose(joint, wanted, atol=1e-4)
        logs = label_log_probabilities(model, prompts, trie, prefix=prefix, batch_tokens=batch)
        np.testing.assert_allclose(logs, normalised(wanted), atol=1e-4)
        np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1, atol=1e-12)

    holds()


@pytest.mark.parametrize("count", [2, 12, 77, 150, 1000])
def test_any_number_of_labels_is_exact_in_one_pass_and_in_pieces(count):
    model, labels = network("llama"), some_labels(count)
    prompts = [[9, 8, 7, 10], [9, 8, 11, 12, 13, 30, 4]][: 1 if count > 200 else 2]
    wanted = normalised(brute_force(model, prompts, labels))
    for batch in (None, 100):
        logs = label_log_probabilities(model, prompts, build_trie(labels), batch_tokens=batch)
        np.testing.assert_allclose(logs, wanted, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(prompts=PROMPTS, labels=LABELS, batch=st.sampled_from([1, 30, 8192]))
def test_networks_whose_attention_cannot_be_replaced_get_the_same(prompts, labels, batch):
    model, trie = network("qwen2"), build_trie(labels)
    logs = label_log_probabilities(model, prompts, trie, batch_tokens=batch)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kasauti.model.posterior.packs", lambda model: False)
        other = label_log_probabilities(model, prompts, trie, batch_tokens=batch)
    np.testing.assert_allclose(logs, other, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_asked_in_packed_passes(name):
    assert packs(network(name))


def test_a_network_with_soft_capped_scores_is_not_packed_and_exact_all_the_same(monkeypatch):
    config = Gemma2Config(**{**SIZES, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 5.0}, head_dim=8)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    assert not packs(model)
    labels, prompts = some_labels(60), [[9, 8, 7], [9, 5]]
    wanted = brute_force(model, prompts, labels)
    for logit_bytes in (2**28, 4096):  # whole, and the trie in pieces
        monkeypatch.setattr(padded, "LOGIT_BYTES", logit_bytes)
        found = label_log_probabilities(model, prompts, build_trie(labels), normalise=False)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    best = Engine(model).best(prompts, build_trie(labels))
    assert [one.label for one in best] == wanted.argmax(axis=1).tolist()


@pytest.mark.parametrize("batch", [None, 40])
def test_plain_operations_give_what_the_processors_kernel_gives(batch, monkeypatch):
    """The way that CUDA takes."""
    model, trie = network("llama"), build_trie(some_labels(150))
    prompts = [[9, 8, *range(10, 10 + n)] for n in (1, 3, 3, 9)]
    kernel = label_log_probabilities(model, prompts, trie, batch_tokens=batch)
    monkeypatch.setattr(attention, "_part", lambda q, k, v, scale, *, causal=False, bias=None: attention._math(
        q, k, v, scale, causal=causal, bias=bias))  # fmt: skip
    monkeypatch.setattr(attention, "MATH_SCORES", 999)
    np.testing.assert_allclose(label_log_probabilities(model, prompts, trie, batch_tokens=batch), kernel, atol=1e-4)


def test_bfloat16_is_as_near_as_it_rounds():
    model, trie = fresh_network("llama").to(torch.bfloat16), build_trie(some_labels(77))
    prompts = [[9, 8, *range(10, 10 + n)] for n in (1, 3, 9)]
    exact = label_log_probabilities(network("llama"), prompts, trie)
    found = label_log_probabilities(model, prompts, trie)
    assert np.abs(np.exp(found) - np.exp(exact)).max() < 0.05


def test_the_smaller_the_memory_the_fewer_tokens_in_a_pass():
    model, trie = network("llama"), build_trie(some_labels(150))
    seen: list[int] = []
    model_forward = type(model).forward

    def watched(self, input_ids=None, **given):
        seen.append(input_ids.numel())
        return model_forward(self, input_ids=input_ids, **given)

    prompts = [[9, 8, *range(10, 10 + n)] for n in (1, 3, 9, 4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "forward", watched)
        plenty = label_log_probabilities(model, prompts, trie)
        most = max(seen)
        seen.clear()
        little = label_log_probabilities(model, prompts, trie, memory=2**17)
    np.testing.assert_allclose(plenty, little, atol=1e-4)
    assert max(seen) <= tokens_for(model, 2**17) < most


def test_answers_stand_in_the_order_of_the_rows():
    model, trie = network("llama"), build_trie({"a": [3, END], "b": [4, 5, END], "c": [4, END]})
    prompts = [[7] * n + [n + 8] for n in (9, 1, 5, 20, 2, 13)]
    alone = np.concatenate([label_log_probabilities(model, [prompt], trie) for prompt in prompts])
    finished: list[int] = []
    together = label_log_probabilities(model, prompts, trie, batch_tokens=30, progress=finished.append)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert sum(finished) == len(prompts)
    assert len(finished) > 1


def test_a_prefix_computed_once_serves_many_calls():
    model, trie = network("qwen3"), build_trie({"a": [3, 4, END], "b": [3, 5, END]})
    prefix = compute_prefix(model, [9, 8, 7])
    before = [(keys.clone(), values.clone()) for keys, values in prefix.layers]
    first = label_log_probabilities(model, [[9, 8, 7, 10], [9, 8, 7, 11, 12]], trie, prefix=prefix)
    again = label_log_probabilities(model, [[9, 8, 7, 10], [9, 8, 7, 11, 12]], trie, prefix=prefix)
    np.testing.assert_array_equal(first, again)
    for (keys, values), (old_keys, old_values) in zip(prefix.layers, before, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)


def test_equal_prompts_and_prompts_that_begin_others_are_answered_alike():
    model, labels = network("llama"), {"a": [3, END], "b": [END]}
    prompts = [[9, 8], [9, 8], [9, 8, 7], [9]]
    found = label_log_probabilities(model, prompts, build_trie(labels), normalise=False)
    np.testing.assert_allclose(found, brute_force(model, prompts, labels), atol=1e-4)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_an_attached_adapter_gives_what_its_plain_pass_gives():
    model = attach(fresh_network("llama"), LoraSettings(r=4, alpha=64), seed=1).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # zero in a fresh adapter: it would change nothing
            torch.nn.init.normal_(weight.data, std=0.5)
    labels = {"a": [3, 4, END], "b": [3, END], "c": [6]}
    prompts = [[9, 8, 7], [9, 8, 10, 11], [9, 5]]
    found = label_log_probabilities(model, prompts, build_trie(labels), normalise=False)
    np.testing.assert_allclose(found, brute_force(model, prompts, labels), atol=1e-4)
    assert np.abs(found - brute_force(network("llama"), prompts, labels)).max() > 0.1


def test_no_rows_give_no_answers():
    assert label_log_probabilities(network("llama"), [], build_trie({"a": [3], "b": [4]})).shape == (0, 2)


def test_an_empty_prompt_is_refused():
    with pytest.raises(ModelError, match="without a single token"):
        label_log_probabilities(network("llama"), [[3], []], build_trie({"a": [3], "b": [4]}))


def test_a_prompt_longer_than_the_window_is_refused_with_both_numbers():
    trie = build_trie({"a": [3, 4, END], "b": [END]})
    fits, long = [5] * (WINDOW - 2), [5] * (WINDOW - 1)  # two label tokens are fed, the end is only read
    label_log_probabilities(network("llama"), [fits], trie)
    with pytest.raises(ModelError, match=f"{WINDOW + 1} tokens.*{WINDOW}") as caught:
        label_log_probabilities(network("llama"), [[3], long], trie)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("length", [SLIDING - 3, SLIDING - 2, SLIDING - 1, SLIDING, SLIDING + 9])
def test_within_a_sliding_window_the_answer_is_exact_and_beyond_it_refused(length):
    model, labels = network("mistral_sliding"), {"a": [3, 4, END], "b": [5, END]}
    prompts = [[7 + n % 5 for n in range(length)], [7, 8, 9, 20]]
    if length + 2 > SLIDING:
        with pytest.raises(ModelError, match=f"sliding window of {SLIDING}"):
            label_log_probabilities(model, prompts, build_trie(labels))
        return
    found = label_log_probabilities(model, prompts, build_trie(labels), normalise=False)
    np.testing.assert_allclose(found, brute_force(model, prompts, labels), atol=1e-4)
