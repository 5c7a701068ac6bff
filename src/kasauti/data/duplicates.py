"""Texts that say the same: exactly, after normalisation, or nearly.

Walks in: texts. Walks out: groups and pairs of indices. It does not know labels, parts or files.

Near-duplicates come from an exact join (prefix and position filter, Xiao et al., "Efficient similarity joins for
near-duplicate detection", TODS 2011): no pair at or above the threshold is missed, and none below it is told.
"""

from __future__ import annotations

import math
import sys
import unicodedata
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

Pair = tuple[int, int, float]
"""Two indices and the Jaccard similarity of their word sets, 0 to 1."""

_SLACK = 1e-9
"""Keeps a bound that is a whole number from being rounded past it; what it lets through is verified exactly."""


class _Signs(dict[int, str | None]):
    """Code point → what `str.translate` puts in its place: punctuation, symbols and format signs vanish.

    Marks stay: Devanagari writes its vowels with them, and a pattern of word characters would tear the words apart.
    """

    def __missing__(self, point: int) -> str | None:
        sign = chr(point)
        gone = unicodedata.category(sign)[0] in "PSC" and not sign.isspace()
        self[point] = None if gone else sign
        return self[point]


_SIGNS = _Signs()
_PASSES = 5
"""A sign that vanishes can leave a letter beside a mark that it composes with: one pass is not always enough."""


def normalise(text: str) -> str:
    """NFKC, case folded, punctuation and symbols deleted ("don't" = "dont"), white space collapsed to single spaces.

    A text of nothing but signs keeps them, so that "???" and "!" are not the same text.
    """
    if text.isascii():
        return _bare(text.casefold())
    for _ in range(_PASSES):
        before, text = text, _bare(unicodedata.normalize("NFKC", text).casefold())
        if text == before:
            break
    return text


def _bare(folded: str) -> str:
    return " ".join(folded.translate(_SIGNS).split()) or " ".join(folded.split())


def words(text: str) -> frozenset[str]:
    """The set of words of the normalised text; what similarity is measured on. Empty for a blank text."""
    return frozenset(map(sys.intern, normalise(text).split()))


def exact_groups(texts: Sequence[str]) -> list[list[int]]:
    """Groups of two or more texts that are the same but for white space at the ends; ordered by first index."""
    return _groups(text.strip() for text in texts)


def normalised_groups(texts: Sequence[str]) -> list[list[int]]:
    """Groups of two or more texts that are the same once normalised; ordered by first index."""
    return _groups(normalise(text) for text in texts)


