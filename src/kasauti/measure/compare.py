"""The one place where two lists of answers to the same rows meet.

Walks in: the truth (n strings) and two or more lists of n `Prediction`s. Walks out: `Comparison`s, a minus b, with an
interval, an exact paired p-value and Holm's correction over the family. It does not know which approach is simpler or
what a difference is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from kasauti.core.types import Comparison, Prediction
from kasauti.measure import metrics
from kasauti.measure.statistics import holm, mcnemar_exact, paired_difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Right = Callable[[Sequence[str], Sequence[Prediction]], "NDArray[np.bool_]"]
"""Truth and predictions to the correctness of every row, [n]."""


def compare_two(
    a: str,
    b: str,
    truth: Sequence[str],
    predictions_a: Sequence[Prediction],
    predictions_b: Sequence[Prediction],
    right: Right = metrics.correct,
) -> Comparison:
    """One pair on its own: `p_adjusted` equals `p_value`.

    Args:
        a, b: names of the two.
        right: what counts as right; exact match unless the kind of task says otherwise.

    Raises:
        KasautiError: the lists differ in length, or are empty.
    """
    return _compare(a, b, right(truth, predictions_a), right(truth, predictions_b))


def compare_all(
    truth: Sequence[str],
    predictions_by_name: Mapping[str, Sequence[Prediction]],
    right: Right = metrics.correct,
) -> list[Comparison]:
    """Every pair, in the order of the mapping, `p_adjusted` by Holm over all of them; empty for fewer than two."""
    rows_right = {name: right(truth, predictions) for name, predictions in predictions_by_name.items()}
    pairs = [_compare(a, b, rows_right[a], rows_right[b]) for a, b in combinations(rows_right, 2)]
    adjusted = holm([pair.p_value for pair in pairs])
    return [replace(pair, p_adjusted=p) for pair, p in zip(pairs, adjusted, strict=True)]


def swapped(comparison: Comparison) -> Comparison:
    """The same comparison seen from the other side, b minus a."""
    return replace(
        comparison,
        a=comparison.b,
        b=comparison.a,
        difference=-comparison.difference,
        low=-comparison.high,
        high=-comparison.low,
        only_a=comparison.only_b,
        only_b=comparison.only_a,
    )


def _compare(a: str, b: str, right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> Comparison:
    both, only_a = int((right_a & right_b).sum()), int((right_a & ~right_b).sum())
    only_b = int((right_b & ~right_a).sum())
    rows = len(right_a)
    low, high = paired_difference(both, only_a, only_b, rows - both - only_a - only_b)
    p_value = mcnemar_exact(only_a, only_b)
    return Comparison(
        a=a,
        b=b,
        difference=(only_a - only_b) / rows,
        low=low,
        high=high,
        p_value=p_value,
        p_adjusted=p_value,
        test="mcnemar_exact",
        only_a=only_a,
        only_b=only_b,
    )
