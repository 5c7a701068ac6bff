"""What the task file says about when an answer is right: `metric`, `schema` and `code`.

Walks in: the parsed task file and its kind. Walks out: a `Scoring`, or one line that names the fault. It does not know
the user's function, the schema's text or the data; whoever judges reads those.
"""

from __future__ import annotations

import math
import re
import string

from kasauti.core.errors import TaskError
from kasauti.core.types import Scoring
from kasauti.core.yaml_text import Entry

ANSWER = "answer"
"""The name in `code.program` that stands for the answer."""
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
_MEMORY_MB = 64
"""Python itself takes about 30 MB of address space."""


def read_scoring(top: Entry, kind: str) -> Scoring:
    """The three keys, each refused for kinds that it means nothing for.

    Raises:
        TaskError: a key that does not belong to the kind, or a value that cannot be.
    """
    metric, schema, code = top.get("metric"), top.get("schema"), top.get("code")
    for entry, key, kinds in (
        (metric, "metric", ("generation", "summarization")),
        (schema, "schema", ("generation",)),
        (code, "code", ("code",)),
    ):
        if entry is not None and kind not in kinds:
            mend = f"Remove it, or set `kind: {kinds[0]}`."
            raise TaskError(f"`{key}` means nothing for kind {kind!r}", where=entry.where, mend=mend)
    if metric is not None and not _FUNCTION.fullmatch(metric.name()):
        mend = "Write module:function, for instance metric: scores:amount_is_right."
        raise TaskError(f"`metric` is {metric.shown}", where=metric.where, mend=mend)
    found = Scoring(metric=metric.name() if metric else None, schema=schema.name() if schema else None)
    return found if code is None else _code(code)


def _code(code: Entry) -> Scoring:
    code.only(("program", "seconds", "memory_mb"))
    program = code.get("program")
    if program is None:
        mend = "Write what is run to test an answer, for instance program: '{answer}\\n{tests}'."
        raise TaskError("`code.program` is missing", where=code.where, mend=mend)
    text = program.text()
    names = format_columns(program, text)
    if ANSWER not in names:
        mend = "Write {answer} where the answer belongs."
        raise TaskError("`code.program` does not run the answer", where=program.where, mend=mend)
    return Scoring(
        program=text,
        seconds=_at_least(code, "seconds", Scoring().seconds, 1),
        memory_mb=int(_at_least(code, "memory_mb", Scoring().memory_mb, _MEMORY_MB)),
        columns=tuple(dict.fromkeys(name for name in names if name != ANSWER)),
    )


def _at_least(code: Entry, key: str, default: float, least: float) -> float:
    entry = code.get(key)
    if entry is None:
        return default
    value = entry.plain()
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        mend = f"Write a number of at least {least:g}."
        raise TaskError(f"`{entry.path}` is {entry.shown}", where=entry.where, mend=mend)
    return float(value)


def format_columns(entry: Entry, text: str) -> list[str]:
    """The columns of a format string. Anything but a plain `{column}` is refused: it would run on the user's rows."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        mend = "Write {column} for a column, and {{ or }} for a brace."
        raise TaskError(f"`{entry.path}` is no format string: {error}", where=entry.where, mend=mend) from error
    columns = []
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if not name.strip() or spec or conversion or any(mark in name for mark in ".[]{}"):
            shown = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            mend = "Name a column between the braces, with nothing after it."
            raise TaskError(
                f"`{entry.path}` has {{{shown}}}, which is not a plain column", where=entry.where, mend=mend
            )
        columns.append(name)
    return columns
