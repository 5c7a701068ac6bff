"""The near-duplicate join misses no pair and invents none."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from tests.data.conftest import BANKING

from kasauti.data.conversation import content
from kasauti.data.duplicates import (
    merge,
    near_duplicates,
    near_duplicates_across,
    near_groups,
    nearest_across,
    normalise,
    reading_once,
    words,
)

TEXTS = st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=9).map(" ".join), max_size=25)
THRESHOLDS = st.one_of(st.sampled_from([0.5, 0.6, 2 / 3, 0.75, 0.8, 0.9, 1.0]), st.floats(0.05, 1.0))


def jaccard(a, b):
    x, y = words(a), words(b)
    return len(x & y) / len(x | y) if x and y else 0.0


@given(TEXTS, THRESHOLDS)
@example(["a b c d e f g h i", "a b c d e f g h j"], 0.8)
def test_the_join_within_equals_brute_force(texts, threshold):
    pairs = [
        (i, j, jaccard(texts[i], texts[j]))
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if jaccard(texts[i], texts[j]) >= threshold
    ]
    assert near_duplicates(texts, threshold) == pairs
    roots = merge(len(texts), [pair[:2] for pair in pairs])
    groups = {root: [i for i in range(len(texts)) if roots[i] == root] for root in roots}
    assert sorted(near_groups(texts, threshold)) == sorted(g for g in groups.values() if len(g) > 1)


@given(TEXTS, TEXTS, THRESHOLDS)
def test_the_join_across_equals_brute_force(a, b, threshold):
    pairs = [(i, j, jaccard(x, y)) for i, x in enumerate(a) for j, y in enumerate(b) if jaccard(x, y) >= threshold]
    assert near_duplicates_across(a, b, threshold) == pairs
    best = {i: min((-s, j) for k, j, s in pairs if k == i) for i, _, _ in pairs}
    assert nearest_across(a, b, threshold) == [(i, j, -s) for i, (s, j) in sorted(best.items())]


def test_a_threshold_outside_its_range_is_refused():
    for threshold in (0.0, 1.1):
        with pytest.raises(ValueError, match="threshold"):
            near_duplicates(["a", "b"], threshold)


@given(st.text())
@example("ﷺ")
@example("C:\u0327")
@example("\u0345\u0301")
def test_normalising_twice_changes_nothing(text):
    once = normalise(text)
    assert normalise(once) == once
    assert bool(once) == bool(text.strip())


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("  I've  LOST\tmy card!! ", "ive lost my card"),
        ("Ｃａｆé ①", "café 1"),
        ("Straße", "strasse"),
        ("मेरा पैसा कहाँ है?", "मेरा पैसा कहाँ है"),
        ("zero\u200bwidth", "zerowidth"),
        ("₹500", "500"),
        ("?!?", "?!?"),
        (" \n ", ""),
    ],
)
def test_what_normalising_keeps(text, same):
    assert normalise(text) == normalise(same) == same


@given(st.integers(1, 12), st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=4), max_size=8))
def test_merged_clusters_are_the_connected_ones(count, groups):
    groups = [[item % count for item in group] for group in groups]
    roots = merge(count, groups)
    assert all(roots[a] == roots[b] for group in groups for a in group for b in group)
    assert all(roots[root] == root <= item for item, root in enumerate(roots))
    touched = {item for group in groups for item in group}
    assert all(roots[item] == item for item in range(count) if item not in touched)


def test_many_equal_texts_are_grouped_without_listing_their_pairs():
    """A thousand million pairs would not end."""
    assert near_groups(["the same text"] * 50_000, 0.8) == [list(range(50_000))]
    assert len(nearest_across(["the same text"] * 20_000, ["text the same"] * 20_000, 0.8)) == 20_000


def brute_force_across(a, b, threshold):
    """Every pair of rows, by a product of matrices of words."""
    sets = [[words(content(example)) for example in part] for part in (a, b)]
    place = {word: at for at, word in enumerate(sorted(set().union(*sets[0], *sets[1])))}
    left, right = (
        csr_matrix(
            (
                np.ones(sum(map(len, part))),
                [place[word] for one in part for word in one],
                np.cumsum([0, *map(len, part)]),
            ),
            shape=(len(part), len(place)),
        )
        for part in sets
    )
    shared = (left @ right.T).tocoo()
    sizes = [np.array([len(one) for one in part]) for part in sets]
    like = shared.data / (sizes[0][shared.row] + sizes[1][shared.col] - shared.data) >= threshold
    return set(zip(shared.row[like].tolist(), shared.col[like].tolist(), strict=True))


@given(
    st.lists(st.lists(st.integers(0, 60), min_size=20, max_size=60), max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 60)), max_size=12),
    st.sampled_from([0.5, 0.7, 0.8, 0.9]),
)
def test_long_texts_too_are_joined_as_by_brute_force(rows, changed, threshold):
    """Written down under single words, where they have too many pairs of words."""
    near = [[*rows[at][1:], word] for at, word in changed if at < len(rows)]
    texts = [" ".join(map(str, row)) for row in [*rows, *near]]
    wanted = [
        (i, j, jaccard(a, b))
        for (i, a), (j, b) in itertools.combinations(enumerate(texts), 2)
        if jaccard(a, b) >= threshold
    ]
    assert near_duplicates(texts, threshold) == wanted


def test_rows_of_one_template_are_one_cluster_without_a_look_at_every_pair():
    """Two hundred million pairs are alike."""
    texts = [f"order {number} has not come since monday please help me with it now" for number in range(20_000)]
    assert near_groups(texts, 0.8) == [list(range(20_000))]


@given(TEXTS, THRESHOLDS)
def test_texts_that_are_read_once_are_the_same_texts(texts, threshold):
    apart = near_groups(texts, threshold), [normalise(text) for text in texts]
    with reading_once():
        for _ in range(2):
            assert (near_groups(texts, threshold), [normalise(text) for text in texts]) == apart
        with reading_once():
            again = near_duplicates_across(texts, texts, threshold)
    assert again == near_duplicates_across(texts, texts, threshold)


@pytest.mark.skipif(not BANKING.is_dir(), reason="Banking77 is not here")
def test_banking77_has_460_test_rows_near_a_training_row(banking):
    _, train, test = banking
    pairs = near_duplicates_across([content(e) for e in test], [content(e) for e in train], 0.8)
    assert len({i for i, _, _ in pairs}) == 460
    assert {(i, j) for i, j, _ in pairs} == brute_force_across(test, train, 0.8)
    raw, same = {content(e).strip() for e in train}, {normalise(content(e)) for e in train}
    assert sum(content(e).strip() in raw for e in test) == 6
    assert sum(normalise(content(e)) in same for e in test) == 11
