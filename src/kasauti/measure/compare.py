"""The one place where two lists of answers to the same rows meet.

Walks in: the truth (n strings) and two or more lists of n `Prediction`s. Walks out: `Comparison`s, a minus b, with an
interval, a paired p-value and Holm's correction over the family. Right or wrong is tested by exact McNemar; scores in
between by sign changes, with a bootstrap interval. Two models that shall be one (adapter and merged, trial and served)
meet by their probabilities instead. It does not know which approach is simpler or what a difference is
worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from kasauti.core.types import Comparison, Prediction
from kasauti.measure import metrics
from kasauti.measure.statistics import bootstrap_mean, holm, is_binary, mcnemar_exact, paired_difference, sign_flip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How near two models' probabilities for the same rows are; b is to answer as a does."""

    rows: int
    label_agreement: float
    """Share of rows on which both find the same label most probable."""
    largest_drift: float
    """Largest difference of any label's probability in any row."""
    mean_drift: float
    """Mean over the rows of each row's largest difference."""
    log_loss_a: float
    """Mean of -log P(true label), nats."""
    log_loss_b: float

    @property
    def log_loss_difference(self) -> float:
        """b minus a, nats."""
        return self.log_loss_b - self.log_loss_a


def agreement(logs_a: NDArray[np.float64], logs_b: NDArray[np.float64], truth: Sequence[int]) -> Agreement:
    """Two models of one set of labels, on the same rows.

    Args:
        logs_a, logs_b: normalised log-probabilities, [rows, labels].
        truth: column of every row's true label, [rows].

    Raises:
        KasautiError: they differ in shape, or there are no rows.
    """
    import numpy as np

    metrics.check_lengths(logs_a, logs_b)
    drift_n = np.abs(np.exp(logs_a) - np.exp(logs_b)).max(axis=1)
    at = np.arange(len(truth)), np.asarray(truth, dtype=np.intp)
    return Agreement(
        rows=len(truth),
        label_agreement=float((logs_a.argmax(axis=1) == logs_b.argmax(axis=1)).mean()),
        largest_drift=float(drift_n.max()),
        mean_drift=float(drift_n.mean()),
        log_loss_a=float(-logs_a[at].mean()),
        log_loss_b=float(-logs_b[at].mean()),
    )


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
    return compare_scores({name: right(truth, predictions) for name, predictions in predictions_by_name.items()})


def compare_scores(scores: Mapping[str, NDArray[np.float64] | NDArray[np.bool_]], seed: int = 42) -> list[Comparison]:
    """Every pair of approaches by the score of every row [n], 0 to 1, as a kind's `grade` gives them.

    Args:
        seed: of the bootstrap and the sign changes, where some score is neither 0 nor 1.
    """
    pairs = [_compare(a, b, scores[a], scores[b], seed) for a, b in combinations(scores, 2)]
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


def _compare(
    a: str,
    b: str,
    scores_a: NDArray[np.float64] | NDArray[np.bool_],
    scores_b: NDArray[np.float64] | NDArray[np.bool_],
    seed: int = 42,
) -> Comparison:
    metrics.check_lengths(scores_a, scores_b)
    gap = scores_a.astype(float) - scores_b.astype(float)
    only_a, only_b, rows = int((gap > 0).sum()), int((gap < 0).sum()), len(gap)
    if is_binary(scores_a.astype(float)) and is_binary(scores_b.astype(float)):
        both = int(((gap == 0) & (scores_a == 1)).sum())
        low, high = paired_difference(both, only_a, only_b, rows - both - only_a - only_b)
        difference, p_value, test = (only_a - only_b) / rows, mcnemar_exact(only_a, only_b), "mcnemar_exact"
    else:
        difference, p_value, test = float(gap.mean()), sign_flip(gap, seed), "paired_bootstrap"
        low, high = bootstrap_mean(gap, seed)
        low, high = min(low, difference), max(high, difference)
    return Comparison(
        a=a,
        b=b,
        difference=difference,
        low=low,
        high=high,
        p_value=p_value,
        p_adjusted=p_value,
        test=test,
        only_a=only_a,
        only_b=only_b,
    )
