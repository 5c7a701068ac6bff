"""Answers for every row of a file, in order; a file of answers that was cut off is gone on with.

Walks in: a task, a file. Walks out: one JSON value a row: `row`, `answer`, `confidence`, `probabilities` and
`labels` (on request), `sources` (where the approach looks in documents), `accepted`. It does not know how an approach
answers.

While OUT is being made there are `OUT.part`, whole lines in chunks of `CHUNK`, each on disk before the next is begun,
and `OUT.part.json`, the hash of what the lines depend on. The same command counts the whole chunks and goes on behind
them; at the end `OUT.part` becomes OUT.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from kasauti.approaches.catalogue import make
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import StorageError, UsageError
from kasauti.core.files import (
    STATE,
    RunFolder,
    content_hash,
    folder_hash,
    read_json,
    storage_errors,
    sync_folder,
    write_json,
)
from kasauti.core.progress import Progress, silent
from kasauti.core.types import Approach, Example, Prediction, Task
from kasauti.data.conversation import BadRow, read_inputs
from kasauti.data.read import SHOWN, source_hash
from kasauti.data.split import load_split
from kasauti.decide.fitted import asks_network, fitted_key
from kasauti.measure.conformal import Conformal
from kasauti.measure.selective import is_accepted
from kasauti.registry.promises import promises_of, rule_of, set_of, threshold_of
from kasauti.registry.versions import Registry, check_base, task_of

CHUNK = 256
"""Rows that are answered together; a resumed file begins at a whole chunk, so that it equals an uninterrupted one."""
FORMAT = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Answerer:
    """Who answers."""

    name: str
    """`version 2 (tuned)` or `trial 1f3c… (classical)`."""
    task: Task
    approach: Approach
    threshold: float | None
    """Confidence from which on an answer is accepted; None accepts nothing."""
    key: str
    """Hash of all that its answers depend on."""
    sets: Conformal | None = None
    """Makes the set of labels of a row; None where the approach has no probabilities."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A finished file."""

    rows: int
    accepted: int
    bad: int
    """Rows that could not be read; their lines say why."""
    resumed_at: int
    """Rows that were there already when the command began."""


def answering_task(task: Task) -> Task:
    """The task whose questions will be answered: the champion's, as it was when it was judged, or this one. Loads no
    model.
    """
    registry = Registry(task)
    best = registry.champion()
    return task if best is None else task_of(task, registry.check(best.number))


def answerer(task: Task, progress: Progress = silent) -> Answerer:
    """The champion version; before there is one, what the newest finished trial ships.

    Raises:
        UsageError: neither is there, or the task has changed since that trial.
        KasautiError: the champion's files were changed.
    """
    registry = Registry(task)
    best = registry.champion()
    if best is not None:
        approach, version = registry.open(best.number, progress)
        name = f"version {version.number} ({approach.name})"
        threshold, then = threshold_of(version.card), task_of(task, version)
        sets = rule_of(then, version.card)
        return Answerer(name=name, task=then, approach=approach, threshold=threshold, sets=sets, key=version.sha256)
    trials = [folder for folder in RunFolder.all(task.folder, "trials", mark="trial.json") if folder.finished]
    if not trials:
        mend = "Run `kasauti trial` first: it finds out which approach to answer with."
        raise UsageError("there is no version and no finished trial", where=task.folder, mend=mend)
    newest = max(trials, key=lambda folder: (folder.result()["created"], folder.id))
    return _from_trial(task, newest, progress)


