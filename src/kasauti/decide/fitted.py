"""One approach, fitted and asked, with every step on disk: what a kill interrupts is gone on with, what is done is
not done twice.

Walks in: a task, a split, the name of an approach. Walks out: `Answers`. It knows no metric and no verdict.

The folder's name holds a hash of all that the fit depends on (rows, recipe, model, template) but not of prices or
margins, so a changed price needs no new answers.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.approaches.catalogue import CATALOGUE, LABELLED, make, parts_of
from kasauti.approaches.hosted.approach import identity
from kasauti.approaches.workbench import Member, Workbench
from kasauti.core.files import RunFolder, content_hash, read_json, write_json
from kasauti.core.types import Approach, Ended, Example, Prediction, Split, Task
from kasauti.data.knowledge.index import documents_hash
from kasauti.measure.schema import schema_of

FORMAT = 2
"""Part of every hash; raised when the same inputs would give other answers."""
PROMPT_FORMAT = 3
TUNED_FORMAT = 3
"""The same for what is prompted, and for what is trained."""
HELD_OUT = "held_out.json"
LATENCY_ROWS, WRITTEN_ROWS = 60, 20
"""Validation rows that are answered one at a time to measure latency: with a label, and with a text (slower)."""
NETWORKS = ("prompt", "retrieval", "tuned")
"""Families that need the model."""
EMBEDDING = ("classical_embedding", "retrieval", "grounded")
"""Approaches that use the task's embedding model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """A fitted approach's answers to the test rows."""

    name: str
    folder: Path
    """What `Approach.load` reads."""
    predictions: list[Prediction]
    generated: list[Prediction] | None
    """Free generation for the same rows, where the approach can."""
    held_out: list[Prediction]
    """For the calibration rows, each by a calibration that was not fitted on it."""
    strange: list[Prediction]
    """For the inputs that belong to no label."""
    latencies: list[float]
    """Seconds of single calls, one at a time, after a warm-up."""
    fit_seconds: float
    about: dict[str, Any]
    device: str
    """cpu, gpu or hosted."""


def asks_network(task: Task, name: str) -> bool:
    """Whether an approach needs the task's model; a cascade does where one of its two does."""
    return any(CATALOGUE[one].family in NETWORKS for one in parts_of(task, name))


def fitted_key(bench: Workbench, split: Split, name: str) -> str:
    """12 hexadecimal digits over all that a fit depends on."""
    task = bench.task
    parts: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        # In order, since the order of the rows reaches the optimizer; without the test rows, which no fit sees.
        "rows": [[e.id for e in part] for part in (split.train, split.validation_choose, split.validation_calibrate)],
        "labels": list(task.labels),
        "input": task.input,
    }
    if task.kind != LABELLED:
        parts["kind"] = task.kind
        if task.scoring.schema is not None:  # answers are held to it as they are written
            parts["schema"] = schema_of(task)
    if CATALOGUE[name].family in NETWORKS:
        parts |= {
            "model": bench.model_sha256,
            "template": bench.frozen.sha256,
            "instructions": task.instructions,
            "descriptions": dict(task.labels),
        }
        if bench.four_bit:
            parts["weights"] = "nf4"
    if CATALOGUE[name].family == "prompt":
        parts |= {"format": PROMPT_FORMAT, "seed": task.seed}
        if name == "prompt_optimised":
            parts["search"] = dataclasses.asdict(task.prompt_search)
    if CATALOGUE[name].family == "hosted":
        parts |= {"asked": identity(task), "instructions": task.instructions, "descriptions": dict(task.labels)}
    if CATALOGUE[name].family == "tuned":
        parts["format"] = TUNED_FORMAT
        parts["recipe"] = dataclasses.asdict(bench.recipe_for(len(split.train)))
        if "search" in task.train:
            parts["search"] = task.train["search"]
    if name in EMBEDDING and bench.embedder is not None:
        parts["embeddings"] = bench.embedder.sha256
    if name == "cascade":
        parts["members"] = [[one, fitted_key(bench, split, one)] for one in parts_of(task, name)]
        parts["margin"] = task.business.margin  # what its threshold may lose
    if name in ("cascade", "retrieval"):
        parts["seed"] = task.seed  # of the order in which rows are asked, and of folds
    if CATALOGUE[name].needs == "knowledge" and task.knowledge is not None:
        parts["knowledge"] = documents_hash(task.folder, task.knowledge)
    return content_hash(parts)[:12]


def has_answers(bench: Workbench, split: Split, name: str) -> bool:
    """Whether the answers to these test rows are on disk."""
    folder = _folder(bench, split, name)
    generates = hasattr(make(name, bench), "generate")
    return (
        folder.finished
        and _test_file(folder, split).exists()
        and (not generates or _written_file(folder, split).exists())
    )


def _folder(bench: Workbench, split: Split, name: str) -> RunFolder:
    id = f"{name}-{fitted_key(bench, split, name)}"
    return RunFolder(bench.task.folder, "approaches", id, mark="fitted.json")


def _test_file(folder: RunFolder, split: Split) -> Path:
    return folder.path / f"test-{split.test_sha256[:12]}.json"


def _written_file(folder: RunFolder, split: Split) -> Path:
    return folder.path / f"generated-{split.test_sha256[:12]}.json"


