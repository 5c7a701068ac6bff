"""What the task file says about which answers are accepted: `accept`.

Walks in: the parsed task file. Walks out: an `Acceptance`, or one line that names the fault. It does not know any
threshold; those are chosen on validation rows.
"""

from __future__ import annotations

from kasauti.core.errors import TaskError
from kasauti.core.types import Acceptance
from kasauti.core.yaml_text import Entry

RULES = ("plain", "exact")
_SHARE = "It is a share above 0 and under 1, for instance 0.95."


def read_acceptance(entry: Entry | None) -> Acceptance:
    """`accept: {accuracy: 0.95, rule: plain}`, or `coverage` in place of `accuracy`; what is not there is the default.

    Raises:
        TaskError: an unknown key or rule, both goals at once, or a share that is none.
    """
    if entry is None:
        return Acceptance()
    entry.only(("accuracy", "coverage", "rule", "error"))
    accuracy, coverage, rule = entry.get("accuracy"), entry.get("coverage"), entry.get("rule")
    if accuracy is not None and coverage is not None:
        mend = "Keep one: the threshold that reaches the one says what the other comes to."
        raise TaskError("`accept` wants an accuracy and a coverage", where=coverage.where, mend=mend)
    goal, wanted = ("accuracy", accuracy) if coverage is None else ("coverage", coverage)
    named = rule.name() if rule else Acceptance().rule
    if rule is not None and named not in RULES:
        raise TaskError(f"`accept.rule` is {named!r}", where=rule.where, mend="Write plain or exact.")
    error = entry.get("error")
    return Acceptance(
        goal=goal,
        wanted=Acceptance().wanted if wanted is None else _share(wanted),
        rule=named,
        error=Acceptance().error if error is None else _share(error),
    )


def _share(entry: Entry) -> float:
    value = entry.plain()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise TaskError(f"`{entry.path}` is {entry.shown}", where=entry.where, mend=_SHARE)
    return float(value)
