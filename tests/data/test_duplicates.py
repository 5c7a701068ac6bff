"""The near-duplicate join misses no pair and invents none."""


import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.data.conftest import BANKING

from kasauti.data.conversation import content
from kasauti.data.duplicates import (
    exact_groups,
    merge,
    near_duplicates,
    near_duplicates_across,
    near_groups,
    nearest_across,
    normalise,
    normalised_groups,
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


def test_groups_of_equal_texts_leave_blank_ones_out():
    texts = ["a b", "x", " a b ", "A, b!", "", " ", "x"]
    assert exact_groups(texts) == [[0, 2], [1, 6]]
    assert normalised_groups(texts) == [[0, 2, 3], [1, 6]]


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


@pytest.mark.skipif(not BANKING.is_dir(), reason="Banking77 is not here")
def test_banking77_has_460_test_rows_near_a_training_row(banking):
    _, train, test = banking
    pairs = near_duplicates_across([content(e) for e in test], [content(e) for e in train], 0.8)
    assert len({i for i, _, _ in pairs}) == 460
    raw, same = {content(e).strip() for e in train}, {normalise(content(e)) for e in train}
    assert sum(content(e).strip() in raw for e in test) == 6
    assert sum(normalise(content(e)) in same for e in test) == 11
