"""The label trie holds every label once, parents first, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.errors import TemplateError
from kasauti.model.labels import LabelTrie, build_trie

IDS = st.lists(st.integers(0, 4), min_size=1, max_size=6).map(tuple)
LABELS = st.lists(IDS, min_size=1, max_size=9, unique=True).map(
    lambda made: {f"l{at}": ids for at, ids in enumerate(made)}
)


def spelled(trie: LabelTrie, at: int) -> tuple[int, ...]:
    return tuple(trie.edge_tokens[edge] for edge in trie.label_edges[at])


@given(LABELS)
def test_every_label_is_read_back_from_its_edges(labels):
    trie = build_trie(labels)
    assert trie.labels == tuple(labels)
    assert [spelled(trie, at) for at in range(len(labels))] == list(labels.values())


@given(LABELS)
def test_the_edges_of_a_label_are_one_path_from_the_root(labels):
    trie = build_trie(labels)
    for edges in trie.label_edges:
        node = 0
        for place, edge in enumerate(edges):
            assert trie.edge_nodes[edge] == node
            if place < len(edges) - 1:
                node = next(
                    n
                    for n in range(1, trie.size + 1)
                    if (trie.parents[n - 1], trie.tokens[n - 1]) == (node, trie.edge_tokens[edge])
                )


@given(LABELS)
def test_a_shared_beginning_is_stored_once(labels):
    trie = build_trie(labels)
    beginnings = {ids[:n] for ids in labels.values() for n in range(1, len(ids))}
    assert trie.size == len(beginnings)
    assert len(set(zip(trie.parents, trie.tokens, strict=True))) == trie.size
    assert len(set(zip(trie.edge_nodes, trie.edge_tokens, strict=True))) == len(trie.edge_nodes)


@given(LABELS)
def test_parents_stand_before_their_children_one_level_up(labels):
    trie = build_trie(labels)
    for node, (parent, depth) in enumerate(zip(trie.parents, trie.depths, strict=True), 1):
        assert parent < node
        assert depth == (trie.depths[parent - 1] if parent else 0) + 1


@given(LABELS)
def test_ancestors_are_the_way_from_the_root_to_the_node_itself(labels):
    trie = build_trie(labels)
    for node, path in enumerate(trie.ancestors(), 1):
        assert path[-1] == node
        assert [trie.depths[n - 1] for n in path] == list(range(1, len(path) + 1))
        assert [trie.parents[n - 1] for n in path] == [0, *path[:-1]]


def test_one_token_labels_need_no_inner_node():
    trie = build_trie({"yes": [7], "no": [8]})
    assert (trie.size, trie.edge_nodes, trie.edge_tokens) == (0, (0, 0), (7, 8))


@pytest.mark.parametrize(("labels", "named"), [({"a": []}, "'a'"), ({"one": [1, 2], "two": [1, 2]}, "'one'")])
def test_labels_that_cannot_be_told_apart_are_refused_by_name(labels, named):
    with pytest.raises(TemplateError, match=named) as caught:
        build_trie(labels)
    assert "\n" not in str(caught.value)
    assert caught.value.mend
