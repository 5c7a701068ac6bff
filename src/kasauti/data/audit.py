"""Everything that is wrong with the data, worst first.

Walks in: a task and its split. Walks out: findings. It does not know how they are shown. A check that crashes is a
finding itself: silence would read as health.

Another check is one file in `checks/` and one line in `CHECKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from kasauti.core.types import Finding, Severity, Split, Task
from kasauti.data.checks.conflicts import conflicts
from kasauti.data.checks.control import control
from kasauti.data.checks.empty import empty
from kasauti.data.checks.few_rows import few_rows
from kasauti.data.checks.imbalance import imbalance
from kasauti.data.checks.labels import labels
from kasauti.data.checks.leakage import leakage
from kasauti.data.checks.mislabelled import mislabelled
from kasauti.data.checks.personal import personal
from kasauti.data.checks.repeated import repeated
from kasauti.data.checks.shift import shift

Check = Callable[[Task, Split], list[Finding]]

CHECKS: dict[str, Check] = {
    "few_rows": few_rows,
    "imbalance": imbalance,
    "labels": labels,
    "empty": empty,
    "repeated": repeated,
    "leakage": leakage,
    "conflicts": conflicts,
    "mislabelled": mislabelled,
    "shift": shift,
    "personal": personal,
    "control": control,
}
"""Name → check."""

_ORDER = {Severity.STOP: 0, Severity.WARN: 1, Severity.NOTE: 2}


def audit_data(
    task: Task,
    split: Split,
    *,
    found: Iterable[Finding] = (),
    checks: Mapping[str, Check] = CHECKS,
    progress: Callable[[str], None] | None = None,
) -> list[Finding]:
    """Run the checks.

    Args:
        task: the task.
        split: its rows; see `load_split(task, strict=False)` for data with faults in it.
        found: findings there are already, such as those of the split; they are sorted in.
        checks: the checks to run.
        progress: called with the name of each check before it runs.

    Returns:
        The findings, worst first.
    """
    findings = list(found)
    for name, check in checks.items():
        if progress is not None:
            progress(name)
        try:
            findings += check(task, split)
        except Exception as error:
            findings.append(_crashed(name, error))
    return worst_first(findings)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by severity, then by the rows concerned."""
    return sorted(findings, key=lambda f: (_ORDER[f.severity], -f.count, f.check, f.where))


def _crashed(name: str, error: Exception) -> Finding:
    return Finding(
        check=name,
        severity=Severity.WARN,
        what=f"the check {name!r} could not run: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
        why="What it looks for may be there, unseen.",
        mend="Report it with the row that brings it about; the other checks are not touched by it.",
    )
