"""`kasauti push`: a version to the Hugging Face Hub or an MLflow registry."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, open_task
from kasauti.core.errors import UsageError

HELP = "send a version to the Hugging Face Hub or to an MLflow registry"
ABOUT = """Send version N, checked against its hash, to a repository of the Hugging Face Hub (--hub owner/name; tagged
vN, a new repository is private) or to an MLflow registry (--mlflow NAME; with its figures, its tags and, for the
champion, that alias). With --merged the merged model of `kasauti merge N` is sent in place of the adapter."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of push."""
    parser.add_argument("number", metavar="N", type=int, help="the version")
    parser.add_argument("--hub", metavar="OWNER/NAME", help="repository of the Hugging Face Hub")
    parser.add_argument("--public", action="store_true", help="--hub: a new repository is public")
    parser.add_argument("--mlflow", metavar="NAME", help="name of the registered model")
    parser.add_argument("--uri", metavar="URI", help="--mlflow: tracking server or database (or MLFLOW_TRACKING_URI)")
    parser.add_argument("--merged", metavar="DIR", help="send this merged model of the version")


def run(args: argparse.Namespace) -> CommandResult:
    """Push it."""
    from kasauti.registry.publish import push_to_hub, push_to_mlflow
    from kasauti.registry.versions import Registry

    if (args.hub is None) == (args.mlflow is None):
        raise UsageError("where to is not said", mend="Give --hub OWNER/NAME or --mlflow NAME.")
    registry = Registry(open_task(args))
    if args.hub is not None:
        place = push_to_hub(registry, args.number, args.hub, folder=args.merged, private=not args.public)
    else:
        place = push_to_mlflow(registry, args.number, args.mlflow, folder=args.merged, uri=args.uri)
    return CommandResult({"version": args.number, "place": place}, [f"Version {args.number}: {place}"])