def _from_trial(task: Task, folder: RunFolder, progress: Progress) -> Answerer:
    trial = folder.result()
    _check_unchanged(task, folder.id, trial)
    ship = str(trial["verdict"]["ship"])
    bench = Workbench(task, progress)
    if asks_network(task, ship):
        check_base(bench, trial["model"], f"trial {folder.id}")
    approach = make(ship, bench)
    kept = folder.path / "shipped.json"
    found: dict[str, Any] = read_json(kept) if kept.exists() else {}
    if found.get("judged") != trial["created"]:  # none yet, or what failed was judged again since
        split, _ = load_split(task)
        if split.fingerprint != trial["data"]["fingerprint"]:
            raise _changed(folder.id, "data")
        place = f"{ship}-{fitted_key(bench, split, ship)}"
        model = _model(task, place, folder.id)
        approach.load(str(model))
        found = {"judged": trial["created"], "place": place, "sha256": folder_hash(model)}
        with contextlib.suppress(StorageError):  # it only saves the next command some time
            write_json(kept, found)
    else:
        model = _model(task, found["place"], folder.id)
        if folder_hash(model) != found["sha256"]:
            raise _changed(folder.id, "saved approach")
        approach.load(str(model))
    promised = promises_of(trial)
    key = content_hash([found["sha256"], promised, trial["task_card"], trial["model"], task.fallback])
    name, threshold, sets = f"trial {folder.id} ({ship})", threshold_of(promised), rule_of(task, promised)
    return Answerer(name=name, task=task, approach=approach, threshold=threshold, sets=sets, key=key)


def _model(task: Task, place: str, id: str) -> Path:
    path = Path(task.folder) / STATE / "approaches" / place / "model"
    if not path.is_dir():
        raise _changed(id, "recipe or the model")
    return path


def _check_unchanged(task: Task, id: str, trial: dict[str, Any]) -> None:
    """The trial's approach answers the task as it was judged, so what it is asked must be what it was asked then."""
    card = trial["task_card"]
    now: dict[str, Any] = {"instructions": task.instructions, "labels": dict(task.labels), "input": task.input}
    for name, value in now.items():
        if card[name] != value:
            raise _changed(id, f"`{name}` of the task file")


def _changed(id: str, what: str) -> UsageError:
    return UsageError(f"the {what} changed since trial {id}", where="task.yaml", mend="Run `kasauti trial` again.")


def answer_of(task: Task, prediction: Prediction) -> str:
    """Always one of the labels: the answer, else the fallback, else the first label; any text for kinds without
    labels.
    """
    if prediction.answer is not None and (not task.labels or prediction.answer in task.labels):
        return prediction.answer
    return task.fallback or next(iter(task.labels), "")


def answers(
    one: Answerer,
    path: str,
    rows: int,
    *,
    start: int = 0,
    probabilities: bool = False,
    sets: bool = False,
    skip_bad: bool = False,
    progress: Progress = silent,
) -> Iterator[list[dict[str, Any]]]:
    """Chunks of answers to a file's rows, from row `start` (counted from 0) on. A bad row, where those are left out,
    has a line in its place: no answer, and the fault under `error`.

    Raises:
        DataError: the file is at fault.
    """
    inputs = islice(read_inputs(one.task, path, skip_bad=skip_bad), start, None)
    done = start
    progress("predict", done, rows)
    while chunk := list(islice(inputs, CHUNK)):
        given = iter(one.approach.predict([row for row in chunk if isinstance(row, Example)]))
        made = []
        for row in chunk:
            line: dict[str, Any] = {"row": row.row}
            if row.source != path:  # one of several files, each with row numbers of its own
                line["source"] = row.source
            if isinstance(row, BadRow):
                made.append({**line, "answer": None, "confidence": None, "accepted": False, "error": row.error.line()})
            else:
                made.append({**line, **_answered(one, next(given), probabilities, sets)})
        done += len(chunk)
        progress("predict", done, rows)
        yield made


