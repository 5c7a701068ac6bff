"""What cannot be trained on packed rows is found before training, and then trained on padded ones, which is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import ARCHITECTURES, END, SIZES, fresh_network, word_tokenizer
from transformers import AutoModelForCausalLM

from kasauti.core.types import Supervised
from kasauti.model.adapters import LoraSettings, attach
from kasauti.train.prefix import pack
from kasauti.train.recipe import Recipe
from kasauti.train.rows import IGNORED
from kasauti.train.sharing import packed_rows_in, reason_against, shared_by_all, summed_loss
from kasauti.train.trainer import Trained, run_training


def row(prompt: list[int], answer: list[int]) -> Supervised:
    ids = (*prompt, *answer, END)
    return Supervised(ids=ids, labels=(*[IGNORED] * len(prompt), *answer, END), prefix_length=len(prompt))


ROWS = [row([5, 6, 7, 8, 9, 10 + n], [20 + n % 3]) for n in range(13)]
RECIPE = Recipe(epochs=2, batch=4, micro_batch=2, learning_rate=1e-3, dropout=0.0, gradient_checkpointing=False)


def made(kind: str) -> Any:
    """A network that carries state, one with soft-capped scores, one whose attention is its own."""
    torch.manual_seed(0)
    if kind == "recurrent":
        from transformers.models.mamba.configuration_mamba import MambaConfig

        config: Any = MambaConfig(vocab_size=61, hidden_size=16, num_hidden_layers=2, state_size=4, pad_token_id=0)
    elif kind == "hybrid":
        from transformers.models.lfm2.configuration_lfm2 import Lfm2Config

        config = Lfm2Config(**SIZES, layer_types=["conv", "full_attention"])
    elif kind == "capped":
        from transformers.models.gemma2.configuration_gemma2 import Gemma2Config

        config = Gemma2Config(**SIZES, head_dim=8)
    else:
        from transformers.models.bloom.configuration_bloom import BloomConfig

        config = BloomConfig(vocab_size=61, hidden_size=16, n_layer=2, n_head=2)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_is_said_against_a_network_that_can(architecture):
    network = fresh_network(architecture)
    assert reason_against(network) == ""
    assert not network.training
    assert network.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("kind", ["recurrent", "hybrid", "capped", "own"])
def test_a_network_that_cannot_be_exact_is_refused_with_a_reason(kind):
    reason = reason_against(made(kind))
    assert reason
    assert "\n" not in reason


def test_a_network_that_sees_other_rows_is_found_out_without_declaring_it():
    """A layer that adds the token before: on packed rows, that may be another row's."""
    network = fresh_network("llama")

    def leak(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output + output.roll(1, dims=1)

    network.model.layers[0].mlp.register_forward_hook(leak)
    assert "off by" in reason_against(network)


def trained(model: Any, folder: Path, recipe: Recipe, told: list[str] | None = None) -> Trained:
    def progress(stage: str, done: int, total: int, remark: str = "") -> None:
        if told is not None and stage == "prefix":
            told.append(remark)

    torch.manual_seed(0)
    return run_training(
        model, ROWS, ROWS[:5], recipe, folder, tokenizer=word_tokenizer(), end_ids=(END,), progress=progress
    )


def test_what_is_shared_is_said_and_what_is_not_with_the_reason(tmp_path):
    told: list[str] = []
    model = attach(fresh_network("llama"), LoraSettings(r=2), seed=0)
    assert trained(model, tmp_path / "1", RECIPE, told).sharing == told[0]
    assert "the 5 tokens" in told[0]
    plain = attach(made("hybrid"), LoraSettings(r=2), seed=0)
    assert "conv" in trained(plain, tmp_path / "2", RECIPE, told).sharing
    assert "conv" in told[1]


def test_the_validation_loss_is_the_mean_over_tokens_however_the_rows_are_packed(tmp_path):
    still = Recipe(**{f: getattr(RECIPE, f) for f in RECIPE.__slots__} | {"learning_rate": 1e-12})
    losses = {}
    for sharing in ("auto", "never"):
        recipe = Recipe(**{f: getattr(still, f) for f in still.__slots__} | {"prefix_sharing": sharing})
        model = attach(fresh_network("llama"), LoraSettings(r=2), seed=0)
        losses[sharing] = trained(model, tmp_path / sharing, recipe).best_validation_loss
    assert losses["auto"] == pytest.approx(losses["never"], rel=1e-5)


def test_the_loss_of_a_blank_pass_is_zero_and_reaches_every_trainable_weight():
    network = fresh_network("llama")
    model = attach(network, LoraSettings(r=2), seed=0)
    with packed_rows_in(network):
        loss = summed_loss(model, pack([{"input_ids": [0], "labels": [IGNORED]}]).tensors())
        loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)


def test_what_all_rows_begin_with_is_counted():
    assert shared_by_all(ROWS) == 5
    assert shared_by_all([ROWS[0]]) == len(ROWS[0].ids)
