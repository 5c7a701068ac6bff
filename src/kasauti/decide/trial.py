"""Fits every approach, judges all on the same held-out rows once, and gives the verdict.

Walks in: a task and the names of approaches. Walks out: `.kasauti/trials/<id>/` with `trial.json`, `report.html` and
`predictions.parquet`. An approach that fails is a row that says why, not the end of the trial.

The same command after a kill goes on where it stopped; after the end it finds the finished trial.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kasauti
from kasauti.approaches.catalogue import CATALOGUE, LABELLED, check_names, parts_of
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import KasautiError, StorageError
from kasauti.core.files import RunFolder, atomic_write, content_hash, read_json
from kasauti.core.progress import Progress, silent
from kasauti.core.ran import machine, versions
from kasauti.core.types import Example, Finding, Prediction, Split, Task
from kasauti.data.conversation import content, load_out_of_scope
from kasauti.data.duplicates import nearest_across
from kasauti.data.split import NEAR, load_split
from kasauti.data.versions import looks, record_look
from kasauti.decide.cost import (
    Price,
    fit_cost,
    label_cost,
    per_1k_calls,
    per_1k_from_seconds,
    per_1k_from_tokens,
    per_hour,
)
from kasauti.decide.curve import learning_curve
from kasauti.decide.errors import errors_of
from kasauti.decide.fitted import Answers, asks_network, fit_and_answer, fitted_key, has_answers
from kasauti.decide.predictions import write_predictions
from kasauti.decide.seeds import FAMILY, sentences, spread_of
from kasauti.decide.sureness import sureness
from kasauti.decide.verdict import Judged, decide
from kasauti.decide.worth import money_of
from kasauti.measure import kinds
from kasauti.measure.compare import compare_scores
from kasauti.measure.grades import Grades, interval
from kasauti.measure.kinds import classification
from kasauti.measure.metrics import latency_ms
from kasauti.measure.statistics import score_measurement

FORMAT = 3
FITTED_ON = {"majority": ["train"], "hosted": ["validation"]}
"""What each family reads; all others read both, prompts what training rows ask and not what they answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A finished trial."""

    id: str
    folder: Path
    document: dict[str, Any]
    """What `trial.json` holds."""
    shipped: Path
    """The saved approach that the verdict names."""


def run_trial(task: Task, names: Sequence[str], progress: Progress = silent, *, seeds: int = 1) -> Trial:
    """The trial of these approaches on this task's data: found, resumed or made.

    Args:
        seeds: how often what is tuned is trained, each time with another seed; the first seed's answers are judged.

    Raises:
        UsageError: an unknown approach (also of the cascade), or a kind of task that is not judged yet.
        DataError: the data are at fault.
        KasautiError: every approach failed.
    """
    names = check_names(names, task.kind)
    for name in names:
        parts_of(task, name)
    split, findings = load_split(task, record="trial")
    strange = load_out_of_scope(task)
    bench = Workbench(task, progress)
    id = _trial_id(bench, split, names, strange, seeds)
    folder = RunFolder(task.folder, "trials", id, mark="trial.json").make()
    # What failed is tried again, since its cause may be mended; all the rest is on disk.
    if not folder.finished or folder.result()["failed"]:
        _count_look(bench, split, names, folder, seeds)
        answers, failed = _answers(bench, split, names, strange)
        kind = kinds.load_kind(task.kind)
        grades = {one.name: kind.grade(task, split.test, one.predictions) for one in answers}
        document = _judge(bench, split, answers, grades, failed, findings, seeds)
        write_predictions(folder.path / "predictions.parquet", split.test, answers, grades)
        _draw(folder, document)
        folder.finish(document)
    document = folder.result()
    if not (folder.path / "report.html").exists():
        _draw(folder, document)
    ship = document["verdict"]["ship"]
    shipped = Path(task.folder) / ".kasauti" / "approaches" / f"{ship}-{fitted_key(bench, split, ship)}" / "model"
    return Trial(id=id, folder=folder.path, document=document, shipped=shipped)


def _trial_id(bench: Workbench, split: Split, names: Sequence[str], strange: Sequence[Example], seeds: int = 1) -> str:
    keys = {}
    for name in names:
        try:
            keys[name] = fitted_key(bench, split, name)
        except KasautiError as error:  # a model that cannot be loaded fails its approaches, not the others
            keys[name] = error.line()
    business = dataclasses.asdict(bench.task.business)
    parts = {
        "format": FORMAT,
        "keys": keys,
        "business": business,
        "test": split.test_sha256,
        "fallback": bench.task.fallback,
        "accept": dataclasses.asdict(bench.task.accept),
        "out_of_scope": [row.id for row in strange],
    }
    if seeds > 1:
        parts["seeds"] = seeds
    if bench.task.kind != LABELLED:
        parts["scoring"] = dataclasses.asdict(bench.task.scoring)
    return content_hash(parts)[:12]


def _count_look(bench: Workbench, split: Split, names: Sequence[str], folder: RunFolder, seeds: int) -> None:
    """A look is counted once a trial, and only where answers to the test rows are still to be made: those of other
    seeds always are."""
    missing = seeds > 1 and any(CATALOGUE[name].family == FAMILY for name in names)
    for name in names:
        try:
            missing = missing or not has_answers(bench, split, name)
        except KasautiError:
            missing = True
    if missing:
        record_look(bench.task.folder, split.test_sha256, f"trial {folder.id}")


def _answers(
    bench: Workbench, split: Split, names: Sequence[str], strange: Sequence[Example]
) -> tuple[list[Answers], list[dict[str, str]]]:
    answers: list[Answers] = []
    failed: list[dict[str, str]] = []
    for at, name in enumerate(names):
        bench.progress("trial", at, len(names), CATALOGUE[name].title)
        lost = [row for row in failed if row["name"] in parts_of(bench.task, name)]
        if lost:  # what it is made of is not tried a second time
            failed.append({"name": name, "why": f"{lost[0]['name']}, of which it is made, failed: {lost[0]['why']}"})
            continue
        try:
            answers.append(fit_and_answer(bench, split, name, strange))
        except StorageError:
            raise
        except KasautiError as error:
            failed.append({"name": name, "why": error.line()})
        except (OSError, MemoryError):  # the machine's fault, not the approach's: mended, the same command goes on
            raise
        except Exception as error:  # a library's fault is a row of the trial, with its name
            first = (str(error).strip().splitlines() or [""])[0][:200]
            failed.append({"name": name, "why": f"{type(error).__name__}: {first}"})
    bench.progress("trial", len(names), len(names))
    if not answers:
        raise KasautiError(
            f"every approach failed; the first: {failed[0]['why']}", mend="mend that and run the command again"
        )
    return answers, failed


def _price(task: Task, split: Split, one: Answers) -> Price:
    """From calls one at a time, as latency is: in batches a call is cheaper. A hosted one is paid by its tokens, at the
    prices of today's task file, and its calibration rows are what it costs to fit."""
    labels = label_cost(one.name, CATALOGUE[one.name].family, _sizes(split), task.business)
    if one.device == "hosted":
        fit = len(one.held_out) / 1000 * _by_tokens(task, one.held_out) if one.held_out else 0.0
        return Price(per_1k_calls=_by_tokens(task, one.predictions), fit=fit, labels=labels)
    fit = fit_cost(one.fit_seconds, task.business, one.device)
    if one.latencies:
        seconds = sum(one.latencies) / len(one.latencies)
        each = per_1k_from_seconds(seconds, per_hour(task.business, one.device))
    else:
        each = per_1k_calls(one.predictions, task.business, one.device)
    return Price(per_1k_calls=each, fit=fit, labels=labels)


