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

from kasauti.model.attention import hiding
from kasauti.model.labels import LabelTrie
from kasauti.model.packed import pieces, root_edges
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
    """log P of every trie edge for every row, [rows, edges]; a trie whose logits would take too much memory is run in
    pieces, each behind the whole text again."""
    root = root_edges(trie)
    vocabulary = model.config.get_text_config().vocab_size
    most = max(8, LOGIT_BYTES // (4 * vocabulary * len(rows)) - 1)
    out_be = np.empty((len(rows), len(trie.edge_nodes)))
    for piece in pieces(trie, most) or (None,):
        tokens, depths, paths = (piece.tokens, piece.depths, piece.paths) if piece else ((), (), ())
        logits_bnv = _logits(model, rows, prefix, tokens, depths, paths)
        all_bn = torch.logsumexp(logits_bnv, dim=-1)
        edges = [*root, *(piece.edges if piece else ())]
        places = torch.tensor([0] * len(root) + [1 + at for at in (piece.edge_places if piece else ())])
        ids = torch.tensor([trie.edge_tokens[edge] for edge in edges])
        picked = logits_bnv[:, places.to(model.device), ids.to(model.device)] - all_bn[:, places.to(model.device)]
        out_be[:, edges] = picked.double().cpu().numpy()
    return out_be


def _logits(
    model: Any,
    rows: Sequence[Sequence[int]],
    prefix: Prefix | None,
    tokens: Sequence[int],
    depths: Sequence[int],
    paths: Sequence[Sequence[int]],
) -> torch.Tensor:
    """Of the last token of every text and of the branch tokens behind it, float32 [rows, 1 + tokens, V]."""
    shared, longest = len(prefix.ids) if prefix else 0, max(len(r) for r in rows)
    # Padded on the left: the last prompt token and the trie then stand at the same columns in every row.
    pads_b = torch.tensor([longest - len(r) for r in rows])
    ids_bq = torch.tensor([[0] * (longest - len(r)) + list(r) + list(tokens) for r in rows])
    depth_t = torch.tensor(depths, dtype=torch.long)
    own_bu = (torch.arange(longest)[None] - pads_b[:, None]).clamp(min=0)
    lengths_b = longest - pads_b
    positions_bq = shared + torch.cat([own_bu, lengths_b[:, None] - 1 + depth_t[None]], dim=1)
    logits_bnv: torch.Tensor = model(
        input_ids=ids_bq.to(model.device),
        position_ids=positions_bq.to(model.device),
        # Added to the scores: attention in plain operations would take True for 1.
        attention_mask=hiding(~_mask(pads_b, longest, paths, shared), model.dtype, model.device),
        past_key_values=prefix_cache(prefix, len(rows)),
        use_cache=True,
        logits_to_keep=len(tokens) + 1,
    ).logits.float()
    return logits_bnv


def _mask(pads_b: torch.Tensor, longest: int, paths: Sequence[Sequence[int]], shared: int) -> torch.Tensor:
    """Who sees whom, boolean [rows, 1, longest + T, shared + longest + T]; True = sees."""
    size = len(paths)
    queries = longest + size
    tree = torch.zeros(size, size, dtype=torch.bool)
    for at, path in enumerate(paths):
        tree[at, list(path)] = True
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
