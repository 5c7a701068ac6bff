"""The most probable label, found by opening only the branches of the trie that could hold it.

Walks in: a network, prompts as token ids, a `LabelTrie`. Walks out: for every prompt the label that the full posterior
would name, and bounds on its probability. It knows no text.

A branch's mass, the probability of its tokens so far, is at least that of every label in it. So best-first search
(Hart, Nilsson and Raphael 1968, with a bound that never understates) may leave closed whatever has less mass than the
best finished label. What stays closed bounds the normaliser: P(label) lies between p/(F + U) and p/F, with p the
label's joint probability, F the sum over finished labels and U the mass of the closed branches.

The search goes in rounds over a batch. In a round a row opens its heaviest branch, and with it whatever must be opened
anyway (the way on where a node has one edge) or is likely to be (branches that are `WORTH` as heavy). Keys and values
of text and opened nodes are kept, so each token runs once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from kasauti.model.attention import Blocks, Branches, Pass, hiding, ragged
from kasauti.model.labels import LabelTrie
from kasauti.model.packed import Texts, forward, normalisers
from kasauti.model.prefix import Prefix

WORTH = 0.25
"""Share of the heaviest open branch's mass from which another is opened in the same round."""
NEAR = {torch.float32: 1e-3, torch.float64: 1e-6}
"""Nats by which rounding may move a joint log-probability between two ways of computing it, and more; such a lead does
not decide."""
NEAR_HALF = 0.25
"""The same in bfloat16 and float16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """The answer to one prompt."""

    label: int
    """Index of the label: what `argmax` of the full posterior gives, the first of equals."""
    low: float
    """Its probability over the label set is at least this,"""
    high: float
    """and at most this."""
    opened: int
    """Nodes of the trie that were run for it, of `LabelTrie.size`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A trie as the search walks it."""

    edges: tuple[tuple[int, ...], ...]
    """For every node, the edges that leave it."""
    child: tuple[int, ...]
    """For every edge, the node it leads to; 0 for none."""
    ends: tuple[int, ...]
    """For every edge, the label that ends with it; -1 for none."""
    nested: tuple[int, ...]
    """For every node, the most labels that lie on one path below it: 1 where every label has its end-of-turn; where
    labels begin others their probabilities together may exceed the branch's mass, by at most this factor."""


@lru_cache(maxsize=32)
def shape_of(trie: LabelTrie) -> Shape:
    """The trie's edges by node."""
    edges: list[list[int]] = [[] for _ in range(trie.size + 1)]
    by_step = {}
    for edge, (node, token) in enumerate(zip(trie.edge_nodes, trie.edge_tokens, strict=True)):
        edges[node].append(edge)
        by_step[node, token] = edge
    child = [0] * len(trie.edge_nodes)
    for node, (parent, token) in enumerate(zip(trie.parents, trie.tokens, strict=True), 1):
        child[by_step[parent, token]] = node
    ends = [-1] * len(child)
    for label, path in enumerate(trie.label_edges):
        ends[path[-1]] = label
    nested = [0] * (trie.size + 1)
    for node in range(trie.size, -1, -1):
        nested[node] = max((ends[e] >= 0) + (nested[child[e]] if child[e] else 0) for e in edges[node])
    return Shape(edges=tuple(map(tuple, edges)), child=tuple(child), ends=tuple(ends), nested=tuple(nested))


@dataclass(slots=True)
class _Row:
    """How far one prompt's search is."""

    at: int
    length: int
    finished: dict[int, float] = field(default_factory=dict)
    """Label → joint log-probability."""
    closed: dict[int, float] = field(default_factory=dict)
    """Node that could be opened → log of its mass."""
    places: dict[int, int] = field(default_factory=dict)
    """Opened node → place of its keys among what is kept."""

    def best(self) -> float:
        return max(self.finished.values(), default=-math.inf)

    def bounds(self, shape: Shape) -> tuple[float, float]:
        best = self.best()
        done = sum(math.exp(p - best) for p in self.finished.values())
        open_mass = sum(shape.nested[node] * math.exp(p - best) for node, p in self.closed.items())
        return 1 / (done + open_mass), 1 / done

    def picks(self, trie: LabelTrie, shape: Shape, near: float, within: float | None) -> list[int]:
        """Nodes to open in the next round, parents before children; none where the answer is known."""
        best = self.best()
        left = {node: mass for node, mass in self.closed.items() if mass >= best - near}
        if not left and self.closed and within is not None:
            low, high = self.bounds(shape)
            left = self.closed if high - low > within else {}
        if not left:
            return []
        least = max(left.values()) + math.log(WORTH)
        made: list[int] = []
        for node, mass in left.items():
            if mass < least:
                continue
            made.append(node)
            edges = shape.edges[node]
            while len(edges) == 1 and shape.ends[edges[0]] < 0:
                made.append(shape.child[edges[0]])
                edges = shape.edges[made[-1]]
        return sorted(made)


