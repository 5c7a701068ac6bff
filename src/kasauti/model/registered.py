"""Attention of our own in a network of Transformers, under a name, without a patch.

Walks in: a network, a function. Walks out: the network, which calls the function within a block. It knows no mask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch


@contextlib.contextmanager
def attention_of(network: Any, name: str, attend: Callable[..., Any]) -> Iterator[None]:
    """Within it, every layer of the network calls `attend`; what it was set to before, it is set to again."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, sdpa_mask)
    before = network.config._attn_implementation
    network.set_attn_implementation(name)
    try:
        yield
    finally:
        network.set_attn_implementation(before)


@cache
def matrix_unit() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 in a unit of their own; without one the kernel is no slower in
    float32."""
    return bool(torch.cpu._is_amx_tile_supported())