def _by_tokens(task: Task, given: Sequence[Prediction]) -> float:
    tokens = ((p.input_tokens, p.output_tokens) for p in given)
    used_in, used_out = (sum(side) / len(given) for side in zip(*tokens, strict=True))
    return per_1k_from_tokens(used_in, used_out, task.business.hosted_per_1m_tokens)


def _without_leaked(split: Split) -> list[int]:
    """Places of the test rows that no training row resembles: what accuracy is worth without what may have leaked."""
    train, test = ([content(row) for row in rows] for rows in (split.train, split.test))
    leaked = {pair[0] for pair in nearest_across(test, train, NEAR)}
    return [at for at in range(len(test)) if at not in leaked]


def _entry(task: Task, split: Split, one: Answers, grades: Grades, clean: Sequence[int]) -> dict[str, Any]:
    """One element of `approaches`."""
    judged = kinds.judge(task, split.test, one.predictions, grades=grades)
    if one.generated is not None and task.kind == LABELLED:
        written = classification.judge(task, split.test, one.generated, task.seed)
        judged |= {
            "invalid_rate": written["invalid_rate"],
            "generated": {k: written[k] for k in ("accuracy", "accuracy_with_fallback", "invalid_rate", "endings")},
        }
    if clean:
        unseen = interval(score_measurement(grades.scores[list(clean)], grades.metric, task.seed))
        judged["accuracy_without_leaked"] = {**unseen, "rows": len(clean)}
    family = CATALOGUE[one.name].family
    price = _price(task, split, one)
    return {
        "name": one.name,
        "family": family,
        "label": CATALOGUE[one.name].title,
        "fitted_on": FITTED_ON.get(family, ["train", "validation"]),
        **judged,
        "latency_ms": latency_ms([Prediction(answer=None, seconds=s) for s in one.latencies]) or judged["latency_ms"],
        "cost_per_1k_calls": price.per_1k_calls,
        "monthly_cost": price.monthly(task.business.calls_per_month),
        "fit_cost": price.fit,
        "label_cost": price.labels,
        "fit_seconds": one.fit_seconds,
        "seconds_per_1k_calls": 1000 * sum(p.seconds for p in one.predictions) / max(1, len(one.predictions)),
        **sureness(task, split.validation_calibrate, one.held_out, split.test, one.predictions, one.strange),
        "about": one.about,
    }


