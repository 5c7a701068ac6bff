"""What the task file says about the search for a prompt: `prompt_search`.

Walks in: the parsed task file. Walks out: a `PromptSearch`, or one line that names the fault. It does not know any
prompt.
"""

from __future__ import annotations

import math

from kasauti.core.errors import TaskError
from kasauti.core.types import PromptSearch
from kasauti.core.yaml_text import Entry


def read_prompt_search(entry: Entry | None) -> PromptSearch:
    """`prompt_search: {candidates: 16, rows: 200, seconds: 600}`; what is not there is the default.

    Raises:
        TaskError: an unknown key, or a value that is no such number.
    """
    if entry is None:
        return PromptSearch()
    entry.only(("candidates", "rows", "seconds"))
    given = {key: _number(value, whole=key != "seconds") for key, value in entry.items() if value}
    return PromptSearch(**given)  # type: ignore[arg-type]


def _number(entry: Entry, *, whole: bool) -> float | int:
    value = entry.plain()
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        mend = f"Write a {'whole ' if whole else ''}number above 0."
        raise TaskError(f"`{entry.path}` is {entry.shown}", where=entry.where, mend=mend)
    return int(value) if whole else float(value)
