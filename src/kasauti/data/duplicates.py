"""Texts that say the same: exactly, after normalisation, or nearly.

Walks in: texts. Walks out: groups and pairs of indices. It does not know labels, parts or files.

Near-duplicates come from the exact join of `join.py`: no pair at or above the threshold is missed, and none below it
is told.
"""

from __future__ import annotations

import sys
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import compress

import numpy as np

from kasauti.data.join import Pairs, Sets, clusters, similar_across, similar_pairs

Pair = tuple[int, int, float]
"""Two indices and the Jaccard similarity of their word sets, 0 to 1."""


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
_ASCII_SIGNS = bytes(point for point in range(128) if _SIGNS[point] is None)
_PASSES = 5
"""A sign that vanishes can leave a letter beside a mark that it composes with: one pass is not always enough."""


def normalise(text: str) -> str:
    """NFKC, case folded, punctuation and symbols deleted ("don't" = "dont"), white space collapsed to single spaces.

    A text of nothing but signs keeps them, so that "???" and "!" are not the same text.
    """
    reading = _reading.get()
    if reading is None:
        return _normal(text)
    found = reading.normal.get(text)
    if found is None:
        found = _normal(text)
        reading.normal[text] = text if found == text else found
    return found


def _normal(text: str) -> str:
    if text.isascii():  # bytes lose their signs at a twentieth of the cost of letters
        plain = text.lower()
        bare = plain.encode("ascii").translate(None, _ASCII_SIGNS).decode("ascii")
        return " ".join(bare.split()) or " ".join(plain.split())
    for _ in range(_PASSES):
        text = _bare(unicodedata.normalize("NFKC", text).casefold())
        if unicodedata.is_normalized("NFKC", text) and text == text.casefold():
            break
    return text


def _bare(folded: str) -> str:
    return " ".join(folded.translate(_SIGNS).split()) or " ".join(folded.split())


def words(text: str) -> frozenset[str]:
    """The set of words of the normalised text; what similarity is measured on. Empty for a blank text."""
    return frozenset(map(sys.intern, normalise(text).split()))


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

    Time is about linear in the texts; the list itself is quadratic in the size of a group of equal texts. Blank texts
    are in no pair.

    Raises:
        ValueError: `threshold` is not in (0, 1].
    """
    distinct = _Distinct(texts, _reader())
    pairs = [
        (min(i, j), max(i, j), similarity)
        for a, b, similarity in _listed(similar_pairs(distinct.sets, threshold))
        for i in distinct.members(a)
        for j in distinct.members(b)
    ]
    for number in distinct.repeated():
        members = distinct.members(number)
        pairs += [(i, j, 1.0) for at, i in enumerate(members) for j in members[at + 1 :]]
    return sorted(pairs)


def near_groups(texts: Sequence[str], threshold: float) -> list[list[int]]:
    """Clusters of two or more texts linked by pairs at or above `threshold`, ordered by their first index."""
    distinct = _Distinct(texts, _reader())
    cluster = clusters(distinct.sets, threshold)[distinct.set_of]
    by_cluster = np.argsort(cluster, kind="stable")
    cuts = np.flatnonzero(np.diff(cluster[by_cluster])) + 1
    begins, ends = np.append(0, cuts), np.append(cuts, len(cluster))
    several = ends - begins > 1
    found = [distinct.place[by_cluster[a:b]].tolist() for a, b in zip(begins[several], ends[several], strict=True)]
    return sorted(found)


def near_duplicates_across(a: Sequence[str], b: Sequence[str], threshold: float) -> list[Pair]:
    """All `(i in a, j in b, similarity)` at or above `threshold`, sorted; see `near_duplicates`."""
    reader = _reader()
    left, right = _Distinct(a, reader), _Distinct(b, reader)
    return sorted(
        (i, j, similarity)
        for x, y, similarity in _listed(similar_across(left.sets, right.sets, threshold))
        for i in left.members(x)
        for j in right.members(y)
    )


def nearest_across(a: Sequence[str], b: Sequence[str], threshold: float) -> list[Pair]:
    """For each text of `a` that has one, its most similar text of `b` at or above `threshold`; the first of equals."""
    reader = _reader()
    left, right = _Distinct(a, reader), _Distinct(b, reader)
    best: dict[int, tuple[float, int]] = {}
    for x, y, similarity in _listed(similar_across(left.sets, right.sets, threshold)):
        best[x] = min(best.get(x, (0.0, 0)), (-similarity, right.first(y)))
    return sorted((i, j, -negated) for x, (negated, j) in best.items() for i in left.members(x))


def _listed(pairs: Pairs) -> Iterator[Pair]:
    a, b, similarity = pairs
    return zip(a.tolist(), b.tolist(), similarity.tolist(), strict=True)


class _Read:
    """Texts as sets of word numbers, each text read once."""

    def __init__(self) -> None:
        self.normal: dict[str, str] = {}
        """Text → its normal form."""
        self.sets: dict[bytes, int] = {b"": 0}
        """The numbers of a set's words, ascending, four bytes each → the number of the set; 0 is the empty one."""
        self._set_of: dict[str, int] = {}
        """Text → the number of its set."""
        self._numbers: defaultdict[str, int] = defaultdict(lambda: len(self._numbers))

    def set_of(self, text: str) -> int:
        """The number of the set of a text's words."""
        found = self._set_of.get(text)
        if found is None:
            numbers = array("i", sorted(set(map(self._numbers.__getitem__, normalise(text).split()))))
            found = self._set_of[text] = self.sets.setdefault(numbers.tobytes(), len(self.sets))
        return found


_reading: ContextVar[_Read | None] = ContextVar("_reading", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Within this block each text is normalised and cut into words once, whoever asks; forgotten at its end.

    An audit asks seven times for the same texts. What is kept costs about 500 bytes a row.
    """
    if _reading.get() is not None:
        yield
        return
    token = _reading.set(_Read())
    try:
        yield
    finally:
        _reading.reset(token)


def _reader() -> _Read:
    return _reading.get() or _Read()


class _Distinct:
    """The distinct word sets of texts, and which texts have each; blank texts are left out."""

    def __init__(self, texts: Sequence[str], reader: _Read) -> None:
        known = np.fromiter(map(reader.set_of, texts), np.int64, len(texts))
        self.place = np.flatnonzero(known)
        """Which texts are not blank."""
        numbers, self.set_of = np.unique(known[self.place], return_inverse=True)
        """Text that is not blank → its set here."""
        wanted = np.zeros(len(reader.sets), np.bool_)
        wanted[numbers] = True
        chosen = list(compress(reader.sets, wanted.tolist()))  # in the order of their numbers
        sizes = np.fromiter(map(len, chosen), np.int64, len(chosen)) // 4
        self.sets = Sets(np.append(0, np.cumsum(sizes)), np.frombuffer(b"".join(chosen), np.int32))
        self._by_set = np.argsort(self.set_of, kind="stable")
        self._starts = np.append(0, np.cumsum(np.bincount(self.set_of, minlength=len(numbers))))

    def members(self, number: int) -> list[int]:
        """The texts that have a set, in order."""
        found: list[int] = self.place[self._by_set[self._starts[number] : self._starts[number + 1]]].tolist()
        return found

    def first(self, number: int) -> int:
        """The first text that has a set."""
        return int(self.place[self._by_set[self._starts[number]]])

    def repeated(self) -> list[int]:
        """The sets that more than one text has."""
        found: list[int] = np.flatnonzero(np.diff(self._starts) > 1).tolist()
        return found
