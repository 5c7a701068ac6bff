"""Log-probabilities of a trie's edges from packed passes: one for texts and trie together where they fit, else the
texts first and the trie in pieces that share the texts' keys and values.

Walks in: a network within `branches_in`, rows as token ids, a trie. Walks out: log P of every edge. It knows no
labels' names and no beginnings but the one it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kasauti.model.activated import all_on
from kasauti.model.attention import READY, Blocks, Branches, Layers, Pass, bias_dtype, hidden_padding, hiding
from kasauti.model.labels import LabelTrie
from kasauti.model.prefix import Prefix

BLOCK = 64
"""Nodes of a trie in one block of attention: many more than the ancestors above them, few beside a thousand."""
LOGIT_ROWS = 128
"""Positions whose logits are normalised together: so few stay in the processor's cache."""
GROUP = 4
"""Rows that share a pass where a trie does not fit into one."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Piece:
    """A part of a trie that is closed upwards: with a node, its ancestors."""

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    edges: tuple[int, ...]
    """The edges that leave its own nodes (not those that are there as ancestors only)."""
    edge_places: tuple[int, ...]
    """For each, the place of the node that it leaves."""
    edge_tokens: tuple[int, ...]
    queries: tuple[tuple[int, ...], ...]
    """Places in blocks of `BLOCK`, filled up with the last."""
    keys: tuple[tuple[int, ...], ...]
    """For each block, the places that one of its queries may see, filled up with place 0."""
    sees: NDArray[np.bool_]
    """[blocks, queries, keys]."""
    paths: tuple[tuple[int, ...], ...]
    """For each token, the places on the way to it, itself included."""


@lru_cache(maxsize=32)
def pieces(trie: LabelTrie, most: int) -> tuple[Piece, ...]:
    """The trie in parts of at most so many nodes (and the ancestors of each part's first)."""
    paths = trie.ancestors()
    leaving: dict[int, list[int]] = {}
    for edge, node in enumerate(trie.edge_nodes):
        leaving.setdefault(node, []).append(edge)
    made = []
    for start in range(1, trie.size + 1, most):
        own = range(start, min(start + most, trie.size + 1))
        # Depth first: whatever a later node of the part sees outside of it is on the way to the part's first node.
        nodes = [*paths[start - 1][:-1], *own]
        place = {node: at for at, node in enumerate(nodes)}
        made.append(_piece(trie, nodes, [[place[n] for n in paths[node - 1]] for node in nodes], leaving, set(own)))
    return tuple(made)


def root_edges(trie: LabelTrie) -> list[int]:
    """The edges that leave the prompt's last token."""
    return [edge for edge, node in enumerate(trie.edge_nodes) if node == 0]


def _piece(
    trie: LabelTrie, nodes: list[int], seen: list[list[int]], leaving: dict[int, list[int]], own: set[int]
) -> Piece:
    queries, keys = [], []
    for start in range(0, len(nodes), BLOCK):
        block = list(range(start, min(start + BLOCK, len(nodes))))
        keys.append([*seen[start][:-1], *block])
        queries.append(block)
    width, size = max(map(len, keys)), min(BLOCK, len(nodes))
    sees = np.zeros((len(queries), size, width), dtype=np.bool_)
    for number, (asked, there) in enumerate(zip(queries, keys, strict=True)):
        at = {place: column for column, place in enumerate(there)}
        for line, query in enumerate(asked):
            sees[number, line, [at[place] for place in seen[query]]] = True
    edges = [(edge, place) for place, node in enumerate(nodes) if node in own for edge in leaving.get(node, [])]
    return Piece(
        tokens=tuple(trie.tokens[node - 1] for node in nodes),
        depths=tuple(trie.depths[node - 1] for node in nodes),
        edges=tuple(edge for edge, _ in edges),
        edge_places=tuple(place for _, place in edges),
        edge_tokens=tuple(trie.edge_tokens[edge] for edge, _ in edges),
        queries=tuple((*block, *[block[-1]] * (size - len(block))) for block in queries),
        keys=tuple((*block, *[0] * (width - len(block))) for block in keys),
        sees=sees,
        paths=tuple(map(tuple, seen)),
    )


def edge_log_probabilities(
    model: Any, rows: Sequence[Sequence[int]], prefix: Prefix | None, trie: LabelTrie, batch_tokens: int
) -> NDArray[np.float64]:
    """log P of every trie edge for every row, [rows, edges]; rows are what follows the prefix."""
    out_be = np.empty((len(rows), len(trie.edge_nodes)))
    root = root_edges(trie)
    texts = Texts(model, rows, prefix)
    whole = sum(map(len, rows)) + len(rows) * trie.size <= batch_tokens or trie.size == 0
    most = trie.size if whole else max(8, batch_tokens // len(rows) - max(trie.depths))
    parts = pieces(trie, most) if trie.size else ()
    logits_nv = texts.run(parts[0] if whole and parts else None, keep=not whole)
    tokens = torch.tensor([trie.edge_tokens[edge] for edge in root])
    out_be[:, root] = picked(logits_nv[: len(rows)], 1, torch.zeros(len(root), dtype=torch.long), tokens)
    for part in parts:
        logits_mv = logits_nv[len(rows) :] if whole else texts.branch(part)
        places, tokens = torch.tensor(part.edge_places), torch.tensor(part.edge_tokens)
        out_be[:, list(part.edges)] = picked(logits_mv, len(part.tokens), places, tokens)
    return out_be


class Texts:
    """Rows of a batch: run, and then asked on branches."""

    def __init__(self, model: Any, rows: Sequence[Sequence[int]], prefix: Prefix | None) -> None:
        self.model, self.rows = model, rows
        self.lengths = tuple(map(len, rows))
        self.shared = len(prefix.ids) if prefix else 0
        self.layers: Layers = prefix.layers if prefix else ()
        self.kept: Layers = ()
        self.dtype, self.device = bias_dtype(model), model.device

    def run(self, piece: Piece | None, *, keep: bool = False) -> torch.Tensor:
        """Logits [rows + rows·nodes, V]: of every text's last token, then of the piece's nodes row after row."""
        ids = [token for row in self.rows for token in row]
        positions = [self.shared + at for length in self.lengths for at in range(length)]
        places = np.cumsum(self.lengths) - 1
        left: list[tuple[torch.Tensor, torch.Tensor]] | None = [] if keep else None
        branches = None
        if piece is not None:
            places = np.concatenate([places, np.arange(len(ids), len(ids) + len(self.rows) * len(piece.tokens))])
            ids = ids + list(piece.tokens) * len(self.rows)
            positions = positions + self._positions(piece)
            branches = self._branches(piece)
        made = Pass(prefix=self.layers, lengths=self.lengths, branches=branches, left=left)
        logits_nv = forward(self.model, ids, positions, places, made)
        if left is not None:
            self.kept = left
        return logits_nv

    def branch(self, piece: Piece) -> torch.Tensor:
        """Logits [rows·nodes, V] of a piece behind texts that were run and kept."""
        ids = list(piece.tokens) * len(self.rows)
        made = Pass(prefix=self.layers, kept=self.kept, branches=self._branches(piece))
        return forward(self.model, ids, self._positions(piece), np.arange(len(ids)), made)

    def _positions(self, piece: Piece) -> list[int]:
        return [self.shared + length - 1 + depth for length in self.lengths for depth in piece.depths]

    def _branches(self, piece: Piece) -> Branches:
        return Branches(
            rows=len(self.rows),
            index_br=None,
            flat_m=None,
            blocks=_blocks(piece, self.dtype, str(self.device)),
            kept_bias=hidden_padding(self.lengths, self.dtype, self.device),
        )


@lru_cache(maxsize=64)
def _blocks(piece: Piece, dtype: torch.dtype, device: str) -> Blocks:
    bias = hiding(torch.from_numpy(~piece.sees), dtype, device)[:, None]
    if len(piece.queries) == 1:
        return Blocks(queries_ns=None, keys_nk=None, places_r=None, bias=bias)
    return Blocks(
        queries_ns=torch.tensor(piece.queries, device=device),
        keys_nk=torch.tensor(piece.keys, device=device),
        places_r=torch.arange(len(piece.tokens), device=device),
        bias=bias,
    )


def forward(model: Any, ids: Sequence[int], positions: Sequence[int], places: Any, made: Pass) -> torch.Tensor:
    """Logits [places, V] of a pass."""
    device = model.device
    places_n = torch.as_tensor(places, device=device)
    made.places = places_n if len(places_n) < len(ids) else None
    logits_nv: torch.Tensor = model(
        input_ids=torch.tensor([list(ids)], device=device),
        position_ids=torch.tensor([list(positions)], device=device),
        attention_mask=READY.to(device),
        logits_to_keep=places_n,
        branches=made,
        use_cache=False,
        **all_on(model, len(ids)),
    ).logits[0]
    return logits_nv


def normalisers(logits_nv: torch.Tensor) -> torch.Tensor:
    """log of the sum over the vocabulary, float32 [N]."""
    return torch.cat([torch.logsumexp(some.float(), dim=-1) for some in logits_nv.split(LOGIT_ROWS)])


def picked(logits_nv: torch.Tensor, size: int, places: torch.Tensor, tokens: torch.Tensor) -> NDArray[np.float64]:
    """log P of tokens at places of every row, [rows, places], from logits [rows·size, V]."""
    places, tokens = places.to(logits_nv.device), tokens.to(logits_nv.device)
    logits_bnv = logits_nv.unflatten(0, (-1, size))
    all_bn = normalisers(logits_nv).unflatten(0, (-1, size))
    logs: NDArray[np.float64] = (logits_bnv[:, places, tokens].float() - all_bn[:, places]).double().cpu().numpy()
    return logs


def batches(lengths: Sequence[int], trie_size: int, batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers by length, as many in a batch as fit with their tries; `GROUP` where not even two do."""
    batch: list[int] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        more = lengths[row] + trie_size
        full = tokens + more > batch_tokens and (
            tokens - len(batch) * trie_size + lengths[row] > batch_tokens or len(batch) >= GROUP or more <= batch_tokens
        )
        if batch and full:
            yield batch
            batch, tokens = [], 0
        batch.append(row)
        tokens += more
    yield batch
