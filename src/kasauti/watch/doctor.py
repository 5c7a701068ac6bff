"""The known failures, looked for in what a task has left: each with its cause, and how to mend it.

Walks in: a task, and what else there is to look at. Walks out: `Finding`s, the worst first; none for what is healthy.

    continues           a right label with more text behind it           generations of the trial, or a file of texts
    supervision         prompts taught, ends not taught                   rows of ids and labels, or the task's own rows
    response template   a search for the answer's border that fails       the task's rows, rendered
    overfitting         training loss near 0, validation loss rising      a run's folder, a trainer's log, a version
    production          good on the test rows, bad in production          calls beside the rows
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kasauti.approaches.workbench import Workbench
from kasauti.calls.log import CallLog
from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.files import read_json
from kasauti.core.types import Finding, Severity, Split, Task
from kasauti.data.split import load_split
from kasauti.registry.versions import Version
from kasauti.watch.gather import version_of
from kasauti.watch.generated import Going, going_on, of_trial, read_written
from kasauti.watch.memorised import newest_run, of_run, of_summary
from kasauti.watch.outside import outside
from kasauti.watch.taught import Taught, own_rows, read_rows, response_template, supervision, taught

ORDER = ("continues", "response template", "supervision", "divergence", "overfitting", "production")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What to look at beside the task's own folder."""

    run: Path | None = None
    """A run's folder, Kasauti's or a Hugging Face trainer's; None for the newest of the task."""
    rows: str | None = None
    """A file of `input_ids` and `labels`, as a trainer feeds them."""
    generated: str | None = None
    """A file of texts as a model wrote them; None for those of the newest trial."""
    template: str | None = None
    """A response template that a trainer searches for."""
    version: int | None = None
    """A registered version; None for the champion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was found, and what was looked at."""

    findings: Sequence[Finding]
    looked: Sequence[str]
    """In words."""
    not_looked: Sequence[str]
    """What there was nothing to see of, and what would let it be seen."""


def diagnose(task: Task, asked: Asked, log: CallLog | None, until: datetime) -> Diagnosis:
    """Look for every known failure.

    Args:
        log: the call log; None where there is none.
        until: the moment up to which calls are looked at, aware.

    Raises:
        UsageError: there is no such version.
        DataError: a file that was named, or the task's data, cannot be read.
        StorageError: the call log cannot be reached.
    """
    version = version_of(task, asked.version)
    if version is None and asked.version is not None:
        raise UsageError(f"there is no version {asked.version}", where="--version", mend="See `kasauti versions`.")
    split, _ = load_split(task)
    seen = _Seen()
    faults = _supervision(task, asked, split, seen)
    _continues(task, asked, faults, seen)
    _memorised(task, asked, version, seen)
    if log is None:
        seen.missed.append("calls: there is no call log; `kasauti serve` keeps one")
    else:
        seen.looked.append("calls of the last 7 days")
        seen.found += outside(task, split, log, until, version, own_test=task.data.test is not None)
    order = list(Severity)
    place = {name: at for at, name in enumerate(ORDER)}
    found = sorted(seen.found, key=lambda one: (order.index(one.severity), place.get(one.check, len(ORDER))))
    return Diagnosis(findings=found, looked=seen.looked, not_looked=seen.missed)


