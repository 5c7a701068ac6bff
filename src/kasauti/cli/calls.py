"""`kasauti calls`: the log of answered calls."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, add_calls, calls_at, open_task
from kasauti.core.errors import UsageError
from kasauti.core.files import STATE
from kasauti.core.names import suggestion

if TYPE_CHECKING:
    from kasauti.calls.log import CallLog
    from kasauti.calls.spool import Spool
    from kasauti.core.types import Task

HELP = "what was answered: figures, erasing a customer's calls, deleting old ones"
ABOUT = """Say what is in the call log (`kasauti calls`), delete the calls of one customer with what reviewers said of
them (`kasauti calls erase --caller C-1029`, or `--where customer=C-1029` for a value of the metadata or of an input
column), or delete those that are older (`kasauti calls expire --days 90`). Counts by day stay: nobody is in them."""
ACTIONS = ("show", "erase", "expire")


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of calls."""
    parser.add_argument(
        "action", metavar="show|erase|expire", nargs="?", default="show", help="what to do (default: show)"
    )
    add_calls(parser)
    parser.add_argument("--caller", metavar="WHO", help="erase: who asked, as the requests' metadata said")
    parser.add_argument(
        "--where", metavar="NAME=VALUE", action="append", default=[],
        help="erase: a value of the metadata or of an input column; said twice, both have to fit",
    )  # fmt: skip
    parser.add_argument("--days", metavar="N", type=float, help="expire: calls answered more than N days ago")


def run(args: argparse.Namespace) -> CommandResult:
    """Show, erase or expire."""
    from kasauti.calls.log import CallLog
    from kasauti.calls.spool import Spool

    task = open_task(args)
    if args.action not in ACTIONS:
        raise UsageError(f"{args.action!r} is no action", mend=suggestion(args.action, ACTIONS))
    where = calls_at(args, task)
    if where is None:
        raise UsageError("--calls none names no call log", mend="Give a path or a URL.")
    conditions = _conditions(args)
    if "://" not in where and not Path(where).is_file():
        raise UsageError("there is no call log yet", where=where, mend="`kasauti serve` makes it.")
    log, spool = CallLog.open(where), Spool(Path(task.folder) / STATE / "spool")
    try:
        if args.action == "show":
            return _show(log, spool)
        if args.action == "expire":
            return _expire(log, args.days)
        return _erase(log, spool, task, args.caller, conditions)
    finally:
        log.close()


def _conditions(args: argparse.Namespace) -> dict[str, str]:
    found = {}
    for one in args.where:
        name, equals, value = one.partition("=")
        if not (name and equals):
            raise UsageError(f"--where {one!r} is no condition", mend="Write --where customer=C-1029.")
        if name in found:
            raise UsageError(f"--where names {name!r} twice", mend="Run the command once for each value.")
        found[name] = value
    if args.action == "erase" and not found and not args.caller:
        raise UsageError("erase needs a customer", mend="Write --caller WHO or --where NAME=VALUE.")
    if args.action != "erase" and (found or args.caller):
        raise UsageError("--caller and --where are for erase", mend=f"Leave them out of `kasauti calls {args.action}`.")
    if args.action == "expire" and not (args.days is not None and args.days > 0):
        raise UsageError("expire needs an age", mend="Write --days 90.")
    return found


def _show(log: CallLog, spool: Spool) -> CommandResult:
    bounds, now = log.bounds(), datetime.now(UTC)
    week = now - timedelta(days=7)
    counts, latencies = log.counts(week, now), log.latencies(week, now)
    categories: dict[str, int] = {}
    for one in counts:
        categories[one.category] = categories.get(one.category, 0) + one.calls
    total, waiting = latencies.total, spool.waiting_bytes()
    outcomes: dict[str, int] = {}
    for one in counts:
        outcomes[str(one.outcome)] = outcomes.get(str(one.outcome), 0) + one.calls
    shares = {name: latencies.percentile(share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    document: dict[str, Any] = {
        "database": log.database.where,
        "oldest": bounds[0].isoformat() if bounds else None,
        "newest": bounds[1].isoformat() if bounds else None,
        "spooled_bytes": waiting,
        "last_7_days": {"calls": total, "outcomes": outcomes, "categories": categories, "latency_ms": shares},
    }
    kept = f"{bounds[0]:%Y-%m-%d %H:%M} to {bounds[1]:%Y-%m-%d %H:%M} UTC" if bounds else "no call yet"
    lines = [f"{log.database.where}: {kept}"]
    if total:
        middle = ", ".join(f"{name} {value:.3g} ms" for name, value in shares.items())
        lines.append(f"Last 7 days: {total:,} calls; {middle}")
        lines += [f"  {name}: {number:,}" for name, number in sorted(categories.items(), key=lambda one: -one[1])]
    if waiting:
        lines.append(f"{waiting:,} bytes of calls wait in {spool.folder} for the database.")
    return CommandResult(document, lines)


def _expire(log: CallLog, days: float) -> CommandResult:
    from kasauti.calls.keep import expire

    gone = expire(log, days)
    return CommandResult({"deleted": gone, "days": days}, [f"{gone:,} calls older than {days:g} days are deleted."])


def _erase(log: CallLog, spool: Spool, task: Task, caller: str | None, where: dict[str, str]) -> CommandResult:
    from kasauti.calls.keep import erase
    from kasauti.calls.record import Recorder, secret_of

    spool.replay(log)  # what waits there would come back
    recorder = Recorder(task.instructions, secret_of(log.database))
    hashed = recorder.hashed(caller[:200]) if caller else None
    gone = erase(log, caller=hashed, where={name: recorder.forms(value) for name, value in where.items()})
    lines = [f"{gone:,} calls are erased, with what reviewers said of them."]
    if left := spool.in_use():
        lines.append("A service is writing to the spool: run this again when the database has been back for a minute.")
    return CommandResult({"erased": gone, "service_spools": left}, lines, exit_code=int(left))
