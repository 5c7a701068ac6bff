"""Activated LoRA: an adapter that is off on what every prompt begins with, so that keys and values there are the base
model's (Greenewald et al. 2025, arXiv 2504.12397).

Walks in: a network with an adapter, prompts as token ids. Walks out: how much of them the base model reads alone. It
knows no text.

As in PEFT (`alora_invocation_tokens`), the adapter is on from the last place on where a row has the invocation, a few
token ids; a saved adapter names them, so PEFT loads it as what it is, and refuses to merge it. While it is trained its
layers are plain ones, since what they are given begins with the invocation; it is marked here instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from kasauti.core.errors import ModelError

MARK = "kasauti_invocation"


def mark(model: Any, invocation: Sequence[int]) -> None:
    """A network with plain adapter layers is from now on told where they are on."""
    setattr(model, MARK, tuple(invocation))


def invocation_of(model: Any, adapter: str | None = None) -> tuple[int, ...]:
    """The token ids from which on an adapter is on; empty where it is on everywhere, or there is none, or adapters are
    switched off altogether.

    Args:
        adapter: its name; None for the one that is active.
    """
    found = getattr(model, MARK, None) or _named(model, adapter)
    return tuple(found) if found and not _switched_off(model) else ()


def _named(model: Any, adapter: str | None = None) -> Sequence[int]:
    """What an adapter's own settings say."""
    configs = getattr(model, "peft_config", None)
    name = getattr(model, "active_adapter", None) if adapter is None else adapter
    config = configs.get(name) if isinstance(configs, dict) and isinstance(name, str) else None
    return getattr(config, "alora_invocation_tokens", None) or ()


def _switched_off(model: Any) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    layer = next((m for m in model.modules() if isinstance(m, BaseTunerLayer)), None)
    return layer is not None and bool(layer.disable_adapters)


def all_on(model: Any, tokens: int) -> dict[str, list[int]]:
    """What a call on one row of so many tokens, all of them behind the prefix, is given: PEFT itself would have the
    adapter on from the row's last invocation only, which in a packed row is that of its last text."""
    return {"alora_offsets": [tokens]} if hasattr(model, "get_base_model") and _named(model) else {}


def begins_at(ids: Sequence[int], invocation: Sequence[int]) -> int:
    """Where the invocation stands last; -1 where it does not."""
    size, first = len(invocation), invocation[0]
    for at in range(len(ids) - size, -1, -1):
        if ids[at] == first and tuple(ids[at : at + size]) == tuple(invocation):
            return at
    return -1


def prefix_length(model: Any, prompts: Sequence[Sequence[int]]) -> int | None:
    """Tokens that the base model reads alone, the same ones in every prompt; None where the adapter is on everywhere.

    Raises:
        ModelError: a prompt does not begin as the first one does up to there, or has no invocation.
    """
    invocation = invocation_of(model)
    if not invocation:
        return None
    off = begins_at(prompts[0], invocation)
    for number, prompt in enumerate(prompts, 1):
        if off < 0 or begins_at(prompt, invocation) != off or list(prompt[:off]) != list(prompts[0][:off]):
            raise ModelError(
                f"prompt {number} does not begin with what the adapter is off on",
                mend="ask with the instructions and the input of the task that it was trained on",
            )
    return off


@contextlib.contextmanager
def adapter_off(model: Any) -> Iterator[None]:
    """Within it, the network of an activated adapter is the base model; any other one is as it was."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [m for m in model.modules() if isinstance(m, BaseTunerLayer)] if invocation_of(model) else []
    before = [layer._disable_adapters for layer in layers]
    for layer in layers:  # PEFT's own switch also turns requires_grad off and on, under a trainer's feet
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer._disable_adapters = was