def _judge(
    bench: Workbench,
    split: Split,
    answers: Sequence[Answers],
    grades: Mapping[str, Grades],
    failed: Sequence[Mapping[str, str]],
    findings: Sequence[Finding],
    seeds: int,
) -> dict[str, Any]:
    task = bench.task
    clean = _without_leaked(split)
    entries = [_entry(task, split, one, grades[one.name], clean) for one in answers]
    for entry, one in zip(entries, answers, strict=True):
        if (spread := spread_of(bench, split, one, seeds)) is not None:
            entry["seeds"] = spread
    comparisons = compare_scores({name: graded.scores for name, graded in grades.items()}, task.seed)
    seen = max(1, looks(task.folder, split.test_sha256))
    judged = [Judged.from_entry(entry, len(split.test)) for entry in entries]
    verdict = decide(task, judged, comparisons, test_looks=seen)
    confusion = next(e for e in entries if e["name"] == verdict.ship).get("confusion")
    because = [*verdict.because, *sentences(entries, verdict.margin)]
    needs = list(verdict.needs)
    needs += _dependent(task, split)
    needs += [f"{row['name']} failed and was not judged: {row['why']}" for row in failed]
    return {
        "task": task.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kasauti": kasauti.__version__,
        "seed": task.seed,
        "metric": grades[verdict.ship].metric,
        "data": {
            "version": split.data_version,
            "fingerprint": split.fingerprint,
            "test_sha256": split.test_sha256,
            "test_looks": seen,
            "leaked_rows": len(split.test) - len(clean),
            "out_of_scope_rows": len(answers[0].strange),
            "rows": _sizes(split),
            "findings": [_plain(f) for f in _all_findings(task, split, findings)],
        },
        "model": _model(bench, [one.name for one in answers]),
        "approaches": [{k: v for k, v in entry.items() if k != "confusion"} for entry in entries],
        "comparisons": [dataclasses.asdict(c) for c in comparisons],
        "verdict": {**dataclasses.asdict(verdict), "because": because, "needs": needs},
        "money": money_of(task.business, judged),
        "errors": errors_of(
            task,
            split,
            verdict.ship,
            {one.name: one.predictions for one in answers},
            {one.name: CATALOGUE[one.name].family for one in answers},
            grades[verdict.ship].scores,
        ),
        "confusion": confusion
        and {
            "approach": verdict.ship,
            "labels": confusion["truths"],
            "answers": confusion["answers"],
            "matrix": confusion["counts"],
        },
        "learning_curve": learning_curve(bench, split, entries),
        "task_card": {
            "kind": task.kind,
            "instructions": task.instructions,
            "labels": dict(task.labels),
            "input": task.input,
            "fallback": task.fallback,
            "business": dataclasses.asdict(task.business),
            "accept": dataclasses.asdict(task.accept),
        },
        "failed": list(failed),
        "ran": {"machine": machine(), "versions": versions()},
    }


def _sizes(split: Split) -> dict[str, int]:
    return {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)}


def _dependent(task: Task, split: Split) -> list[str]:
    """A warning where test rows of one group are counted as independent of one another."""
    groups = {row.group for row in split.test if row.group is not None}
    grouped = sum(row.group is not None for row in split.test)
    if grouped <= len(groups):
        return []
    return [
        f"the test rows come from {len(groups):,} values of {task.group} and are counted as independent: "
        "the true intervals are wider."
    ]


def _all_findings(task: Task, split: Split, findings: Sequence[Finding]) -> list[Finding | Mapping[str, Any]]:
    """Those of the split, and those of the last audit if it was of the same data."""
    path = Path(task.folder) / ".kasauti" / "audit" / "audit.json"
    if path.exists():
        try:
            audit = read_json(path)
            if audit["data"]["version"] == split.data_version:
                return list(audit["findings"])
        except (KasautiError, KeyError, TypeError):  # a damaged audit is no reason to lose a trial
            return list(findings)
    return list(findings)


def _plain(finding: Finding | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(finding, Finding):
        return {**dataclasses.asdict(finding), "severity": finding.severity.value}
    return dict(finding)


def _model(bench: Workbench, names: Sequence[str]) -> dict[str, Any]:
    document: dict[str, Any] = {"id": bench.task.model, "parameters": 0, "template_sha256": ""}
    if any(asks_network(bench.task, name) for name in names):
        document |= {
            "parameters": bench.loaded().parameters,
            "template_sha256": bench.frozen.sha256,
            "sha256": bench.model_sha256,
        }
    return document


def _draw(folder: RunFolder, document: dict[str, Any]) -> None:
    from kasauti.decide.report import render_report

    atomic_write(folder.path / "report.html", render_report(document))