def _answered(one: Answerer, given: Prediction, probabilities: bool, sets: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"answer": answer_of(one.task, given)}
    line["confidence"] = None if given.confidence is None else round(given.confidence, 6)
    if probabilities:
        table = given.probabilities
        line["probabilities"] = None if table is None else {label: round(p, 6) for label, p in table.items()}
    if sets:
        line["labels"] = set_of(one.task, one.sets, given)
    if getattr(one.approach, "cites", False):
        line["sources"] = list(given.sources)
    return {**line, "accepted": is_accepted(given, one.threshold)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A file that has been read once from end to end."""

    rows: int
    """All rows, bad ones too."""
    bad: int
    first_bad: tuple[str, ...]
    """The first of them: place and fault, one line each."""


def check_file(task: Task, path: str, *, skip_bad: bool = False) -> Checked:
    """Read every row of a file once, so that a fault is told before anything is answered.

    Raises:
        DataError: the file or a column is at fault, every row is bad, or one is and bad rows are refused.
    """
    rows = bad = 0
    first: list[str] = []
    for row in read_inputs(task, path, skip_bad=skip_bad):
        rows += 1
        if isinstance(row, BadRow):
            bad += 1
            if len(first) < SHOWN:
                first.append(f"{row.error.where}: {row.error.what}")
    return Checked(rows=rows, bad=bad, first_bad=tuple(first))


def check_output(source: str, out: str) -> None:
    """Refuse an output that cannot be, before any work is done.

    Raises:
        UsageError: it is the input, a folder, or in a folder that is not there, or its `.part` is somebody else's.
    """
    target = Path(out)
    if target.is_dir():
        raise UsageError("is a folder", where=out, mend="Name a file.")
    if not target.absolute().parent.is_dir():
        raise UsageError("its folder is not there", where=out, mend="Make the folder first, or check the path.")
    if target.exists() and Path(source).exists() and target.samefile(source):
        raise UsageError("is the input file", where=out, mend="Name another file for the answers.")
    part, mark = _beside(out)
    if part.exists() and not mark.exists():
        raise UsageError("is there already and was not made by this command", where=str(part), mend="Move it away.")


def answer_file(
    one: Answerer,
    source: str,
    out: str,
    rows: int,
    *,
    probabilities: bool = False,
    sets: bool = False,
    skip_bad: bool = False,
    progress: Progress = silent,
) -> Done:
    """Write the answers to `out`; what an interrupted call with the same input wrote is gone on with.

    Args:
        rows: all rows of the input, as `check_file` counted them.
        skip_bad: see `answers`.

    Raises:
        UsageError: `out` cannot be, or another command is writing it.
        StorageError: the disk is full or may not be written; what was finished stays in `OUT.part`.
    """
    check_output(source, out)
    part, mark = _beside(out)
    key = content_hash([FORMAT, source_hash(source), one.key, probabilities, sets, skip_bad])
    asked: dict[str, Any] = {"probabilities": probabilities, "sets": sets, "skip_bad": skip_bad, "progress": progress}
    fresh = not mark.exists() or read_json(mark).get("key") != key
    if not mark.exists():
        write_json(mark, {"key": key})
    with contextlib.ExitStack() as open_files:
        with storage_errors(part):
            file = open_files.enter_context(open(part, "a+b"))
        _hold(file, out)
        if fresh:
            write_json(mark, {"key": key})
        with storage_errors(part):
            start, accepted, bad = (file.truncate(0), 0, 0) if fresh else _whole(file)
        for chunk in answers(one, source, rows, start=start, **asked):
            with storage_errors(part):
                file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in chunk).encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            accepted += sum(line["accepted"] for line in chunk)
            bad += sum("error" in line for line in chunk)
        with storage_errors(out):
            os.replace(part, out)
            sync_folder(Path(out).absolute().parent)
    mark.unlink(missing_ok=True)
    return Done(rows=rows, accepted=accepted, bad=bad, resumed_at=start)


def _beside(out: str) -> tuple[Path, Path]:
    """The file in the making, and its mark."""
    return Path(f"{out}.part"), Path(f"{out}.part.json")


def _hold(file: IO[bytes], out: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UsageError("is being written by another command", where=out, mend="Wait for it to end.") from None


def _whole(file: IO[bytes]) -> tuple[int, int, int]:
    """Cut the file behind its last whole chunk; its rows, how many of them are accepted, and how many are bad."""
    file.seek(0)
    end = rows = accepted = bad = 0
    taken = faults = size = 0
    for number, line in enumerate(file, start=1):
        if not line.endswith(b"\n"):
            break
        size += len(line)
        said = json.loads(line)
        taken += bool(said["accepted"])
        faults += "error" in said
        if number % CHUNK == 0:
            end, rows, accepted, bad = size, number, taken, faults
    file.truncate(end)
    file.seek(0, os.SEEK_END)
    return rows, accepted, bad
