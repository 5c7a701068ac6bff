"""Which calibration: temperature, vector scaling or isotonic, told apart on rows that each was not fitted on.

Walks in: log-probabilities [n, k] of validation rows that nothing else was fitted on, and the true labels [n]. Walks
out: a `Calibration`, which turns log-probabilities of any rows into probabilities. It does not know models, and never
sees a test row. numpy and scipy are imported inside functions.

The temperature has one number. The other two bend more, and so need rows to pay for it: each is fitted on four fifths
of the rows and judged on the fifth left out, five times, and is taken only where the whole 95% interval of its
paired difference in log loss to the temperature lies on its side. Otherwise the temperature stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self

from kasauti.measure.calibrate import LEAST_LOG, fit_temperature, log_softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDS = 5
LEAST_ROWS = 50
"""Rows under which only a temperature is fitted."""
ROWS_A_LABEL = 3
"""Rows a label, on average, under which no vector is fitted: it has two numbers a label."""
STATED = 0.1
"""Isotonic: the share of the stated probability in the calibrated one."""
_Z = 1.959964
"""The 97.5% point of the normal distribution."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """How log-probabilities become probabilities."""

    method: str = "temperature"
    """`temperature`, `vector` or `isotonic`."""
    temperature: float = 1.0
    """Divides the log-probabilities; for isotonic before the steps, for vector not used."""
    scale: tuple[float, ...] = ()
    """Vector: what each label's log-probability is multiplied by."""
    offset: tuple[float, ...] = ()
    """Vector: what is then added to it, nats."""
    knots: tuple[tuple[float, float], ...] = ()
    """Isotonic: (probability at that temperature, share of such that were true), both rising."""
    rows: int = 0
    """Rows that it was fitted on."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Method → mean negative log-likelihood of rows that it was not fitted on, nats; only those that were tried."""
    gains: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Method → `value`, `low` and `high` of how much less that is than the temperature's, nats; 95% interval."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `document`."""
        lists = {name: tuple(document[name]) for name in ("scale", "offset")}
        return cls(**{**document, **lists, "knots": tuple((a, b) for a, b in document["knots"])})

    def apply(self, log_probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-probabilities [n, k] after calibration; each row's probabilities sum to 1.

        A temperature and isotonic keep the order of the labels of a row; a vector may change the answer.
        """
        import numpy as np

        logs = np.asarray(log_probabilities, dtype=float)
        if len(logs) == 0:
            return logs
        if self.method == "vector":
            clipped = np.maximum(log_softmax(logs), LEAST_LOG)
            return log_softmax(np.array(self.scale) * clipped + np.array(self.offset))
        cooled = log_softmax(logs / self.temperature)
        if self.method == "temperature":
            return cooled
        given = np.exp(cooled)
        at, share = np.array(self.knots).T
        # The stated probability's own share keeps the steps rising, so that no order is lost, and a label that was true
        # in no row from costing a new row everything: with one row's worth in its place, isotonic lost 0.016 nats on
        # 1,500 rows that were calibrated already.
        bent = (1 - STATED) * np.interp(given, at, share) + STATED * given
        with np.errstate(divide="ignore"):
            return log_softmax(np.log(bent))


Fit = Callable[["NDArray[np.float64]", "NDArray[np.intp]"], Calibration]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A calibration, and what it says of its own rows when it has not seen them."""

    calibration: Calibration
    held_out: NDArray[np.float64]
    """[n, k] log-probabilities, each row's by the same method fitted on the other folds: what thresholds and sets of
    labels are chosen on, since a calibration flatters the rows that it was fitted on."""


def choose_calibration(log_probabilities: NDArray[np.float64], truth: NDArray[np.intp], seed: int = 0) -> Fitted:
    """The calibration that is best on rows that it has not seen, fitted on all of them.

    Args:
        log_probabilities: [n, k], need not be normalised.
        truth: [n] index of the true label.
        seed: of the folds.

    Raises:
        KasautiError: the shapes do not fit, there is no row, or a value is not a number.
    """
    import numpy as np

    whole = fit_scaled(log_probabilities, truth)
    logs, index = np.asarray(log_probabilities, dtype=float), np.asarray(truth, dtype=int)
    rows, labels = logs.shape
    if rows < 2:
        return Fitted(calibration=whole, held_out=whole.apply(logs))
    tried: dict[str, Fit] = {"temperature": fit_scaled}
    if rows >= LEAST_ROWS:
        tried["isotonic"] = fit_isotonic
        if rows >= ROWS_A_LABEL * labels:
            tried["vector"] = fit_vector
    fold = folds(index, min(FOLDS, rows), seed)
    held = {name: _held_out(fit, logs, index, fold) for name, fit in tried.items()}
    losses = {name: _row_losses(one, index) for name, one in held.items()}
    gains = {name: _gain(losses["temperature"], one) for name, one in losses.items() if name != "temperature"}
    helpful = [name for name, gain in gains.items() if gain["low"] > 0]
    best = min(helpful, key=lambda name: float(losses[name].mean()), default="temperature")
    chosen = tried[best](logs, index)
    means = {name: float(one.mean()) for name, one in losses.items()}
    kept = {**asdict(chosen), "knots": chosen.knots, "losses": means, "gains": gains}
    return Fitted(calibration=Calibration(**kept), held_out=held[best])


def fit_scaled(logs: NDArray[np.float64], truth: NDArray[np.intp]) -> Calibration:
    """The temperature of `fit_temperature`."""
    return Calibration(temperature=fit_temperature(logs, truth).value, rows=len(truth))


def fit_vector(logs: NDArray[np.float64], truth: NDArray[np.intp]) -> Calibration:
    """Vector scaling (Guo et al. 2017, arXiv 1706.04599): a factor and an offset for each label, by likelihood.

    Every factor is a common one times the label's own; the logarithm of each and every offset has a normal prior
    around 0 that weighs as much as one row.
    """
    import numpy as np
    from scipy.optimize import minimize

    z = np.maximum(log_softmax(np.asarray(logs, dtype=float)), LEAST_LOG)
    rows, labels = z.shape
    start = np.zeros(1 + 2 * labels)
    start[0] = -math.log(fit_temperature(logs, truth).value)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, offset = np.exp(values[0] + values[1 : labels + 1]), values[labels + 1 :]
        out = log_softmax(scale * z + offset)
        nll = -out[np.arange(rows), truth].mean()
        slope = np.exp(out)
        slope[np.arange(rows), truth] -= 1
        of_scale = (slope * z).sum(axis=0) * scale / rows
        gradient = np.concatenate([[of_scale.sum()], of_scale, slope.sum(axis=0) / rows]) + values / rows
        return float(nll + (values**2).sum() / (2 * rows)), gradient

    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    scale = np.exp(found[0] + found[1 : labels + 1])
    return Calibration(
        method="vector",
        temperature=math.exp(-found[0]),
        scale=tuple(scale.tolist()),
        offset=tuple(found[labels + 1 :].tolist()),
        rows=rows,
    )


def fit_isotonic(logs: NDArray[np.float64], truth: NDArray[np.intp]) -> Calibration:
    """One rising curve from stated probability to the share that was true, over all labels of all rows together.

    On top of the temperature. One curve for all labels keeps the answer as it is (Zhang et al. 2020, Mix-n-Match, arXiv
    2003.07329), which a curve a label would not, and needs fewer rows.
    """
    import numpy as np
    from scipy.optimize import isotonic_regression

    temperature = fit_temperature(logs, truth).value
    given = np.exp(log_softmax(np.asarray(logs, dtype=float) / temperature))
    hit = np.zeros(given.shape)
    hit[np.arange(len(truth)), truth] = 1
    at, first, count = np.unique(given.ravel(), return_index=False, return_inverse=True, return_counts=True)
    shares = np.bincount(first.ravel(), weights=hit.ravel()) / count
    risen = isotonic_regression(shares, weights=count.astype(float))
    ends = [(at[a], at[b - 1], risen.x[a]) for a, b in zip(risen.blocks[:-1], risen.blocks[1:], strict=True)]
    knots = [(float(p), float(share)) for left, right, share in ends for p in dict.fromkeys((left, right))]
    return Calibration(method="isotonic", temperature=temperature, knots=tuple(knots), rows=len(truth))


def folds(truth: NDArray[np.intp], parts: int, seed: int) -> NDArray[np.intp]:
    """A fold number [n] for every row, the rows of each label spread evenly over the folds."""
    import numpy as np

    shuffled = np.random.default_rng(seed).permutation(len(truth))
    order = shuffled[np.argsort(truth[shuffled], kind="stable")]
    number = np.empty(len(truth), dtype=np.intp)
    number[order] = np.arange(len(truth)) % parts
    return number


def _held_out(
    fit: Fit, logs: NDArray[np.float64], truth: NDArray[np.intp], fold: NDArray[np.intp]
) -> NDArray[np.float64]:
    import numpy as np

    out = np.empty(logs.shape)
    for number in np.unique(fold):
        out[fold == number] = fit(logs[fold != number], truth[fold != number]).apply(logs[fold == number])
    return out


def _row_losses(logs: NDArray[np.float64], truth: NDArray[np.intp]) -> NDArray[np.float64]:
    import numpy as np

    losses: NDArray[np.float64] = -np.maximum(logs[np.arange(len(truth)), truth], LEAST_LOG)
    return losses


def _gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, float]:
    """How much lower the loss of the same rows is, with its normal 95% interval."""
    less = before - after
    mean, half = float(less.mean()), _Z * float(less.std(ddof=1)) / math.sqrt(len(less))
    return {"value": mean, "low": mean - half, "high": mean + half}
