"""What is kept of an answered call: who asked as a keyed hash, and personal data masked where the operator wants it so.

Walks in: a row, its answer, what the caller said of itself. Walks out: a `Call`. It does not know databases.

A plain hash of a customer's number is no secret, as all numbers can be tried; so the hash has a key. The key lies in
the database beside the hashes, or outside it, in `KASAUTI_CALLER_KEY`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from kasauti.calls.database import Database
from kasauti.calls.schema import settings
from kasauti.core.call import Call
from kasauti.core.errors import UsageError
from kasauti.core.types import Example, Message, Prediction, fill
from kasauti.data.fix import masked

CALLER_KEY = "KASAUTI_CALLER_KEY"
"""Environment variable: the key of the hash of who asks; without it, one is made and kept in the database."""
_NAME = "caller_key"
_OUTSIDE = "outside:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one row of a request was answered."""

    id: str
    version: int
    row: Example
    category: str
    accepted: bool
    prediction: Prediction
    latency_ms: float
    caller: str | None = None
    """Who asks, as the caller says."""
    key: str | None = None
    """Name of the service's key."""
    metadata: Mapping[str, Any] | None = None


class Recorder:
    """Makes calls of answers.

    Args:
        instructions: the task's system turn, a part of every prompt.
        secret: key of the hash of who asks.
        mask: replace personal data in inputs and metadata before anything is kept.
    """

    def __init__(self, instructions: str, secret: bytes, *, mask: bool = False) -> None:
        self._instructions, self._secret, self._mask = instructions, secret, mask

    def record(self, answer: Answer, at: datetime | None = None) -> Call:
        """The call to keep.

        Args:
            at: when it was answered; None for now.
        """
        fields, history, told = dict(answer.row.fields), tuple(answer.row.history), answer.prediction
        metadata = {name: value for name, value in (answer.metadata or {}).items() if name != "caller"}
        if self._mask:
            fields = {name: masked(value) for name, value in fields.items()}
            history = tuple(replace(turn, content=masked(turn.content)) for turn in history)
            metadata = self._masked(metadata)
            told = replace(told, raw=masked(told.raw))
            if not answer.category and told.answer is not None:  # a text, which may repeat what it was asked
                told = replace(told, answer=masked(told.answer))
        return Call(
            id=answer.id,
            at=at or datetime.now(UTC),
            version=answer.version,
            fields=fields,
            category=answer.category,
            accepted=answer.accepted,
            prediction=told,
            latency_ms=answer.latency_ms,
            prompt_sha256=_prompt_hash(self._instructions, history, fill(answer.row.template, fields)),
            caller=None if answer.caller is None else self.hashed(answer.caller),
            key=answer.key,
            metadata=metadata,
            history=history,
            masked=self._mask,
        )

    def hashed(self, caller: str) -> str:
        """The keyed hash of who asks."""
        return _keyed(self._secret, caller)[:32]

    def forms(self, value: str) -> set[str]:
        """The texts that stand in the log for a text of a caller's metadata: itself, and its masked form."""
        return {value, str(self._masked(value))}

    def _masked(self, value: Any) -> Any:
        """A value without personal data. A text that held some gets a keyed hash beside it, so that the calls of a
        customer who is known by a phone number can still be found, and erased."""
        if isinstance(value, str):
            hidden = masked(value)
            return value if hidden == value else f"{hidden} #{_keyed(self._secret, value)[:16]}"
        if isinstance(value, Mapping):
            return {masked(name): self._masked(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._masked(one) for one in value]
        if isinstance(value, int) and not isinstance(value, bool):
            text = str(value)
            hidden = self._masked(text)
            return value if hidden == text else hidden
        return value


def secret_of(database: Database, given: str | None = None) -> bytes:
    """The key of the hash of who asks; the first to look makes it.

    Args:
        given: the operator's own; None takes that of `KASAUTI_CALLER_KEY`, or else the database's.

    Raises:
        UsageError: the callers in this database were hashed with another key: their calls could not be found any more.
        StorageError: the database cannot be reached.
    """
    given = given or os.environ.get(CALLER_KEY) or None
    with database.read() as connection:
        kept = _kept(connection)
    if kept is None:
        wanted = _OUTSIDE + _fingerprint(given) if given else os.urandom(32).hex()
        insert = sqlite.insert if database.sqlite else postgresql.insert
        with database.write() as connection:
            connection.execute(insert(settings).values(name=_NAME, value=wanted).on_conflict_do_nothing())
        with database.read() as connection:
            kept = _kept(connection) or wanted
    if given is None and not kept.startswith(_OUTSIDE):
        return bytes.fromhex(kept)
    if given is not None and kept == _OUTSIDE + _fingerprint(given):
        return given.encode("utf-8")
    mend = f"Set {CALLER_KEY} to the key that this database was begun with; leave it unset where it had none."
    raise UsageError("the callers of this call log were hashed with another key", where=database.where, mend=mend)


def _kept(connection: Connection) -> str | None:
    return connection.execute(select(settings.c.value).where(settings.c.name == _NAME)).scalar_one_or_none()


def _fingerprint(given: str) -> str:
    return hashlib.sha256(b"kasauti caller key\0" + given.encode("utf-8")).hexdigest()


def _keyed(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _prompt_hash(instructions: str, history: Sequence[Message], turn: str) -> str:
    digest = hashlib.sha256()
    for part in (instructions, *(text for one in history for text in (one.role, one.content)), turn):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
