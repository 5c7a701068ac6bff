"""Tiny networks of every architecture that is written as GGUF, with tokenizers of every rule of splitting."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tests.tiny import ARCHITECTURES
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from kasauti.model.gguf_words import _MARKS, _NANO, _PLAIN

CORPUS = [
    "Complaint: the refund of my payment of 1,499 has not come, and the bank's app says it's delayed again!!",
    "refund_delayed (again) ... don't ask\n\n  why?\r\nमेरा पैसा वापस नहीं आया। paisa wapas 12345 67 8",
    "  two  spaces\tand tabs\n- a list\n- 👍🏽 ok 我想 é",
] * 3
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ("<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
RULES = {
    "gpt-2": "",
    "smollm": "digits",
    "qwen2": _PLAIN.replace("DIGITS", r"\p{N}"),
    "qwen35": _MARKS,
    "dbrx": _PLAIN.replace("DIGITS", r"\p{N}{1,3}"),
    "poro-chat": _NANO,
}
"""llama.cpp's name of a rule → its pattern."""


@cache
def tokenizer_of(rule: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that splits words by a rule."""
    raw = Tokenizer(models.BPE())
    pattern = RULES[rule]
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern in ("", "digits"))
    first: list[Any] = []
    if pattern == "digits":
        first = [pre_tokenizers.Digits(individual_digits=True)]
    elif pattern:
        first = [pre_tokenizers.Split(Regex(pattern), behavior="isolated")]
    raw.pre_tokenizer = pre_tokenizers.Sequence([*first, plain]) if first else plain
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[AddedToken(name, normalized=False) for name in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|begin|>", eos_token="<|end|>")
    made.chat_template = TEMPLATE
    return made


def folder_of(name: str, folder: Path, **settings: Any) -> Path:
    """A network of an architecture, saved with a tokenizer; rows wide enough for blocks of 8-bit weights."""
    torch.manual_seed(0)
    config = ARCHITECTURES[name]()
    wide = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 96, "initializer_range": 0.1}
    for key, value in {**wide, **settings}.items():
        setattr(config, key, value)
    model = AutoModelForCausalLM.from_config(config).eval()
    for key, weight in model.named_parameters():  # a bias or a norm that is all zeros or ones hides what is done to it
        if key.endswith("bias") or "norm" in key:
            weight.data += torch.randn(weight.shape) * 0.1
    model.save_pretrained(folder)
    tokenizer_of("qwen2").save_pretrained(folder)
    return folder
