"""Versions: what a trial shipped, sealed in a folder that never changes.

Walks in: a task and its finished trial. Walks out: `.kasauti/versions/<n>/`, the champion, and a version's approach
ready to answer. It does not know files to answer, traffic or HTTP.

    versions/<n>/approach/     the fitted approach, as the trial saved it
                 task.yaml     the task as it was
                 verdict.json  why it was shipped
                 trial.json    the trial without its rows
                 card.json     what it is, in figures; card.md says it in words
    versions/log.jsonl         one line an event; a registration's line holds the hash of its folder
    champion.json              the version that answers

A version is written under a temporary name, hashed, noted in the log and renamed, in this order: what has a number is
whole, and what is opened is checked against the hash in the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kasauti
from kasauti.approaches.catalogue import CATALOGUE, make
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import KasautiError, ModelError, UsageError
from kasauti.core.files import (
    STATE,
    Lock,
    append_line,
    content_hash,
    file_hash,
    folder_hash,
    make_folder,
    read_json,
    read_json_lines,
    read_text,
    storage_errors,
    write_json,
)
from kasauti.core.progress import Progress, silent
from kasauti.core.task import parse_task
from kasauti.core.types import Approach, Task
from kasauti.data.split import load_split
from kasauti.decide.fitted import NETWORKS
from kasauti.decide.trial import Trial
from kasauti.registry.card import card_text
from kasauti.registry.promises import promises_of

FORMAT = 1
TASK = "task.yaml"
CHAMPION = "champion.json"
_KEPT = ("task", "created", "kasauti", "seed", "metric", "model", "comparisons", "failed", "ran")
_EVALUATION = (
    "metric",
    "accuracy",
    "accuracy_with_fallback",
    "invalid_rate",
    "macro_f1",
    "macro_f1_interval",
    "log_loss",
    "ece",
    "latency_ms",
    "cost_per_1k_calls",
    "per_class",
    "aurc",
    "out_of_scope",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A version on disk."""

    number: int
    sha256: str
    """Hash of its files, as the log has it."""
    folder: Path
    card: Mapping[str, Any]
    """What `card.json` says."""


def register(task: Task, trial: Trial, progress: Progress = silent) -> Version:
    """Make a version of what a trial shipped; the one that has the same content already is returned instead.

    The first version of a task becomes its champion.

    Raises:
        UsageError: the data are not those of the trial any more.
        StorageError: the folder may not be written.
    """
    root = _root(task)
    with Lock(root / "lock", "the registry"):
        content = _content(task, trial)
        same = next((v for v in list_versions(task) if v.card["content_sha256"] == content), None)
        if same is None:
            same = _write(task, trial, content, progress)
        if not (root.parent / CHAMPION).exists():
            set_champion(task, same.number)
    return same


def list_versions(task: Task) -> list[Version]:
    """Every version, the oldest first. Their files are not checked here; `open_version` does."""
    root = _root(task)
    sealed = _seals(task)
    if not root.is_dir():
        return []
    numbers = sorted(int(path.name) for path in root.iterdir() if path.name.isdigit())
    return [
        Version(number=n, sha256=sealed.get(n, ""), folder=root / str(n), card=_card(root / str(n), n)) for n in numbers
    ]


def champion(task: Task) -> Version | None:
    """The version that answers; None before there is one.

    Raises:
        KasautiError: the pointer names no version, or one with another hash.
    """
    path = _root(task).parent / CHAMPION
    if not path.exists():
        return None
    pointer = read_json(path)
    number = pointer.get("version") if isinstance(pointer, dict) else None
    found = next((v for v in list_versions(task) if v.number == number), None)
    if found is None or found.sha256 != pointer.get("sha256"):
        mend = "Delete that file to answer with the newest trial, or restore the version."
        raise KasautiError(
            f"the champion is version {number}, which is not there as it was", where=str(path), mend=mend
        )
    return found


def set_champion(task: Task, number: int) -> Version:
    """Point the champion at a version, atomically.

    Raises:
        UsageError: there is no such version.
        KasautiError: its files were changed.
    """
    version = check_version(task, number)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    _log(task, {"at": at, "did": "champion", "version": number})
    write_json(_root(task).parent / CHAMPION, {"version": number, "sha256": version.sha256, "since": at})
    return version


def check_version(task: Task, number: int) -> Version:
    """A version whose files are those that were registered.

    Raises:
        UsageError: there is no such version.
        KasautiError: a file of it was changed, added or removed.
    """
    found = next((v for v in list_versions(task) if v.number == number), None)
    if found is None:
        known = ", ".join(str(v.number) for v in list_versions(task)) or "none yet"
        raise UsageError(f"there is no version {number}", where="versions", mend=f"Versions: {known}.")
    now = folder_hash(found.folder)
    if now != found.sha256:
        raise KasautiError(
            f"version {number} was changed after it was registered: its hash is {now[:12]}, not {found.sha256[:12]}",
            where=str(found.folder),
            mend="Restore the folder from a copy, or register a new version from a trial.",
        )
    return found


def open_version(task: Task, number: int, progress: Progress = silent) -> tuple[Approach, Version]:
    """A version's approach, ready to answer with the task as it was then.

    Raises:
        UsageError: there is no such version.
        KasautiError: its files were changed.
        ModelError: the base model that it stands on is another one now.
    """
    version = check_version(task, number)
    bench = Workbench(task_of(task, version), progress)
    name = str(version.card["approach"])
    if CATALOGUE[name].family in NETWORKS:
        check_base(bench, version.card["model"], f"version {number}")
    return make(name, bench).load(str(version.folder / "approach")), version


