"""Good on the test rows and bad in production: are the inputs of calls unlike those that were learnt and judged?

Walks in: a task, its call log. Walks out: a `Finding` with the inputs that show it. It does not know what a model
answers.
"""

from __future__ import annotations

from datetime import datetime

from kasauti.calls.log import CallLog
from kasauti.core.types import Finding, Severity, Split, Task
from kasauti.measure.statistics import wilson
from kasauti.registry.versions import Version
from kasauti.watch.alerts import shift_evidence
from kasauti.watch.gather import baseline_of, newest_calls, parts_of
from kasauti.watch.reviewed import reviews_of
from kasauti.watch.shift import compare


def outside(
    task: Task, split: Split, log: CallLog, until: datetime, version: Version | None, *, own_test: bool
) -> list[Finding]:
    """Calls of the last week beside the training rows, and beside the test rows.

    Where the calls are like the test rows, what was measured holds, whatever the training rows are like: then nothing
    is said.

    Args:
        version: the one in service, for the figures that it was shipped with.
        own_test: whether the test rows are from a source of their own; else they are like the training rows.

    Raises:
        StorageError: the call log cannot be reached.
    """
    number = None if version is None else version.number
    texts = parts_of(split, newest_calls(log, until, number))
    judged = compare(texts["test"], task.seed) if own_test else None
    learnt = compare(texts["train"], task.seed)
    deciding = judged if own_test else learnt
    if deciding is None or not deciding.stands:
        return []
    named = "test" if own_test else "training"
    beside = "" if learnt is None or not own_test else f", AUC {learnt.auc:.2f} against the training rows"
    return [
        Finding(
            check="production",
            severity=Severity.WARN,
            what=f"good on the test rows need not be good in production{_measured(log, version)}: inputs of calls are "
            f"{'unlike' if deciding.clear else 'somewhat unlike'} the {named} rows (AUC {deciding.auc:.2f}{beside}; "
            f"0.5 is chance), and {deciding.unseen:.1%} of their words are new ({deciding.unseen_usual:.1%} by chance)",
            where="calls",
            count=deciding.rows[1],
            evidence=shift_evidence(deciding, named),
            why="A model knows the spelling, the mix of languages and the words of its training rows; the test rows "
            "measured it on inputs that callers do not send.",
            mend="Label inputs like those shown, add some to the training data and keep some as `data: {test: …}`, "
            "then run `kasauti trial`.",
        )
    ]


def _measured(log: CallLog, version: Version | None) -> str:
    """Test accuracy beside reviewed accuracy, where both are known."""
    base = None if version is None else baseline_of(version)
    if version is None or base is None:
        return ""
    read = [one for one in reviews_of(log, version=version.number) if one.sampled]
    told = f" (test accuracy {base.accuracy:.1%}"
    if read:
        right = sum(one.right for one in read)
        low, high = wilson(right, len(read))
        told += f", {right / len(read):.1%} of {len(read)} reviewed calls, {low:.1%} to {high:.1%}"
    return f"{told})"
