"""`kasauti watch`: figures of what was answered, alerts that stand, reasons to train again."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, add_calls, calls_at, open_task
from kasauti.cli.draw import percent, table
from kasauti.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kasauti.watch.channels import Channel
    from kasauti.watch.figures import Figures
    from kasauti.watch.look import Delivery, Look
    from kasauti.watch.told import Quiet

HELP = "what is answered out there: figures, alerts, reasons to retrain"
ABOUT = """Look at the calls that `kasauti serve` kept: latency, throughput, categories, reviewed accuracy, inputs
unlike those of the trial. An alert stands only where a figure is large enough to matter and beyond chance at a stated
rate; exits with 1 where one does. With --log, --webhook or --mail each alert is told once, which is meant for cron:
the webhook's URL comes from KASAUTI_WEBHOOK, the mail server from KASAUTI_SMTP (smtp://user:password@host:587). What
callers wrote is shown here and never sent."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of watch."""
    add_calls(parser)
    parser.add_argument("--version", metavar="N", type=int, help="only calls that this version answered")
    parser.add_argument("--until", metavar="TIME", help="look as if it were then: 2026-11-24T12:00 (UTC; default: now)")
    parser.add_argument("--by", metavar="NAME", help="groups of callers by this piece of their metadata (default: key)")
    parser.add_argument("--no-inputs", action="store_true", help="do not compare inputs: faster, and reads no rows")
    parser.add_argument("--log", metavar="FILE", help="append each alert to a file, a JSON line each, once")
    parser.add_argument("--webhook", action="store_true", help="send alerts to KASAUTI_WEBHOOK, in Slack's format")
    parser.add_argument("--mail", metavar="TO", help="mail alerts to these addresses, through KASAUTI_SMTP")
    parser.add_argument("--from", dest="sender", metavar="A", default="kasauti@localhost", help="sender of the mail")
    parser.add_argument("--quiet", metavar="H", help="22:00-07:00: then tell only what stops the work")
    parser.add_argument("--zone", metavar="Z", help="time zone of --quiet, such as Asia/Kolkata (default: UTC)")


def run(args: argparse.Namespace) -> CommandResult:
    """Look, tell, print."""
    from kasauti.watch.look import look, notify, without_texts

    task, until = open_task(args), moment(args.until)
    channels, quiet = _channels(args), _quiet(args)
    with opened(args, task) as log:
        seen = look(task, log, until, version=args.version, by=args.by, texts=not args.no_inputs)
    told = notify(task, without_texts(seen.alerts), until, channels, quiet) if channels else []
    document = seen.document(task)
    document["told"] = [{"channel": d.channel, "alerts": d.told, "trouble": d.trouble or None} for d in told]
    return CommandResult(document, [*_lines(seen), *_told(told)], 1 if seen.alerts else 0)


def opened(args: argparse.Namespace, task: Any) -> Any:
    """The call log, as a context that closes it. Raises `UsageError` where there is none yet."""
    import contextlib
    from pathlib import Path

    from kasauti.calls.log import CallLog

    where = calls_at(args, task)
    mend = "Run `kasauti serve` first, which keeps every call, or name the log with --calls."
    if where is None:
        raise UsageError("--calls is none", mend=mend)
    if "://" not in where and not Path(where).exists():
        raise UsageError("there is no call log yet", where=where, mend=mend)
    return contextlib.closing(CallLog.open(where))


def moment(text: str | None) -> datetime:
    """A moment as a user writes it, UTC where no zone is said; None for now. Raises `UsageError`."""
    if text is None:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--until is {text!r}", mend="Write it as 2026-11-24T12:00.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _quiet(args: argparse.Namespace) -> Quiet | None:
    from kasauti.watch.told import Quiet

    if args.quiet is None:
        return None
    return Quiet.parse(args.quiet, args.zone)


def _channels(args: argparse.Namespace) -> list[Channel]:
    from kasauti.watch.channels import LogFile, Mail, Webhook

    made: list[Channel] = [LogFile(args.log)] if args.log else []
    if args.webhook:
        made.append(Webhook(_secret("KASAUTI_WEBHOOK", "--webhook")))
    if args.mail:
        made.append(Mail(_secret("KASAUTI_SMTP", "--mail"), args.mail, args.sender))
    return made


def _secret(name: str, option: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise UsageError(f"{option} needs the environment variable {name}", mend=f"Set {name}.")
    return value


def _lines(seen: Look) -> list[str]:
    named = [("last day", seen.day), ("last 7 days", seen.week)]
    named += [(f"version {n}, 7 days", one) for n, one in seen.versions.items()] if len(seen.versions) > 1 else []
    named += [(f"{name}, last day", one) for name, one in seen.groups.items()]
    head = ("", "calls", "a minute", "p50 ms", "p95", "p99", "over 2 s", "accepted", "no answer", "fallback")
    lines = table(head, [_row(name, one) for name, one in named], right=head[1:])
    lines += _by_day(seen)
    weeks = [week.document() for week in _weeks(seen)]
    if weeks:
        rows = [
            (
                w["week"],
                w["version"],
                w["read"],
                percent(w["accuracy"]["value"]),
                f"{percent(w['accuracy']['low'])} to {percent(w['accuracy']['high'])}",
            )
            for w in weeks[-8:]
        ]
        lines += table(("week of", "version", "reviewed", "right", "95% interval"), rows, right=("reviewed", "right"))
    for one in seen.alerts:
        lines += [f"ALERT {one.check}: {one.what}.", *(f"  {line}" for line in one.evidence)]
        lines += [f"  What to do: {one.mend}"]
    if not seen.alerts:
        lines.append("No alert stands.")
    lines += _blind(seen)
    return lines + [f"{'RETRAIN' if one.stands else 'no need'}: {one.name}: {one.what}." for one in seen.triggers]


def _weeks(seen: Look) -> Sequence[Any]:
    from kasauti.watch.figures import weeks_of

    return weeks_of(seen.seen.reviews)


def _row(name: str, one: Figures) -> tuple[object, ...]:
    latency = [("–" if value is None else f"{value:,.0f}") for value in one.latency_ms.values()]
    missing = sum(one.outcomes[name] for name in ("abstained", "unparsable", "failed"))
    shares = (one.late, one.outcomes["accepted"] if one.calls else None, missing if one.calls else None, one.fallback)
    return (name, f"{one.calls:,}", f"{one.per_minute:.2f}", *latency, *map(percent, shares))


def _by_day(seen: Look) -> list[str]:
    """Categories of the last seven days, a column a day."""
    days = [day for day in seen.seen.days[-7:]]
    if not any(day.total for day in days):
        return []
    names = sorted({*seen.seen.labels, *(name for day in days for name in day.answers)})
    head = ("category", *(f"{day.start:%d %b}" for day in days))
    rows = [(name, *(f"{day.answers.get(name, 0):,}" for day in days)) for name in names]
    return table(head, rows, right=head[1:])


def _blind(seen: Look) -> list[str]:
    """What could not be judged, and what a category's day is too small to show."""
    sight = seen.sight
    lines = [f"Not judged for want of data: {name}." for name, one in sight.items() if one.get("judged") is False]
    found = sight["category"].get("in 7 days", sight["category"].get("in day"))
    if found:
        small = [name for name, one in found.items() if one["share"] and (one["times"] is None or one["times"] > 3)]
        if small:
            lines.append(f"Too few calls to see it soon if these were three times as many: {', '.join(small)}.")
    return lines


def _told(told: Sequence[Delivery]) -> list[str]:
    return [f"{d.channel}: {d.trouble}" if d.trouble else f"{d.channel}: told {d.told}" for d in told]
