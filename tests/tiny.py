"""Tiny real networks of six architectures, with weights large enough that their probabilities differ."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.gemma.configuration_gemma import GemmaConfig
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.mistral.configuration_mistral import MistralConfig
from transformers.models.phi3.configuration_phi3 import Phi3Config
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config

torch.set_num_threads(1)

VOCABULARY = 61
END = 2
WINDOW = 64
"""Tokens that a network of these takes."""
SLIDING = 24
"""Tokens that a layer of `mistral_sliding` looks back."""
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": END,
}
ARCHITECTURES: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**SIZES),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "qwen3": lambda: Qwen3Config(**SIZES, head_dim=8),
    "mistral": lambda: MistralConfig(**SIZES, sliding_window=None),
    "mistral_sliding": lambda: MistralConfig(**SIZES, sliding_window=SLIDING),
    "gemma": lambda: GemmaConfig(**SIZES, head_dim=8),
    "phi3": lambda: Phi3Config(**SIZES),
}


@cache
def network(name: str, seed: int = 0) -> Any:
    """A network in eval mode, shared; not to be changed."""
    return fresh_network(name, seed)


def fresh_network(name: str, seed: int = 0) -> Any:
    """A network in eval mode that a test may change."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(ARCHITECTURES[name](), attn_implementation="sdpa").eval()


def adapted(seed: int, alpha: int) -> Any:
    """A fresh Llama with an adapter, without dropout, that changes what it answers."""
    from kasauti.model.adapters import LoraSettings, attach

    model = attach(fresh_network("llama"), LoraSettings(r=4, alpha=alpha, dropout=0.0), seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.4
    return model


def word_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer for these networks: the word `t7` is the id 7."""
    raw = Tokenizer(models.WordLevel({f"t{at}": at for at in range(VOCABULARY)}, unk_token="t1"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="t0", unk_token="t1", eos_token=f"t{END}")


@torch.no_grad()
def plain_log_probability(model: Any, prompt: list[int], label: list[int]) -> float:
    """log P(label | prompt) from one plain pass over prompt and label, nothing shared, nothing cached."""
    logits_btv = model(input_ids=torch.tensor([[*prompt, *label]]), use_cache=False).logits
    logs_tv = logits_btv[0].double().log_softmax(dim=-1)
    return float(sum(logs_tv[len(prompt) - 1 + at, token] for at, token in enumerate(label)))
