"""What the task file says about a hosted model: `hosted`.

Walks in: the parsed task file. Walks out: an `Endpoint`, or one line that names the fault. The key is never in the
task file: it names the environment variable that holds it. It does not know HTTP.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from kasauti.core.errors import TaskError
from kasauti.core.yaml_text import Entry

LIMIT_FIELDS = ("max_tokens", "max_completion_tokens")
"""Names under which servers take the limit of an answer; reasoning models of OpenAI take only the second."""
OWN = ("model", "messages", "stream", "n", "logprobs", "top_logprobs", *LIMIT_FIELDS)
"""Fields of a request that have keys of their own here, or that Kasauti has to set itself."""
_WHOLE: dict[str, tuple[float, float]] = {
    "concurrency": (1, 256),
    "retries": (0, 100),
    "max_tokens": (1, 10**6),
    "top_logprobs": (0, 20),
}
_ANY: dict[str, tuple[float, float]] = {
    "requests_per_minute": (0, math.inf),
    "timeout": (0.001, 86_400),
    "total_timeout": (0.001, 864_000),
    "cap": (0, math.inf),
    "temperature": (0, 2),
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An endpoint that speaks the OpenAI protocol, and how it may be asked."""

    base_url: str
    """Where `/chat/completions` lies, for instance https://api.openai.com/v1."""
    model: str
    """The model's name there."""
    key_env: str | None = "OPENAI_API_KEY"
    """The environment variable that holds the key; null for a server that asks for none."""
    concurrency: int = 8
    """Requests that are under way at once."""
    requests_per_minute: float = 0.0
    """Requests that are sent in a minute at most, retries included; 0 for no bound but the server's."""
    timeout: float = 60.0
    """Seconds from the sending of one request to the last byte of its answer."""
    total_timeout: float = 600.0
    """Seconds within which the last attempt at a row has to begin, all waits before it included; an attempt that has
    begun has its own `timeout`, since one that is cut off may be paid all the same."""
    retries: int = 8
    """How often a request is sent again after 408, 429, 5xx, a lost connection or half an answer."""
    cap: float = 10.0
    """Money that the hosted calls of this task may cost in all, in the currency of `business`; never passed."""
    max_tokens: int | None = None
    """Tokens of an answer at most; null for as many as the longest label can have. Reasoning models need thousands."""
    limit_field: str = "max_tokens"
    """What the server calls that limit: `max_tokens` or `max_completion_tokens`."""
    temperature: float | None = 0.0
    """0 for the most probable answer; null where the server takes none."""
    top_logprobs: int = 5
    """Alternatives of every token that are asked for, 0 to 20, from which the confidence is computed; 0 asks for none.
    A server that refuses is asked without."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request, such as `reasoning_effort: low`."""

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.base_url}/chat/completions"


def read_hosted(top: Entry) -> Endpoint | None:
    """`hosted: {base_url, model, …}`; None where the task has none.

    Raises:
        TaskError: an unknown key, a value that cannot be, or a key (or password) that stands in the file.
    """
    entry = top.get("hosted")
    if entry is None:
        return None
    entry.only([f.name for f in fields(Endpoint)])
    for name in ("base_url", "model"):
        if entry.get(name) is None:
            mend = "For instance hosted: {base_url: https://api.openai.com/v1, model: gpt-4.1}."
            raise TaskError(f"`hosted.{name}` is missing", where=entry.where, mend=mend)
    given = {key: value for key, value in entry.items() if value is not None}
    nulls = {key for key, value in entry.items() if value is None}
    found: dict[str, Any] = {"base_url": _url(given["base_url"]), "model": given["model"].name()}
    if "key_env" in given:
        found["key_env"] = _variable(given["key_env"])
    if "limit_field" in given:
        found["limit_field"] = _limit_field(given["limit_field"])
    if "parameters" in given:
        found["parameters"] = _parameters(given["parameters"])
    for name, bounds in _WHOLE.items():
        if name in given:
            found[name] = int(_number(given[name], *bounds, whole=True))
    for name, bounds in _ANY.items():
        if name in given:
            found[name] = _number(given[name], *bounds)
    for name in ("key_env", "temperature"):  # where null is a value of its own
        if name in nulls:
            found[name] = None
    return Endpoint(**found)


def _url(entry: Entry) -> str:
    text = entry.name()
    parts = urlsplit(text)
    if parts.username or parts.password or parts.query or parts.fragment:
        mend = "Leave only the address: the key comes from the environment variable that `hosted.key_env` names."
        raise TaskError("`hosted.base_url` holds more than an address", where=entry.where, mend=mend)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        mend = "Write it with http:// or https://, for instance https://api.openai.com/v1."
        raise TaskError(f"`hosted.base_url` is {text!r}", where=entry.where, mend=mend)
    return text.rstrip("/").removesuffix("/chat/completions")


def _variable(entry: Entry) -> str:
    """The name of a variable; a key that was written in its place is not repeated in the error."""
    text = entry.name()
    if not _VARIABLE.fullmatch(text) or re.match(r"(sk|pk|key|gsk|hf)[-_]\w*\d", text):
        mend = "Write the variable's name, for instance key_env: OPENAI_API_KEY, and keep the key out of this file."
        raise TaskError("`hosted.key_env` is no name of an environment variable", where=entry.where, mend=mend)
    return text


def _limit_field(entry: Entry) -> str:
    text = entry.name()
    if text not in LIMIT_FIELDS:
        raise TaskError(
            f"`hosted.limit_field` is {text!r}", where=entry.where, mend=f"Write {' or '.join(LIMIT_FIELDS)}."
        )
    return text


def _parameters(entry: Entry) -> dict[str, Any]:
    for key, _ in entry.items():
        if key in OWN:
            mend = f"Set `hosted.{key}`." if key in ("top_logprobs", "max_tokens", "model") else "Remove it."
            raise TaskError(f"`hosted.parameters.{key}` is not for here", where=entry.where_key(key), mend=mend)
    found = entry.plain()
    assert isinstance(found, dict)  # `items` has refused anything but a mapping
    return found


def _number(entry: Entry, least: float, most: float, *, whole: bool = False) -> float:
    value = entry.plain()
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most or value == math.inf:
        kind = "a whole number" if whole else "a number"
        span = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise TaskError(f"`{entry.path}` is {entry.shown}", where=entry.where, mend=f"Write {kind} {span}.")
    return float(value)
