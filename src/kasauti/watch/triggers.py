"""Whether it is time to train again, and what for.

Walks in: the task, the version in service, its reviews, the alerts that stand. Walks out: `Trigger`s, each with its
figures. It trains nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import KasautiError
from kasauti.core.types import Finding, Task
from kasauti.decide.fitted import NETWORKS
from kasauti.registry.versions import Version, task_of
from kasauti.watch.seen import Review

CORRECTED = 50
"""Corrected calls from which training again is worth it: 50 to 100 real examples already help a lot."""
NEW = 5
"""Reviews with a label that the version does not know, from which it is a category and no slip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """One reason to train again."""

    name: str
    """accuracy, new category, base model or corrections."""
    stands: bool
    what: str
    """The figures, in one sentence."""
    mend: str = ""
    """The next step, where it stands."""

    def document(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def triggers(
    task: Task, version: Version, reviews: Sequence[Review], alerts: Sequence[Finding], sight: Mapping[str, Any]
) -> list[Trigger]:
    """All triggers, those that stand first.

    Args:
        version: the one in service.
        reviews: of calls that it, or another version, answered.
        alerts: those that stand.
        sight: what the alert on accuracy could see (`alerts.look`).
    """
    found = [
        _accuracy(version, alerts, sight),
        _category(task, version, reviews),
        _base(task, version),
        _corrections(version, reviews),
    ]
    return sorted(found, key=lambda one: not one.stands)


def _accuracy(version: Version, alerts: Sequence[Finding], sight: Mapping[str, Any]) -> Trigger:
    alert = next((one for one in alerts if one.check == "accuracy"), None)
    if alert is not None:
        mend = "Run `kasauti retrain`: reviewed calls go into the training data."
        return Trigger(name="accuracy", stands=True, what=alert.what, mend=mend)
    read = int(sight.get("reviews", 0))
    recent = sight.get("recent")
    told = f"{recent:.1%} of the newest were right, and " if recent is not None else ""
    what = f"{read:,} sampled calls of version {version.number} are reviewed; {told}no fall by 3 points is proved"
    return Trigger(name="accuracy", stands=False, what=what)


def _category(task: Task, version: Version, reviews: Sequence[Review]) -> Trigger:
    try:
        known = set(task_of(task, version).labels)
    except KasautiError:
        known = set(task.labels)
    added = [label for label in task.labels if label not in known]
    named = Counter(one.label for one in reviews if one.label not in known)
    often = {label: number for label, number in named.most_common() if number >= NEW}
    if added or often:
        parts = [f"task.yaml lists {', '.join(added)}"] if added else []
        parts += [f"reviewers gave {label} {number} times" for label, number in often.items()]
        what = f"version {version.number} does not know every category: {'; '.join(parts)}"
        mend = 'Run `kasauti retrain --new-category "NAME: what belongs to it"`, which says how many examples it takes.'
        return Trigger(name="new category", stands=True, what=what, mend=mend)
    few = f"; reviewers gave {sum(named.values())} unknown labels, fewer than {NEW} of any" if named else ""
    return Trigger(name="new category", stands=False, what=f"version {version.number} knows every category{few}")


def _base(task: Task, version: Version) -> Trigger:
    card = version.card
    if card["family"] not in NETWORKS:
        return Trigger(name="base model", stands=False, what=f"version {version.number} needs no language model")
    then, sha = str(card["model"]["id"]), card["model"].get("sha256")
    mend = "Run `kasauti trial`: it trains on the new model and judges it on the same test rows."
    if task.model != then:
        what = f"task.yaml names {task.model}, and version {version.number} was trained on {then}"
        return Trigger(name="base model", stands=True, what=what, mend=mend)
    try:
        now = Workbench(task).model_sha256
    except KasautiError as error:
        return Trigger(name="base model", stands=False, what=f"the base model cannot be looked at: {error.line()}")
    if sha and now != sha:
        what = f"the files of {then} are others now ({now[:12]}) than version {version.number} was trained on"
        return Trigger(name="base model", stands=True, what=f"{what} ({str(sha)[:12]})", mend=mend)
    return Trigger(name="base model", stands=False, what=f"{then} is the model that version {version.number} is from")


def _corrections(version: Version, reviews: Sequence[Review]) -> Trigger:
    wrong = [one for one in reviews if one.version == version.number and not one.right]
    what = f"{len(wrong):,} calls of version {version.number} were corrected by reviewers ({CORRECTED} are worth it)"
    mend = "Run `kasauti retrain`."
    return Trigger(name="corrections", stands=len(wrong) >= CORRECTED, what=what, mend=mend)
