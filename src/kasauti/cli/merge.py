"""`kasauti merge`: a version's adapter in its base's weights, proved."""

from __future__ import annotations

import argparse

from kasauti.cli.command import CommandResult, open_task
from kasauti.cli.draw import percent

HELP = "merge a version's adapter into its base model, and prove that nothing changed"
ABOUT = """Merge the adapter of version N into its base model (from 4 bit: into the dequantised weights that it was
trained on), save it, load it from disk and ask it for every validation row as the adapter was asked. Refuses, with exit
code 1, a model whose labels, probabilities or log loss are further off than a stated tolerance. Leaves the model
folder with proof.json. With --prove a folder that is there already is proved once more."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of merge."""
    parser.add_argument("number", metavar="N", type=int, help="the version")
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="folder of the merged model (default: .kasauti/merged/N-<hash>)"
    )
    parser.add_argument("--prove", metavar="DIR", help="prove this merged folder again; nothing is written")


def run(args: argparse.Namespace) -> CommandResult:
    """Merge and prove."""
    from kasauti.registry.merged import merge_version, prove_folder
    from kasauti.registry.versions import Registry

    registry = Registry(open_task(args))
    if args.prove is not None:
        made = prove_folder(registry, args.number, args.prove, args.progress)
    else:
        made = merge_version(registry, args.number, args.output, args.progress)
    proof = made.proof
    lines = [
        f"Labels agree on {percent(proof['label_agreement'])} of {proof['rows']} validation rows; "
        f"the largest change of a probability is {proof['largest_probability_drift']:.2g}, "
        f"that of the log loss {proof['log_loss']['difference']:.2g} nats.",
        f"Merged model: {made.folder}",
    ]
    return CommandResult({"folder": str(made.folder), **proof}, lines)
