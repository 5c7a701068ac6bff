"""`kasauti keys`: who may ask the service what."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, open_task, state_path
from kasauti.cli.draw import table
from kasauti.core.errors import UsageError

HELP = "list, add and remove the keys of the service"
ABOUT = """List the keys of the service, add one (`kasauti keys add NAME --role caller`), or take one away (`kasauti
keys remove NAME`). A caller may ask; a reviewer may also see versions and review; an operator may also read the
figures. A key is shown once: the file holds its hash. A service in operation reads the file when it starts."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of keys."""
    parser.add_argument(
        "action", metavar="list|add|remove", nargs="?", default="list", help="what to do (default: list)"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="add, remove: the name of the key")
    parser.add_argument(
        "--role", metavar="R", default="caller", help="add: caller, reviewer or operator (default: caller)"
    )
    parser.add_argument("--rate", metavar="N", type=float, help="add: requests a minute of this key")
    parser.add_argument("--keys", metavar="FILE", help="file of keys (default: .kasauti/keys.json)")


def run(args: argparse.Namespace) -> CommandResult:
    """List or change them."""
    from kasauti.core.names import suggestion
    from kasauti.serve.keys import Keys

    task = open_task(args)
    keys = Keys(args.keys or state_path(task, "keys.json"))
    if args.action not in ("list", "add", "remove"):
        raise UsageError(f"{args.action!r} is no action", mend=suggestion(args.action, ("list", "add", "remove")))
    if args.action != "list" and not args.name:
        raise UsageError(f"{args.action} needs a name", mend=f"Write `kasauti keys {args.action} NAME`.")
    if args.rate is not None and not args.rate > 0:
        raise UsageError(f"--rate {args.rate:g}", mend="Give a number above 0.")
    if args.action == "add":
        made = keys.add(args.name, args.role, args.rate)
        lines = [made, "It is shown this once: the file holds its hash."]
        return CommandResult({"name": args.name, "role": args.role, "key": made}, lines)
    if args.action == "remove":
        keys.remove(args.name)
        return CommandResult({"removed": args.name}, [f"{args.name} is removed."])
    rows = [(key.name, key.role.name.lower(), f"{key.per_minute:g}" if key.per_minute else "") for key in keys.all]
    document = {"keys": [{"name": name, "role": role, "per_minute": rate or None} for name, role, rate in rows]}
    return CommandResult(document, table(("name", "role", "per minute"), rows) if rows else ["No keys yet."])
