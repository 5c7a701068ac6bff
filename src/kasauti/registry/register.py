"""Makes a version of what a trial shipped.

Walks in: a task and its finished trial. Walks out: a sealed folder in the registry, noted in its log. It does not know
which version answers, or how one is opened.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kasauti
from kasauti.approaches.catalogue import CATALOGUE
from kasauti.core.errors import UsageError
from kasauti.core.files import STATE, Lock, content_hash, file_hash, folder_hash, storage_errors, write_json
from kasauti.core.types import Task
from kasauti.data.split import load_split
from kasauti.decide.trial import Trial
from kasauti.registry.card import card_text
from kasauti.registry.log import this_user
from kasauti.registry.promises import promises_of
from kasauti.registry.release import prune
from kasauti.registry.standing import Event, Standing
from kasauti.registry.store import seal_files
from kasauti.registry.versions import CARD, FOLDER, FORMAT, TASK, Registry, Version

_KEPT = ("task", "created", "kasauti", "seed", "metric", "model", "comparisons", "failed", "ran")
_EVALUATION = (
    "metric", "accuracy", "accuracy_with_fallback", "accuracy_without_leaked", "invalid_rate", "macro_f1",
    "macro_f1_interval", "log_loss", "ece", "latency_ms", "cost_per_1k_calls", "per_class",
    "aurc", "out_of_scope",
)  # fmt: skip


def register(task: Task, trial: Trial, *, who: str | None = None, why: str | None = None) -> Version:
    """Make a version of what a trial shipped; the one that has the same content already is returned instead.

    The first version of a task becomes its champion. Versions beyond the newest three are removed, never one that is
    in service or that a rollback leads to.

    Args:
        who, why: noted in the log; the user of this process, and the first reason of the verdict.

    Raises:
        UsageError: the data are not those of the trial any more, or the trial is of an earlier version of Kasauti.
        StorageError: the registry cannot be written.
    """
    registry = Registry(task)
    with _alone(registry):
        content = _content(task, trial)
        standing = registry.standing()
        same = next((n for n, sealed in standing.versions.items() if sealed.content == content), None)
        if same is None:
            registry.clear_unfinished()
            why = why or " ".join(str(s) for s in trial.document["verdict"]["because"][:1]) or f"trial {trial.id}"
            same = _write(registry, trial, content, standing, who or this_user(), why)
        prune(registry)
    return next(version for version in registry.versions() if version.number == same)


@contextlib.contextmanager
def _alone(registry: Registry) -> Iterator[None]:
    """One registration at a time on a machine; the log keeps machines apart."""
    local = registry.store.local or Path(registry.task.folder) / STATE / "fetched"
    with Lock(local / "lock", "the registry"):
        yield


def _content(task: Task, trial: Trial) -> str:
    """What makes two versions the same: the fitted approach, the task file and the trial."""
    return content_hash([folder_hash(trial.shipped), file_hash(Path(task.folder) / TASK), trial.id])


def _write(registry: Registry, trial: Trial, content: str, standing: Standing, who: str, why: str) -> int:
    task = registry.task
    split, _ = load_split(task)
    if split.fingerprint != trial.document["data"]["fingerprint"]:
        mend = "Run `kasauti trial` again."
        raise UsageError("the data have changed since the trial", where=task.data.train, mend=mend)
    ship = str(trial.document["verdict"]["ship"])
    number = standing.next_number
    card = _facts(task, trial, ship, content, number, standing.champion)
    with registry.store.workshop() as new:
        _fill(new, task, trial, card)
        sealed = folder_hash(new)
        folder = f"{number}-{sealed[:12]}"
        registry.store.put_folder(new, f"{FOLDER}/{folder}")
    more = {"sha256": sealed, "folder": folder, "content": content}
    event = Event(did="register", version=number, who=who, why=why, more=more)
    registry.log.append(lambda _: event)
    return number


def _fill(new: Path, task: Task, trial: Trial, card: Mapping[str, Any]) -> None:
    document = trial.document
    with storage_errors(new):
        shutil.copytree(trial.shipped, new, dirs_exist_ok=True)
        new.chmod(0o755)
        adapter = new / "adapter"
        if adapter.is_dir():  # a model folder has its weights at the top
            for path in sorted(adapter.iterdir()):
                path.rename(new / path.name)
            adapter.rmdir()
        shutil.copyfile(Path(task.folder) / TASK, new / TASK)
        (new / "README.md").write_text(card_text(card, document["verdict"]), encoding="utf-8")
    entries = [
        {k: v for k, v in one.items() if k not in ("reliability", "risk_coverage")} for one in document["approaches"]
    ]
    data = {k: v for k, v in document["data"].items() if k != "findings"}
    summary = {**{k: document[k] for k in _KEPT if k in document}, "id": trial.id, "data": data, "approaches": entries}
    write_json(new / "verdict.json", document["verdict"])
    write_json(new / "trial.json", summary)
    write_json(new / CARD, card)
    seal_files(new)


def _facts(task: Task, trial: Trial, ship: str, content: str, number: int, parent: int | None) -> dict[str, Any]:
    """`card.json`."""
    document = trial.document
    entry = next(one for one in document["approaches"] if one["name"] == ship)
    kept = ("version", "fingerprint", "test_sha256", "rows", "test_looks")
    model = dict(document["model"])
    if model.get("template_sha256"):
        from kasauti.model.licence import licence_of

        model["licence"] = licence_of(task.model, task.folder)
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
        "model": model,
        "evaluation": {k: entry.get(k) for k in _EVALUATION},
        "about": entry.get("about"),
        **promises_of(document),
    }