@torch.inference_mode()
def search(
    model: Any,
    rows: Sequence[Sequence[int]],
    prefix: Prefix | None,
    trie: LabelTrie,
    *,
    within: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Best | None]:
    """The most probable label of every row, which is what follows the prefix; one batch, within `branches_in`.

    Args:
        within: go on until low and high are no further apart; None stops when the answer is known.

    Returns:
        None for a row whose best two are nearer than rounding can tell: there the full posterior decides.
    """
    shape, near = shape_of(trie), NEAR.get(model.dtype, NEAR_HALF)
    texts = Texts(model, rows, prefix)
    state = [_Row(at, len(row)) for at, row in enumerate(rows)]
    _score(trie, shape, texts.run(None, keep=True), [(row, 0, 0.0) for row in state])
    kept = list(texts.kept)
    width = max(texts.lengths)
    picks = [row.picks(trie, shape, near, within) for row in state]
    active = state
    while any(picks):
        going = [at for at, nodes in enumerate(picks) if nodes]
        if len(going) < len(active):
            index = torch.tensor(going, device=model.device)
            kept = [(k[index], v[index]) for k, v in kept]
        active, picks = [active[at] for at in going], [picks[at] for at in going]
        counts = tuple(map(len, picks))
        made = _pass(texts, trie, active, picks, width, kept)
        ids = [trie.tokens[node - 1] for nodes in picks for node in nodes]
        positions = [
            texts.shared + row.length - 1 + trie.depths[node - 1]
            for row, nodes in zip(active, picks, strict=True)
            for node in nodes
        ]
        logits_nv = forward(model, ids, positions, np.arange(len(ids)), made)
        kept = [
            (torch.cat([k, k_new], dim=1), torch.cat([v, v_new], dim=1))
            for (k, v), (k_new, v_new) in zip(kept, made.left or (), strict=True)
        ]
        for row, nodes in zip(active, picks, strict=True):
            row.places.update({node: width + place for place, node in enumerate(nodes)})
        width += max(counts)
        _score(trie, shape, logits_nv, _opened(active, picks))
        picks = [row.picks(trie, shape, near, within) for row in active]
    if progress:
        progress(len(rows))
    return [_answer(row, shape, near) for row in state]


def _opened(active: Sequence[_Row], picks: Sequence[Sequence[int]]) -> list[tuple[_Row, int, float]]:
    """The round's nodes with the mass that those have which were closed until now; nan for the ways on from them."""
    return [
        (row, node, row.closed.pop(node, math.nan)) for row, nodes in zip(active, picks, strict=True) for node in nodes
    ]


def _score(trie: LabelTrie, shape: Shape, logits_nv: torch.Tensor, nodes: list[tuple[_Row, int, float]]) -> None:
    """Takes the logits of opened nodes, parents before children, into their rows."""
    lines = [(at, edge) for at, (_, node, _) in enumerate(nodes) for edge in shape.edges[node]]
    at_e = torch.tensor([at for at, _ in lines], device=logits_nv.device)
    tokens_e = torch.tensor([trie.edge_tokens[edge] for _, edge in lines], device=logits_nv.device)
    logs = (logits_nv[at_e, tokens_e].float() - normalisers(logits_nv)[at_e]).double().tolist()
    for (at, edge), log in zip(lines, logs, strict=True):
        row, node, mass = nodes[at]
        if math.isnan(mass):  # on the way on from a node before it in these lines, which has put it there
            mass = row.closed.pop(node)
            nodes[at] = (row, node, mass)
        if shape.ends[edge] >= 0:
            row.finished[shape.ends[edge]] = mass + log
        if shape.child[edge]:
            row.closed[shape.child[edge]] = mass + log


def _pass(
    texts: Texts, trie: LabelTrie, active: Sequence[_Row], picks: Sequence[Sequence[int]], width: int, kept: Any
) -> Pass:
    """The round's pass: a node sees its row's text, its ancestors among what is kept, and those beside it."""
    counts, most = tuple(map(len, picks)), max(map(len, picks))
    hidden_brk = np.ones((len(active), most, width), dtype=np.bool_)
    hidden_brs = np.ones((len(active), most, most), dtype=np.bool_)
    for b, (row, nodes) in enumerate(zip(active, picks, strict=True)):
        hidden_brk[b, :, : row.length] = False
        beside = {node: place for place, node in enumerate(nodes)}
        for place, node in enumerate(nodes):
            while node:
                if node in beside:
                    hidden_brs[b, place, beside[node]] = False
                else:
                    hidden_brk[b, place, row.places[node]] = False
                node = trie.parents[node - 1]
        for place in range(len(nodes), most):
            hidden_brs[b, place, 0] = False
    same = min(counts) == most
    index_br, flat_m = (None, None) if same else ragged(counts, texts.device)
    bias = hiding(torch.from_numpy(hidden_brs), texts.dtype, texts.device)[:, None]
    branches = Branches(
        rows=len(active),
        index_br=index_br,
        flat_m=flat_m,
        blocks=Blocks(queries_ns=None, keys_nk=None, places_r=None, bias=bias),
        kept_bias=hiding(torch.from_numpy(hidden_brk), texts.dtype, texts.device)[:, None],
    )
    return Pass(prefix=texts.layers, kept=kept, branches=branches, left=[])


def _answer(row: _Row, shape: Shape, near: float) -> Best | None:
    best = row.best()
    leaders = [label for label, p in row.finished.items() if p >= best - near]
    if len(leaders) > 1:
        return None
    low, high = row.bounds(shape)
    return Best(label=leaders[0], low=low, high=high, opened=len(row.places))
