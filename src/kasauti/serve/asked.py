"""The body of a request as rows.

Walks in: bytes, the task. Walks out: rows to answer, or what is wrong with the body. It does not know who asks.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kasauti.core.errors import KasautiError
from kasauti.core.names import suggestion
from kasauti.core.types import Example, Message, Task
from kasauti.data.conversation import make_example
from kasauti.serve.problems import Problem
from kasauti.serve.served import Question, row_of

MOST_ROWS = 256
"""Rows of one request."""
MOST_CHARACTERS = 50_000
"""Characters of one text; ten times a long letter. A longer one would keep all the others of its batch waiting."""
MOST_METADATA = 8192
"""Characters of a row's metadata, as JSON."""
_EXTRA = ("metadata",)


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises `Problem` 422."""
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_number)
    except RecursionError:
        raise Problem(422, "the body is nested too deeply") from None
    except ValueError as error:  # also what is no UTF-8
        raise Problem(422, f"the body is no JSON: {_safe(error)}") from None
    if not isinstance(found, dict):
        raise Problem(422, "the body is no JSON object; send {column: text}")
    return found


def wants_sets(query: Mapping[str, str]) -> bool:
    """Whether the set of labels is asked for, by `?sets=true`: no column can have that place. Raises `Problem` 422."""
    wish = query.get("sets", "false")
    if wish not in ("true", "false"):
        raise Problem(422, "`sets` is true or false")
    return wish == "true"


def rows_of(task: Task, body: Mapping[str, Any]) -> tuple[list[Question], bool]:
    """The rows of a body of `/classify`, and whether it was a batch. `caller` of a row's metadata, or of the batch's,
    says who asks.

    Raises:
        Problem: 422, with the column or the place in the batch.
    """
    if "inputs" not in body or "inputs" in task.columns:
        return [_row(task, body, "")], False
    extra = set(body) - {"inputs", *_EXTRA}
    if extra:
        raise Problem(422, f"beside `inputs` there may be `metadata` only, not {_name(min(extra))}")
    inputs = body["inputs"]
    if not isinstance(inputs, list) or not inputs:
        raise Problem(422, "`inputs` is a list of at least one object {column: text}")
    if len(inputs) > MOST_ROWS:
        raise Problem(413, f"{len(inputs)} inputs; send at most {MOST_ROWS} in one request")
    everybody = metadata_of(body, "")
    return [_row(task, one, f"inputs[{at}]: ", everybody) for at, one in enumerate(inputs)], True


def _row(task: Task, given: Any, where: str, everybody: Mapping[str, Any] | None = None) -> Question:
    if not isinstance(given, dict):
        raise Problem(422, f"{where}an object {{column: text}} is expected")
    allowed = (*task.columns, *_EXTRA, *([task.group] if task.group else []))
    for name in given:
        if name not in allowed:
            raise Problem(422, f"{where}there is no column {_name(name)}. {suggestion(str(name)[:80], allowed)}")
    for name in task.columns:
        if name not in given:
            raise Problem(422, f"{where}column {name!r} is missing")
    fields = {name: _text(given[name], f"{where}column {name!r}") for name in task.columns}
    own = {} if "metadata" in task.columns else metadata_of(given, where)
    caller = caller_of(own) or caller_of(everybody)
    try:
        return Question(row=row_of(task, fields), caller=caller, metadata={**(everybody or {}), **own})
    except KasautiError as error:
        raise Problem(422, f"{where}{error.line()}") from None


def caller_of(metadata: Any) -> str | None:
    """Who asks, by `caller` of the metadata, a text or a whole number; None where it does not say."""
    caller = metadata.get("caller") if isinstance(metadata, dict) else None
    return str(caller)[:200] if isinstance(caller, str | int) and caller != "" else None


def metadata_of(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The metadata of a body or of an input, empty where there is none. Raises `Problem` 413 or 422."""
    found = given.get("metadata", {})
    if not isinstance(found, dict):
        raise Problem(422, f"{where}`metadata` is an object")
    if len(json.dumps(found)) > MOST_METADATA:  # it is kept with every row of a batch
        raise Problem(413, f"{where}`metadata` has more than {MOST_METADATA:,} characters as JSON")
    return found


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Problem(422, f"{where}: a text is expected, not {type(value).__name__}")
    if len(value) > MOST_CHARACTERS:
        raise Problem(413, f"{where}: {len(value):,} characters; send at most {MOST_CHARACTERS:,} in one text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write and Unicode has not
        raise Problem(422, f"{where}: the text is no valid Unicode") from None
    return value


def row_of_conversation(task: Task, turns: Any) -> Example:
    """The row of a conversation of the OpenAI protocol.

    The last turn is the user's. Written in the form of the task's `input`, it is read back into its columns; any other
    text is the value of the task's only column. A system turn other than the task's instructions takes their place, and
    earlier turns are kept, as in training data.

    Raises:
        Problem: 422.
    """
    if not isinstance(turns, list) or not turns:
        raise Problem(422, "`messages` is a list of at least one turn")
    read = [_turn(one, f"messages[{at}]") for at, one in enumerate(turns)]
    if read[-1].role != "user":
        raise Problem(422, f"messages[{len(read) - 1}]: the last turn is the user's")
    if any(turn.role == "system" for turn in read[1:]):
        raise Problem(422, "a system turn comes first, and there is one at most")
    fields = _columns(task, read[-1].content)
    try:
        row = make_example(replace(task, group=None), {**fields}, 1, "request", history=read[:-1], with_answer=False)
    except KasautiError as error:
        raise Problem(422, error.line()) from None
    return row


def _turn(given: Any, where: str) -> Message:
    if not isinstance(given, dict):
        raise Problem(422, f"{where}: an object with `role` and `content` is expected")
    role, content = given.get("role"), given.get("content")
    if role == "developer":
        role = "system"
    if role not in ("system", "user", "assistant"):
        raise Problem(422, f"{where}: the role is system, user or assistant")
    if isinstance(content, list):  # the protocol's other way to write a text
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if not parts or len(parts) < len(content) or not all(isinstance(part, str) for part in parts):
            raise Problem(422, f"{where}: only parts of type text are read")
        content = "".join(str(part) for part in parts)
    return Message(role=str(role), content=_text(content, f"{where}: content"))


def _columns(task: Task, text: str) -> dict[str, str]:
    found = read_back(task.input, text)
    if found is not None:
        return found
    if len(task.columns) == 1:
        return {task.columns[0]: text}
    raise Problem(422, f"the last turn has to be written as the task's input: {task.input!r}")


def read_back(template: str, text: str) -> dict[str, str] | None:
    """The columns that `core.types.fill` made this text from; None where it did not.

    Each column ends where the words after it first stand: one pass over the text, so that no text is slow to read.
    """
    names: list[str] = []
    literals = [""]
    for literal, name, _, _ in string.Formatter().parse(template):  # an escaped brace is a part of its own
        literals[-1] += literal
        if name:
            names.append(name)
            literals.append("")
    if not text.startswith(literals[0]) or not all(literals[1:-1]):
        return None
    found: dict[str, str] = {}
    at = len(literals[0])
    for place, name in enumerate(names):
        after = literals[place + 1]
        last = place == len(names) - 1
        end = len(text) - len(after) if last else text.find(after, at)
        if end < at or not text.endswith(after if last else "") or found.get(name, text[at:end]) != text[at:end]:
            return None
        found[name] = text[at:end]
        at = end + len(after)
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _safe(error: ValueError) -> str:
    """What is wrong with the JSON, without a piece of it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "a number in it is none"


def _name(value: str) -> str:
    return ascii(value[:80])
