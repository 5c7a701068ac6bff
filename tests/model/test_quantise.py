"""4-bit base models: every shape loads, and the gradient stays right over evaluations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.llama.configuration_llama import LlamaConfig

from kasauti.core.errors import ModelError
from kasauti.model import adapters, quantise
from kasauti.model.load import load

SETTINGS = adapters.LoraSettings(r=4, dropout=0.0)


@pytest.fixture(scope="module", params=[(64, 128), (64, 100), (56, 52), (72, 33)], ids=str)
def folder(request, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose matrices have rows that are multiples of 64, of 4, of nothing."""
    import shutil

    hidden, mlp = request.param
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=420,
        hidden_size=hidden,
        intermediate_size=mlp,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.1,
    )
    made = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("packed") / "model"))
    (made / "model.safetensors").unlink()
    AutoModelForCausalLM.from_config(config).save_pretrained(made)
    return made


def four_bit(folder: Path) -> Any:
    pytest.importorskip("bitsandbytes")
    return load(str(folder), "/", device="cpu", four_bit=True)


def with_adapter(model: Any) -> Any:
    """An adapter that is not fresh, so that every matrix has a gradient."""
    adapted = adapters.attach(model, SETTINGS, 0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.02 * torch.randn(parameter.shape, generator=generator)
    return adapted


def dequantised(folder: Path, packed: Any) -> Any:
    """The plain float32 model with the very weights that the 4-bit one stands for."""
    from bitsandbytes.functional import dequantize_4bit

    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    named = dict(packed.named_modules())
    for name, module in plain.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            weight = named[name].weight
            module.weight.data = dequantize_4bit(weight.data, weight.quant_state).float().reshape(module.weight.shape)
    return plain


def gradient(model: Any, ids_bt: torch.Tensor) -> torch.Tensor:
    model.train()
    model.zero_grad()
    model(input_ids=ids_bt, labels=ids_bt).loss.backward()
    return torch.cat([p.grad.flatten() for _, p in sorted(model.named_parameters()) if p.requires_grad])


def test_train_evaluate_train_keeps_the_gradient_of_the_dequantised_model(folder):
    loaded = four_bit(folder)
    ids_bt = torch.randint(0, 420, (4, 24), generator=torch.Generator().manual_seed(0))
    plain = with_adapter(dequantised(folder, loaded.model))
    packed = with_adapter(quantise.prepare(loaded.model))
    right, before = gradient(plain, ids_bt), gradient(packed, ids_bt)
    packed.eval()
    with torch.inference_mode():
        packed(input_ids=ids_bt)
    with torch.no_grad():
        packed(input_ids=ids_bt)
    after = gradient(packed, ids_bt)
    assert torch.equal(before, after)
    assert torch.nn.functional.cosine_similarity(after, right, dim=0) >= 0.999


def test_the_weights_are_counted_as_if_they_were_not_packed(folder):
    loaded = four_bit(folder)
    plain = load(str(folder), "/", device="cpu")
    assert loaded.parameters == plain.parameters
    assert adapters.count(quantise.prepare(loaded.model)) == (0, plain.parameters)
    assert loaded.model.num_parameters() > 0
    assert len(quantise.layers(loaded.model)) == 3 * 7
    assert quantise.layers(plain.model) == []


def test_bytes_of_a_weight_are_those_of_a_packed_layer():
    pytest.importorskip("bitsandbytes")
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(1024, 1024, bias=False, compress_statistics=True, quant_type="nf4").to("cpu")
    state = layer.weight.quant_state
    held = layer.weight.numel() + state.absmax.numel() + 4 * state.state2.absmax.numel()
    assert held / 1024**2 == pytest.approx(quantise.BYTES_PER_WEIGHT, rel=0.01)


def test_without_bitsandbytes_it_is_one_line_that_says_what_to_install(monkeypatch, tiny_model):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="bitsandbytes") as caught:
        load(str(tiny_model), "/", device="cpu", four_bit=True)
    assert "\n" not in str(caught.value)
    assert "kasauti[qlora]" in caught.value.mend
    assert caught.value.exit_code == 2
