"""A call as a row of the database, and back.

Walks in: `Call`s, or rows. Walks out: rows, or `Call`s: one inverse pair, but for probabilities, which are kept with
six digits. It does not know connections.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping

from kasauti.core.call import Call
from kasauti.core.types import Ended, Message, Prediction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


def us_of(at: datetime) -> int:
    """Microseconds since 1970; a time without a zone is taken as UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH) // _US


def time_of(us: int) -> datetime:
    """The inverse of `us_of`."""
    return _EPOCH + us * _US


def to_row(call: Call) -> dict[str, Any]:
    """Column → value, without `seq`."""
    told = call.prediction
    return {
        "id": call.id,
        "at": us_of(call.at),
        "version": call.version,
        "category": storable(call.category),
        "ended": str(told.ended),
        "answer": None if told.answer is None else storable(told.answer),
        "confidence": told.confidence,
        "accepted": call.accepted,
        "latency_ms": call.latency_ms,
        "seconds": told.seconds,
        "log_mass": told.log_mass,
        "input_tokens": told.input_tokens,
        "output_tokens": told.output_tokens,
        "cost": told.cost,
        "caller": call.caller,
        "key": None if call.key is None else storable(call.key),
        "prompt_sha256": call.prompt_sha256,
        "masked": call.masked,
        "fields": _json(call.fields),
        "history": _json([[turn.role, turn.content] for turn in call.history]) if call.history else None,
        "metadata": _json(call.metadata) if call.metadata else None,
        "probabilities": _probabilities(told.probabilities),
        "raw": None if told.raw == told.answer else storable(told.raw),  # most often the answer itself
    }


def from_row(row: RowMapping) -> Call:
    """The call that a row holds."""
    return Call(
        id=row["id"],
        at=time_of(row["at"]),
        version=row["version"],
        fields=json.loads(row["fields"]),
        category=row["category"],
        accepted=bool(row["accepted"]),
        prediction=Prediction(
            answer=row["answer"],
            ended=Ended(row["ended"]),
            confidence=row["confidence"],
            probabilities=json.loads(row["probabilities"]) if row["probabilities"] else None,
            raw=(row["answer"] or "") if row["raw"] is None else row["raw"],
            seconds=row["seconds"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            cost=row["cost"],
            log_mass=row["log_mass"],
        ),
        latency_ms=row["latency_ms"],
        prompt_sha256=row["prompt_sha256"],
        caller=row["caller"],
        key=row["key"],
        metadata=json.loads(row["metadata"]) if row["metadata"] else {},
        history=tuple(Message(role=role, content=content) for role, content in json.loads(row["history"] or "[]")),
        masked=bool(row["masked"]),
    )


def _json(value: Any) -> str:
    """Compact; in the letters themselves, which is a third of the size for most of the world's scripts, but where half
    a surrogate pair in a caller's metadata could not be stored."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def storable(text: str) -> str:
    """PostgreSQL stores every character but this one."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def _probabilities(given: Mapping[str, float] | None) -> str | None:
    return None if given is None else json.dumps({k: float(f"{p:.6g}") for k, p in given.items()}, ensure_ascii=False)