def fit_and_answer(bench: Workbench, split: Split, name: str, out_of_scope: Sequence[Example] = ()) -> Answers:
    """Fit (or find) the approach and answer the test rows and the out-of-scope ones (or find the answers).

    `fit` is handed training and validation rows only; the test rows reach `predict` alone, without their answers.
    """
    approach, folder = _fitted(bench, split, name)
    kept = folder.result()
    predictions = _asked(_test_file(folder, split), approach.predict, split.test)
    free = getattr(approach, "generate", None)
    # Texts have no confidence that anything could be said of.
    sure = split.validation_calibrate if bench.task.kind == LABELLED else ()
    strange = folder.path / f"out-of-scope-{content_hash([row.id for row in out_of_scope])[:12]}.json"
    return Answers(
        name=name,
        folder=folder.path / "model",
        predictions=predictions,
        generated=None if free is None else _asked(_written_file(folder, split), free, split.test),
        held_out=_asked(folder.path / HELD_OUT, approach.predict, sure) if sure else [],
        strange=_asked(strange, approach.predict, out_of_scope) if out_of_scope else [],
        latencies=kept["latencies"],
        fit_seconds=kept["fit_seconds"],
        about=kept["about"],
        device=kept["device"],
    )


def _fitted(bench: Workbench, split: Split, name: str) -> tuple[Approach, RunFolder]:
    """The approach, found or fitted; one that is made of others is handed them as they are fitted."""
    folder, approach = _folder(bench, split, name), make(name, bench)
    if not folder.finished:
        members = {one: _member(bench, split, one) for one in parts_of(bench.task, name) if one != name}
        bench.members = members
        _fit(bench, approach, split, folder, sum(one.fit_seconds for one in members.values()))
        bench.members = {}
    approach.load(str(folder.path / "model"))
    return approach, folder


def _member(bench: Workbench, split: Split, name: str) -> Member:
    approach, folder = _fitted(bench, split, name)
    held_out = _asked(folder.path / HELD_OUT, approach.predict, split.validation_calibrate)
    return Member(folder=folder.path / "model", held_out=held_out, fit_seconds=float(folder.result()["fit_seconds"]))


def _asked(
    path: Path, ask: Callable[[Sequence[Example]], list[Prediction]], test: Sequence[Example]
) -> list[Prediction]:
    """The answers of a file, made and written where they are missing, in the order of `test`.

    They are found by the rows' ids: the file's rows may stand in another order today.
    """
    if not path.exists():
        _keep(path, test, ask([dataclasses.replace(row, answer=None) for row in test]))
    document = read_json(path)
    by_id = dict(zip(document["ids"], unpack(document), strict=True))
    return [by_id[row.id] for row in test]


def _keep(path: Path, rows: Sequence[Example], given: Sequence[Prediction]) -> None:
    write_json(path, {"ids": [row.id for row in rows], **pack(given)})


def _fit(bench: Workbench, approach: Approach, split: Split, folder: RunFolder, before: float) -> None:
    """Fit, save and time it. `before`: the seconds that what it is made of took to fit."""
    folder.make()
    began = time.perf_counter()
    approach.fit(split.train, split.validation_choose, split.validation_calibrate)
    # What an earlier process spent on training counts too.
    seconds = before + max(time.perf_counter() - began, float(approach.about().get("fit_seconds", 0.0)))
    model = folder.path / "model"
    shutil.rmtree(model, ignore_errors=True)
    model.mkdir()
    approach.save(str(model))
    # An approach that calibrates says what it stated of its calibration rows without having seen them; of any other,
    # which has fitted nothing on them, it is what it answers.
    measured = LATENCY_ROWS if bench.task.kind == LABELLED else WRITTEN_ROWS
    held_out: Sequence[Prediction] = getattr(approach, "held_out", ())
    if held_out:
        _keep(folder.path / HELD_OUT, split.validation_calibrate, held_out)
    folder.finish(
        {
            "name": approach.name,
            "fit_seconds": seconds,
            # Whose answers are kept says itself how long its calls took: asked again they would come from the disk.
            "latencies": getattr(approach, "call_seconds", None) or _latencies(approach, split.validation[:measured]),
            "about": dict(approach.about()),
            "device": _device(bench.task, approach.name),
        }
    )


def _latencies(approach: Approach, rows: Sequence[Example]) -> list[float]:
    for row in rows[:3]:  # warm-up: caches, threads, lazy imports
        approach.predict([row])
    seconds = []
    for row in rows:
        began = time.perf_counter()
        approach.predict([row])
        seconds.append(time.perf_counter() - began)
    return seconds


def _device(task: Task, name: str) -> str:
    if CATALOGUE[name].family == "hosted":
        return "hosted"
    if not asks_network(task, name):
        return "cpu"
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def pack(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Predictions as JSON: the labels once, and six digits of a probability, which is more than they are worth."""
    labels = next((list(p.probabilities) for p in predictions if p.probabilities is not None), [])
    rows = [
        {
            **{f.name: getattr(p, f.name) for f in dataclasses.fields(p) if f.name not in ("probabilities", "ended")},
            "ended": p.ended.value,
            "probabilities": None if p.probabilities is None else [float(f"{p.probabilities[x]:.6g}") for x in labels],
        }
        for p in predictions
    ]
    return {"labels": labels, "rows": rows}


def unpack(document: Mapping[str, Any]) -> list[Prediction]:
    """The inverse of `pack`."""
    labels = document["labels"]
    made = []
    for row in document["rows"]:
        given = row["probabilities"]
        probabilities = None if given is None else dict(zip(labels, given, strict=True))
        read = {**row, "ended": Ended(row["ended"]), "probabilities": probabilities}
        made.append(Prediction(**{**read, "sources": tuple(row.get("sources", ()))}))
    return made
