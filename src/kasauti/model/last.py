"""The last layer's attention output and MLP only where logits are needed: no later layer looks at the rest.

Walks in: a network, and how to read from a call which positions those are. It knows no rows and no labels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch


@contextlib.contextmanager
def last_layer_at(network: Any, places_of: Callable[[Mapping[str, Any]], torch.Tensor | None]) -> Iterator[None]:
    """Within it, the other positions of the last layer get zeros, which nobody reads; a network whose last layer is of
    another shape (experts, say) is left as it is.

    Args:
        network: of Transformers, called with one row of tokens.
        places_of: the arguments of a call → the positions whose output is needed; None for all.
    """
    layers = getattr(network.base_model, "layers", None)
    last: Any = layers[-1] if layers is not None and len(layers) else None
    output: Any = getattr(getattr(last, "self_attn", None), "o_proj", None)
    mlp: Any = getattr(last, "mlp", None)
    if output is None or getattr(mlp, "down_proj", None) is None:
        yield
        return
    places: list[torch.Tensor] = []
    size = 0

    def enter(module: Any, args: Any, kwargs: Any) -> None:
        places.clear()
        found = places_of(kwargs)
        if found is not None:
            places.append(found)

    def narrow(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        nonlocal size
        if not places:
            return None
        size = args[0].shape[1]
        return (args[0][:, places[0]], *args[1:])

    def widen(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not places:
            return None
        return output.new_zeros(1, size, output.shape[-1]).index_copy(1, places[0], output)

    hooks = [last.register_forward_pre_hook(enter, with_kwargs=True)]
    for module in (output, mlp):
        hooks += [module.register_forward_pre_hook(narrow), module.register_forward_hook(widen)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