def _groups(keys: Iterable[str]) -> list[list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        if key:  # blank texts are found by their own check
            found[key].append(index)
    return [group for group in found.values() if len(group) > 1]


def merge(count: int, groups: Iterable[Sequence[int]]) -> list[int]:
    """Union-find: the smallest index of the cluster that each of `count` items belongs to, overlapping ones joined."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for group in groups:
        for item in group[1:]:
            a, b = root(group[0]), root(item)
            if a != b:
                parent[max(a, b)] = min(a, b)
    return [root(item) for item in range(count)]


def near_duplicates(texts: Sequence[str], threshold: float) -> list[Pair]:
    """All pairs `i < j` whose word sets have Jaccard similarity ≥ `threshold`, sorted.

    Time is about linear in short texts; the list itself is quadratic in the size of a group of equal texts. Blank texts
    are in no pair.

    Raises:
        ValueError: `threshold` is not in (0, 1].
    """
    sets = _Distinct(texts)
    pairs = [
        (min(i, j), max(i, j), similarity)
        for a, b, similarity in _self_join(sets.words, threshold)
        for i in sets.members[a]
        for j in sets.members[b]
    ]
    for members in sets.members:
        pairs += [(i, j, 1.0) for at, i in enumerate(members) for j in members[at + 1 :]]
    return sorted(pairs)


def near_groups(texts: Sequence[str], threshold: float) -> list[list[int]]:
    """Clusters of two or more texts linked by pairs at or above `threshold`; linear also where many texts are equal."""
    sets = _Distinct(texts)
    links = [[sets.members[a][0], sets.members[b][0]] for a, b, _ in _self_join(sets.words, threshold)]
    roots = merge(len(texts), [*links, *sets.members])
    found: defaultdict[int, list[int]] = defaultdict(list)
    for index, root in enumerate(roots):
        found[root].append(index)
    return [group for group in found.values() if len(group) > 1]


def near_duplicates_across(a: Sequence[str], b: Sequence[str], threshold: float) -> list[Pair]:
    """All `(i in a, j in b, similarity)` at or above `threshold`, sorted; see `near_duplicates`."""
    left, right = _Distinct(a), _Distinct(b)
    return sorted(
        (i, j, similarity)
        for x, y, similarity in _cross_join(left.words, right.words, threshold)
        for i in left.members[x]
        for j in right.members[y]
    )


def nearest_across(a: Sequence[str], b: Sequence[str], threshold: float) -> list[Pair]:
    """For each text of `a` that has one, its most similar text of `b` at or above `threshold`; the first of equals."""
    left, right = _Distinct(a), _Distinct(b)
    best: dict[int, tuple[float, int]] = {}
    for x, y, similarity in _cross_join(left.words, right.words, threshold):
        best[x] = min(best.get(x, (0.0, 0)), (-similarity, right.members[y][0]))
    return sorted((i, j, -negated) for x, (negated, j) in best.items() for i in left.members[x])


class _Distinct:
    """The distinct word sets of texts, and which texts have each; blank texts are left out."""

    def __init__(self, texts: Sequence[str]) -> None:
        found: defaultdict[frozenset[str], list[int]] = defaultdict(list)
        for index, text in enumerate(texts):
            found[words(text)].append(index)
        found.pop(frozenset(), None)
        self.words = list(found)
        self.members = list(found.values())


def _ranked(*collections: Sequence[frozenset[str]]) -> list[list[tuple[int, ...]]]:
    """Every set as its words' ranks, ascending: the rarest word first, so that prefixes collide seldom."""
    counts = Counter(word for sets in collections for s in sets for word in s)
    ordered = sorted(counts, key=lambda word: (counts[word], word))
    rank = {word: number for number, word in enumerate(ordered)}
    return [[tuple(sorted(map(rank.__getitem__, s))) for s in sets] for sets in collections]


def _by_size(sets: Sequence[tuple[int, ...]]) -> list[int]:
    return sorted(range(len(sets)), key=lambda number: len(sets[number]))


def _self_join(sets: Sequence[frozenset[str]], threshold: float) -> Iterator[Pair]:
    (ranked,) = _ranked(sets)
    index = _Index(threshold, 2 * threshold / (1 + threshold))
    for number in _by_size(ranked):
        for other, similarity in index.probe(ranked[number]):
            yield other, number, similarity
        index.add(number, ranked[number])


def _cross_join(a: Sequence[frozenset[str]], b: Sequence[frozenset[str]], threshold: float) -> Iterator[Pair]:
    left, right = _ranked(a, b)
    index = _Index(threshold, threshold)
    for number in _by_size(right):
        index.add(number, right[number])
    for number in _by_size(left):
        for other, similarity in index.probe(left[number]):
            yield number, other, similarity


class _Index:
    """Sets of ranks, found by the words of their prefixes. Sets are added, and probed, in order of size.

    Two sets of similarity t share a word within the first `n - ceil(t·n) + 1` of each. Where all that is probed later
    is at least as large as what was added, a shorter prefix is enough to index (share `2t/(1+t)` in place of t).

    Args:
        threshold: t, in (0, 1].
        share: the share that decides how much of a set is indexed.
    """

    def __init__(self, threshold: float, share: float) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}, expected more than 0 and at most 1")
        self._threshold = threshold
        self._share = share
        self._postings: defaultdict[int, tuple[list[int], list[int], list[int]]] = defaultdict(lambda: ([], [], []))
        """Word → sizes, numbers and positions of the sets that have it in their prefix, sizes ascending."""
        self._sets: dict[int, frozenset[int]] = {}

    def add(self, number: int, ranks: tuple[int, ...]) -> None:
        """Index a set; sizes must not fall from call to call."""
        size = len(ranks)
        for position, rank in enumerate(ranks[: _prefix(size, self._share)]):
            sizes, numbers, positions = self._postings[rank]
            sizes.append(size)
            numbers.append(number)
            positions.append(position)
        self._sets[number] = frozenset(ranks)

    def probe(self, ranks: tuple[int, ...]) -> Iterator[tuple[int, float]]:
        """The sets at or above the threshold, and how similar they are."""
        size, t = len(ranks), self._threshold
        own, seen = frozenset(ranks), set()
        smallest, largest = math.ceil(t * size - _SLACK), math.floor(size / t + _SLACK)
        needed = t / (1 + t)
        for place, rank in enumerate(ranks[: _prefix(size, t)]):
            if rank not in self._postings:
                continue
            sizes, numbers, positions = self._postings[rank]
            for at in range(bisect_left(sizes, smallest), len(sizes)):
                other_size, number = sizes[at], numbers[at]
                if other_size > largest:
                    break
                if number in seen:
                    continue
                seen.add(number)
                # this is the first word that both have: what is left on either side bounds what they can share
                left = min(size - place, other_size - positions[at])
                if left < needed * (size + other_size) - _SLACK:
                    continue
                shared = len(own & self._sets[number])
                similarity = shared / (size + other_size - shared)
                if similarity >= t:
                    yield number, similarity


def _prefix(size: int, share: float) -> int:
    return size - math.ceil(share * size - _SLACK) + 1