class _Seen:
    """What one diagnosis has come to so far."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.looked: list[str] = []
        self.missed: list[str] = []


def _supervision(task: Task, asked: Asked, split: Split, seen: _Seen) -> Taught | None:
    """What rows teach; those of a file are returned, since they are a cause of other things."""
    bench = Workbench(task)
    try:
        frozen, tokenizer = bench.frozen, bench.tokenizer
    except KasautiError as error:
        if asked.rows or asked.template:
            raise
        seen.missed.append(f"supervision: {error.line()}")
        return None
    if asked.template is not None:
        one = response_template(task, split.train, frozen, tokenizer, asked.template)
        seen.looked.append(f"the response template {asked.template!r} in the training rows")
        seen.found += [] if one is None else [one]
    if asked.rows is not None:
        found = taught(read_rows(asked.rows), frozen, tokenizer)
        seen.looked.append(f"{found.rows:,} rows of {asked.rows}")
        one = supervision(found, asked.rows)
        seen.found += [] if one is None else [one]
        return found
    one = own_rows(task, split.train, frozen, tokenizer)
    seen.looked.append("supervision of the training rows")
    seen.found += [] if one is None else [one]
    return None


def _continues(task: Task, asked: Asked, rows: Taught | None, seen: _Seen) -> None:
    if not task.labels:
        seen.missed.append("texts that go on: only labels tell where an answer ends")
        return
    if asked.generated is not None:
        written, where = read_written(asked.generated), asked.generated
    else:
        written, id = of_trial(task)
        where = f"trial {id}"
    if not written:
        seen.missed.append("texts that go on: no tuned approach has written any; `kasauti trial` lets it")
        return
    seen.looked.append(f"{len(written):,} generated texts of {where}")
    going = going_on(written, list(task.labels))
    if going.told:
        seen.found.append(_gone_on(going, where, *_cause(task, asked, rows)))


def _gone_on(going: Going, where: str, cause: str, mend: str) -> Finding:
    known = any(one.truth is not None for one in going.texts)
    right = f" ({going.right:,} with the right label)" if known else ""
    return Finding(
        check="continues",
        severity=Severity.STOP,
        what=f"the model goes on after its answer: {len(going.texts):,} of {going.rows:,} texts are a label with more "
        f"behind it{right}. {cause}",
        where=where,
        count=len(going.texts),
        rows=[one.row for one in going.texts][:20],
        evidence=[repr(one.text[:120]) for one in going.texts[:8]],
        why="A caller who compares the text with a label finds none; every such answer is invalid, and slow.",
        mend=mend,
    )


def _cause(task: Task, asked: Asked, rows: Taught | None) -> tuple[str, str]:
    """Why a model goes on, from the best evidence there is; and the next step."""
    if rows is not None and rows.faults:
        mend = (
            "Train again with `kasauti train`, which supervises the answer and its end of turn and proves every row; "
            "elsewhere, let labels be -100 on the prompt and the token's own id on the end of turn."
        )
        return f"The cause is in the rows: {'; '.join(rows.faults)}", mend
    folder = asked.run or newest_run(task)
    proof = _proof(folder)
    if rows is None and proof is None:
        mend = (
            "Write your trainer's input_ids and labels as JSON lines and run `kasauti doctor --rows FILE`; or train "
            "with `kasauti train`, which proves every row."
        )
        return "Prompts were taught, or the end of the turn was not: nothing proves this run's supervision", mend
    shown = f"{proof['rows']:,} rows are proved" if proof is not None else "the rows are right"
    mend = (
        "Raise `train: {epochs: …}` in task.yaml and run `kasauti trial`; the service is not touched, as it scores "
        "labels and writes nothing freely."
    )
    return f"The end of the turn is taught ({shown}), so too little was learnt of it", mend


def _proof(folder: Path | None) -> dict[str, Any] | None:
    """The proof that a run of Kasauti has of its rows; None for any other."""
    if folder is None or not (folder / "run.json").exists():
        return None
    proof = read_json(folder / "run.json").get("proof")
    return proof if isinstance(proof, dict) and proof.get("rows") else None


def _memorised(task: Task, asked: Asked, version: Version | None, seen: _Seen) -> None:
    folder = asked.run or (None if asked.version is not None else newest_run(task))
    if folder is not None:
        seen.looked.append(f"the losses of the run {folder.name}")
        seen.found += of_run(folder)
        return
    about = None if version is None else version.card.get("about")
    if version is not None and isinstance(about, dict) and about.get("curve"):
        seen.looked.append(f"the losses of version {version.number}")
        seen.found += of_summary(about, f"version {version.number}")
        return
    seen.missed.append("losses: no run was found; name one with --run")
