"""Name → where the approach lives. A plain dict, so that `--help` starts without any of them.

A new approach is one file in this room and one line here; `tests/approaches/test_conformance.py` then holds it to the
contract.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from kasauti.approaches.embedder import installed
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import TaskError, UsageError
from kasauti.core.names import suggestion
from kasauti.core.types import Approach, Task


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue."""

    place: str
    """module:Class of what answers with a label; empty where nothing does."""
    family: str
    title: str
    """What a report calls it."""
    written: str = ""
    """module:Class of what answers with a text, for the kinds of task that ask for one; empty where nothing does."""
    needs: str = ""
    """Key of the task file without which it is not tried; empty where it can always be."""

    def place_for(self, kind: str) -> str:
        """module:Class for a kind of task."""
        return self.place if kind == LABELLED else self.written


LABELLED = "classification"
"""The kind of task whose answers are labels."""

CATALOGUE: dict[str, Entry] = {
    "majority": Entry("majority:Majority", "majority", "Most common label"),
    "classical": Entry("classical:Classical", "classical", "Classical classifier"),
    "classical_embedding": Entry(
        "embedding:ClassicalEmbedding", "classical", "Embeddings with a linear classifier", needs="embedding_model"
    ),
    "nearest": Entry("", "classical", "Nearest training answer", "nearest:Nearest"),
    "prompt_none": Entry("prompt:PromptNone", "prompt", "Prompt without instructions", "written:WrittenNone"),
    "prompt_instructions": Entry(
        "prompt:PromptInstructions", "prompt", "Prompt with instructions", "written:WrittenInstructions"
    ),
    "retrieval": Entry("retrieval:Retrieval", "retrieval", "Prompt with retrieved examples"),
    "prompt_optimised": Entry(
        "optimised:PromptOptimised", "prompt", "Prompt with the best of a search", "optimised:WrittenOptimised"
    ),
    "grounded": Entry("", "retrieval", "Prompt with retrieved documents", "grounded:Grounded", "knowledge"),
    "tuned": Entry("tuned:Tuned", "tuned", "Tuned adapter", "written:WrittenTuned"),
    "cascade": Entry("cascade:Cascade", "cascade", "Cascade of two"),
    "hosted": Entry("hosted.approach:Hosted", "hosted", "Hosted model", "hosted.written:WrittenHosted", "hosted"),
}


def names_for(kind: str) -> tuple[str, ...]:
    """The approaches that can answer any task of a kind."""
    return tuple(name for name, entry in CATALOGUE.items() if entry.place_for(kind) and not entry.needs)


DEFAULT = names_for(LABELLED)


def default_names(task: Task) -> tuple[str, ...]:
    """What a trial of this task judges where nothing is named: with what only some tasks have, such as an endpoint."""
    able = (name for name, entry in CATALOGUE.items() if entry.place_for(task.kind))
    there = (name for name in able if not (needs := CATALOGUE[name].needs) or getattr(task, needs) is not None)
    return tuple(name for name in there if name != "classical_embedding" or installed())


def members_of(task: Task) -> tuple[str, str]:
    """The two approaches of the task's cascade, the cheap one first.

    Raises:
        TaskError: the task file names one that cannot be in it.
    """
    first, second = task.cascade or ("classical", "tuned")
    known = [name for name, entry in CATALOGUE.items() if entry.place_for(task.kind) and name != "cascade"]
    for name in (first, second):
        if name not in known:
            where = f"{task.folder}/task.yaml: cascade"
            raise TaskError(f"unknown approach {name!r}", where=where, mend=suggestion(name, known))
    return first, second


def parts_of(task: Task, name: str) -> tuple[str, ...]:
    """The approaches that answer under this name: those of the cascade, else the one itself. Raises as `members_of`."""
    return members_of(task) if name == "cascade" else (name,)


def check_names(names: Sequence[str], kind: str = LABELLED) -> tuple[str, ...]:
    """The names, each once, in the catalogue's order.

    Raises:
        UsageError: an unknown name, or one that does not answer this kind of task.
    """
    for name in names:
        if name not in CATALOGUE:
            raise UsageError(
                f"unknown approach {name!r}", where="--approaches", mend=suggestion(name, tuple(CATALOGUE))
            )
        if not CATALOGUE[name].place_for(kind):
            able = ", ".join(names_for(kind))
            raise UsageError(f"{name} does not answer tasks of kind {kind}", where="--approaches", mend=f"use {able}")
    if not names:
        raise UsageError("no approach named", where="--approaches", mend=f"name some of {', '.join(names_for(kind))}")
    return tuple(name for name in CATALOGUE if name in names)


def make(name: str, bench: Workbench) -> Approach:
    """A new, unfitted approach."""
    module, _, made = CATALOGUE[name].place_for(bench.task.kind).partition(":")
    approach: Approach = getattr(importlib.import_module(f"kasauti.approaches.{module}"), made)(bench)
    return approach
