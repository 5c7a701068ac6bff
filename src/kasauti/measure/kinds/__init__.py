"""What "right" means for each kind of task: one line a kind.

Walks in: the name of a kind. Walks out: the module that judges it. A module of a kind has `METRIC` (the name of its
deciding figure), `grade(task, examples, predictions)` → `Grades`, whose scores `compare.compare_scores` takes, and
`judge(task, examples, predictions, seed, grades)` → the measured fields of one approach in `trial.json`. Grading may
take long (programs are run), so whoever needs both hands the grades on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from kasauti.core.errors import TaskError
from kasauti.core.types import Example, Prediction, Task

if TYPE_CHECKING:
    from kasauti.measure.grades import Grades

KINDS: dict[str, str] = {
    "classification": "kasauti.measure.kinds.classification",
    "summarization": "kasauti.measure.kinds.summarization",
    "code": "kasauti.measure.kinds.code",
    "generation": "kasauti.measure.kinds.generation",
}
"""Kind → module. A new kind is one file beside this one and one line here."""


class Kind(Protocol):
    """What every module named in `KINDS` has."""

    METRIC: str

    def grade(self, task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Grades:
        """How right every row is, 0 to 1."""
        ...

    def judge(
        self,
        task: Task,
        examples: Sequence[Example],
        predictions: Sequence[Prediction],
        seed: int,
        grades: Grades | None = None,
    ) -> Mapping[str, Any]:
        """The measured fields of one approach; everything in it can be written as JSON."""
        ...


def load_kind(name: str) -> Kind:
    """The module that judges tasks of this kind.

    Raises:
        TaskError: no such kind; the line names those there are.
    """
    import importlib

    if name not in KINDS:
        raise TaskError(f"kind {name!r} cannot be judged", where="kind", mend=f"Use one of: {', '.join(KINDS)}.")
    return cast(Kind, importlib.import_module(KINDS[name]))


def judge(
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    seed: int | None = None,
    grades: Grades | None = None,
) -> dict[str, Any]:
    """Judge one approach by the kind of the task; the seed is the task's unless another is given."""
    seed = task.seed if seed is None else seed
    return dict(load_kind(task.kind).judge(task, examples, predictions, seed, grades))
