"""A packed row holds every row, each beginning once, and teaches each row's tokens from the row's own past."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import SupervisionError
from kasauti.train.attention import Tree
from kasauti.train.prefix import PackingCollator, common, pack, rows_per_pass
from kasauti.train.rows import BLANK, IGNORED

END = 2
TOKENS = st.integers(3, 5)  # few, so that rows begin alike by chance as well


def row(prompt: list[int], answer: list[int]) -> dict[str, list[int]]:
    ids = [*prompt, *answer, END]
    return {"input_ids": ids, "labels": [IGNORED] * len(prompt) + [*answer, END]}


ROWS = st.lists(
    st.builds(row, st.lists(TOKENS, min_size=1, max_size=8), st.lists(TOKENS, max_size=3)), min_size=1, max_size=7
)


def paths(made) -> dict[int, tuple[int, ...]]:
    """Of every position of a packed row, the ids of what it sees, in the order of their positions."""
    t = made.tensors()
    mask = Tree(t["nodes"], t["position_ids"][0], t["places"]).mask(None)
    seen = {}
    for at in range(len(made.ids)):
        at_k = [int(k) for k in mask[at].nonzero()]
        assert [made.positions[k] for k in at_k] == list(range(len(at_k)))  # every position once, from 0 up
        seen[at] = tuple(made.ids[k] for k in at_k)
    return seen


@settings(max_examples=150)
@given(ROWS, st.integers(1, 30))
def test_every_supervised_token_is_predicted_from_exactly_its_own_past(rows, least):
    made = pack(rows, least)
    seen = paths(made)
    wanted = Counter(
        (tuple(r["input_ids"][:at]), label) for r in rows for at, label in enumerate(r["labels"]) if label != IGNORED
    )
    assert Counter((seen[place], label) for place, label in made.targets) == wanted


@settings(max_examples=100)
@given(ROWS)
def test_sharing_never_takes_more_tokens_and_with_nothing_to_lose_takes_each_beginning_once(rows):
    plain = sum(len(r["input_ids"]) for r in rows)
    assert len(pack(rows).ids) <= plain
    beginnings = {tuple(r["input_ids"][:n]) for r in rows for n in range(1, len(r["input_ids"]) + 1)}
    same = len(rows) - len({tuple(r["input_ids"]) for r in rows})
    if not same:
        assert len(pack(rows, 1).ids) == len(beginnings)


def test_a_prefix_stands_once_and_many_targets_stand_where_the_rows_branch():
    rows = [row([5] * 20, [n]) for n in (6, 7, 8)]
    made = pack(rows)
    assert len(made.ids) == 20 + 3 * 2
    assert [place for place, _ in made.targets].count(19) == 3
    assert sorted(label for place, label in made.targets if place == 19) == [6, 7, 8]
    tensors = made.tensors()
    assert tensors["places"].tolist() == [19, 20, 22, 24]  # logits are computed once for the branch
    assert tensors["labels"].tolist() == tensors["shift_labels"].tolist()


def test_rows_that_share_more_than_the_system_turn_share_that_too():
    rows = [row([5] * 30 + [6 + n % 2] * 20 + [9 + n], [4]) for n in range(4)]
    made = pack(rows)
    assert len(made.ids) == 30 + 2 * 20 + 4 * 3
    assert len(made.nodes) == 1 + 2 + 4


def test_a_beginning_that_two_texts_share_by_chance_is_not_worth_a_node():
    rows = [row([5] * 30 + [6, 7, own], [4]) for own in (8, 9)] + [row([5] * 30 + [10], [4])]
    assert len(pack(rows).nodes) == 1 + 3
    assert len(pack(rows, 1).nodes) == 1 + 2 + 2


@given(st.lists(TOKENS, max_size=12), st.lists(TOKENS, max_size=12))
def test_common_is_where_two_lists_first_differ(a, b):
    size = common(a, b)
    assert a[:size] == b[:size]
    assert size == min(len(a), len(b)) or a[size] != b[size]


def test_the_collator_refuses_what_is_not_proved_and_leaves_blank_rows_out():
    collate = PackingCollator((END,))
    with pytest.raises(SupervisionError, match="no end of turn"):
        collate([row([5], [6]), {"input_ids": [5, 6], "labels": [IGNORED, 6]}])
    alone, filled = collate([row([5], [6])]), collate([row([5], [6]), BLANK, BLANK])
    assert all(torch.equal(alone[name], filled[name]) for name in alone)
    assert not len(collate([BLANK])["labels"])


@given(
    st.integers(0, 400), st.lists(st.integers(1, 60), min_size=1, max_size=9), st.sampled_from([1, 8, 12, 16]),
    st.sampled_from([1, 2, 4]), st.integers(1, 40),
)  # fmt: skip
def test_a_pass_has_as_many_rows_as_take_no_more_tokens_than_plain_ones(shared, own, batch, micro, most):
    lengths = [shared + n for n in own]
    rows = rows_per_pass(lengths, shared, batch, micro, most=most)
    assert batch % rows == 0
    assert rows <= max(most, 1)
    if rows > micro:
        assert shared + rows * (max(lengths) - shared) <= micro * max(lengths)
