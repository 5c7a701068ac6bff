"""What a response of an endpoint means: an answer, a reason to ask again, a refusal of this row, or of all.

Walks in: status, headers and body as they came. Walks out: a `Reply`. It does not know how requests are sent, what
was asked, or what an answer is worth.

After the reference of `POST /v1/chat/completions` and of its error codes. What is no such response is never guessed at.
"""

from __future__ import annotations

import email.utils
import enum
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kasauti.approaches.hosted.ledger import Alternatives

BILLING = frozenset(
    {"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
     "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_hard_limit_reached"}
)  # fmt: skip
"""Error codes that come with status 429 and that no waiting mends."""
OF_THE_ROW = frozenset({400, 413, 414, 422})
"""Statuses with which one request may be refused while others are answered: too long, or its content not wanted."""
UNPAID = frozenset({408, 409, 425, 429, 500, 503, 529})
"""Statuses after which the same may be asked again, and nothing is charged. Any other 5xx comes from what stands
between (a gateway that lost patience with a server that goes on writing), and the answer may have been charged."""
SHOWN = 300
"""Letters of a server's message that an error repeats."""


class Means(enum.StrEnum):
    """What there is to do after a response."""

    ANSWER = "answer"
    AGAIN = "again"
    """Ask the same once more."""
    ROW = "row"
    """This row is refused, whoever asks."""
    STOP = "stop"
    """No row will be answered before somebody mends something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A response, understood."""

    means: Means
    why: str = ""
    """What went wrong, in the server's words where it has some."""
    maybe_paid: bool = False
    """There is no answer, and it may have been charged all the same."""
    after: float | None = None
    """Seconds after which the server wants to be asked again."""
    text: str = ""
    finish: str = ""
    model: str = ""
    usage: tuple[int, int] | None = None
    """Tokens of the prompt and of the answer as the server counted them; None where it did not."""
    tops: tuple[Alternatives, ...] = ()


def read_reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """What a whole response means.

    Args:
        headers: with lower-case names.
        body: all of it.
    """
    document = _json(body)
    if status != 200:
        return _refused(status, headers, document, body)
    error = document.get("error") if isinstance(document, dict) else None
    if error and not _choices(document):  # gateways that answer 200 and put the error inside
        code = error.get("code") if isinstance(error, dict) else None
        inner = code if isinstance(code, int) and 400 <= code < 600 else 502
        return _refused(inner, headers, document, body)
    choices = _choices(document)
    if not choices:
        return Reply(means=Means.AGAIN, why="the answer is no chat completion", maybe_paid=True)
    first = choices[0]
    message = first.get("message")
    if not isinstance(message, dict):
        return Reply(means=Means.AGAIN, why="the answer has no message", maybe_paid=True)
    content = message.get("content")
    text = content if isinstance(content, str) else message.get("refusal")
    return Reply(
        means=Means.ANSWER,
        text=_clean(text if isinstance(text, str) else ""),
        finish=_clean(str(first.get("finish_reason") or "stop")),
        model=_clean(str(document.get("model") or "")),
        usage=_usage(document.get("usage")),
        tops=_tops(first.get("logprobs")),
    )


def _refused(status: int, headers: Mapping[str, str], document: Any, body: bytes) -> Reply:
    code, message = _error(document, body)
    why = f"{status}: {message}" if message else f"status {status}"
    if status == 429 and code in BILLING:
        return Reply(means=Means.STOP, why=why)
    if status in UNPAID:
        return Reply(means=Means.AGAIN, why=why, after=wait_of(headers))
    if status >= 500:
        return Reply(means=Means.AGAIN, why=why, after=wait_of(headers), maybe_paid=True)
    return Reply(means=Means.ROW if status in OF_THE_ROW else Means.STOP, why=why)


def wait_of(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds, or a date) asks for; None where there is neither."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text) * scale
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        then = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, then.timestamp() - (time.time() if now is None else now))
    except (ValueError, TypeError, OverflowError):
        return None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _choices(document: Any) -> list[dict[str, Any]]:
    found = document.get("choices") if isinstance(document, dict) else None
    return found if isinstance(found, list) and found and isinstance(found[0], dict) else []


def _error(document: Any, body: bytes) -> tuple[str, str]:
    """Code and message; problem documents (RFC 9457) and plain text are read too."""
    error = document.get("error", document) if isinstance(document, dict) else document
    if isinstance(error, dict):
        message = next((error[k] for k in ("message", "detail", "title") if isinstance(error.get(k), str)), "")
        code = error.get("code") if isinstance(error.get("code"), str) else error.get("type")
    else:
        message = error if isinstance(error, str) else body[:2000].decode("utf-8", "replace")
        code = ""
    kind = code if isinstance(code, str) else ""
    return kind, " ".join(_clean(message).split())[:SHOWN]


def _usage(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, dict):
        return None
    counts = [value.get(name) for name in ("prompt_tokens", "completion_tokens")]
    whole = [n for n in counts if isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 10**9]
    return (whole[0], whole[1]) if len(whole) == 2 else None


def _tops(value: Any) -> tuple[Alternatives, ...]:
    """For every token of the answer the token itself and its alternatives; empty where anything is missing."""
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        return ()
    found = []
    for place in content:
        written = _token(place)
        if written is None or not isinstance(place.get("top_logprobs"), list):
            return ()
        others = [token for one in place["top_logprobs"] if (token := _token(one)) and token[0] != written[0]]
        found.append((written, *others))
    return tuple(found)


def _token(value: Any) -> tuple[str, float] | None:
    """Text and log-probability. A token that ends within a letter is given by its bytes, which stand for themselves as
    letters from U+DC80 on, so that pieces of one letter can be put together again."""
    if not isinstance(value, dict):
        return None
    log, given = value.get("logprob"), value.get("bytes")
    if isinstance(log, bool) or not isinstance(log, int | float) or math.isnan(log):
        return None
    if isinstance(given, list) and all(isinstance(b, int) and 0 <= b < 256 for b in given):
        return bytes(given).decode("utf-8", "surrogateescape"), max(-1e4, float(log))
    text = value.get("token")
    return (_clean(text), max(-1e4, float(log))) if isinstance(text, str) else None


def _clean(text: str) -> str:
    """Text that can be written as UTF-8: JSON may hold halves of letters."""
    return text.encode("utf-8", "replace").decode("utf-8")
