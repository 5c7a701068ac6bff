"""Reviewed calls in; a new version, or the reason why not.

Walks in: a task with a version in service, and its call log. Walks out: a registered candidate that won over the
version in service and forgot nothing that matters, on its share of the callers where one is named; else one line that
says why there is none. It decides by `weigh.py`.

Every step is found again after a kill: rows are added once each, the trial goes on where it stopped, a version with the
same content is registered once, and a share that stands already is not noted twice. What was decided is the mark of
`.kasauti/retrain/<id>/retrain.json`, whose name is a hash of all that the decision depends on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from kasauti.approaches.catalogue import CATALOGUE, LABELLED, make
from kasauti.approaches.workbench import Workbench
from kasauti.calls.log import CallLog
from kasauti.core.errors import UsageError
from kasauti.core.files import RunFolder, content_hash, write_json
from kasauti.core.progress import Progress, silent
from kasauti.core.task import load_task
from kasauti.core.types import Example, Finding, Severity, Task
from kasauti.data.audit import audit_data
from kasauti.data.production import Production
from kasauti.data.split import Divided, divide
from kasauti.data.versions import record_look
from kasauti.decide.trial import Trial, run_trial
from kasauti.registry.register import register
from kasauti.registry.release import try_out
from kasauti.registry.versions import Registry, Version, task_of
from kasauti.watch.harvest import (
    Category,
    Harvest,
    declare,
    harvest,
    needed_examples,
    new_categories,
    promise,
    promised,
)
from kasauti.watch.weigh import Answered, Weighed, weigh

FOLDER, MARK, AUDIT = "retrain", "retrain.json", "audit.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What the user asks for."""

    approaches: Sequence[str] | None = None
    """To put on trial; None for that of the version in service."""
    declare: Sequence[str] = ()
    """New categories, `NAME: description` each."""
    margin: float | None = None
    """Accuracy that may be lost on the old test rows; None takes the task's margin."""
    canary: float | None = None
    """Percent of the callers that the candidate gets at once; None registers it alone."""
    who: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrained:
    """How it ended."""

    version: int | None
    """The new version; None where there is none."""
    reason: str
    """Why there is one, or why there is none, in one line."""
    champion: int
    harvest: Harvest
    rows: Mapping[str, int]
    """Reviewed calls: to learn from, to judge on, kept out."""
    categories: Sequence[Category]
    weighed: Mapping[str, Any] | None = None
    trial: str | None = None
    data_version: str | None = None
    audit: Mapping[str, int] | None = None
    """Findings of the new data by severity."""
    canary: float | None = None

    def document(self) -> dict[str, Any]:
        """Plain values."""
        made = asdict(self)
        return {**made, "categories": [one.document() for one in self.categories]}


def retrain(task: Task, log: CallLog, wanted: Wanted = Wanted(), progress: Progress = silent) -> Retrained:
    """Take reviewed calls in, train, and weigh the candidate; see the module's docstring.

    Raises:
        UsageError: no version is in service, or the task is of a kind that reviewers do not give labels for.
        DataError: the data are at fault.
        StorageError: the call log or the folder cannot be reached.
    """
    champion = Registry(task).champion()
    if champion is None:
        mend = "Run `kasauti trial` and `kasauti register` first."
        raise UsageError("no version is in service that a candidate could be judged against", mend=mend)
    if task.kind != LABELLED:
        raise UsageError(f"retraining from reviews is for {LABELLED}, not {task.kind}", where="kind")
    for said in wanted.declare:
        promise(task, said)
    progress("retrain", 0, 4, "reviewed calls")
    taken = harvest(task, log)
    task = _with_ready(task)
    divided = divide(task, record="retrain")
    known = list(task_of(task, champion).labels)
    categories = new_categories(task, known, _answers(divided), divided.production)
    ended = Retrained(
        version=None,
        reason="",
        champion=champion.number,
        harvest=taken,
        rows=_rows(divided.production),
        categories=categories,
        data_version=divided.decided.data_version,
    )
    reason = _nothing_new(divided, champion, task, categories)
    if reason is not None:
        return replace(ended, reason=reason)
    return _made(task, champion, wanted, divided, ended, progress)


def _with_ready(task: Task) -> Task:
    """The task with the promised categories that have enough examples, which are now listed in the task file: one with
    fewer would take from others and give nothing, and a label without rows stops every other command."""
    waiting = divide(task).production.unlisted
    ready = [said for name, said in promised(task).items() if waiting.get(name, 0) >= needed_examples()]
    for said in ready:
        declare(task, said)
        task = replace(task, labels=load_task(task.folder).labels)
    return task


def _nothing_new(divided: Divided, champion: Version, task: Task, categories: Sequence[Category]) -> str | None:
    waiting = "".join(f"; {one.said}" for one in categories if not one.ready)
    calls = divided.production
    learnt = champion.card["data"].get("fingerprint") == divided.decided.fingerprint
    if learnt:
        base = champion.card["model"].get("id")
        if base is None or base == task.model or champion.card["family"] in ("classical", "majority"):
            what = f"{len(calls.train):,} reviewed calls are there to learn from, and version {champion.number}"
            return f"there is nothing new to learn: {what} knows them all{waiting}"
    return None


