"""An adapter made part of the weights that it was trained on, saved as a model of its own.

Walks in: a base model, the folder of its adapter. Walks out: a model folder in Hugging Face format. It knows no rows;
that the merged model answers as the adapter did is proved elsewhere (`registry.merged`).

A 4-bit base is dequantised first: the adapter was trained against those values. Merged into the 16-bit weights that
they were made from it would be another model (peft issues 1043, 2321), and merged in 4 bit the sum would be rounded
again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from kasauti.core.errors import ModelError
from kasauti.core.files import read_json
from kasauti.model import quantise
from kasauti.model.adapters import load_adapter
from kasauti.model.load import Loaded


def merge_adapter(base: Loaded, adapter: str, folder: Path) -> str:
    """Merge and save model and tokenizer into an empty folder; the base is changed, so hand in a fresh copy.

    Returns:
        The dtype of the saved weights, such as `float32`.

    Raises:
        ModelError: the adapter does not fit or is off on a prefix, or the sum is no number.
    """
    _check_on_everywhere(adapter)
    plain = dequantised(base.model) if quantise.layers(base.model) else base.model
    adapted = load_adapter(plain, adapter)
    try:
        merged = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:  # infinities or NaN
        raise ModelError(f"the adapter cannot be merged: {error}", where=adapter, mend="train again") from error
    if merged.config.get_text_config().tie_word_embeddings:  # trained embeddings are the output's weights too
        merged.tie_weights()
    merged.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return str(next(merged.parameters()).dtype).removeprefix("torch.")


def _check_on_everywhere(adapter: str) -> None:
    """PEFT refuses an activated adapter too, in words about a method of its own."""
    if read_json(Path(adapter) / "adapter_config.json").get("alora_invocation_tokens"):
        raise ModelError(
            "the adapter is off on what every prompt begins with, and merged weights would be on everywhere",
            where=adapter,
            mend="keep it beside its base, or train without constant_prefix",
        )


@torch.no_grad()
def dequantised(model: Any) -> Any:
    """The same network with every 4-bit layer as a plain one, in the dtype that its weights had before they were
    quantised."""
    from bitsandbytes.functional import dequantize_4bit

    for layer in quantise.layers(model):
        name = next(name for name, module in model.named_modules() if module is layer)
        state = layer.weight.quant_state
        weight = dequantize_4bit(layer.weight.data, state).to(state.dtype).reshape(state.shape)
        plain = torch.nn.Linear(
            layer.in_features, layer.out_features, bias=layer.bias is not None, device=weight.device, dtype=weight.dtype
        )
        plain.weight = torch.nn.Parameter(weight, requires_grad=False)
        if layer.bias is not None:
            plain.bias = torch.nn.Parameter(layer.bias.data.to(weight.dtype), requires_grad=False)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, plain)
    # The library would save a model in 4 bit, and load it so again, as long as these say so.
    for holder, mark in (
        (model.config, "quantization_config"),
        (model, "hf_quantizer"),
        (model, "quantization_method"),
    ):
        if hasattr(holder, mark):
            delattr(holder, mark)
    model.is_quantized = model.is_loaded_in_4bit = False
    return model
