"""The versions of a task: sealed folders at a location that may be any fsspec URL, and which of them answers.

Walks in: a task. Walks out: `Version`s, whole and checked, and a version's approach ready to answer. It does not know
how a version is made, promoted or served.

    versions/<n>-<hash>/  a model folder as Hugging Face lays it out: what the approach saved (an adapter with its
                          tokenizer, a full model, or a classifier's files), and beside it
        README.md         the model card
        task.yaml         the task as it was
        verdict.json      why it was shipped
        trial.json        the trial without its rows
        card.json         the card's figures
    log/                  see `registry.log`; what it does not name is no version

A version is written under another name, hashed, given its name and only then noted in the log, so what the log names is
whole; what is opened is checked against the hash in the log.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kasauti
from kasauti.approaches.catalogue import make
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import KasautiError, ModelError, UsageError
from kasauti.core.files import STATE, folder_hash, make_folder, read_text, storage_errors
from kasauti.core.progress import Progress, silent
from kasauti.core.task import locate, parse_task
from kasauti.core.types import Approach, Task
from kasauti.decide.fitted import asks_network
from kasauti.registry.log import Log
from kasauti.registry.standing import Event, Standing
from kasauti.registry.store import Store

LOCATION = "KASAUTI_REGISTRY"
"""Environment variable that says where the registry lies; it comes before `registry` of the task file."""
FOLDER = "versions"
FORMAT = 3
"""Of a version: what its approach saved and what its card promises."""
CARD, TASK = "card.json", "task.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A registered version."""

    number: int
    sha256: str
    """Hash of its files, as the log has it."""
    folder: Path
    """Where its files are on this machine; for a registry elsewhere, where they will be once it is opened."""
    place: str
    """Where its files are in the registry: a path or a URL."""
    card: Mapping[str, Any]
    """What `card.json` says."""


class Registry:
    """The registry of a task, wherever it lies.

    Args:
        task: its `registry`, or `KASAUTI_REGISTRY`, is the location; without either `.kasauti/registry`.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        named = os.environ.get(LOCATION) or task.registry
        self.store = Store(locate(task, named) if named else str(Path(task.folder) / STATE / "registry"))
        self.log = Log(self.store)
        self._cards: dict[str, dict[str, Any]] = {}

    def standing(self) -> Standing:
        """Where things stand now."""
        return self.log.read()

    @property
    def events(self) -> tuple[Event, ...]:
        """All that ever happened, the oldest first."""
        self.log.read()
        return self.log.events

    def versions(self) -> list[Version]:
        """Every version, the oldest first. Their files are not checked here; `open` does."""
        standing = self.standing()
        return [self._version(number, standing) for number in sorted(standing.versions)]

    def champion(self) -> Version | None:
        """The version that answers; None before there is one."""
        standing = self.standing()
        return None if standing.champion is None else self._version(standing.champion, standing)

    def check(self, number: int) -> Version:
        """A version whose files are on this machine and are those that were registered.

        Raises:
            UsageError: there is no such version.
            KasautiError: a file of it was changed, added or removed.
        """
        standing = self.standing()
        if number not in standing.versions:
            known = ", ".join(map(str, sorted(standing.versions))) or "none yet"
            raise UsageError(f"there is no version {number}", where="versions", mend=f"Versions: {known}.")
        version = self._version(number, standing)
        if not version.folder.exists():
            self._fetch(version, standing.versions[number].folder)
        now = folder_hash(version.folder)
        if now != version.sha256:
            raise KasautiError(
                f"version {number} was changed after it was registered: its hash is {now[:12]}, "
                f"not {version.sha256[:12]}",
                where=str(version.folder),
                mend="Restore the folder from a copy, or register a new version from a trial."
                if self.store.local
                else "Delete that folder, which is only a copy, and run the command again.",
            )
        return version

    def open(self, number: int, progress: Progress = silent) -> tuple[Approach, Version]:
        """A version's approach, ready to answer with the task as it was then.

        Raises:
            UsageError: there is no such version.
            KasautiError: its files were changed.
            UsageError: it was made by another version of Kasauti, whose files this one does not read.
            ModelError: the base model that it stands on is another one now.
        """
        version = self.check(number)
        if (made := version.card.get("format")) != FORMAT:
            raise UsageError(
                f"version {number} has the format {made}, and this Kasauti ({kasauti.__version__}) reads {FORMAT}",
                where=version.place,
                mend="Run `kasauti trial` and `kasauti register` again, or answer with the Kasauti that made it.",
            )
        bench = Workbench(task_of(self.task, version), progress)
        name = str(version.card["approach"])
        if asks_network(bench.task, name):
            check_base(bench, version.card["model"], f"version {number}")
        return make(name, bench).load(str(version.folder)), version

    def clear(self) -> None:
        """Delete the files of removed versions, also those that a kill left behind."""
        there = set(self.store.names(FOLDER))
        for sealed in self.standing().removed.values():
            if sealed.folder in there:
                self.store.delete_folder(f"{FOLDER}/{sealed.folder}")

    def clear_unfinished(self) -> None:
        """Delete what kills left of versions that were never noted. Only for a registry on a disk, under its lock:
        elsewhere another machine may be at it, and what it left stays."""
        if self.store.local is None:
            return
        standing = self.standing()
        noted = {sealed.folder for sealed in (*standing.versions.values(), *standing.removed.values())}
        for name in self.store.names(FOLDER):
            if name not in noted:
                self.store.delete_folder(f"{FOLDER}/{name}")
        for name in self.store.names(""):
            if name.startswith(".new-"):
                self.store.delete_folder(name)

    def _version(self, number: int, standing: Standing) -> Version:
        sealed = standing.versions[number]
        path = f"{FOLDER}/{sealed.folder}"
        local = self.store.local / path if self.store.local else self._copies / sealed.sha256
        card = self._card(path, number)
        return Version(number=number, sha256=sealed.sha256, folder=local, place=self.store.place(path), card=card)

    @property
    def _copies(self) -> Path:
        """Versions of a registry elsewhere, by their hash."""
        return Path(self.task.folder) / STATE / "fetched"

    def _fetch(self, version: Version, name: str) -> None:
        if self.store.local:
            raise KasautiError(
                f"the files of version {version.number} are gone", where=version.place, mend="Restore them from a copy."
            )
        with storage_errors(self._copies):
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=make_folder(self._copies)))
        try:
            self.store.get_folder(f"{FOLDER}/{name}", part)
            if folder_hash(part) == version.sha256:
                with storage_errors(version.folder):
                    part.rename(version.folder)
                return
        finally:
            shutil.rmtree(part, ignore_errors=True)
        raise KasautiError(
            f"version {version.number} is not as it was registered",
            where=version.place,
            mend="Restore it from a copy, or register a new version from a trial.",
        )

    def _card(self, path: str, number: int) -> dict[str, Any]:
        if path not in self._cards:
            try:
                card = json.loads(self.store.read(f"{path}/{CARD}"))
                if not {"approach", "content_sha256", "evaluation"} <= card.keys():
                    raise ValueError("not a card")
            except (ValueError, AttributeError, FileNotFoundError):
                raise KasautiError(
                    f"the card of version {number} is not one",
                    where=self.store.place(f"{path}/{CARD}"),
                    mend="Restore it from a copy.",
                ) from None
            self._cards[path] = card
        return self._cards[path]


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
