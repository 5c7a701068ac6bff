"""The exact similarity join: which sets of integers have Jaccard similarity at or above a threshold?

Walks in: sets of word numbers, as two flat arrays. Walks out: arrays of pairs, or the cluster of each set. It does not
know texts.

Two sets of similarity t share at least `ceil(t·n)` of the n words of the larger. With every set's words in one order,
the rarest first, the k rarest that both have stand within the first `n - ceil(t·n) + k` of each (the prefix filter of
Bayardo, Ma, Srikant, "Scaling up all pairs similarity search", WWW 2007; with k > 1, of Wang, Li, Feng, "Can we beat
the prefix filtering?", SIGMOD 2012). So each set is written down under every k of its prefix, and only sets that meet
there are compared: with k = 2 hardly any meet by chance, however many rows there are. Nothing is missed and nothing is
guessed: all that meet are counted word by word. Everything is done to whole arrays at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Pairs = tuple[Ints, Ints, NDArray[np.float64]]
"""Numbers of sets, numbers of the sets they are like, similarities."""

_SLACK = 1e-9
"""Keeps a bound that is a whole number from being rounded past it; what it lets through is verified exactly."""
_MOST = 150
"""Pairs of words in a prefix, above which sets are written down under single words: long texts are few."""
_CELLS = 2**22
"""Entries of an intermediate array; bounds memory."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MIX2 = np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True, slots=True)
class Sets:
    """Sets of word numbers, none empty, one behind another."""

    starts: Ints
    """Where each begins in `words`, and at last where the last one ends."""
    words: NDArray[np.int32]
    """Word numbers, each once a set, in any order."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> Ints:
        """Words of each set."""
        return np.diff(self.starts)


def similar_pairs(sets: Sets, threshold: float) -> Pairs:
    """All pairs of different sets at or above `threshold`, each once, in no order."""
    table = _table(sets, None, threshold)
    return _named(table, [_verified(table, x, y) for run in _runs(table) for x, y in _meetings(*run)])


def similar_across(left: Sets, right: Sets, threshold: float) -> Pairs:
    """All pairs of a set of `left` and one of `right` at or above `threshold`, each once, in no order."""
    table = _table(right, left, threshold)
    b, a, similarity = _named(table, [_verified(table, x, y) for run in _runs(table) for x, y in _meetings(*run)])
    return a - len(right), b, similarity


def clusters(sets: Sets, threshold: float) -> Ints:
    """The smallest number of the cluster that each set belongs to; sets at or above `threshold` are linked.

    Where many sets meet, neighbours are compared first: if that links them all, as it does rows made from one
    template, the pairs that are left, which grow with the square, need no look.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    table, count = _table(sets, None, threshold), len(sets)
    cluster = np.arange(count)

    def link(x: Ints, y: Ints) -> None:
        nonlocal cluster
        apart = cluster[x] != cluster[y]
        x, y, _ = _verified(table, x[apart], y[apart])
        if len(x):
            edges = coo_matrix((np.ones(len(x), np.int8), (cluster[x], cluster[y])), shape=(count, count))
            cluster = connected_components(edges, directed=False)[1][cluster].astype(np.int64)

    for positions, slot, low, high in _runs(table):
        for x, y in _meetings(positions, slot, low, np.minimum(low + 1, high)):
            link(x, y)
        changes = np.concatenate(([0], np.cumsum(np.diff(cluster[positions]) != 0)))
        torn = changes[slot] != changes[high - 1]
        for x, y in _meetings(positions, slot[torn], low[torn], high[torn]):
            link(x, y)
    smallest = np.full(count, count)
    np.minimum.at(smallest, cluster, table.number)
    named = np.empty(count, np.int64)
    named[table.number] = smallest[cluster]
    return named


@dataclass(frozen=True, slots=True)
class _Table:
    """Sets by size, each with its words ascending by how many sets have them; known by their position here."""

    threshold: float
    sizes: Ints
    starts: Ints
    ranks: NDArray[np.int32]
    number: Ints
    """Position → number of the set; those of the second collection follow on those of the first."""
    first: int
    """Sets of the first collection, which stand before those of the second."""
    single: NDArray[np.bool_]
    """Rank → whether the word cannot be shared, since but one set, or one collection, has it."""


