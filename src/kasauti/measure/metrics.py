"""Expected answers and given answers in, one number out: formula, range and source in each docstring.

Walks in: `truth` (n strings) and `predictions` (n `Prediction`s, same order), or the answers taken from them.
Walks out: plain floats, dictionaries and numpy arrays. It does not know how an answer came about, what a task file is,
or how sure a figure is (see statistics.py). numpy is imported inside functions so that the command line starts light.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kasauti.core.errors import DataError, KasautiError
from kasauti.core.types import Ended, Example, Prediction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ECE_BINS = 15
"""Bins of the calibration error, as in Guo et al. 2017 (arXiv 1706.04599)."""

NO_ANSWER = "(no answer)"
"""What stands in tables for a row that got no valid answer."""


def truth_of(examples: Sequence[Example]) -> list[str]:
    """The target of every example.

    Raises:
        DataError: there are no rows, or a row has no target.
    """
    if not examples:
        raise DataError("there are no rows to judge on", mend="Name a test file, or give the split more rows.")
    truth = []
    for example in examples:
        if example.answer is None:
            raise DataError(
                "the row has no target, so it cannot be judged",
                where=f"{example.source or 'row'} {example.row}".strip(),
                mend="Fill in the target column or leave the row out.",
            )
        truth.append(example.answer)
    return truth


def given_answers(predictions: Sequence[Prediction], labels: Collection[str] | None = None) -> list[str | None]:
    """The answers that count: only `ended == answered`, and only those in `labels` where labels are given."""
    allowed = None if not labels else set(labels)
    return [
        p.answer if p.ended is Ended.ANSWERED and (allowed is None or p.answer in allowed) else None
        for p in predictions
    ]


def answers_with_fallback(
    predictions: Sequence[Prediction], fallback: str | None, labels: Collection[str] | None = None
) -> list[str | None]:
    """What a caller receives: abstained, unparsable and unlisted answers become `fallback`; failed ones stay None."""
    given = given_answers(predictions, labels)
    return [
        fallback if answer is None and p.ended is not Ended.FAILED else answer
        for answer, p in zip(given, predictions, strict=True)
    ]


def correct(truth: Sequence[str], predictions: Sequence[Prediction]) -> NDArray[np.bool_]:
    """Exact match of every row, [n]: the strings are equal and the answer was given (`ended == answered`)."""
    import numpy as np

    check_lengths(truth, predictions)
    return np.array([a == t for a, t in zip(given_answers(predictions), truth, strict=True)], dtype=bool)


def accuracy(truth: Sequence[str], predictions: Sequence[Prediction]) -> float:
    """Share of rows answered with exactly the expected string, 0 to 1; whatever was not answered is wrong."""
    return float(correct(truth, predictions).mean())


def accuracy_with_fallback(
    truth: Sequence[str],
    predictions: Sequence[Prediction],
    fallback: str | None,
    labels: Collection[str] | None = None,
) -> float:
    """Share of rows on which the caller receives the expected answer, 0 to 1, the fallback standing in."""
    check_lengths(truth, predictions)
    received = answers_with_fallback(predictions, fallback, labels)
    return sum(a == t for a, t in zip(received, truth, strict=True)) / len(truth)


def invalid_rate(predictions: Sequence[Prediction], labels: Collection[str] | None = None) -> float:
    """Share of rows on which something came out that is no valid answer, 0 to 1.

    Counted: `unparsable`, and `answered` with nothing or with an answer that is not in `labels`. Not counted:
    abstentions (chosen) and failures (nothing came out); `ending_rates` shows those.
    """
    if not predictions:
        return 0.0
    given = given_answers(predictions, labels)
    return sum(
        p.ended is Ended.UNPARSABLE or (p.ended is Ended.ANSWERED and a is None)
        for p, a in zip(predictions, given, strict=True)
    ) / len(predictions)


def ending_rates(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Share of the rows for each member of `Ended`; the shares sum to 1."""
    counts = Counter(p.ended for p in predictions)
    return {ended.value: counts[ended] / max(1, len(predictions)) for ended in Ended}


