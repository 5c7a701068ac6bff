"""The exact near-duplicate join against comparing every pair, on generated texts.

Walks in: nothing. Walks out: figures, a plain dict. It does not know where they are kept.

The texts are drawn with Zipf's law from a made-up vocabulary, and one in ten is an earlier text with a word or two
changed, so that there is something to find. Brute force is the oracle too: both must name the same pairs.
"""

from __future__ import annotations

import itertools
import random
import time

from kasauti.data.duplicates import near_duplicates, words

THRESHOLD = 0.8
SMALL = 1_000
"""Texts on which both are run; brute force is quadratic."""
LARGE = (5_000, 20_000)
"""Texts on which only the join is run."""
VOCABULARY = 8_000


def texts(count: int, seed: int) -> list[str]:
    """`count` texts of 6 to 20 words, a tenth of them near copies of earlier ones."""
    draw = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(VOCABULARY)]
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(VOCABULARY)))
    made: list[list[str]] = []
    for number in range(count):
        if number and draw.random() < 0.1:
            copy = list(draw.choice(made))
            for _ in range(draw.randint(1, 2)):
                copy[draw.randrange(len(copy))] = draw.choice(vocabulary)
            made.append(copy)
        else:
            made.append(draw.choices(vocabulary, cum_weights=weights, k=draw.randint(6, 20)))
    return [" ".join(row) for row in made]


def brute_force(rows: list[str], threshold: float) -> set[tuple[int, int]]:
    """All pairs at or above the threshold, by looking at every pair."""
    sets = [words(row) for row in rows]
    return {
        (i, j) for (i, a), (j, b) in itertools.combinations(enumerate(sets), 2) if len(a & b) / len(a | b) >= threshold
    }


def run(seed: int = 42) -> dict[str, object]:
    """Seconds of both at the small size, and of the join alone at the large ones.

    Raises:
        RuntimeError: the two do not name the same pairs; then no time means anything.
    """
    rows = texts(SMALL, seed)
    started = time.perf_counter()
    wanted = brute_force(rows, THRESHOLD)
    slow = time.perf_counter() - started
    quick, pairs = _join(rows)
    if pairs != wanted:
        odd = sorted(pairs ^ wanted)
        raise RuntimeError(f"join and brute force disagree on {len(odd)} pairs, such as {odd[:5]}")
    larger = {str(count): round(_join(texts(count, seed))[0], 3) for count in LARGE}
    return {
        "threshold": THRESHOLD,
        "texts": SMALL,
        "pairs": len(pairs),
        "brute_force_seconds": round(slow, 3),
        "join_seconds": round(quick, 4),
        "times_faster": round(slow / quick, 1),
        "join_seconds_at": larger,
    }


def _join(rows: list[str]) -> tuple[float, set[tuple[int, int]]]:
    started = time.perf_counter()
    pairs = {(i, j) for i, j, _ in near_duplicates(rows, THRESHOLD)}
    return time.perf_counter() - started, pairs
