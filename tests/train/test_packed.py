"""The order of rows: every row once an epoch, the same on every machine and for every number of processes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kasauti.train.packed import Alike, Shuffled

LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=300)


@given(lengths=LENGTHS, blank=st.integers(0, 7), seed=st.integers(0, 9), alike=st.booleans())
def test_every_row_comes_once_and_blank_ones_last(lengths, blank, seed, alike):
    rows = len(lengths)
    order = list(Alike(lengths, 8, rows + blank, seed) if alike else Shuffled(rows, rows + blank, seed))
    assert sorted(order[:rows]) == list(range(rows))
    assert order[rows:] == list(range(rows, rows + blank))


@given(lengths=LENGTHS, blank=st.integers(0, 7), epoch=st.integers(0, 5))
def test_the_order_follows_from_seed_and_epoch_alone(lengths, blank, epoch):
    """Not from what was drawn before, nor from how many rows fill up the last step."""
    orders = []
    for total in (len(lengths), len(lengths) + blank):
        sampler = Alike(lengths, 4, total, 7)
        sampler.set_epoch(epoch)
        list(sampler)
        orders.append(list(sampler)[: len(lengths)])
    assert orders[0] == orders[1]


def test_rows_of_one_step_are_of_about_one_length_and_epochs_differ():
    lengths = [1 + at % 50 for at in range(1600)]
    sampler = Alike(lengths, 16, len(lengths), 1)
    first = list(sampler)
    spread = [
        max(part) - min(part) for part in ([lengths[r] for r in first[at : at + 16]] for at in range(0, 1600, 16))
    ]
    assert sum(spread) / len(spread) < 5
    sampler.set_epoch(1)
    assert list(sampler) != first
