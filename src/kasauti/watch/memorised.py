"""Did a run learn its rows by heart? Read from what it left: a run's folder, a trainer's log, a version's card.

Walks in: a folder, or a version's facts. Walks out: `Finding`s, in the words of the guard that watches training. It
trains nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kasauti.core.errors import DataError
from kasauti.core.files import RunFolder, read_json
from kasauti.core.types import Finding, Severity, Task
from kasauti.train.guard import Log, overfitting
from kasauti.train.recipe import FEW_ROWS, Recipe

TOLD = ("overfitting", "divergence", "learning rate", "labels")
"""Findings of a run that are told again; few rows alone are no illness."""
STATE_FILE = "trainer_state.json"


def newest_run(task: Task) -> Path | None:
    """The folder of the run that finished last; None where there is none."""
    done = [folder for folder in RunFolder.all(task.folder, "runs", mark="run.json") if folder.finished]
    return max(done, key=lambda folder: folder.mark.stat().st_mtime).path if done else None


def of_run(folder: Path) -> list[Finding]:
    """What a run's folder shows: one of Kasauti's, or one that a Hugging Face trainer left.

    Raises:
        DataError: there is neither `run.json` nor `trainer_state.json` in it.
    """
    if (folder / "run.json").exists():
        return of_summary(read_json(folder / "run.json"), str(folder))
    states = sorted(folder.glob(f"checkpoint-*/{STATE_FILE}"), key=lambda path: _step(path.parent.name))
    state = folder / STATE_FILE if (folder / STATE_FILE).exists() else states[-1] if states else None
    if state is None:
        mend = f"Name the folder of a run: one with run.json, or with {STATE_FILE}."
        raise DataError(f"there is neither run.json nor {STATE_FILE}", where=str(folder), mend=mend)
    return of_state(read_json(state), str(state))


def of_summary(summary: Mapping[str, Any], where: str) -> list[Finding]:
    """What `run.json`, or the facts that a version keeps of its run, say."""
    told = [_finding(one, where) for one in summary.get("findings") or () if one["check"] in TOLD]
    if any(one.check == "overfitting" for one in told):
        return told
    found = _judged(summary.get("curve") or (), where, summary.get("recipe"))
    return [*told, *found]


def of_state(state: Mapping[str, Any], where: str) -> list[Finding]:
    """What the log of a Hugging Face trainer says.

    Raises:
        DataError: it is no such log.
    """
    from kasauti.train.watch import curve_of

    try:
        curve = curve_of(state["log_history"])
    except (KeyError, TypeError, ValueError):
        mend = "Name the folder that a Hugging Face trainer wrote."
        raise DataError("it is no log of a trainer", where=where, mend=mend) from None
    return _judged(curve, where, None)


def _judged(curve: Sequence[Mapping[str, float]], where: str, recipe: Mapping[str, Any] | None) -> list[Finding]:
    log = Log(recipe=Recipe(), parameters=0, rows=0, epochs=[dict(one) for one in curve])
    found = overfitting(log)
    return [] if found is None else [_mended(found, where, curve, recipe)]


def _mended(
    found: Finding, where: str, curve: Sequence[Mapping[str, float]], recipe: Mapping[str, Any] | None
) -> Finding:
    """The finding with the settings to write and the command to type."""
    best = min(curve, key=lambda one: one["validation_loss"]) if curve else {"epoch": 1.0}
    careful = {name: FEW_ROWS[name] for name in ("r", "dropout", "label_smoothing")}
    settings: dict[str, Any] = {"epochs": max(1, round(best["epoch"])), **careful}
    if recipe is not None:  # what is as careful already is left as it is
        settings = {name: value for name, value in settings.items() if recipe.get(name) != value}
    written = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return dataclasses.replace(
        found,
        where=where,
        mend=f"Write `train: {{{written}}}` into task.yaml and run `kasauti train`; more rows help most. The best "
        "checkpoint is the one to use, not the last.",
    )


def _finding(one: Mapping[str, Any], where: str) -> Finding:
    names = {field.name for field in dataclasses.fields(Finding)}
    made = Finding(**{**{k: v for k, v in one.items() if k in names}, "severity": Severity(one["severity"])})
    mend = made.mend if "`kasauti" in made.mend else f"{made.mend.rstrip('.')}; then run `kasauti train`."
    return dataclasses.replace(made, where=where, mend=mend[:1].upper() + mend[1:])


def _step(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1