def task_of(task: Task, version: Version) -> Task:
    """The task as it was when the version was registered; its paths are still relative to the task's folder."""
    path = version.folder / TASK
    return parse_task(read_text(path), folder=task.folder, where=str(path))


def check_base(bench: Workbench, model: Mapping[str, Any], who: str) -> None:
    """Refuse to answer with another base model or chat template than the one that was judged.

    Raises:
        ModelError: the files of the model, or its template, are others now.
    """
    for what, then, now in (
        ("base model", model.get("sha256"), bench.model_sha256),
        ("chat template", model.get("template_sha256"), bench.frozen.sha256),
    ):
        if then != now:
            mend = "Put back the model that was judged, or run `kasauti trial` again."
            raise ModelError(
                f"the {what} of {who} has the hash {str(then)[:12]}, and {now[:12]} is there now", mend=mend
            )


def _root(task: Task) -> Path:
    return Path(task.folder) / STATE / "versions"


def _log(task: Task, event: Mapping[str, Any]) -> None:
    append_line(_root(task) / "log.jsonl", json.dumps(event))


def _seals(task: Task) -> dict[int, str]:
    """Version → hash of its files; the last line counts, since one whose rename a kill prevented has no folder."""
    events = [
        e for e in read_json_lines(_root(task) / "log.jsonl") if isinstance(e, dict) and e.get("did") == "register"
    ]
    return {int(event["version"]): str(event["sha256"]) for event in events}


def _card(folder: Path, number: int) -> dict[str, Any]:
    card = read_json(folder / "card.json")
    if not isinstance(card, dict) or not {"approach", "content_sha256", "evaluation"} <= card.keys():
        raise KasautiError(
            f"the card of version {number} is not one", where=str(folder / "card.json"), mend="Restore it from a copy."
        )
    return card


def _content(task: Task, trial: Trial) -> str:
    """What makes two versions the same: the fitted approach, the task file and the trial."""
    return content_hash([folder_hash(trial.shipped), file_hash(Path(task.folder) / TASK), trial.id])


def _write(task: Task, trial: Trial, content: str, progress: Progress) -> Version:
    split, _ = load_split(task)
    if split.fingerprint != trial.document["data"]["fingerprint"]:
        mend = "Run `kasauti trial` again."
        raise UsageError("the data have changed since the trial", where=task.data.train, mend=mend)
    ship = str(trial.document["verdict"]["ship"])
    root = make_folder(_root(task))
    for left in root.glob(".new-*"):  # what a kill interrupted; the lock says that nobody is at it
        shutil.rmtree(left, ignore_errors=True)
    number = max((v.number for v in list_versions(task)), default=0) + 1
    previous = champion(task)
    card = _facts(task, trial, ship, content, number, previous.number if previous else None)
    with storage_errors(root):
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    try:
        _fill(new, task, trial, card)
        sealed = folder_hash(new)
        _log(task, {"at": card["created"], "did": "register", "version": number, "sha256": sealed})
        with storage_errors(root):
            new.chmod(0o755)
            new.rename(root / str(number))
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Version(number=number, sha256=sealed, folder=root / str(number), card=card)


def _fill(new: Path, task: Task, trial: Trial, card: Mapping[str, Any]) -> None:
    document = trial.document
    with storage_errors(new):
        shutil.copytree(trial.shipped, new / "approach")
        shutil.copyfile(Path(task.folder) / TASK, new / TASK)
        (new / "card.md").write_text(card_text(card, document["verdict"]), encoding="utf-8")
    entries = [
        {k: v for k, v in one.items() if k not in ("reliability", "risk_coverage")} for one in document["approaches"]
    ]
    data = {k: v for k, v in document["data"].items() if k != "findings"}
    summary = {**{k: document[k] for k in _KEPT if k in document}, "id": trial.id, "data": data, "approaches": entries}
    write_json(new / "verdict.json", document["verdict"])
    write_json(new / "trial.json", summary)
    write_json(new / "card.json", card)
    for path in new.rglob("*"):  # a guard against accidents; the hash is the guard against the rest
        if path.is_file():
            with contextlib.suppress(OSError):
                path.chmod(path.stat().st_mode & ~0o222)
                _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _facts(task: Task, trial: Trial, ship: str, content: str, number: int, parent: int | None) -> dict[str, Any]:
    """`card.json`."""
    document = trial.document
    entry = next(one for one in document["approaches"] if one["name"] == ship)
    kept = ("version", "fingerprint", "test_sha256", "rows", "test_looks")
    return {
        "format": FORMAT,
        "version": number,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "kasauti": kasauti.__version__,
        "task": task.name,
        "approach": ship,
        "family": CATALOGUE[ship].family,
        "title": CATALOGUE[ship].title,
        "parent": parent,
        "trial": trial.id,
        "judged": document["created"],
        "content_sha256": content,
        "data": {k: document["data"][k] for k in kept},
        "model": document["model"],
        "evaluation": {k: entry.get(k) for k in _EVALUATION},
        "about": entry.get("about"),
        **promises_of(document),
    }
