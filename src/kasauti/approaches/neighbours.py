"""The labelled rows that are most like a text: by its words (BM25), by its meaning (embeddings), or by both.

Walks in: training rows, texts. Walks out: places of the nearest rows, nearest first. It knows no model that answers.

Equal scores stand in the order of the rows, so the same rows give the same neighbours whatever they are asked together
with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kasauti.approaches.classical import WORD
from kasauti.core.types import Example
from kasauti.data.conversation import content

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORDS, MEANING, BOTH = "words", "meaning", "both"
WAYS = (WORDS, MEANING, BOTH)
"""From the simplest on."""
GRAMS = (3, 5)
"""Shortest and longest piece of a word that counts beside the word itself: of the bundled task's validation rows, with
16 neighbours' votes, words alone have 72.4% right, pieces alone 75.3%, both 75.3% and more of them with fewer
neighbours; misspelt words share pieces."""
RANK = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): score = sum of 1 / (60 + rank)."""
FUSED = 100
"""Places of each list that are fused."""
DIGITS = 5
"""Decimals of a cosine that count: the same text is embedded a little differently beside others."""


def terms(text: str) -> list[str]:
    """What BM25 counts: words in lower case, and their pieces, the word's ends marked."""
    words = re.findall(WORD, text.lower())
    marked = [f" {word} " for word in words]
    low, high = GRAMS
    return words + [
        word[at : at + size] for word in marked for size in range(low, high + 1) for at in range(len(word) - size + 1)
    ]


class Neighbours:
    """An index over labelled rows.

    Args:
        rows: training rows; of rows that say the same with the same answer the first is kept.
        vectors: float32 [rows kept, size] of unit length; None leaves `MEANING` and `BOTH` out.
    """

    def __init__(self, rows: Sequence[Example], vectors: NDArray[np.float32] | None = None) -> None:
        self.rows = distinct(rows)
        self.vectors = vectors
        self._bm25 = _bm25([terms(content(row)) for row in self.rows])

    @property
    def ways(self) -> tuple[str, ...]:
        """Those of `WAYS` that this index can look in."""
        return (WORDS,) if self.vectors is None else WAYS

    def nearest(
        self, texts: Sequence[str], count: int, way: str = WORDS, vectors: NDArray[np.float32] | None = None
    ) -> list[list[int]]:
        """Places in `rows` of the `count` nearest rows of every text, the nearest first.

        Args:
            texts: as `data.conversation.content` makes them.
            count: how many; fewer where there are fewer rows.
            way: one of `ways`.
            vectors: float32 [texts, size], the texts' own; for `MEANING` and `BOTH`.
        """
        deep = count if way != BOTH else max(FUSED, count)
        by_words = [_best(self._by_words(text), deep) for text in texts] if way != MEANING else []
        by_meaning = [_best(scores, deep) for scores in self._by_meaning(vectors)] if way != WORDS else []
        if way == BOTH:
            return [fuse(pair)[:count] for pair in zip(by_words, by_meaning, strict=True)]
        return by_words or by_meaning

    def _by_words(self, text: str) -> NDArray[np.float32]:
        import numpy as np

        asked = terms(text)
        if self._bm25 is None or not asked:
            return np.zeros(len(self.rows), dtype=np.float32)
        scores: NDArray[np.float32] = self._bm25.get_scores(asked)
        return scores

    def _by_meaning(self, vectors: NDArray[np.float32] | None) -> list[NDArray[np.float32]]:
        if vectors is None or self.vectors is None or not len(vectors):
            return []
        return [(self.vectors @ vector).round(DIGITS) for vector in vectors]


def distinct(rows: Sequence[Example]) -> list[Example]:
    """The rows, of those that say the same with the same answer only the first: copies would be shown as several
    examples."""
    first: dict[tuple[str, str | None], Example] = {}
    for row in rows:
        first.setdefault((content(row), row.answer), row)
    return list(first.values())


def fuse(rankings: Sequence[Sequence[int]]) -> list[int]:
    """One ranking of several, by the sum of 1 / (60 + rank), ranks from 1; of equal ones the lower place first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, place in enumerate(ranking, 1):
            scores[place] = scores.get(place, 0.0) + 1 / (RANK + rank)
    return sorted(scores, key=lambda place: (-scores[place], place))


def _best(scores: NDArray[np.float32], count: int) -> list[int]:
    """Places of the highest scores, highest first, of equal ones the lower place."""
    import numpy as np

    if count < len(scores):  # a full sort of 100,000 scores is most of the time that a question takes
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    order = np.argsort(-scores[places], kind="stable")[:count]
    found: list[int] = places[order].tolist()
    return found


def _bm25(documents: list[list[str]]) -> Any:
    """Lucene's BM25 with its usual constants (k1 = 1.5, b = 0.75; others that were tried found no more); None where no
    row has a word."""
    import bm25s

    if not any(documents):
        return None
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index(documents, show_progress=False)
    return index
