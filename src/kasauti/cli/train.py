"""`kasauti train`: the training that a trial would do, by itself; a trial then finds its run finished."""

from __future__ import annotations

import argparse
import contextlib
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, add_skip_bad, check_model, left_out, lock, open_task, state_path
from kasauti.cli.draw import findings_lines, percent, table
from kasauti.core import ranks

if TYPE_CHECKING:
    from kasauti.approaches.workbench import Workbench
    from kasauti.core.types import Split
    from kasauti.train.run import Run

HELP = "train an adapter (or a full model); resumes what was cut off"
ABOUT = """Prove the supervision of every row, then train by the recipe of the task file. The run is named by a hash of
everything that it depends on: the same command goes on with a run that was cut off, and finds a finished
one. Leaves .kasauti/runs/<id>/."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of train: the recipe stands in the task file."""
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Train, or find the finished run."""
    from kasauti.approaches.workbench import Workbench
    from kasauti.core.files import STATE, read_json
    from kasauti.data.split import load_split

    task = open_task(args)
    bench = Workbench(task, args.progress)
    check_model(bench)  # before the version of the data is recorded
    split, findings = load_split(task, record="train" if ranks.first() else None)
    with lock(task) if ranks.first() else contextlib.nullcontext():
        id = train(bench, split).id
    folder = state_path(task, "runs", id)
    summary = read_json(f"{task.folder}/{STATE}/runs/{id}/run.json")
    said = left_out(findings)
    document = {**summary, "folder": folder, "adapter": f"{folder}/adapter", "reading": said}
    blocked = int(any(one["severity"] == "stop" for one in summary["findings"]))
    return CommandResult(document, [*said, *_lines(summary, folder)], blocked)


def train(bench: Workbench, split: Split) -> Run:
    """The finished run on this split: that of a trial's tuned approach."""
    from kasauti.approaches.tuned import Tuned
    from kasauti.approaches.written import WrittenTuned

    tuned = Tuned(bench) if bench.task.kind == "classification" else WrittenTuned(bench)
    return tuned.trained(split.train, split.validation_choose)


def _lines(summary: dict[str, Any], folder: str) -> list[str]:
    names = {
        "train_loss": ("training loss", _loss),
        "validation_loss": ("validation loss", _loss),
        "validation_accuracy": ("accuracy", percent),
        "validation_macro_f1": ("macro-F1", percent),
        "validation_log_loss": ("log loss", _loss),
        "validation_ece": ("calibration error", _loss),
    }
    there = [name for name in names if any(name in one for one in summary["curve"])]
    best = summary["best"]["epoch"]
    rows = [
        (f"{one['epoch']:g}{' *' if one['epoch'] == best else ''}", *(names[n][1](one.get(n)) for n in there))
        for one in summary["curve"]
    ]
    head = ("epoch", *(names[name][0] for name in there))
    parameters, proof = summary["parameters"], summary["proof"]
    chosen = "the highest validation accuracy" if "validation_accuracy" in summary["best"] else "the lowest loss"
    return [
        *table(head, rows, right=head),
        f"Trained {parameters['trainable']:,} of {parameters['all']:,} parameters on {proof['rows']:,} proved rows; "
        f"the weights of epoch {best:g} (*), with {chosen}, are kept.",
        *findings_lines(summary["findings"]),
        f"Run: {folder}",
    ]


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
