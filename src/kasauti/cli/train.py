"""`kasauti train`: the training that a trial would do, by itself; a trial then finds its run finished."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, add_skip_bad, check_model, left_out, lock, open_task, state_path
from kasauti.cli.draw import percent, table

if TYPE_CHECKING:
    from kasauti.approaches.workbench import Workbench
    from kasauti.core.types import Split

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
    split, findings = load_split(task, record="train")
    bench = Workbench(task, args.progress)
    check_model(bench)
    with lock(task):
        id = train(bench, split)
    folder = state_path(task, "runs", id)
    summary = read_json(f"{task.folder}/{STATE}/runs/{id}/run.json")
    said = left_out(findings)
    document = {**summary, "folder": folder, "adapter": f"{folder}/adapter", "reading": said}
    return CommandResult(document, [*said, *_lines(summary, folder)])


def train(bench: Workbench, split: Split) -> str:
    """The id of the finished run on this split; for a classification it is the run of a trial's tuned approach."""
    if bench.task.kind == "classification":
        from kasauti.approaches.tuned import Tuned

        tuned = Tuned(bench).fit(split.train, split.validation_choose, split.validation_calibrate)
        return str(tuned.about()["run"])
    from kasauti.train.run import train_adapter

    made = train_adapter(
        bench.task,
        split.train,
        split.validation_choose,
        bench.fresh,
        bench.frozen,
        bench.recipe,
        model_sha256=bench.model_sha256,
        progress=bench.progress,
    )
    return made.id


def _lines(summary: dict[str, Any], folder: str) -> list[str]:
    rows = [
        (
            f"{one['epoch']:g}",
            _loss(one.get("train_loss")),
            _loss(one.get("validation_loss")),
            percent(one.get("validation_accuracy")),
        )
        for one in summary["curve"]
    ]
    head = ("epoch", "training loss", "validation loss", "validation accuracy")
    parameters, proof = summary["parameters"], summary["proof"]
    return [
        *table(head, rows, right=head),
        f"Trained {parameters['trainable']:,} of {parameters['all']:,} parameters on {proof['rows']:,} proved rows; "
        f"the weights of the lowest validation loss ({summary['best_validation_loss']:.3f}) are kept.",
        f"Run: {folder}",
    ]


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
