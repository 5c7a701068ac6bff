"""What prompts begin with, computed once: its ids, and the keys and values of every layer.

Walks in: a network, prompts as token ids. Walks out: a `Prefix`, which serves every later call with the same weights.
It knows no text: a beginning is found on ids, so where a tokenizer merges over a border the merged token is simply not
part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from kasauti.model.activated import adapter_off, prefix_length


@dataclass(frozen=True, slots=True)
class Prefix:
    """A common beginning of prompts, its keys and values computed."""

    ids: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Keys and values of every layer, [1, heads, length, head size]."""

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(x.numel() * x.element_size() for layer in self.layers for x in layer)

    def first(self, length: int) -> Prefix:
        """Its first ids: a token's keys do not depend on what follows it, so nothing is computed and nothing copied."""
        if length >= len(self.ids):
            return self
        return Prefix(self.ids[:length], tuple((k[:, :, :length], v[:, :, :length]) for k, v in self.layers))


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many ids all prompts begin with; at least the last id of every prompt is left out, since its logits are
    needed."""
    if not prompts:
        return 0
    low, high = min(map(tuple, prompts)), max(map(tuple, prompts))
    return min(alike(low, high), min(len(p) for p in prompts) - 1)


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two sequences both begin with."""
    length = min(len(one), len(other))
    return next((at for at in range(length) if one[at] != other[at]), length)


def begins(prompt: Sequence[int], ids: tuple[int, ...]) -> bool:
    """Whether a prompt begins with these ids and goes on after them."""
    return len(prompt) > len(ids) and tuple(prompt[: len(ids)]) == ids


@torch.inference_mode()
def compute_prefix(model: Any, ids: Sequence[int]) -> Prefix:
    """Runs the beginning of prompts once, for any number of later calls with the same weights; an activated adapter is
    off on it."""
    with adapter_off(model):
        out = model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=True, logits_to_keep=1)
    return Prefix(tuple(ids), tuple((layer.keys, layer.values) for layer in out.past_key_values.layers))


def prefix_for(model: Any, prompts: Sequence[Sequence[int]], prefix: Prefix | None) -> Prefix | None:
    """The prefix that these prompts are asked with: the given one where all begin with it; for an activated adapter the
    one that it is off on, computed where it is not given.

    Raises:
        ModelError: an activated adapter cannot be asked one of them.
    """
    off = prefix_length(model, prompts)
    if off is not None and (prefix is None or list(prefix.ids) != list(prompts[0][:off])):
        return compute_prefix(model, prompts[0][:off]) if off else None
    return prefix if prefix is not None and all(begins(p, prefix.ids) for p in prompts) else None


def prefix_cache(prefix: Prefix | None, rows: int) -> Any:
    """A new transformers cache that holds the prefix for so many rows; empty without one."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for at, (keys, values) in enumerate(prefix.layers if prefix else ()):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), at)
    return cache
