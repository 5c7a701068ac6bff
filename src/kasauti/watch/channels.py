"""Where alerts go: a log, a webhook, a mailbox.

Walks in: alerts of a task. Walks out: a line, a request, a letter, or an error that says why not. It does not know
which alerts are due.
"""

from __future__ import annotations

import json
import smtplib
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any, Protocol

from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.files import append_line
from kasauti.core.types import Finding, Severity

SECONDS = 10.0
TRIES = 3
_PAUSE = 1.0
_BLOCK = 2900
"""Slack takes 3,000 characters of a block, and 50 blocks."""
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is told."""

    task: str
    at: datetime
    alerts: Sequence[Finding]

    @property
    def subject(self) -> str:
        """One line."""
        first = self.alerts[0]
        more = f" and {len(self.alerts) - 1} more" if len(self.alerts) > 1 else ""
        return f"[{self.task}] {'ALERT' if first.severity is Severity.STOP else 'alert'}: {first.check}{more}"

    @property
    def text(self) -> str:
        """All of it, as plain text."""
        return "\n\n".join("\n".join(_lines(one)) for one in self.alerts)


def _lines(alert: Finding) -> list[str]:
    shown = [f"  {line}" for line in alert.evidence[:10]]
    return [f"{alert.check}: {alert.what}.", *shown, f"Why it matters: {alert.why}", f"What to do: {alert.mend}"]


class Channel(Protocol):
    """A place to tell alerts."""

    name: str
    """Under which it is remembered who was told; holds no secret."""

    def send(self, message: Message) -> None:
        """Tell them all, or raise `KasautiError`."""
        ...


class LogFile:
    """One JSON line an alert, at the end of a file.

    Args:
        path: the file; made where it is not there.
    """

    def __init__(self, path: str) -> None:
        self.path, self.name = path, f"log {path}"

    def send(self, message: Message) -> None:
        for one in message.alerts:
            line = {
                "at": message.at.isoformat(timespec="seconds"), "event": "alert", "task": message.task,
                "check": one.check, "severity": one.severity.value, "where": one.where, "what": one.what,
                "mend": one.mend, "evidence": list(one.evidence),
            }  # fmt: skip
            append_line(self.path, json.dumps(line, ensure_ascii=False))


class Webhook:
    """A POST of JSON that Slack's incoming webhooks take, and whoever reads `text` or `blocks`.

    Args:
        url: where to; a secret, so no error and no state file repeats more of it than the host.
        pause: seconds before the second try, twice as many before the third.
    """

    def __init__(self, url: str, pause: float = _PAUSE) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("the webhook is no http:// or https:// URL", where="webhook", mend="Give the whole URL.")
        self._url, self._pause = url, pause
        self.name = f"webhook {parts.hostname}"

    def send(self, message: Message) -> None:
        body = json.dumps(slack_json(message), ensure_ascii=False).encode("utf-8")
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json; charset=utf-8"})
        _tried(lambda: _post(request), self._pause, self.name)


def _post(request: urllib.request.Request) -> None:
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            answer.read(1024)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(200).decode("utf-8", "replace")
        if error.code == 429 or error.code >= 500:
            raise ConnectionError(f"it answered {error.code}") from None
        mend = "Look whether the webhook still exists, and give its newest URL."
        raise KasautiError(f"the webhook refused the alert: {error.code} {said}", where="webhook", mend=mend) from None


def slack_json(message: Message) -> dict[str, Any]:
    """The alerts as `text` (for notifications) and `blocks`."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": message.subject[:150], "emoji": False}}
    ]
    for one in message.alerts[:48]:
        lines = [f"*{_escaped(one.check)}*: {_escaped(one.what)}.", *(f"• {_escaped(e)}" for e in one.evidence[:10])]
        lines += [f"_What to do:_ {_escaped(one.mend)}"]
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)[:_BLOCK]}})
    return {"text": _escaped(f"{message.subject}\n{message.text}")[:_BLOCK], "blocks": blocks}


