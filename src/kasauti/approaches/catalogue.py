"""Name → where the approach lives. A plain dict, so that `--help` starts without any of them.

A new approach is one file in this room and one line here; `tests/approaches/test_conformance.py` then holds it to the
contract.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass

from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import UsageError
from kasauti.core.names import suggestion
from kasauti.core.types import Approach


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the catalogue."""

    place: str
    """module:Class"""
    family: str
    title: str
    """What a report calls it."""


CATALOGUE: dict[str, Entry] = {
    "majority": Entry("majority:Majority", "majority", "Most common label"),
    "classical": Entry("classical:Classical", "classical", "Classical classifier"),
    "prompt_none": Entry("prompt:PromptNone", "prompt", "Prompt without instructions"),
    "prompt_instructions": Entry("prompt:PromptInstructions", "prompt", "Prompt with instructions"),
    "tuned": Entry("tuned:Tuned", "tuned", "Tuned adapter"),
}
DEFAULT = tuple(CATALOGUE)


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in the catalogue's order.

    Raises:
        UsageError: an unknown name.
    """
    for name in names:
        if name not in CATALOGUE:
            raise UsageError(
                f"unknown approach {name!r}", where="--approaches", mend=suggestion(name, tuple(CATALOGUE))
            )
    if not names:
        raise UsageError("no approach named", where="--approaches", mend=f"name some of {', '.join(CATALOGUE)}")
    return tuple(name for name in CATALOGUE if name in names)


def make(name: str, bench: Workbench) -> Approach:
    """A new, unfitted approach."""
    module, _, kind = CATALOGUE[name].place.partition(":")
    approach: Approach = getattr(importlib.import_module(f"kasauti.approaches.{module}"), kind)(bench)
    return approach