def per_class(
    truth: Sequence[str], answers: Sequence[str | None], labels: Collection[str] = ()
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 (0 to 1) and support (rows) of every label.

    Listed labels come first in their order, then labels that stand only in truth or answers, sorted. A ratio whose
    denominator is 0 is 0, as with scikit-learn's `zero_division=0`. `answers` may hold None: that row lowers recall.
    """
    check_lengths(truth, answers)
    support, given = Counter(truth), Counter(a for a in answers if a is not None)
    hits = Counter(t for t, a in zip(truth, answers, strict=True) if t == a)
    names = [*labels, *sorted((support.keys() | given.keys()) - set(labels))]
    return {
        name: {
            "precision": _ratio(hits[name], given[name]),
            "recall": _ratio(hits[name], support[name]),
            "f1": _ratio(2 * hits[name], support[name] + given[name]),
            "support": support[name],
        }
        for name in names
    }


def macro_f1(truth: Sequence[str], answers: Sequence[str | None]) -> float:
    """Plain mean of the F1 of every label that stands in truth or in answers, 0 to 1.

    A label that was answered but never true counts with F1 = 0; a listed label that stands in neither does not count.
    Equal to scikit-learn's `f1_score(average="macro", zero_division=0)` over those labels.
    """
    table = per_class(truth, answers)
    return sum(row["f1"] for row in table.values()) / len(table)


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """How often each answer was given for each truth."""

    truths: tuple[str, ...]
    """Names of the rows of `counts`."""
    answers: tuple[str, ...]
    """Names of its columns; the last is `NO_ANSWER`."""
    counts: tuple[tuple[int, ...], ...]
    """[truths, answers] number of test rows."""


def confusion(truth: Sequence[str], answers: Sequence[str | None], labels: Collection[str] = ()) -> Confusion:
    """The confusion matrix over the listed labels and every other that occurs; sums to the number of rows."""
    check_lengths(truth, answers)
    cells = Counter(zip(truth, answers, strict=True))
    seen = {t for t, _ in cells} | {a for _, a in cells if a is not None}
    names = (*labels, *sorted(seen - set(labels)))
    keys: tuple[str | None, ...] = (*names, None)
    return Confusion(
        truths=names,
        answers=(*names, NO_ANSWER),
        counts=tuple(tuple(cells[(t, a)] for a in keys) for t in names),
    )


def log_loss(truth: Sequence[str], predictions: Sequence[Prediction]) -> float | None:
    """Mean of -ln(probability of the expected label), nats, 0 to 36.04; None unless every row has probabilities.

    A probability under 2**-52 (also of a label that is missing) counts as 2**-52, as in scikit-learn for float64.
    """
    import numpy as np

    check_lengths(truth, predictions)
    if any(p.probabilities is None for p in predictions):
        return None
    given = np.array([(p.probabilities or {}).get(t, 0.0) for t, p in zip(truth, predictions, strict=True)])
    return float(np.abs(np.log(np.clip(given, np.finfo(float).eps, 1.0))).mean())


def brier(truth: Sequence[str], predictions: Sequence[Prediction]) -> float | None:
    """Mean over rows of the sum over labels of (probability - [label is true])^2, 0 to 2 (Brier 1950).

    None unless every row has probabilities.
    """
    check_lengths(truth, predictions)
    total = 0.0
    for t, prediction in zip(truth, predictions, strict=True):
        if prediction.probabilities is None:
            return None
        given = prediction.probabilities
        total += sum((p - (name == t)) ** 2 for name, p in given.items()) + (t not in given)
    return total / len(truth)


def confidences(
    truth: Sequence[str], predictions: Sequence[Prediction], right: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Confidence [m] and correctness [m] of the m rows that were answered with a confidence.

    Args:
        right: correctness of all n rows where it is not exact match.

    Raises:
        KasautiError: a confidence is not a number from 0 to 1.
    """
    import numpy as np

    right = correct(truth, predictions) if right is None else right
    rows = [i for i, p in enumerate(predictions) if p.ended is Ended.ANSWERED and p.confidence is not None]
    confidence = np.array([predictions[i].confidence for i in rows], dtype=float)
    for i, value in zip(rows, confidence, strict=True):
        if not -1e-9 <= value <= 1 + 1e-6:
            raise KasautiError(
                f"the confidence {value} is not between 0 and 1",
                where=f"prediction {i + 1}",
                mend="Mend the approach: confidence is the probability of its answer.",
            )
    return np.clip(confidence, 0.0, 1.0), right[rows]


def equal_mass_bins(confidence: NDArray[np.float64], bins: int = ECE_BINS) -> NDArray[np.intp]:
    """Bin number [n] of every row so that each of `bins` bins holds about n / bins rows.

    Rows of equal confidence share the bin of their middle rank, so the result does not depend on the order of the rows
    and an approach with one constant confidence has one bin.
    """
    import numpy as np

    ordered = np.sort(confidence)
    first = np.searchsorted(ordered, confidence, "left")
    last = np.searchsorted(ordered, confidence, "right") - 1
    number: NDArray[np.intp] = ((first + last) * bins // (2 * max(1, len(confidence)))).astype(np.intp)
    return number


def ece(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = ECE_BINS) -> float:
    """Expected calibration error, plain, 0 to 1: sum over bins of |sum of (confidence - right)| / n.

    That is the share-weighted mean of |mean confidence - accuracy| (Naeini et al. 2015; Guo et al. 2017) over
    equal-mass bins (Nguyen & O'Connor 2015; less biased than equal-width, Roelofs et al. 2022, arXiv 2012.08668).
    Still biased upwards: a perfectly calibrated answerer shows about 0.055 on 400 rows. `statistics.ece_measurement`
    takes that bias off and gives the interval.

    Args:
        confidence: [n] probability of the given answer.
        right: [n] whether it was right.
    """
    import numpy as np

    if len(confidence) == 0:
        raise KasautiError("no row has a confidence", where="calibration error")
    gaps = np.bincount(equal_mass_bins(confidence, bins), weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def latency_ms(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Milliseconds that half, 95% and 99% of the answers stayed under (linear between ranks): p50, p95, p99."""
    import numpy as np

    if not predictions:
        raise DataError("there are no predictions to time", where="latency")
    values = np.percentile([1000 * p.seconds for p in predictions], [50, 95, 99])
    return {name: float(value) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}


def check_lengths(truth: Sized, answers: Sized) -> None:
    """Refuse lists that cannot belong together.

    Raises:
        KasautiError: the lengths differ, or there is no row.
    """
    if len(truth) != len(answers):
        raise KasautiError(
            f"{len(truth)} expected answers but {len(answers)} given ones",
            where="measure",
            mend="Predict exactly one answer per row, in order.",
        )
    if len(truth) == 0:
        raise DataError("there are no rows to judge on", where="measure", mend="Give at least one row.")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
