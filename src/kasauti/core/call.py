"""One answered call of a service as it is kept, and how it may have come out.

Walks in: nothing. Walks out: the value that serve writes and watch reads. It does not know databases or HTTP.
"""

from __future__ import annotations

import enum
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kasauti.core.types import Ended, Message, Prediction


class Outcome(enum.StrEnum):
    """What became of a call; figures are counted by it."""

    ACCEPTED = "accepted"
    """A valid answer whose confidence reached the version's threshold."""
    DOUBTED = "doubted"
    """A valid answer whose confidence did not."""
    ABSTAINED = "abstained"
    """The approach chose not to answer; the caller got the fallback."""
    UNPARSABLE = "unparsable"
    """Text came out that is no label; the caller got the fallback."""
    FAILED = "failed"
    """No text came out; the caller got the fallback."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One answered call."""

    id: str
    """The id that the caller was given; in a request of several inputs, with the place among them."""
    at: datetime
    """When it was answered; aware, UTC, to the microsecond."""
    version: int
    """Number of the version that answered."""
    fields: Mapping[str, str]
    """The input columns, as they were sent or masked."""
    category: str
    """What the caller got: always one of the task's labels."""
    accepted: bool
    prediction: Prediction
    """What the approach said; the same value as in a trial."""
    latency_ms: float
    """Milliseconds from the arrival of the request to its answer, without the writing of this record."""
    prompt_sha256: str = ""
    """sha256 over instructions, earlier turns and user turn, of what is kept (masked where that is masked)."""
    caller: str | None = None
    """Keyed hash of who asked, 32 hexadecimal digits; None where the request did not say."""
    key: str | None = None
    """Name of the service's key that the request came with; None without keys."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What the caller sent beside the input, without who asked."""
    history: Sequence[Message] = ()
    """Earlier turns of the conversation."""
    masked: bool = False
    """Whether personal data was masked before this was kept."""

    @property
    def outcome(self) -> Outcome:
        """What became of it."""
        if self.prediction.ended is Ended.ANSWERED:
            return Outcome.ACCEPTED if self.accepted else Outcome.DOUBTED
        return Outcome(str(self.prediction.ended))


def new_id() -> str:
    """A new id of a request: a UUID of version 7 (RFC 9562, section 5.7), which begins with the time, so that an index
    over ten million of them is written at one end."""
    milliseconds = time.time_ns() // 1_000_000
    rest = int.from_bytes(os.urandom(10), "big")
    high = milliseconds << 16 | 0x7000 | rest >> 68
    return str(uuid.UUID(int=high << 64 | 2 << 62 | rest & (1 << 62) - 1))
