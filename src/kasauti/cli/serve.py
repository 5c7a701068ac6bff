"""`kasauti serve`: the HTTP service."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from pathlib import Path
from typing import Any

from kasauti.cli.command import CommandResult, add_calls, calls_at, open_task, state_path
from kasauti.core.errors import UsageError

HELP = "answer over HTTP: POST /classify and the OpenAI protocol"
ABOUT = """Serve the champion of the registry: POST /classify and POST /v1/chat/completions, GET /healthz, /readyz,
/metrics, /versions and /openapi.json. Another champion, by promote or rollback, takes its place within a second of
being loaded. Keys are made with `kasauti keys`; without any, the service is open and listens on this machine only.
An answer leaves when its call is in the call log: .kasauti/calls.db, or the database of KASAUTI_DATABASE_URL.
SIGTERM and Ctrl C end it once everything that was taken is answered."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of serve."""
    parser.add_argument("--host", metavar="H", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="N", type=int, default=8000, help="port; 0 for a free one (default: 8000)")
    parser.add_argument("--keys", metavar="FILE", help="file of keys (default: .kasauti/keys.json, if it is there)")
    parser.add_argument("--open", action="store_true", help="let everybody in, wherever it listens")
    parser.add_argument(
        "--rate", metavar="N", type=float, default=0.0, help="requests a minute of one key (default: any)"
    )
    parser.add_argument("--queue", metavar="N", type=int, default=1024, help="rows that may wait (default: 1024)")
    parser.add_argument(
        "--queue-seconds", metavar="S", type=float, default=2.0,
        help="seconds that a request may be expected to wait before it is turned away with 429 (default: 2)",
    )  # fmt: skip
    parser.add_argument("--batch", metavar="N", type=int, default=64, help="rows of one forward pass (default: 64)")
    parser.add_argument("--timeout", metavar="S", type=float, default=30.0, help="seconds of a request (default: 30)")
    parser.add_argument("--max-body", metavar="B", type=int, default=2**20, help="bytes of a request (default: 1 MiB)")
    add_calls(parser)
    parser.add_argument(
        "--when-away", metavar="P", choices=("refuse", "spool"), default="spool",
        help="while the database is away: refuse (503) or spool to this machine's disk (default: spool)",
    )  # fmt: skip
    parser.add_argument("--spool-bytes", metavar="B", type=int, default=2**30, help="most of a spool (default: 1 GiB)")
    parser.add_argument("--mask", action="store_true", help="mask personal data in calls before they are kept")
    parser.add_argument("--keep-days", metavar="N", type=float, help="delete calls after N days (default: never)")
    parser.add_argument("--restart", action="store_true", help="start again by itself when the process dies")
    parser.add_argument("--listening", metavar="FD", type=int, help=argparse.SUPPRESS)  # --restart hands it over
    parser.add_argument("--log-inputs", action="store_true", help="write what is asked into the log (default: never)")


def run(args: argparse.Namespace) -> CommandResult:
    """Serve until told to stop."""
    from kasauti.pages.console import PAGES
    from kasauti.registry.versions import Registry
    from kasauti.serve.app import Settings, make_app
    from kasauti.serve.engine import Bounds
    from kasauti.serve.logs import Log
    from kasauti.serve.restart import inherited, keep_running
    from kasauti.serve.run import serve

    task = open_task(args)
    for name, value in (("--queue", args.queue), ("--batch", args.batch), ("--max-body", args.max_body),
                        ("--spool-bytes", args.spool_bytes),
                        ("--timeout", args.timeout), ("--queue-seconds", args.queue_seconds)):  # fmt: skip
        if not value > 0:
            raise UsageError(f"{name} {value:g}", mend="Give a number above 0.")
    keys = None if args.open else _keys(args, task)
    if Registry(task).champion() is None:
        raise UsageError("there is no version to serve", where=task.folder, mend="Run `kasauti register` first.")
    bounds = Bounds(
        batch_rows=args.batch, queue_rows=args.queue, queue_seconds=args.queue_seconds, seconds=args.timeout
    )
    settings = Settings(
        bounds=bounds, body_bytes=args.max_body, per_minute=max(0.0, args.rate), log_inputs=args.log_inputs,
        calls=_calls(args, task),
    )  # fmt: skip
    with inherited(args.listening) if args.listening is not None else _listen(args.host, args.port) as listening:
        host, port = listening.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        text = f"Serving {task.name} at {address}\n"
        if args.json:
            sys.stderr.write(text)
            sys.stderr.flush()
        else:
            args.outlet.write(text)
        if args.restart and args.listening is None:
            command = [sys.executable, "-m", "kasauti.cli.main", *args.words, "--listening"]
            if code := keep_running(command, listening, Log()):
                return CommandResult({"address": address, "ended": False}, [f"The service ended with {code}."], 1)
        else:
            serve(make_app(task, keys, settings, pages=PAGES), listening, seconds=args.timeout)
    return CommandResult({"address": address, "ended": True}, ["Ended; everything that was taken is answered."])


def _calls(args: argparse.Namespace, task: Any) -> Any:
    """Where calls are kept; what is wrong with the place is said now, but a database that is away is waited for."""
    from kasauti.calls.keeper import Policy
    from kasauti.calls.log import CallLog
    from kasauti.core.errors import StorageError
    from kasauti.serve.keeping import CallSettings

    where = calls_at(args, task)
    if where is None:
        return None
    if args.keep_days is not None and not args.keep_days > 0:
        raise UsageError(f"--keep-days {args.keep_days:g}", mend="Give a number above 0.")
    try:
        CallLog.open(where).close()
    except StorageError as error:
        sys.stderr.write(f"kasauti: {error.line()}\n")
    return CallSettings(
        where=where, policy=Policy(args.when_away), mask=args.mask, days=args.keep_days, spool_bytes=args.spool_bytes
    )


def _keys(args: argparse.Namespace, task: Any) -> Any:
    from kasauti.serve.keys import Keys

    path = args.keys or state_path(task, "keys.json")
    if args.keys and not Path(path).is_file():
        raise UsageError("there is no such file of keys", where=path, mend="Make a key with `kasauti keys add`.")
    keys = Keys(path)
    if keys.all:
        return keys
    try:
        alone = ipaddress.ip_address(args.host).is_loopback
    except ValueError:
        alone = args.host == "localhost"
    if args.keys or not alone:
        mend = "Make a key with `kasauti keys add`, or say --open to let everybody in."
        raise UsageError(f"there are no keys, and {args.host} can be reached from elsewhere", where=path, mend=mend)
    return None


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        mend = "Give another with --host and --port; --port 0 takes a free one."
        raise UsageError(f"cannot listen at {host}:{port}: {reason}", mend=mend) from None
    return listening
