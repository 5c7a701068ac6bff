"""What an untrained model would answer to anything, taken off its answers: the prior over labels.

Walks in: log-probabilities [rows, labels], those of unlabelled rows among them. Walks out: a `Prior`, corrected
log-probabilities. It knows no model. An untrained model's label is decided by how likely the label's words are by
themselves more than by the input (contextual calibration, Zhao et al. 2021, arXiv 2102.09690). The prior is a mean of
the posteriors of unlabelled rows, by which a posterior is divided: the arithmetic mean (batch calibration, Zhou et al.
2023, arXiv 2309.17249), or the geometric one, which a few rows of which a model is far too sure do not decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from kasauti.core.types import Example
from kasauti.measure.calibrate import LEAST_LOG, fit_temperature, log_softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS = 128
"""Training rows, without their answers, that a prior is estimated on. On kasauti/nano 32 rows give what 256 do."""
PLAIN = "plain"
LEAST_ROWS = 20
"""Validation rows under which no correction is chosen: the choice would be chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """The prior that answers are divided by, and why."""

    way: str = PLAIN
    """`plain`: answers are left as they are; `arithmetic` or `geometric`: the mean that they are divided by."""
    logs: tuple[float, ...] = ()
    """log of that mean by label, nats; empty for `plain`."""
    rows: int = 0
    """Unlabelled rows that it was estimated on."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Way → log loss on the validation rows to choose on, each at its best temperature, nats."""
    accuracies: Mapping[str, float] = field(default_factory=dict)
    """The same for the share of right answers."""

    def apply(self, logs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corrected log-probabilities [n, k]; what each row's labels have together stays as it was."""
        import numpy as np

        return without(logs, np.array(self.logs)) if self.logs else logs

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "way": self.way,
            "logs": list(self.logs),
            "rows": self.rows,
            "losses": dict(self.losses),
            "accuracies": dict(self.accuracies),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The inverse of `document`."""
        return cls(**{**document, "logs": tuple(document["logs"])})

    def about(self, labels: Sequence[str]) -> dict[str, Any]:
        """What a report says of it."""
        told: dict[str, Any] = {"way": self.way, "unlabelled_rows": self.rows}
        if self.losses:
            told |= {"validation_log_loss": dict(self.losses), "validation_accuracy": dict(self.accuracies)}
        if self.logs:
            total = sum(map(math.exp, self.logs))
            told["shares"] = {label: math.exp(log) / total for label, log in zip(labels, self.logs, strict=True)}
        return told


def means(logs: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Way → log of the labels' mean posterior over rows: [n, k] → [k], n at least 1."""
    import numpy as np

    normal = np.maximum(log_softmax(np.asarray(logs, dtype=float)), LEAST_LOG)
    arithmetic: NDArray[np.float64] = np.logaddexp.reduce(normal, axis=0) - np.log(len(normal))
    return {"arithmetic": arithmetic, "geometric": normal.mean(axis=0)}


def without(logs: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities [n, k] divided by a prior [k], each row with the total that it had."""
    import numpy as np

    divided = logs - prior
    shift = np.logaddexp.reduce(logs, axis=1) - np.logaddexp.reduce(divided, axis=1)
    made: NDArray[np.float64] = divided + shift[:, None]
    return made


def loss_of(logs: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    """Log loss (nats) at the temperature that is best for these rows, so that a model that is only too sure is not
    taken for a wrong one."""
    return fit_temperature(logs, truth).nll_after


def choose_prior(
    reference: NDArray[np.float64], logs: NDArray[np.float64], rows: Sequence[Example], labels: Sequence[str]
) -> Prior:
    """The prior of the reference rows by which division lowers the log loss of the validation rows most; else none.

    Args:
        reference: [m, k] of unlabelled rows.
        logs: [n, k] of `rows`, the validation rows to choose on.
    """
    import numpy as np

    if len(rows) < LEAST_ROWS or len(reference) == 0:
        return Prior()
    place = {label: at for at, label in enumerate(labels)}
    truth = np.array([place[row.answer or ""] for row in rows], dtype=np.intp)
    found = ways_of(logs, reference)
    losses = {way: loss_of(one, truth) for way, one in found.items()}
    best = min(losses, key=losses.__getitem__)  # of equal ones the first, which is `plain`
    return Prior(
        way=best,
        logs=() if best == PLAIN else tuple(means(reference)[best].tolist()),
        rows=len(reference),
        losses=losses,
        accuracies={way: float((one.argmax(axis=1) == truth).mean()) for way, one in found.items()},
    )


def ways_of(logs: NDArray[np.float64], reference: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Way → log-probabilities [n, k] as they are, and divided by each mean of the reference rows [m, k]."""
    return {PLAIN: logs} | {way: without(logs, mean) for way, mean in means(reference).items()}
