"""The label trie: the token ids of every label with its end-of-turn, shared beginnings stored once.

Walks in: label → token ids. Walks out: a `LabelTrie`, arrays that lay the trie out as one row of tokens. It knows no
network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kasauti.core.errors import TemplateError


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTrie:
    """A trie over token ids, flattened.

    Node 0 is the root: the last token of the prompt, which is no token of the trie. Nodes 1…T are the inner nodes,
    those whose next-token distribution is needed; the last id of a label (its end-of-turn) is an edge without a node.
    Nodes are numbered depth first: a node's descendants stand right behind it.
    """

    labels: tuple[str, ...]
    tokens: tuple[int, ...]
    """Token id of nodes 1…T."""
    parents: tuple[int, ...]
    """Parent node of nodes 1…T."""
    depths: tuple[int, ...]
    """Depth of nodes 1…T; children of the root have depth 1."""
    edge_nodes: tuple[int, ...]
    """For every edge, the node it leaves."""
    edge_tokens: tuple[int, ...]
    """For every edge, the token id it carries."""
    label_edges: tuple[tuple[int, ...], ...]
    """For every label, the edges from the root to its end; the label's log-probability is their sum."""

    @property
    def size(self) -> int:
        """T, the number of inner nodes without the root."""
        return len(self.tokens)

    def ancestors(self) -> list[list[int]]:
        """For nodes 1…T, the nodes 1…T on the way from the root to it, itself included."""
        paths: list[list[int]] = []
        for at, parent in enumerate(self.parents, 1):
            paths.append([*(paths[parent - 1] if parent else []), at])
        return paths


def build_trie(ids_by_label: Mapping[str, Sequence[int]]) -> LabelTrie:
    """The trie of `ids_by_label`, label → token ids that end with the end-of-turn.

    Raises:
        TemplateError: a label without ids, or two labels with the same ids: their probabilities could not be told
        apart.
    """
    children: dict[tuple[int, int], int] = {}
    edges: dict[tuple[int, int], int] = {}
    tokens: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    by_ids: dict[tuple[int, ...], str] = {}
    for label, ids in ids_by_label.items():
        if not ids:
            raise TemplateError(f"label {label!r} has no token ids", mend="rename the label")
        other = by_ids.setdefault(tuple(ids), label)
        if other != label:
            raise TemplateError(f"labels {other!r} and {label!r} have the same token ids", mend="rename one of them")
    edges_of: dict[str, tuple[int, ...]] = {}
    for ids, label in sorted(by_ids.items()):  # labels with a common beginning side by side, so depth first
        node, path = 0, []
        for at, token in enumerate(ids):
            path.append(edges.setdefault((node, token), len(edges)))
            if at == len(ids) - 1:
                break
            if (node, token) not in children:
                children[node, token] = len(tokens) + 1
                tokens.append(token)
                parents.append(node)
                depths.append(at + 1)
            node = children[node, token]
        edges_of[label] = tuple(path)
    return LabelTrie(
        labels=tuple(ids_by_label),
        tokens=tuple(tokens),
        parents=tuple(parents),
        depths=tuple(depths),
        edge_nodes=tuple(node for node, _ in edges),
        edge_tokens=tuple(token for _, token in edges),
        label_edges=tuple(edges_of[label] for label in ids_by_label),
    )
