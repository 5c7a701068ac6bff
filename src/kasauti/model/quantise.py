"""NF4: a base model whose linear layers take half a byte a weight, guarded so that its gradient stays right.

Walks in: a device; a network loaded in 4 bit. Walks out: how to load it, and the network ready to be trained on. It
knows no data.

After Dettmers et al. 2023 (QLoRA, arXiv 2305.14314): NormalFloat 4 in blocks of 64 weights, their scales quantised
again to 8 bit in blocks of 256.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from kasauti.core.errors import ModelError

BYTES_PER_WEIGHT = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Half a byte, one byte of scale for 64 weights, four bytes for 256 such scales."""


def check_installed() -> None:
    """Refuse at once where bitsandbytes is not installed.

    Raises:
        ModelError: in one line.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "method qlora needs bitsandbytes, which is not installed",
            where="task.yaml: train.method",
            mend="install it with `pip install kasauti[qlora]`, or set method: lora",
        )


def settings(compute: Any) -> Any:
    """The transformers configuration: NF4, double quantisation, products computed in the dtype `compute`."""
    from transformers import BitsAndBytesConfig

    check_installed()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def guard(model: Any) -> Any:
    """The network, its 4-bit layers kept in the layout that has a backward pass.

    Without this the first evaluation on a CPU with AVX512-BF16 packs the weights for a kernel without autograd:
    from then on gradients are wrong (cosine with the right ones from -0.001 to 0.42), and a matrix whose rows are no
    multiple of 32 stops with an error.
    """
    for layer in layers(model):
        layer.support_avx512bf16_for_cpu = False
    return model


def layers(model: Any) -> list[Any]:
    """Every 4-bit linear layer."""
    if importlib.util.find_spec("bitsandbytes") is None:
        return []
    from bitsandbytes.nn import Linear4bit

    return [module for module in model.modules() if isinstance(module, Linear4bit)]


def prepare(model: Any) -> Any:
    """A 4-bit network as adapters are trained on it: frozen, with what is not 4-bit (norms, embeddings, output) in
    float32."""
    from peft import prepare_model_for_kbit_training

    # Gradient checkpointing is the trainer's business.
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def weights_of(parameter: Any) -> int:
    """Weights that a parameter stands for; two 4-bit ones share a byte."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())