def _table(one: Sets, two: Sets | None, threshold: float) -> _Table:
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}, expected more than 0 and at most 1")
    both = [one] if two is None else [one, two]
    words = one.words if two is None else np.concatenate([one.words, two.words])
    counts = [np.bincount(sets.words, minlength=int(words.max(initial=-1)) + 1) for sets in both]
    total = np.sum(counts, axis=0)
    by_count = np.argsort(total, kind="stable")
    rank = np.empty(len(total), np.int32)
    rank[by_count] = np.arange(len(total), dtype=np.int32)
    single = (total < 2 if two is None else np.minimum(*counts) < 1)[by_count]
    sizes = np.concatenate([sets.sizes for sets in both])
    starts = np.concatenate(([0], np.cumsum(sizes)))[:-1]
    second = np.arange(len(sizes)) >= len(one)
    number = np.lexsort((sizes, second))
    sizes, old = sizes[number], starts[number]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    ranks = np.empty(len(words), np.int32)
    for first, last, size in _classes(sizes):
        for at in range(first, last, max(1, _CELLS // size)):
            some = slice(at, min(last, at + max(1, _CELLS // size)))
            rows = rank[words[old[some, None] + np.arange(size)]]
            rows.sort(axis=1)
            ranks[starts[some.start] : starts[some.stop]] = rows.reshape(-1)
    return _Table(threshold, sizes, starts, ranks, number, len(one), single)


def _classes(sizes: Ints) -> Iterator[tuple[int, int, int]]:
    """(first, last + 1, size) of every run of sets of one size."""
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(sizes)) + 1, [len(sizes)]))
    for first, last in pairwise(cuts):
        if first < last:
            yield int(first), int(last), int(sizes[first])


def _runs(table: _Table) -> Iterator[tuple[NDArray[np.int32], Ints, Ints, Ints]]:
    """Sets that meet: positions, and slots of them with the slots, from `low` to before `high`, that each meets.

    Sets of the first collection are written down under 1 word where they are of one or two words, or very long, and
    under 2 words otherwise; whoever may be like them is looked up accordingly.
    """
    t = table.threshold
    tiny = int(np.floor(1 / t + _SLACK))  # larger ones share two words with all that are like them
    sizes = np.unique(table.sizes[: table.first])
    middle = [size for size in sizes.tolist() if size > tiny and _under_two(size, t)]
    long = max(middle, default=tiny)
    for least, most, words in ((1, tiny, 1), (tiny + 1, long, 2), (long + 1, int(sizes.max(initial=0)), 1)):
        if least > most:
            continue
        keys = _written(table, least, most, words)
        if len(keys) < 2:
            continue
        keys.sort()
        bits = np.uint64(len(table.sizes).bit_length())
        positions = (keys & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int32)
        keys >>= bits
        ends = np.append(np.flatnonzero(keys[1:] != keys[:-1]) + 1, len(keys))
        del keys
        begins = np.concatenate(([0], ends[:-1]))
        several = ends - begins > 1
        begins, ends = begins[several], ends[several]
        size = ends - begins
        slot = np.repeat(begins - np.concatenate(([0], np.cumsum(size)[:-1])), size) + np.arange(size.sum())
        high = np.repeat(ends, size)
        if table.first < len(table.sizes):
            # those of the second collection stand last in every run
            inside = np.concatenate(([0], np.cumsum(positions < table.first)))
            low = np.repeat(begins + inside[ends] - inside[begins], size)
        else:
            low = slot + 1
        at = positions[slot]
        sized = table.sizes[at]
        kept = (at < table.first) & (low < high) & (sized >= least) & (sized <= most)
        yield positions, slot[kept], low[kept], high[kept]


def _under_two(size: int, threshold: float) -> bool:
    words = _prefix(size, threshold, 2)
    return words * (words - 1) // 2 <= _MOST


def _prefix(size: int, share: float, words: int) -> int:
    """Words of a set of `size` among which are the `words` rarest that it has in common with any like it."""
    return min(size, size - int(np.ceil(share * size - _SLACK)) + words)


def _written(table: _Table, least: int, most: int, words: int) -> NDArray[np.uint64]:
    """Keys of what sets are written down under: a hash, and below it the set's position.

    Two sets of the same size or more meet within shorter prefixes than a set and a smaller one, but a set here is both
    the smaller and the larger; it is written down once, as the larger.
    """
    t, bits = table.threshold, np.uint64(len(table.sizes).bit_length())
    alone = table.first == len(table.sizes)
    classes = [
        (first, last, size, list(combinations(range(_prefix(size, t, words)), words)))
        for first, last, size in _classes(table.sizes)
        if size >= (least if alone else np.ceil(t * least - _SLACK)) and size <= np.floor(most / t + _SLACK)
    ]
    keys = np.empty(sum((last - first) * len(columns) for first, last, _, columns in classes), np.uint64)
    end = 0
    for first, last, size, columns in classes:
        for at in range(first, last, max(1, _CELLS // size)):
            to = min(last, at + max(1, _CELLS // size))
            rows = table.ranks[table.starts[at] : table.starts[to]].reshape(-1, size)[:, : _prefix(size, t, words)]
            shared = ~table.single[rows]
            mixed = rows.astype(np.uint64) + np.uint64(1)
            place = np.arange(at, to, dtype=np.uint64)
            for chosen in columns:
                there = shared[:, list(chosen)].all(axis=1)
                hashed = mixed[there, chosen[0]] * _MIX
                for column in chosen[1:]:
                    hashed = (hashed ^ (hashed >> np.uint64(29))) * _MIX2 + mixed[there, column] * _MIX
                hashed ^= hashed >> np.uint64(32)
                keys[end : end + len(hashed)] = (hashed * _MIX2 << bits) | place[there]
                end += len(hashed)
    return keys[:end]


def _meetings(positions: NDArray[np.int32], slot: Ints, low: Ints, high: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The pairs of positions that meet, a few million at a time; some more than once."""
    counts = np.cumsum(high - low)
    at = 0
    while at < len(slot):
        before = int(counts[at - 1]) if at else 0
        to = max(at + 1, int(np.searchsorted(counts, before + _CELLS, "right")))
        size = high[at:to] - low[at:to]
        partner = np.repeat(low[at:to] - (counts[at:to] - size - before), size) + np.arange(int(size.sum()))
        yield np.repeat(positions[slot[at:to]], size).astype(np.int64), positions[partner].astype(np.int64)
        at = to


def _verified(table: _Table, x: Ints, y: Ints) -> Pairs:
    """Of the pairs, those at or above the threshold, each once, counted word by word."""
    t, sizes = table.threshold, table.sizes
    small, large = np.minimum(sizes[x], sizes[y]), np.maximum(sizes[x], sizes[y])
    fit = (small >= t * large - _SLACK) & (x != y)
    pairs = np.unique(x[fit] * len(sizes) + y[fit])
    x, y = np.divmod(pairs, max(1, len(sizes)))
    by_size = np.argsort(sizes[x] + sizes[y], kind="stable")
    x, y = x[by_size], y[by_size]
    both, shared = sizes[x] + sizes[y], np.empty(len(x), np.int64)
    at = 0
    while at < len(x):
        to = min(len(x), at + max(1, _CELLS // int(both[min(len(x), at + _CELLS // int(both[at])) - 1])))
        shared[at:to] = _shared(table, x[at:to], y[at:to])
        at = to
    similarity = shared / (both - shared)
    like = similarity >= t
    return x[like], y[like], similarity[like]


def _shared(table: _Table, x: Ints, y: Ints) -> Ints:
    """Words that the sets of each pair have in common: equal neighbours, once both are sorted into one row."""
    wide_x, wide_y = (int(table.sizes[side].max()) for side in (x, y))
    rows = np.empty((len(x), wide_x + wide_y), np.int32)
    for side, first, width, offset in ((x, 0, wide_x, 1), (y, wide_x, wide_y, 1 + wide_x)):
        column = np.arange(width)
        inside = column < table.sizes[side][:, None]
        # what fills a row up is equal to nothing
        filler = -offset - column
        taken = np.minimum(table.starts[side][:, None] + column, len(table.ranks) - 1)
        rows[:, first : first + width] = np.where(inside, table.ranks[taken], filler)
    rows.sort(axis=1)
    found: Ints = (rows[:, 1:] == rows[:, :-1]).sum(axis=1)
    return found


def _named(table: _Table, found: list[Pairs]) -> Pairs:
    """Pairs of positions from several runs as pairs of numbers, each once."""
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    x, y, similarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, once = np.unique(x * len(table.sizes) + y, return_index=True)
    return table.number[x[once]], table.number[y[once]], similarity[once]
