"""Memory from a network's shape alone: what an 8B model needs, and what makes it fit."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from kasauti.train.memory import COMMON_GPU, activations, checkpointing, memory_of, shape_of, what_fits
from kasauti.train.recipe import Recipe
from kasauti.train.run import trainable

LLAMA_8B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
QLORA = Recipe(method="qlora", batch=16, micro_batch=4, length=512, gradient_checkpointing=True)


@pytest.fixture(scope="module")
def eight():
    """The shape of Llama 3 8B with the default adapter; no weights."""
    with torch.device("meta"):
        return shape_of(trainable(LlamaForCausalLM(LlamaConfig(**LLAMA_8B)), QLORA))


def kept(tokens: int, length: int, checkpointing: bool) -> int:
    return activations(SimpleNamespace(**LLAMA_8B), tokens, length, 2, Recipe(gradient_checkpointing=checkpointing))


def test_an_8b_model_is_trained_in_4_bit_on_a_gpu_of_16_gb_at_batch_4_accumulation_4_length_512(eight):
    memory = memory_of(eight, QLORA, 512, "gpu")
    assert 7e9 < memory.total < 16e9
    fit = what_fits(eight, QLORA, 512, "gpu", COMMON_GPU)
    assert fit is not None
    assert fit.changes == {}


def test_the_same_model_in_16_bit_does_not_fit_there_and_is_told_to_be_in_4_bit(eight):
    recipe = dataclasses.replace(QLORA, method="lora")
    assert memory_of(eight, recipe, 512, "gpu").total > 16e9
    assert what_fits(eight, recipe, 512, "gpu", COMMON_GPU).changes == {"method": "qlora"}


def test_the_adapter_of_an_8b_model_has_about_40_million_weights(eight):
    assert eight.parameters == pytest.approx(8.03e9, rel=0.01)
    assert eight.trainable == pytest.approx(42e6, rel=0.05)


def test_where_4_bit_is_not_enough_the_micro_batch_and_then_the_length_go_down(eight):
    need = memory_of(eight, QLORA, 512, "gpu").total
    assert set(what_fits(eight, QLORA, 512, "gpu", need - 1).changes) == {"micro_batch"}
    least = memory_of(eight, dataclasses.replace(QLORA, micro_batch=1), 512, "gpu").total
    assert set(what_fits(eight, QLORA, 512, "gpu", least - 1).changes) == {"micro_batch", "length"}
    assert what_fits(eight, QLORA, 512, "gpu", 5_000_000_000) is None


@settings(max_examples=30)
@given(free=st.integers(6_000_000_000, 40_000_000_000), micro=st.sampled_from([1, 2, 4, 16]))
def test_what_is_said_to_fit_fits_and_is_a_recipe(eight, free, micro):
    recipe = Recipe(micro_batch=micro, gradient_checkpointing=False)
    fit = what_fits(eight, recipe, 512, "gpu", free)
    if fit is not None:
        changed = dataclasses.replace(recipe, **fit.changes)
        assert changed.batch % changed.micro_batch == 0
        assert memory_of(eight, changed, min(512, changed.length), "gpu").total <= free


def test_an_8b_model_with_checkpointing_keeps_about_two_gigabytes_at_batch_4():
    # 32 layers x 2,048 tokens x 4,096 x 2 bytes = 0.54 GB of layer inputs, one layer and the logits on top
    assert 0.54e9 < kept(4 * 512, 512, True) < 2.2e9
    assert kept(4 * 512, 512, False) > 8 * kept(4 * 512, 512, True)


def test_checkpointing_never_needs_more_and_longer_rows_never_less():
    for length in (64, 128, 256, 512):
        assert kept(4 * length, length, True) < kept(4 * length, length, False)
        assert kept(4 * length, length, True) < kept(8 * length, 2 * length, True)


@settings(max_examples=30)
@given(free=st.integers(1_000_000_000, 100_000_000_000), micro=st.sampled_from([1, 4, 16]))
def test_auto_recomputes_activations_exactly_where_they_would_not_fit(eight, free, micro):
    recipe = Recipe(method="qlora", micro_batch=micro)
    assert recipe.gradient_checkpointing == "auto"
    decided = checkpointing(eight, recipe, 512, "gpu", free, loaded=True)
    without = dataclasses.replace(recipe, gradient_checkpointing=False)
    fits = memory_of(eight, without, 512, "gpu").total <= free
    assert decided == dataclasses.replace(recipe, gradient_checkpointing=not fits)


@pytest.mark.parametrize("said", [True, False])
def test_what_the_recipe_says_of_checkpointing_is_not_decided_again(eight, said):
    recipe = Recipe(gradient_checkpointing=said)
    for free in (0, 10**15):
        assert checkpointing(eight, recipe, 512, "cpu", free, loaded=True) is recipe


def test_an_8b_model_in_4_bit_is_checkpointed_on_16_gb_and_not_on_80(eight):
    for free, on in ((COMMON_GPU, True), (80_000_000_000, False)):
        recipe = Recipe(method="qlora")
        assert checkpointing(eight, recipe, 512, "gpu", free, loaded=True).gradient_checkpointing is on
