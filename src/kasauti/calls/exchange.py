"""The review queue in the JSON of Label Studio and of Argilla, and decisions back from either.

Walks in: calls that wait, documents. Walks out: documents, decisions. It does not know databases.

Label Studio: its task format (labelstud.io/guide/task_format), one choice named `label`. Argilla: what
`dataset.records.to_json` writes and `from_json` reads (version 2), one question named `label`. Both carry the id of the
call and hold the category that was answered as a prediction, so that it is there to be confirmed.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kasauti.calls.reviews import Decision
from kasauti.core.call import Call
from kasauti.core.errors import DataError
from kasauti.core.names import suggestion

FORMATS = ("label-studio", "argilla")
QUESTION = "label"
_PEOPLE = uuid.UUID("5f1f9d0e-3f0b-5b9a-9c39-6f2f0a5d7c11")
"""Namespace of the ids that stand for our reviewers in Argilla, which knows people by UUID."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Brought:
    """A decision that was made elsewhere."""

    call_id: str
    reviewer: str
    label: str


def write(form: str, calls: Iterable[Call], decided: Iterable[Decision] = ()) -> list[dict[str, Any]]:
    """Calls in one of `FORMATS`, with what was decided of them."""
    said: dict[str, list[Decision]] = {}
    for one in decided:
        said.setdefault(one.call_id, []).append(one)
    make = _task if form == FORMATS[0] else _record
    return [make(call, said.get(call.id, [])) for call in calls]


def read(document: Any, labels: Collection[str], source: str, known: Collection[str] = ()) -> list[Brought]:
    """Decisions of a document in either format, which is told by its looks.

    Args:
        document: as parsed from JSON.
        source: its name, for errors.
        known: names of our own reviewers: a decision of theirs that went out and comes back is theirs, not another
            person's.

    Raises:
        DataError: it is neither, or a decision gives a label that the task does not have.
    """
    if not isinstance(document, list) or not all(isinstance(one, Mapping) for one in document):
        raise DataError("is no list of tasks or records", where=source, mend="Export JSON, not JSON-MIN or CSV.")
    found: list[Brought] = []
    people = {str(uuid.uuid5(_PEOPLE, name)): name for name in known}
    for place, one in enumerate(document, 1):
        where, before = f"{source}, entry {place}", len(found)
        try:
            found += list(_from_task(one, known) if "data" in one else _from_record(one, people))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            mend = "It has to hold the id of its call: review what `kasauti review export` wrote."
            raise DataError("is no task of Label Studio and no record of Argilla", where=where, mend=mend) from None
        for made in found[before:]:
            if made.label not in labels:
                mend = suggestion(made.label, labels)
                raise DataError(f"{made.label!r} is no label of the task", where=where, mend=mend)
    return found


def _text(call: Call) -> dict[str, str]:
    before = {"history": "\n".join(f"{turn.role}: {turn.content}" for turn in call.history)} if call.history else {}
    return {**before, **call.fields}


def _task(call: Call, said: list[Decision]) -> dict[str, Any]:
    first = next(iter(call.fields), "text")
    return {
        "data": {**_text(call), "call_id": call.id},
        "predictions": [
            {
                "model_version": str(call.version),
                "score": call.prediction.confidence,
                "result": [_choice(first, call.category)],
            }
        ],
        "annotations": [
            {
                "completed_by": {"email": one.reviewer},
                "created_at": one.at.isoformat(),
                "was_cancelled": False,
                "result": [_choice(first, one.label)],
            }
            for one in said
        ],
    }


def _choice(field: str, label: str) -> dict[str, Any]:
    return {"from_name": QUESTION, "to_name": field, "type": "choices", "value": {"choices": [label]}}


def _from_task(task: Mapping[str, Any], known: Collection[str]) -> Iterable[Brought]:
    id = task["data"]["call_id"]
    if not isinstance(id, str):
        raise TypeError(id)
    for one in task.get("annotations") or ():
        labels = [label for part in one["result"] if part["type"] == "choices" for label in part["value"]["choices"]]
        if labels and not one.get("was_cancelled"):
            by = one.get("completed_by")
            who = by.get("email") or by.get("id") if isinstance(by, Mapping) else by
            name = str(who) if who in known else _name(who, "label-studio")
            yield Brought(call_id=id, reviewer=name, label=str(labels[0]))


def _record(call: Call, said: list[Decision]) -> dict[str, Any]:
    score = call.prediction.confidence
    return {
        "id": call.id,
        "fields": _text(call),
        "metadata": {"version": call.version, "at": call.at.isoformat()},
        "suggestions": {QUESTION: {"value": call.category, "score": score, "agent": f"version {call.version}"}},
        "responses": {
            QUESTION: [{"value": one.label, "user_id": str(uuid.uuid5(_PEOPLE, one.reviewer))} for one in said]
        }
        if said
        else {},
        "vectors": {},
    }


def _from_record(record: Mapping[str, Any], people: Mapping[str, str]) -> Iterable[Brought]:
    id = record["id"]
    if not isinstance(id, str) or "fields" not in record:
        raise TypeError(id)
    for one in (record.get("responses") or {}).get(QUESTION) or ():
        if one["value"] is not None:
            who = str(one.get("user_id") or "")
            yield Brought(call_id=id, reviewer=people.get(who) or _name(who, "argilla"), label=str(one["value"]))


def _name(who: Any, tool: str) -> str:
    return f"{tool}:{who}" if who not in (None, "") else tool
