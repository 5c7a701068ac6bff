"""The shapes that examples come in, each made into the same one.

Walks in: a row as a file holds it. Walks out: `Flat`: the columns of the row with `prompt` and `completion` among them,
and the turns that came before. It does not know files or tasks. The last assistant turn is the completion, the user
turn before it the prompt, and what stands before both is the history: nothing of a conversation is dropped.

Another shape is one function and one line in `SHAPES`, and its name in `core.task.SHAPES`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from kasauti.core.errors import DataError
from kasauti.core.roles import MEND, role_of
from kasauti.core.types import Message
from kasauti.data.formats.row import TURNS, Row

PROMPT, COMPLETION, SYSTEM = "prompt", "completion", "system"
LOOKED_AT = 20
"""Rows of a file by which its shape is recognised."""


class Flat(NamedTuple):
    """A row in the one shape."""

    row: Row
    """Its columns; every shape but plain puts `prompt` and `completion` among them."""
    history: tuple[Message, ...] = ()
    """The turns before the prompt, a system turn of the row's own first."""


Shape = Callable[[Row, Collection[str]], Flat]
"""A row, and the columns that the task shows → the row in the one shape. Raises `DataError` without a place."""


def recognise(rows: Sequence[Row], wanted: Collection[str] = ()) -> str:
    """The shape of the first rows of a file.

    Args:
        rows: some of them may be at fault.
        wanted: columns that a task names. Where every row has them as they stand, Alpaca's and a conversation's
            columns are plain ones to that task.
    """
    votes = Counter(map(_shape_of, rows))
    shape = votes.most_common(1)[0][0] if votes else "plain"
    as_they_stand = bool(wanted) and all(column in row for row in rows for column in wanted)
    return "plain" if as_they_stand and shape != "prompt_completion" else shape


def _shape_of(row: Row) -> str:
    column = _turns_column(row)
    if column is not None:
        first = (_parsed(row[column]) or [{}])[0]
        return "sharegpt" if "from" in first else "messages"
    if PROMPT in row and COMPLETION in row:
        return "prompt_completion"
    return "alpaca" if "instruction" in row and "output" in row else "plain"


def _plain(row: Row, shown: Collection[str]) -> Flat:
    return Flat(row)


def _messages(row: Row, shown: Collection[str]) -> Flat:
    return _conversation(row, "role", "content")


def _sharegpt(row: Row, shown: Collection[str]) -> Flat:
    return _conversation(row, "from", "value")


def _prompt_completion(row: Row, shown: Collection[str]) -> Flat:
    prompt, completion = _required(row, PROMPT, "prompt_completion"), row.get(COMPLETION)
    asked, answered = _parsed(prompt), _parsed(completion)
    turns = [Message(role="user", content=prompt or "")] if asked is None else _turns(asked, "role", "content")
    if answered is not None:
        turns += _turns(answered, "role", "content")
    elif completion is not None:
        turns.append(Message(role="assistant", content=completion))
    return _flat(row, (), turns)


def _alpaca(row: Row, shown: Collection[str]) -> Flat:
    """Instruction and input are the user's turn; where the task shows the input alone, the instruction is the system's,
    so that it is never lost.
    """
    instruction, context = _required(row, "instruction", "alpaca") or "", row.get("input") or ""
    earlier: list[Message] = []
    for pair in _pairs(row.get("history")):
        earlier += [Message(role="user", content=pair[0]), Message(role="assistant", content=pair[1])]
    apart = "input" in shown and not {"instruction", PROMPT} & set(shown)
    system = "\n\n".join(text for text in (row.get(SYSTEM), instruction) if text and text.strip())
    if apart:
        earlier.insert(0, Message(role="system", content=system))
    prompt = f"{instruction}\n\n{context}" if context.strip() else instruction
    turns = [*earlier, Message(role="user", content=prompt)]
    if (output := row.get("output")) is not None:
        turns.append(Message(role="assistant", content=output))
    return _flat(row, (), turns, own_system=not apart)