def _escaped(text: str) -> str:
    """So that no text of a caller becomes a link or calls a whole channel (`<!channel>`)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Mail:
    """A letter through an SMTP server.

    Args:
        server: `smtp://user:password@host:587` (STARTTLS where the server offers it) or `smtps://host:465`.
        to: addresses, separated by commas.
        sender: the address that it is from.
        pause: see `Webhook`.

    Raises:
        UsageError: no such URL, or no address.
    """

    def __init__(self, server: str, to: str, sender: str, pause: float = _PAUSE) -> None:
        parts = urllib.parse.urlsplit(server)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or port == -1:
            mend = "Set KASAUTI_SMTP to smtp://user:password@host:587 or smtps://host:465."
            raise UsageError("the mail server is no smtp:// or smtps:// URL", where="KASAUTI_SMTP", mend=mend)
        self.to = [one.strip() for one in to.split(",") if one.strip()]
        if not self.to or not all("@" in one and "\n" not in one for one in (*self.to, sender)):
            raise UsageError(f"{to!r} is no address", where="--mail", mend="Write ops@example.org, or several.")
        self._host, self._tls, self._sender, self._pause = parts.hostname, parts.scheme == "smtps", sender, pause
        self._port = port or (465 if self._tls else 587)
        self._user = urllib.parse.unquote(parts.username or "")
        self._password = urllib.parse.unquote(parts.password or "")
        self.name = f"mail {', '.join(self.to)}"

    def send(self, message: Message) -> None:
        letter = EmailMessage()
        letter["Subject"], letter["From"], letter["To"] = message.subject, self._sender, ", ".join(self.to)
        letter["Date"], letter["Message-ID"] = format_datetime(message.at), make_msgid(domain="kasauti.invalid")
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(message.text)
        _tried(lambda: self._deliver(letter), self._pause, self.name)

    def _deliver(self, letter: EmailMessage) -> None:
        context = ssl.create_default_context()
        try:
            with self._connected(context) as server:
                server.ehlo()
                safe = self._tls
                if not safe and server.has_extn("starttls"):
                    server.starttls(context=context)
                    server.ehlo()
                    safe = True
                if self._user:
                    if not safe and self._host not in _LOCAL:
                        raise UsageError(
                            f"{self._host} offers no encryption, and a password would be sent in the open",
                            where="KASAUTI_SMTP",
                            mend="Use smtps://, or a server with STARTTLS.",
                        )
                    server.login(self._user, self._password)
                server.send_message(letter)
        except (smtplib.SMTPServerDisconnected, smtplib.SMTPConnectError) as error:
            raise ConnectionError(str(error)) from None
        except smtplib.SMTPResponseException as error:
            said = (
                error.smtp_error if isinstance(error.smtp_error, str) else error.smtp_error.decode("utf-8", "replace")
            )
            if 400 <= error.smtp_code < 500:
                raise ConnectionError(f"it answered {error.smtp_code} {said}") from None
            raise self._refused(f"{error.smtp_code} {said}") from None
        except smtplib.SMTPRecipientsRefused as error:
            raise self._refused(", ".join(error.recipients)) from None
        except smtplib.SMTPException as error:
            raise self._refused(str(error)) from None

    def _connected(self, context: ssl.SSLContext) -> smtplib.SMTP:
        if self._tls:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=SECONDS, context=context)
        return smtplib.SMTP(self._host, self._port, timeout=SECONDS)

    def _refused(self, why: str) -> KasautiError:
        mend = "Look at KASAUTI_SMTP, --mail and --from."
        return KasautiError(f"the mail server refused the letter: {why[:200]}", where=self._host, mend=mend)


def _tried(once: Callable[[], None], pause: float, who: str) -> None:
    """Up to `TRIES` times, while the network or the server is at fault.

    Raises:
        KasautiError: none of them went through.
    """
    for attempt in range(TRIES):
        try:
            return once()
        except OSError as error:  # urllib's URLError, time-outs and refused connections are such
            if attempt == TRIES - 1:
                why = str(getattr(error, "reason", error)) or type(error).__name__
                mend = "It is tried again at the next look."
                raise KasautiError(f"the alert could not be delivered: {why[:200]}", where=who, mend=mend) from None
            time.sleep(pause * 2**attempt)
