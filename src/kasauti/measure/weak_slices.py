"""Slices of the test rows on which an approach does worse than on the rest, with corrected significance.

Walks in: rows, whether each was answered right, confidences, the words of the training rows. Walks out: dictionaries
that go into the report as they are. It does not know how the answers came about.

Every slice is named before a single answer is looked at, each is tested against all other rows (Fisher's exact test,
two-sided), and the p-values are corrected by Holm over all slices that were tested, so that a slice found weak is one.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from kasauti.core.types import Example, Prediction
from kasauti.measure.kinds.summarization import words
from kasauti.measure.metrics import check_lengths
from kasauti.measure.statistics import holm, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST = 20
"""Rows that a slice, and the rest, must have: with fewer only a ruin could be seen."""
MOST_GROUPS = 20
"""The largest groups that are slices; each further one makes all corrections harder."""
NEW = 0.25
"""A row is of new words where at least this share of its words occurs in no training row."""
ROMANISED = 2
"""Words of Hindi in Latin letters that a row must have to count as that; one alone may be English or a name."""
HINDI = frozenset(
    (
        "aap", "abhi", "agar", "apna", "aur", "bahut", "bhai", "bhi", "chahiye", "diya", "diye", "gaya", "gayi", "hai",
        "hain", "hua", "hui", "humko", "ka", "kab", "kar", "karna", "karo", "ke", "ki", "kiya", "ko", "koi", "kuch",
        "kya", "kyon", "kyu", "kyun", "liya", "mein", "mera", "mere", "meri", "mujhe", "mujhko", "nahi", "nahin", "nhi",
        "paisa", "paise", "phir", "raha", "rahe", "rahi", "sirf", "tak", "tha", "thi", "toh", "wala", "wale", "wapas",
    )
)  # fmt: skip
"""Frequent words of Hindi that are not English ones."""


def weak_slices(
    examples: Sequence[Example],
    right: NDArray[np.bool_],
    predictions: Sequence[Prediction],
    known_words: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Every slice with enough rows, the most surely worse first.

    Args:
        examples: the rows.
        right: [rows] whether the answer was right.
        predictions: for their confidence.
        known_words: all words of the training rows; with none, no row counts as having new ones.

    Returns:
        `slice` (its name, as it stands after "inputs"), `kind` (length, script, language, words, group or confidence),
        `rows`, `errors`,
        `accuracy` with Wilson's 95% `low` and `high`, `rest` (the accuracy of all other rows), `difference`,
        `p_value` and `p_adjusted`; `weak` is True where it is lower and `p_adjusted` under 0.05.
    """
    import numpy as np

    check_lengths(examples, predictions)
    found = []
    for kind, name, members in _slices(examples, predictions, frozenset(known_words)):
        inside = np.array(members, dtype=bool)
        if min(int(inside.sum()), int((~inside).sum())) >= LEAST:
            found.append(_measured(kind, name, right, inside))
    adjusted = holm([one["p_value"] for one in found])
    for one, p in zip(found, adjusted, strict=True):
        one["p_adjusted"] = p
        one["weak"] = p < 0.05 and one["difference"] < 0
    return sorted(found, key=lambda one: (not one["weak"], one["p_adjusted"], one["difference"], one["slice"]))


def _measured(kind: str, name: str, right: NDArray[np.bool_], inside: NDArray[np.bool_]) -> dict[str, Any]:
    from scipy.stats import fisher_exact

    rows, hits = int(inside.sum()), int(right[inside].sum())
    others, other_hits = int((~inside).sum()), int(right[~inside].sum())
    low, high = wilson(hits, rows)
    p = float(fisher_exact([[hits, rows - hits], [other_hits, others - other_hits]]).pvalue)
    return {
        "slice": name,
        "kind": kind,
        "rows": rows,
        "errors": rows - hits,
        "accuracy": {"value": hits / rows, "low": low, "high": high},
        "rest": other_hits / others,
        "difference": hits / rows - other_hits / others,
        "p_value": p,
    }


def _slices(
    examples: Sequence[Example], predictions: Sequence[Prediction], known: frozenset[str]
) -> Iterator[tuple[str, str, list[bool]]]:
    """(kind, name, whether each row is in it)."""
    texts = ["\n".join(e.fields.values()) for e in examples]
    told = [words(text) for text in texts]
    yield from _by_length([len(row) for row in told])
    scripts = [script_of(text) for text in texts]
    for name, _ in Counter(scripts).most_common():
        yield "script", f"written in {name}" if name != MIXED else "of several scripts", [s == name for s in scripts]
    hindi = [sum(word in HINDI for word in row) >= ROMANISED for row in told]
    yield "language", "in Hindi, in Latin letters", hindi
    if known:
        new = [new_share(text, known) >= NEW for text in texts]
        yield "words", f"with at least {NEW:.0%} of their words in no training row", new
    groups = Counter(e.group for e in examples if e.group is not None)
    for group, _ in groups.most_common(MOST_GROUPS):
        yield "group", f"of group {group}", [e.group == group for e in examples]
    sure = [p.confidence for p in predictions]
    if all(c is not None for c in sure) and sure:
        cut = sorted(c or 0.0 for c in sure)[len(sure) // 4]
        yield "confidence", f"of the least sure quarter (confidence under {cut:.2f})", [(c or 0.0) < cut for c in sure]


def _by_length(lengths: Sequence[int]) -> Iterator[tuple[str, str, list[bool]]]:
    """The shortest and the longest quarter, where lengths differ enough to have them."""
    if not lengths:
        return
    ordered = sorted(lengths)
    short, long = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
    if short < long:
        yield "length", f"of up to {short} words", [n <= short for n in lengths]
        yield "length", f"of {long} words or more", [n >= long for n in lengths]


def new_share(text: str, known: Collection[str]) -> float:
    """Share of a text's words that are not among the known ones."""
    told = words(text)
    return sum(word not in known for word in told) / len(told) if told else 0.0


MIXED = "mixed"


def script_of(text: str) -> str:
    """The script of a text's letters, such as `Latin` or `Devanagari`; `mixed` where a second one has at least a tenth
    of them, `no letters` where there is none."""
    found = Counter(_script(sign) for sign in text if sign.isalpha())
    if not found:
        return "no letters"
    total = found.total()
    large = [name for name, number in found.items() if number >= total / 10]
    return large[0] if len(large) == 1 else MIXED


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0].title()