SHAPES: dict[str, Shape] = {
    "plain": _plain,
    "messages": _messages,
    "sharegpt": _sharegpt,
    "prompt_completion": _prompt_completion,
    "alpaca": _alpaca,
}
"""Name → what makes a row of this shape flat."""


def _conversation(row: Row, role: str, content: str) -> Flat:
    column = next((name for name in TURNS if row.get(name) is not None), None)
    if column is None:
        mend = f"Give it a column {TURNS[0]!r} as the other rows have, or move it to a file of its own."
        raise DataError("the row has no conversation", mend=mend)
    turns = _parsed(row[column])
    if turns is None:
        mend = f'Write a list of turns such as {{"{role}": "user", "{content}": "…"}}.'
        raise DataError(f"column {column!r} holds no list of turns with {role!r}", mend=mend)
    return _flat(row, (column,), _turns(turns, role, content))


def _flat(row: Row, used: Collection[str], turns: list[Message], *, own_system: bool = True) -> Flat:
    """Turns → prompt, completion and history, other columns kept."""
    system = row.get(SYSTEM)
    if turns and turns[0].role == "system" and not turns[0].content.strip():
        turns = turns[1:]  # it says nothing
    if own_system and system and system.strip():
        if any(turn.role == "system" for turn in turns):
            raise DataError("the row has a system turn and a column 'system'", mend="Remove one of them.")
        turns = [Message(role="system", content=system), *turns]
    if any(turn.role == "system" for turn in turns[1:]):
        raise DataError("a system turn stands behind another turn", mend="Put it first, or make it part of a turn.")
    completion = turns[-1].content if turns and turns[-1].role == "assistant" else None
    asked = turns if completion is None else turns[:-1]
    if not asked or asked[-1].role != "user":
        what = f"a {asked[-1].role} turn" if asked else "nothing"
        before = "the answer" if completion is not None else "the end"
        raise DataError(
            f"{what} stands before {before}, not a user turn", mend="Let a user turn come before an answer."
        )
    kept = {name: value for name, value in row.items() if name not in used}
    return Flat({**kept, PROMPT: asked[-1].content, COMPLETION: completion}, tuple(asked[:-1]))


def _turns(turns: Sequence[Any], role: str, content: str) -> list[Message]:
    made = []
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict) or role not in turn:
            raise DataError(f"turn {number} has no {role!r}", mend=f"Give it {role!r} and {content!r}.")
        known = role_of(turn[role])
        if known is None:
            raise DataError(f"turn {number} has the unknown role {turn[role]!r}", mend=MEND)
        made.append(Message(role=known, content=_content(turn.get(content), number)))
    return made


def _content(value: Any, number: int) -> str:
    """The text of a turn; a list of parts is joined where all of them are text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in value):
        return "".join(part["text"] for part in value)
    shown = "null" if value is None else type(value).__name__
    raise DataError(f"the content of turn {number} is {shown}, not text", mend="Give every turn its text.")


def _turns_column(row: Row) -> str | None:
    return next((column for column in TURNS if _parsed(row.get(column)) is not None), None)


def _parsed(value: str | None) -> list[Any] | None:
    """The turns that a column holds as JSON; None where it is text of another kind."""
    if value is None or not value.lstrip().startswith("[") or not ('"role"' in value or '"from"' in value):
        return None
    try:
        turns = json.loads(value)
    except (ValueError, RecursionError):
        return None
    named = turns and all(isinstance(turn, dict) for turn in turns) and any("role" in t or "from" in t for t in turns)
    return turns if named else None


def _pairs(value: str | None) -> list[tuple[str, str]]:
    """Earlier turns as Alpaca's `history` holds them: pairs of what was asked and answered."""
    if value is None or not value.strip():
        return []
    try:
        pairs = json.loads(value)
        return [(str(asked), str(answered)) for asked, answered in pairs]
    except (ValueError, TypeError, RecursionError):
        mend = 'Write a list of pairs such as [["question", "answer"]].'
        raise DataError("column 'history' holds no list of pairs", mend=mend) from None


def _required(row: Row, column: str, shape: str) -> str | None:
    if column not in row:
        raise DataError(f"there is no column {column!r}, which the shape {shape} has", mend="Mend that row.")
    return row[column]
