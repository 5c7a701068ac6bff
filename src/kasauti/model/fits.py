"""Whether a network can be asked in packed passes: what it declares, then two small rows asked both ways.

Walks in: a network. Walks out: yes or no, remembered. It knows no task.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch

from kasauti.model import padded
from kasauti.model.attention import branches_in
from kasauti.model.labels import build_trie
from kasauti.model.packed import edge_log_probabilities
from kasauti.model.prefix import compute_prefix

TOLERANCE = 0.05
"""Relative difference of log-probabilities up to which a network counts as the same in packed passes; bfloat16 rounds
at 0.004, and a network that sees another row, or a position that is not its own, is off by more than 0.5."""
LAYERS = frozenset({"full_attention", "sliding_attention"})
_known: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def network_of(model: Any) -> Any:
    """The network of Transformers within an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def packs(model: Any) -> bool:
    """Whether packed passes give what padded ones give; asked of a network once."""
    network = network_of(model)
    if network not in _known:
        _known[network] = _declared(network) and _proved(network)
    return _known[network]


def _declared(network: Any) -> bool:
    text = network.config.get_text_config()
    return (
        set(getattr(text, "layer_types", None) or ()) <= LAYERS
        and not getattr(text, "attn_logit_softcapping", None)
        and bool(getattr(network, "_supports_attention_backend", False))
    )


def _proved(network: Any) -> bool:
    size = network.get_input_embeddings().num_embeddings
    ids = [(7 * at + 3) % size for at in range(12)]
    trie = build_trie({"a": ids[8:10], "b": [ids[8], ids[10], ids[11]], "c": ids[9:]})
    rows = [ids[3:6], ids[4:8]]
    try:
        with torch.inference_mode():
            prefix = compute_prefix(network, ids[:3])
            plain = padded.edge_log_probabilities(network, rows, prefix, trie)
            with branches_in(network):
                one = edge_log_probabilities(network, rows, prefix, trie, 512)
                two = edge_log_probabilities(network, rows, prefix, trie, 1)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False
    scale = max(float(np.abs(plain).mean()), 1e-9)
    return all(float(np.abs(made - plain).mean()) <= TOLERANCE * scale for made in (one, two))
