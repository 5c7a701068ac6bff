"""A payment-dispute task with prices, and approaches made of known right and wrong rows."""

from collections.abc import Callable

import numpy as np
import pytest

from kasauti.core.types import Business, DataFiles, Prediction, Task
from kasauti.decide.verdict import Judged
from kasauti.measure.compare import compare_all
from kasauti.measure.metrics import correct
from kasauti.measure.statistics import accuracy_measurement

FAMILIES = {
    "majority": "majority",
    "classical": "classical",
    "prompt-none": "prompt",
    "prompt-instructions": "prompt",
    "retrieval": "retrieval",
    "tuned": "tuned",
    "tuned-r64": "tuned",
    "hosted": "hosted",
    "cascade": "cascade",
}


@pytest.fixture(scope="session")
def task() -> Task:
    return Task(
        folder="/nowhere",
        name="payment-disputes",
        kind="classification",
        instructions="Classify.",
        input="{complaint}",
        target="category",
        labels={"yes": "", "no": ""},
        fallback="no",
        data=DataFiles(train="t.csv"),
        group=None,
        model="kasauti/nano",
        chat_template=None,
        train={},
        business=Business(calls_per_month=300_000, margin=0.02),
    )


@pytest.fixture(scope="session")
def judged_on() -> Callable[..., tuple]:
    """`judged_on(1000, {"classical": 0.9, "tuned": 0.85})`: approaches with exactly these accuracies, and all pairs.

    The errors of any two overlap as if independent, so that about a (1 - b) + b (1 - a) of the rows disagree; with
    `nested`, the better one is right wherever the worse is. `priced` gives (per 1,000 calls, to fit) by name.
    """

    def build(rows: int, shares: dict[str, float], *, nested=(), priced=None, seed=0) -> tuple:
        generator = np.random.default_rng(seed)
        predictions = {}
        for name, share in shares.items():
            order = np.arange(rows) if name in nested else generator.permutation(rows)
            right = order < round(share * rows)
            predictions[name] = [Prediction(answer="yes" if r else "no") for r in right]
        truth = ["yes"] * rows
        judged = []
        for name, given in predictions.items():
            per_1k, fit = (priced or {}).get(name, (0.0, 0.0))
            measured = accuracy_measurement(correct(truth, given))
            judged.append(
                Judged(name=name, family=FAMILIES[name], accuracy=measured, cost_per_1k_calls=per_1k, fit_cost=fit)
            )
        return judged, compare_all(truth, predictions)

    return build
