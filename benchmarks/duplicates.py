"""The exact near-duplicate join beside brute force, and beside two MinHash libraries on the same texts in one run.

Walks in: nothing. Walks out: figures, a plain dict. It does not know where they are kept.

Brute force is the oracle of the join: both must name the same pairs. Then datasketch and rensa look for the same pairs
in more texts. Both only propose; what they propose is verified as the join does, so that their precision is 1 too, and
each is given the setting with which it is fastest among those that miss at most one pair in a hundred. All start from
plain texts and take turns, one thread each.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable

from complaints import texts
from kasauti.data.duplicates import near_duplicates, words

THRESHOLD = 0.8
SMALL = 1_000
"""Texts on which brute force is run; it is quadratic."""
SIDE_BY_SIDE = 50_000
"""Texts on which the libraries are run."""
LARGE = (100_000, 200_000)
"""Texts on which only the join is run."""
ROUNDS = 3
MISSED = 0.01
"""Share of the pairs that a setting may miss."""
SETTINGS = ((4, 8), (8, 8), (8, 16), (8, 4), (16, 8), (16, 4), (32, 4))
"""(bands, rows of a band), fewer permutations first."""

Found = set[tuple[int, int]]


def brute_force(rows: list[str], threshold: float) -> Found:
    """All pairs at or above the threshold, by looking at every pair."""
    sets = [words(row) for row in rows]
    return {
        (i, j) for (i, a), (j, b) in itertools.combinations(enumerate(sets), 2) if len(a & b) / len(a | b) >= threshold
    }


def exact(rows: list[str]) -> Found:
    """Kasauti's join."""
    return {(i, j) for i, j, _ in near_duplicates(rows, THRESHOLD)}


def with_datasketch(rows: list[str], bands: int, length: int) -> Found:
    """MinHash LSH of datasketch, verified."""
    from datasketch import MinHash, MinHashLSH

    sets = [words(row) for row in rows]
    hashes = MinHash.bulk(([word.encode() for word in one] for one in sets), num_perm=bands * length)
    index = MinHashLSH(num_perm=bands * length, params=(bands, length))
    found: Found = set()
    for number, sketch in enumerate(hashes):
        found.update(_verified(sets, number, index.query(sketch)))
        index.insert(number, sketch, check_duplication=False)
    return found


def with_rensa(rows: list[str], bands: int, length: int) -> Found:
    """MinHash LSH of rensa, verified."""
    from rensa import RMinHash, RMinHashLSH

    sets = [words(row) for row in rows]
    hashes = RMinHash.from_token_sets([list(one) for one in sets], bands * length, 42)
    index = RMinHashLSH(THRESHOLD, bands * length, bands)
    index.insert_many(hashes)
    found: Found = set()
    for number, others in enumerate(index.query_all(hashes)):
        found.update(_verified(sets, number, [other for other in others if other < number]))
    return found


def _verified(sets: list[frozenset[str]], number: int, others: list[int]) -> Found:
    one = sets[number]
    return {(other, number) for other in others if len(one & sets[other]) / len(one | sets[other]) >= THRESHOLD}


LIBRARIES: dict[str, Callable[[list[str], int, int], Found]] = {"datasketch": with_datasketch, "rensa": with_rensa}


def run(seed: int = 42) -> dict[str, object]:
    """Seconds and recall of each.

    Raises:
        RuntimeError: join and brute force do not name the same pairs; then no time means anything.
    """
    rows = texts(SMALL, seed)
    slow, wanted = _timed(lambda: brute_force(rows, THRESHOLD))
    quick, pairs = _timed(lambda: exact(rows))
    if pairs != wanted:
        odd = sorted(pairs ^ wanted)
        raise RuntimeError(f"join and brute force disagree on {len(odd)} pairs, such as {odd[:5]}")
    return {
        "threshold": THRESHOLD,
        "brute_force": {
            "texts": SMALL,
            "pairs": len(pairs),
            "brute_force_seconds": round(slow, 3),
            "join_seconds": round(quick, 4),
        },
        "side_by_side": side_by_side(texts(SIDE_BY_SIDE, seed)),
        "join_seconds_at": {str(count): round(_join_seconds(count, seed), 3) for count in LARGE},
    }


def side_by_side(rows: list[str], rounds: int = ROUNDS) -> dict[str, object]:
    """The join and both libraries on the same texts, in turns; medians."""
    wanted = exact(rows)
    chosen = {name: _setting(rows, wanted, find) for name, find in LIBRARIES.items()}
    seconds: dict[str, list[float]] = {"kasauti": [], **{name: [] for name in LIBRARIES}}
    for _ in range(rounds):
        seconds["kasauti"].append(_timed(lambda: exact(rows))[0])
        for name, find in LIBRARIES.items():
            bands, length, _ = chosen[name]
            seconds[name].append(_timed(lambda find=find, b=bands, r=length: find(rows, b, r))[0])  # type: ignore[misc]
    middle = {name: statistics.median(found) for name, found in seconds.items()}
    return {
        "texts": len(rows),
        "pairs": len(wanted),
        "rounds": rounds,
        "kasauti": {"recall": 1.0, "seconds": round(middle["kasauti"], 3)},
        **{
            name: {
                "bands": bands,
                "rows_of_a_band": length,
                "recall": round(recall, 4),
                "seconds": round(middle[name], 3),
                "times_slower": round(middle[name] / middle["kasauti"], 2),
            }
            for name, (bands, length, recall) in chosen.items()
        },
    }


def _setting(rows: list[str], wanted: Found, find: Callable[[list[str], int, int], Found]) -> tuple[int, int, float]:
    """The fastest setting that misses no more than `MISSED`; where none does, the one with the best recall."""
    tried = []
    for bands, length in SETTINGS:
        seconds, found = _timed(lambda b=bands, r=length: find(rows, b, r))  # type: ignore[misc]
        tried.append((seconds, bands, length, len(found & wanted) / len(wanted)))
    good = [one for one in tried if one[3] >= 1 - MISSED]
    _, bands, length, recall = min(good) if good else max(tried, key=lambda one: one[3])
    return bands, length, recall


def _join_seconds(count: int, seed: int) -> float:
    rows = texts(count, seed)
    return _timed(lambda: exact(rows))[0]


def _timed(find: Callable[[], Found]) -> tuple[float, Found]:
    started = time.perf_counter()
    found = find()
    return time.perf_counter() - started, found
