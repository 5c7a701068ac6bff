"""The words that separate two sets of texts, each with how sure that is.

Walks in: two lists of texts, and what words are like everywhere. Walks out: words with z-scores. It does not know
labels, models or errors.

Log-odds ratio with an informative Dirichlet prior (Monroe, Colaresi, Quinn, "Fightin' Words", Political Analysis 2008,
equations 15, 16, 18 and 22): frequent words of no meaning and rare ones of no evidence both come out near zero, which
neither a difference of frequencies nor a plain ratio gives.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kasauti.measure.kinds.summarization import words

SURE = 1.96
"""A word whose |z| is under this is not told: among words that separate nothing, one in twenty passes."""


@dataclass(frozen=True, slots=True)
class Telling:
    """One word."""

    word: str
    z: float
    """Log-odds of the word in a against b over its standard error; above 0 it speaks for a."""
    count_a: int
    count_b: int


def counts(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(words(text))
    return found


def log_odds(a: Mapping[str, int], b: Mapping[str, int], background: Mapping[str, int]) -> list[Telling]:
    """Every word of a or b, most for a first.

    Args:
        a, b: counts of words in either.
        background: counts in texts like both, a and b among them; the prior. It is scaled to weigh as much as a and b
            together: the whole of a large training set would drown two small labels.
    """
    n_a, n_b = sum(a.values()), sum(b.values())
    if not n_a or not n_b:
        return []
    seen = {word: background.get(word, 0) + 1 for word in (*a, *b)}  # one more: a word may be missing there
    total = sum(background.values()) + len(seen) + 1  # and there is a word that nobody has seen
    prior = float(n_a + n_b)
    found = []
    for word, often in seen.items():
        alpha = prior * often / total
        y_a, y_b = a.get(word, 0) + alpha, b.get(word, 0) + alpha
        odds = math.log(y_a / (n_a + prior - y_a)) - math.log(y_b / (n_b + prior - y_b))
        found.append(Telling(word, odds / math.sqrt(1 / y_a + 1 / y_b), a.get(word, 0), b.get(word, 0)))
    return sorted(found, key=lambda one: (-one.z, one.word))


def separating_words(
    a: Sequence[str], b: Sequence[str], background: Mapping[str, int], top: int = 6
) -> tuple[list[str], list[str]]:
    """The words that speak most for a, and those that speak most for b, at most `top` each; only sure ones."""
    ranked = log_odds(counts(a), counts(b), background)
    for_a = [one.word for one in ranked[:top] if one.z >= SURE and one.count_a > 1]
    for_b = [one.word for one in ranked[::-1][:top] if one.z <= -SURE and one.count_b > 1]
    return for_a, for_b
