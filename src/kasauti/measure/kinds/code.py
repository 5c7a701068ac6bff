"""Code: right is a program that runs to its end with its tests, in the sandbox.

Walks in: the task, whose `code.program` says how an answer becomes a program; examples with the columns that it names;
predictions. Walks out: pass@1 and how the programs ended, as fields of one approach in `trial.json`. No answer is ever
run in this process, and none at all where the sandbox cannot isolate it.
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

from kasauti.core.errors import DataError, KasautiError, TaskError
from kasauti.core.names import suggestion
from kasauti.core.progress import Progress, silent
from kasauti.core.scoring import ANSWER
from kasauti.core.types import Example, Prediction, Task
from kasauti.measure import metrics
from kasauti.measure.grades import Grades, fields_of, interval
from kasauti.measure.sandbox.outcome import Execution, Limits, Outcome
from kasauti.measure.sandbox.run import run_programs
from kasauti.measure.statistics import score_measurement

METRIC = "pass@1"
_FENCED = re.compile(r"^[ \t]*(```+|~~~+)[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.DOTALL | re.MULTILINE)


def code_of(answer: str) -> str:
    """The code of an answer: what stands in its first fenced block, or all of it; nothing else is changed."""
    fenced = _FENCED.search(answer)
    return fenced.group(2) if fenced else answer


def program_of(task: Task, example: Example, answer: str) -> str:
    """The program that tests an answer. A column that holds a JSON list of texts becomes its lines.

    Raises:
        TaskError: the task does not say what is run.
        DataError: the row has not the column that the program names.
    """
    if task.scoring.program is None:
        mend = "Write under `code:` what is run, for instance program: '{answer}\\n{tests}'."
        raise TaskError("kind code needs `code.program`", where="task.yaml", mend=mend)
    values = {**example.fields, **example.judging}
    parts = []
    for literal, name, _, _ in string.Formatter().parse(task.scoring.program):
        parts.append(literal)
        if name == ANSWER:
            parts.append(code_of(answer))
        elif name is not None:
            if name not in values:
                where = f"row {example.row} of {example.source}"
                raise DataError(f"there is no column {name!r} to test it with", where=where,
                                mend=suggestion(name, values))  # fmt: skip
            parts.append(_lines(values[name]))
    return "".join(parts)


def _lines(value: str) -> str:
    if not value.lstrip().startswith("["):
        return value
    try:
        items = json.loads(value)
    except ValueError:  # Python that begins with a bracket
        return value
    return "\n".join(items) if all(isinstance(item, str) for item in items) else value


def execute(
    task: Task, examples: Sequence[Example], predictions: Sequence[Prediction], progress: Progress = silent
) -> list[Execution]:
    """Run every answer with its row's tests, in parallel, in order.

    Raises:
        IsolationError: programs cannot be isolated on this machine.
    """
    metrics.check_lengths(examples, predictions)
    answers = metrics.given_answers(predictions)
    rows = [i for i, answer in enumerate(answers) if answer is not None and code_of(answer).strip()]
    programs = [program_of(task, examples[i], answers[i] or "") for i in rows]
    limits = Limits(seconds=task.scoring.seconds, memory_mb=task.scoring.memory_mb)
    done = dict(zip(rows, run_programs(programs, limits, progress=progress), strict=True))
    return [done.get(i, Execution(outcome=Outcome.NO_ANSWER)) for i in range(len(predictions))]


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Probability that one of k answers drawn from these passes: 1 - C(samples - passed, k) / C(samples, k).

    Unbiased, unlike 1 - (1 - passed / samples)^k (Chen et al. 2021, arXiv 2107.03374, equation 1).

    Raises:
        KasautiError: not 0 <= passed <= samples, or not 1 <= k <= samples.
    """
    if not 0 <= passed <= samples or not 1 <= k <= samples:
        raise KasautiError(
            f"pass@{k} cannot be told from {passed} of {samples} answers",
            where="pass@k",
            mend="Draw at least k answers a row.",
        )
    failing = 1.0
    for drawn in range(k):  # the share of draws that find failing ones only, factor by factor
        failing *= max(0, samples - passed - drawn) / (samples - drawn)
    return 1.0 - failing


def grade(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Grades:
    """One answer a row: 1 where it passed."""
    return grade_samples(task, examples, [[p] for p in predictions])


def grade_samples(
    task: Task,
    examples: Sequence[Example],
    samples: Sequence[Sequence[Prediction]],
    ks: Sequence[int] = (1,),
    progress: Progress = silent,
) -> Grades:
    """Several answers a row: the score of a row is the unbiased pass@1, its share of answers that passed.

    Args:
        samples: [rows] lists of at least one prediction.
        ks: `about["pass_at_k"]` has an interval over rows for each; no row may have fewer answers than the largest.
    """
    import numpy as np

    metrics.truth_of(examples)
    metrics.check_lengths(examples, samples)
    flat = [(example, p) for example, drawn in zip(examples, samples, strict=True) for p in drawn]
    executions = execute(task, [e for e, _ in flat], [p for _, p in flat], progress)
    following = iter(executions)
    passed = [(len(drawn), sum(next(following).passed for _ in drawn)) for drawn in samples]
    scores = {k: np.array([pass_at_k(n, c, k) for n, c in passed]) for k in {1, *ks}}
    ended = Counter(e.outcome for e in executions)
    failed = [(example, e) for (example, _), e in zip(flat, executions, strict=True) if not e.passed]
    about = {
        "pass_at_k": {str(k): interval(score_measurement(scores[k], f"pass@{k}", task.seed)) for k in sorted(scores)},
        "outcomes": {outcome.value: ended[outcome] for outcome in Outcome},
        "failures": [
            {"id": example.id, "row": example.row, "outcome": e.outcome.value, "detail": e.detail or e.outcome.sentence}
            for example, e in failed[:50]
        ],
    }
    return Grades(scores=scores[1], metric=METRIC, about=about)


def judge(
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    seed: int,
    grades: Grades | None = None,
) -> dict[str, Any]:
    """The contract's fields of one approach, and besides `pass_at_k`, `outcomes` (how many programs ended how) and the
    first 50 `failures`."""
    grades = grades or grade(task, examples, predictions)
    return fields_of(task, examples, predictions, seed, grades, grade)
