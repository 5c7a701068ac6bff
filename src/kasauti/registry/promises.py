"""What is promised of the answers of what a trial ships: which are accepted, and which sets of labels hold the truth.

Walks in: the document of a trial, or a version's card. Walks out: the threshold, and the rule for sets. It chooses
nothing: a trial did, on rows that neither trained the approach nor chose its settings. It does not know files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kasauti.core.errors import UsageError
from kasauti.core.types import Prediction, Task
from kasauti.decide.sureness import served

if TYPE_CHECKING:
    from kasauti.measure.conformal import Conformal

_SETS = ("promised", "rows", "least", "coverage", "expected", "size")


def promises_of(trial: Mapping[str, Any]) -> dict[str, Any]:
    """`threshold` (the one that the task asked for) and `conformal` of what a trial ships; None where it has none.

    Raises:
        UsageError: the trial is of an earlier version, which promised nothing.
    """
    entry = next(one for one in trial["approaches"] if one["name"] == trial["verdict"]["ship"])
    if "acceptance" not in entry:
        mend = "Run `kasauti trial` again: what is there is kept."
        raise UsageError("the trial was made by an earlier version of Kasauti", where=str(trial.get("task")), mend=mend)
    found = entry["acceptance"]
    sets = next((one for one in entry["conformal"] or () if not one["by_label"]), None)
    return {
        "threshold": dict(served(found)) if found else None,
        "conformal": None if sets is None else {key: sets[key] for key in _SETS},
    }


def threshold_of(promised: Mapping[str, Any]) -> float | None:
    """The confidence from which on an answer is accepted; None accepts nothing."""
    value = (promised["threshold"] or {}).get("value")
    return None if value is None else float(value)


def rule_of(task: Task, promised: Mapping[str, Any]) -> Conformal | None:
    """The rule for sets of labels, ready to use; None where there is none."""
    from kasauti.measure.conformal import Conformal

    kept = promised.get("conformal")
    if kept is None:
        return None
    least = tuple(float(kept["least"][label]) for label in task.labels)
    return Conformal(promised=kept["promised"], least=least, by_label=False, own=(), rows=kept["rows"])


def set_of(task: Task, rule: Conformal | None, given: Prediction) -> list[str] | None:
    """The labels that hold the truth as often as promised, the answer among them; None where there is no promise."""
    if rule is None or given.probabilities is None:
        return None
    least = zip(task.labels, rule.least, strict=True)
    return [name for name, enough in least if given.probabilities[name] >= enough or name == given.answer]