def _made(
    task: Task, champion: Version, wanted: Wanted, divided: Divided, ended: Retrained, progress: Progress
) -> Retrained:
    names = list(wanted.approaches or [str(champion.card["approach"])])
    margin = task.business.margin if wanted.margin is None else wanted.margin
    parts = [divided.decided.fingerprint, divided.production.sha256, champion.sha256, names, margin, list(task.labels)]
    folder = RunFolder(task.folder, FOLDER, content_hash(parts)[:12], mark=MARK).make()
    if folder.finished:
        found = folder.result()
        ended = replace(ended, **{name: found[name] for name in ("version", "reason", "weighed", "trial", "audit")})
        return _released(task, wanted, ended)
    progress("retrain", 1, 4, "audit")
    findings = audit_data(task, divided.decided, found=divided.findings)
    write_json(folder.path / AUDIT, [_plain(one) for one in findings])
    counts = Counter(str(one.severity) for one in findings)
    ended = replace(ended, audit=dict(counts))
    # few rows are a reason against tuning alone
    tuned = any(CATALOGUE[name].family == "tuned" for name in names)
    worst = next(
        (one for one in findings if one.severity is Severity.STOP and (tuned or one.check != "few_rows")), None
    )
    if worst is not None:
        return replace(ended, reason=f"the audit of the new data stops it: {worst.where}: {worst.what}")
    progress("retrain", 2, 4, "trial")
    trial = run_trial(task, names, progress)
    progress("retrain", 3, 4, f"against version {champion.number}")
    weighed = _weighed(task, champion, trial, divided, margin, ended.categories, folder.id, progress)
    ended = replace(ended, trial=trial.id, weighed=weighed.document(), reason=weighed.reason or "")
    if weighed.reason is None:
        ended = _registered(task, trial, wanted, weighed, ended, champion, len(divided.production.test))
    folder.finish({**ended.document(), "created": datetime.now(UTC).isoformat(timespec="seconds")})
    progress("retrain", 4, 4)
    return _released(task, wanted, ended)


def _weighed(
    task: Task,
    champion: Version,
    trial: Trial,
    divided: Divided,
    margin: float,
    categories: Sequence[Category],
    id: str,
    progress: Progress,
) -> Weighed:
    candidate = make(str(trial.document["verdict"]["ship"]), Workbench(task, progress)).load(str(trial.shipped))
    incumbent, _ = Registry(task).open(champion.number, progress)
    old, new = divided.decided.test, divided.production.test
    record_look(task.folder, divided.decided.test_sha256, f"retrain {id}")
    added = [one.label for one in categories if one.ready]

    def answered(rows: Sequence[Example]) -> Answered:
        asked = [replace(row, answer=None) for row in rows]
        return Answered(
            truth=[row.answer or "" for row in rows],
            champion=incumbent.predict(asked) if asked else [],
            candidate=candidate.predict(asked) if asked else [],
        )

    return weigh(answered(old), answered(new), margin, added)


def _registered(
    task: Task, trial: Trial, wanted: Wanted, weighed: Weighed, ended: Retrained, champion: Version, new: int
) -> Retrained:
    gain = f"{100 * weighed.together.difference:+.1f} points on old and new rows (p {weighed.together.p_value:.2g})"
    on_new = f", {100 * weighed.new.difference:+.1f} on {new:,} reviewed calls" if weighed.new else ""
    kept = f"{100 * weighed.old.difference:+.1f} on the old test rows, no category forgotten"
    why = f"better than version {champion.number}: {gain}{on_new}; {kept}"
    version = register(task, trial, who=wanted.who, why=why)
    return replace(ended, version=version.number, reason=why)


def _released(task: Task, wanted: Wanted, ended: Retrained) -> Retrained:
    if wanted.canary is None or ended.version is None:
        return ended
    registry = Registry(task)
    if registry.standing().champion != ended.version:
        try_out(registry, ended.version, wanted.canary, who=wanted.who, why=ended.reason)
    return replace(ended, canary=wanted.canary)


def _answers(divided: Divided) -> Counter[str]:
    """Rows by label: those that are learnt from, held out, or judged on; of the files and of reviewed calls."""
    split = divided.decided
    rows = (*split.train, *split.validation, *split.test, *divided.production.test)
    return Counter(row.answer or "" for row in rows)


def _rows(calls: Production) -> dict[str, int]:
    return {"train": len(calls.train), "test": len(calls.test), "kept_out": calls.kept_out}


def _plain(one: Finding) -> dict[str, Any]:
    lists = {"rows": list(one.rows), "evidence": list(one.evidence), "ranked": [dict(row) for row in one.ranked]}
    return {**asdict(one), "severity": str(one.severity), **lists}
