"""The loss of a packed micro-batch, and whether a network can be trained on packed rows at all.

Walks in: a network, the tensors of a `Pack`. Walks out: the summed loss of its targets, with the plain batch's
gradient. It does not know loops, optimizers or files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from kasauti.core.errors import ModelError
from kasauti.core.types import Supervised
from kasauti.model.last import last_layer_at
from kasauti.model.prefix import Prefix, compute_prefix
from kasauti.train.attention import Tree, tree_attention_in
from kasauti.train.prefix import common, pack
from kasauti.train.rows import IGNORED

LOGIT_BYTES = 2**30
"""Memory that the logits of one pass may take, in float32."""
TOLERANCE = 0.05
"""Relative difference of logits up to which a network counts as the same on packed rows; bfloat16 rounds at 0.004, and
a network that sees another row, or a position that is not its own, is off by more than 0.5."""
LAYERS = frozenset({"full_attention", "sliding_attention"})
READY = torch.ones(1, 1, 1, 1, dtype=torch.bool)
"""Handed in as the attention mask: the library takes one of four dimensions as it is and makes none of its own."""


def summed_loss(
    model: Any, batch: Mapping[str, torch.Tensor], smoothing: float = 0.0, before: Prefix | None = None
) -> torch.Tensor:
    """-log P of every target, summed; with smoothing, that share of it is spread over the vocabulary.

    Args:
        model: called as a whole, so that what is wrapped around the network (DDP, FSDP, PEFT) works as always; within
            `packed_rows_in`.
        batch: `Pack.tensors`.
        before: what every row begins with and the batch leaves out, its keys and values computed; it gets no gradient.
    """
    layers = None if before is None else before.layers
    tree = Tree(batch["nodes"], batch["position_ids"][0], batch["places"], layers)
    logits_kv = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=READY.to(batch["input_ids"].device),
        logits_to_keep=batch["places"],
        tree=tree,
        use_cache=False,
    ).logits[0].float()  # fmt: skip
    place_of, labels = batch["place_of"], batch["labels"]
    if not len(labels):  # a process whose part of the last batch is blank still takes part
        return logits_kv.sum() * 0.0
    if not torch.equal(place_of, torch.arange(len(logits_kv), device=place_of.device)):
        logits_kv = logits_kv[place_of]
    return cross_entropy(logits_kv, labels, reduction="sum", label_smoothing=smoothing)


@contextlib.contextmanager
def packed_rows_in(network: Any) -> Iterator[None]:
    """Within it, a network of Transformers can be called with a tree; calls without one are as they were."""
    with tree_attention_in(network), last_layer_at(network, _places):
        yield


def _places(kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    """With a prefix of 500 tokens that saves most of one layer of work."""
    tree = kwargs.get("tree")
    return tree.places if tree is not None and len(tree.places) < len(tree.positions) else None


def reason_against(network: Any) -> str:
    """Why a network cannot be trained on packed rows, in a few words; empty where it can.

    What is declared is read first; then two small rows are asked both ways, which finds what is not declared.
    """
    config = network.config.get_text_config()
    other = sorted(set(getattr(config, "layer_types", None) or ()) - LAYERS)
    if other:
        return f"its layers of {other[0].replace('_', ' ')} carry a state from token to token"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention scores are soft-capped"
    if not getattr(network, "_supports_attention_backend", False):
        return "its attention cannot be replaced"
    if getattr(config, "attention_dropout", 0.0):
        return "its attention has dropout"
    try:
        difference = _difference(network)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        return f"it does not take packed rows ({type(error).__name__})"
    return "" if difference <= TOLERANCE else f"its answers on packed rows are off by {difference:.0%}"


@torch.no_grad()
def _difference(network: Any) -> float:
    """How far the logits of two small rows with a common beginning are from those of each row alone; relative."""
    size = network.get_input_embeddings().num_embeddings
    stem = [(7 * at + 3) % size for at in range(6)]
    rows = [stem + [(11 * at + own) % size for at in range(4)] for own in (1, 2)]
    made = pack([{"input_ids": row, "labels": [IGNORED] * len(row)} for row in rows])
    was_training = network.training
    network.eval()
    try:
        first, second = (_logits(network, torch.tensor([row], device=network.device)) for row in rows)
        alone_tv = torch.cat([first, second[len(stem) :]])
        positions = torch.tensor([made.positions], device=network.device)
        tree = Tree(torch.tensor(made.nodes), positions[0], torch.arange(len(made.ids), device=network.device))
        with packed_rows_in(network):
            ids = torch.tensor([made.ids], device=network.device)
            ready = READY.to(network.device)
            packed_tv = _logits(network, ids, position_ids=positions, attention_mask=ready, tree=tree)
    finally:
        network.train(was_training)
    varying = alone_tv - alone_tv.mean(dim=-1, keepdim=True)
    return float((packed_tv - alone_tv).norm() / varying.norm().clamp(min=1e-9))


def _logits(network: Any, ids: torch.Tensor, **given: Any) -> torch.Tensor:
    logits_tv: torch.Tensor = network(input_ids=ids, use_cache=False, **given).logits[0].float()
    return logits_tv


def constant_keys(model: Any, ids: Sequence[int]) -> Prefix:
    """Keys and values of what every row begins with, by the base model alone, for use in training.

    Raises:
        ModelError: a layer keeps fewer of them than there are.
    """
    was_training = model.training
    model.eval()
    made = compute_prefix(model, ids)
    model.train(was_training)
    if any(keys.shape[2] != len(ids) for keys, _ in made.layers):
        raise ModelError(
            f"the adapter cannot be off on {len(ids)} tokens: the model's sliding window is shorter",
            where="task.yaml: train.constant_prefix",
            mend="Leave constant_prefix out.",
        )
    # what was made in inference mode may not take part in autograd; a copy may
    return Prefix(made.ids, tuple((keys.clone(), values.clone()) for keys, values in made.layers))


def shared_by_all(rows: Sequence[Supervised]) -> int:
    """Tokens that all rows begin with."""
    return common(min(row.ids for row in rows), max(row.ids for row in rows))
