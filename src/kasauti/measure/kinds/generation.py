"""Free-form generation: right is the expected text after a stated normalisation.

Walks in: the task, examples with answers, one `Prediction` each. Walks out: the fields of one approach in `trial.json`.
Normalisation: Unicode NFKC (one spelling for full-width and composed letters), case folded, every run of white space
one space, none at the ends. Punctuation, articles and digits count as written: taking those off, as for English
question answering, would call wrong amounts and wrong Hindi right. Where the task names a schema, JSON values are
compared, whatever the order of their keys; where it names its own metric, that decides.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kasauti.core.types import Example, Prediction, Task
from kasauti.measure import metrics
from kasauti.measure.grades import Grades, fields_of
from kasauti.measure.own import load_own, own_scores
from kasauti.measure.schema import canonical, load_schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METRIC = "exact_match"


def normalise(text: str) -> str:
    """The text as it is compared; applying it twice changes nothing."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def correct(truth: Sequence[str], predictions: Sequence[Prediction]) -> NDArray[np.bool_]:
    """Equality after normalisation of every answered row, [n]."""
    return _equal(truth, predictions, normalise)


def _equal(
    truth: Sequence[str], predictions: Sequence[Prediction], spelling: Callable[[str], str]
) -> NDArray[np.bool_]:
    import numpy as np

    metrics.check_lengths(truth, predictions)
    answers = metrics.given_answers(predictions)
    return np.array([a is not None and spelling(a) == spelling(t) for t, a in zip(truth, answers, strict=True)], bool)


def grade(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Grades:
    """By the user's own metric where the task names one, else equality: of text, or of JSON where it names a schema."""
    import numpy as np

    truth = metrics.truth_of(examples)
    about: dict[str, Any] = {"accuracy_strict": metrics.accuracy(truth, predictions)}
    answers = metrics.given_answers(predictions)
    if task.scoring.metric is not None:
        scores = np.array(own_scores(load_own(task), answers, examples))
    else:
        spelling = normalise if task.scoring.schema is None else canonical
        scores = _equal(truth, predictions, spelling).astype(float)
    metric = task.scoring.metric or METRIC
    if task.scoring.schema is None:
        return Grades(scores=scores, metric=metric, about=about)
    fault = load_schema(task)
    faults = [None if a is None else fault(a) for a in answers]
    wrong = np.array([f is not None for f in faults])
    shape = {
        "file": task.scoring.schema,
        "valid": float(sum(a is not None for a in answers) - wrong.sum()) / len(answers),
        "faults": [{"fault": f, "count": n} for f, n in Counter(f for f in faults if f).most_common(20)],
    }
    scores[wrong] = 0.0
    return Grades(scores=scores, metric=metric, invalid=int(wrong.sum()), about={**about, "schema": shape})


def judge(
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    seed: int,
    grades: Grades | None = None,
) -> dict[str, Any]:
    """The contract's fields of one approach, and besides `accuracy_strict`, letter for letter.

    With a schema, `schema` has the share of rows whose answer satisfies it and the commonest faults; the others are
    wrong, and count in `invalid_rate`.
    """
    grades = grades or grade(task, examples, predictions)
    return fields_of(task, examples, predictions, seed, grades, grade)
