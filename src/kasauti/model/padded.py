"""The same log-probabilities for networks whose attention cannot be replaced (soft-capped scores, sinks): padded
batches, a copy of the beginning for every row, one mask over all.

Walks in: a network, rows as token ids, a trie. Walks out: log P of every trie edge. It knows no labels' names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kasauti.model.labels import LabelTrie
from kasauti.model.prefix import Prefix, prefix_cache

LOGIT_BYTES = 2**28
"""Memory that the logits of one forward pass may take."""


def batches(lengths: Sequence[int], trie_size: int, vocabulary: int, batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers by length, so that little is padded, within the bounds on tokens and logits."""
    most_by_logits = max(1, LOGIT_BYTES // (4 * vocabulary * (trie_size + 1)))
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and ((len(batch) + 1) * (lengths[row] + trie_size) > batch_tokens or len(batch) >= most_by_logits):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def edge_log_probabilities(
    model: Any, rows: Sequence[Sequence[int]], prefix: Prefix | None, trie: LabelTrie
) -> NDArray[np.float64]:
    """log P of every trie edge for every row, [rows, edges], float64."""
    shared, longest = len(prefix.ids) if prefix else 0, max(len(r) for r in rows)
    # Padded on the left: the last prompt token and the trie then stand at the same columns in every row.
    pads_b = torch.tensor([longest - len(r) for r in rows])
    ids_bq = torch.tensor([[0] * (longest - len(r)) + list(r) + list(trie.tokens) for r in rows])
    depth_t = torch.tensor(trie.depths, dtype=torch.long)
    own_bu = (torch.arange(longest)[None] - pads_b[:, None]).clamp(min=0)
    lengths_b = longest - pads_b
    positions_bq = shared + torch.cat([own_bu, lengths_b[:, None] - 1 + depth_t[None]], dim=1)
    mask = _mask(pads_b, longest, trie, shared)
    device = model.device
    logits_bnv = model(
        input_ids=ids_bq.to(device),
        position_ids=positions_bq.to(device),
        attention_mask=mask.to(device),
        past_key_values=prefix_cache(prefix, len(rows)),
        use_cache=True,
        logits_to_keep=trie.size + 1,
    ).logits.float()
    normaliser_bn = torch.logsumexp(logits_bnv, dim=-1)
    nodes = torch.tensor(trie.edge_nodes, device=device)
    tokens = torch.tensor(trie.edge_tokens, device=device)
    result: NDArray[np.float64] = (logits_bnv[:, nodes, tokens] - normaliser_bn[:, nodes]).double().cpu().numpy()
    return result


def _mask(pads_b: torch.Tensor, longest: int, trie: LabelTrie, shared: int) -> torch.Tensor:
    """Who sees whom, boolean [rows, 1, longest + T, shared + longest + T]; True = sees."""
    size = trie.size
    queries = longest + size
    tree = torch.zeros(size, size, dtype=torch.bool)
    for at, path in enumerate(trie.ancestors()):
        tree[at, [p - 1 for p in path]] = True
    base = torch.zeros(queries, queries, dtype=torch.bool)
    base[:longest, :longest] = torch.ones(longest, longest, dtype=torch.bool).tril()
    base[longest:, :longest] = True
    base[longest:, longest:] = tree
    real_bk = torch.cat(
        [torch.arange(longest)[None] >= pads_b[:, None], torch.ones(len(pads_b), size, dtype=torch.bool)], dim=1
    )
    # A padding query sees itself, since a softmax over nothing is not a number; nobody sees it.
    own_bqk = (base[None] & real_bk[:, None, :]) | torch.eye(queries, dtype=torch.bool)[None]
    before = torch.ones(len(pads_b), queries, shared, dtype=torch.bool)
    return torch.cat([before, own_bqk], dim=2)[:, None]
