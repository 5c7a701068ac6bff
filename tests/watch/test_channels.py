"""Alerts reach real servers, are tried again where a server is at fault, and say why where they cannot be delivered."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.watch.conftest import NOW

from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.types import Finding, Severity
from kasauti.watch.channels import LogFile, Mail, Message, Webhook

ALERT = Finding(
    check="latency", severity=Severity.STOP, what="answers are too slow: 9% <over> 2 s", where="p95",
    evidence=["24 Nov 11:30 UTC: 9 of 100 over 2 s"], why="Callers wait.", mend="Start another service.",
)  # fmt: skip
MESSAGE = Message(task="disputes", at=NOW, alerts=[ALERT])


@contextmanager
def web(*statuses: int) -> Iterator[tuple[str, list[dict]]]:
    """A server that answers these statuses, one after the other, then 200; and what it was sent."""
    got, left = [], list(statuses)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(left.pop(0) if left else 200)
            self.end_headers()
            self.wfile.write(b"said")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/services/secret", got
        server.shutdown()


@contextmanager
def post_office(*words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, str(Path(__file__).with_name("mail_server.py")), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"smtp://127.0.0.1:{process.stdout.readline().strip()}", process
        finally:
            process.kill()


def test_a_webhook_gets_what_slack_takes():
    with web() as (url, got):
        Webhook(url).send(MESSAGE)
    (body,) = got
    assert set(body) == {"text", "blocks"}
    assert "latency" in body["text"]
    assert [block["type"] for block in body["blocks"]] == ["header", "section"]
    section = body["blocks"][1]["text"]
    assert section["type"] == "mrkdwn"
    assert "&lt;over&gt;" in section["text"]  # nothing that a caller wrote becomes a link
    assert "What to do:_ Start another service." in section["text"]


def test_a_server_that_is_at_fault_is_asked_again():
    with web(503, 429) as (url, got):
        Webhook(url, pause=0.01).send(MESSAGE)
    assert len(got) == 3


def test_a_refusal_is_told_at_once_without_the_secret():
    with web(404) as (url, got), pytest.raises(KasautiError, match="404 said") as told:
        Webhook(url, pause=0.01).send(MESSAGE)
    assert len(got) == 1
    assert "secret" not in told.value.line() + Webhook(url).name


def test_nobody_there_is_one_line():
    with pytest.raises(KasautiError, match="could not be delivered"):
        Webhook("http://127.0.0.1:9/x", pause=0.01).send(MESSAGE)
    with pytest.raises(KasautiError, match="could not be delivered"):
        Mail("smtp://127.0.0.1:9", "a@example.org", "k@example.org", pause=0.01).send(MESSAGE)


def test_a_letter_arrives_whole():
    with post_office() as (server, process):
        Mail(server, "ops@example.org, asha@example.org", "kasauti@example.org").send(MESSAGE)
        got = json.loads(process.stdout.readline())
    assert len(got["to"]) == 2
    letter = email.message_from_string(got["data"], policy=email.policy.default)
    assert letter["Subject"] == "[disputes] ALERT: latency"
    assert letter["To"] == "ops@example.org, asha@example.org"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert "What to do: Start another service." in letter.get_content()


def test_a_busy_mail_server_is_asked_again():
    with post_office("--busy", "1") as (server, process):
        Mail(server, "ops@example.org", "kasauti@example.org", pause=0.01).send(MESSAGE)
        assert "latency" in process.stdout.readline()


def test_a_refused_address_is_named():
    with post_office("--refuse") as (server, _), pytest.raises(KasautiError, match=r"ops@example\.org"):
        Mail(server, "ops@example.org", "kasauti@example.org", pause=0.01).send(MESSAGE)


def test_a_log_has_a_line_an_alert(tmp_path):
    LogFile(str(tmp_path / "alerts.jsonl")).send(MESSAGE)
    LogFile(str(tmp_path / "alerts.jsonl")).send(MESSAGE)
    lines = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text("utf-8").splitlines()]
    assert [line["check"] for line in lines] == ["latency"] * 2
    assert lines[0]["severity"] == "stop"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Webhook("ftp://x"),
        lambda: Mail("http://x", "a@b", "c@d"),
        lambda: Mail("smtp://x:port", "a@b", "c@d"),
        lambda: Mail("smtp://x", "nobody", "c@d"),
    ],
)
def test_what_cannot_be_a_channel_is_refused(make):
    with pytest.raises(UsageError):
        make()
