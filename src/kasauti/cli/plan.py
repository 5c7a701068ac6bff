"""`kasauti plan`: what training would need, and whether it fits this machine. Nothing is written."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from kasauti.cli.command import CommandResult, add_skip_bad, check_model, left_out, open_task
from kasauti.cli.draw import duration, size, table

if TYPE_CHECKING:
    from kasauti.core.types import Task
    from kasauti.train.memory import Fit
    from kasauti.train.plan import Plan

HELP = "what training would need: tokens, steps, memory, time, cost"
ABOUT = """Count the tokens of every row, and measure memory and time on a few real training steps of this machine. Says
what would fit where it does not, and what a GPU of 16 GB would take. Exits with 1 where training does not fit
into the memory that is free. Nothing is written."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of plan."""
    parser.add_argument("--no-timing", action="store_true", help="do not load the model: no time and no cost")
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Plan and print."""
    from kasauti.approaches.tuned import WATCHED, Tuned
    from kasauti.approaches.workbench import Workbench
    from kasauti.data.split import load_split
    from kasauti.train.plan import make_plan

    task = open_task(args)
    split, findings = load_split(task)
    bench = Workbench(task, args.progress)
    check_model(bench)
    plan = make_plan(
        task,
        split.train,
        split.validation_choose,
        bench.frozen,
        bench.tokenizer,
        load=None if args.no_timing else bench.fresh,
        evaluation=Tuned(bench).evaluation if task.kind == "classification" else None,
        judged=min(WATCHED, len(split.validation_choose)),
        progress=args.progress,
    )
    said = left_out(findings)
    runs = len(bench.variants(len(split.train)))
    document = {**dataclasses.asdict(plan), "runs": runs, "reading": said}
    return CommandResult(document, [*said, *_lines(plan), *_searched(task, runs)], 0 if plan.fits else 1)


def _searched(task: Task, runs: int) -> list[str]:
    from kasauti.train.search import minutes_of

    minutes = minutes_of(task.train)
    within = f" within {minutes:g} minutes" if minutes < float("inf") else ""
    return [f"train.search tries {runs} recipes{within}; these figures are of the first."] if runs > 1 else []


def _lines(plan: Plan) -> list[str]:
    memory, recipe = plan.memory, plan.recipe
    share = 100 * plan.trainable / max(1, plan.parameters)
    rows = [
        ("rows", f"{plan.rows:,} to train on, {plan.validation_rows:,} to choose a checkpoint"),
        (
            "tokens",
            f"{plan.tokens:,} a pass, {plan.supervised_tokens:,} of them supervised; longest row {plan.longest:,}",
        ),
        ("shortened", f"{plan.shortened:,} rows over {recipe['length']:,} tokens"),
        ("steps", f"{plan.steps:,}: {recipe['epochs']:g} epochs, {recipe['batch']} rows a step"),
        (
            "parameters",
            f"{plan.trainable:,} trainable of {plan.parameters:,} ({share:.2g}%), method {recipe['method']}",
        ),
        (
            "memory",
            f"{size(memory.total)} by its shape: weights {size(memory.weights)}, gradients {size(memory.gradients)}, "
            f"optimizer {size(memory.optimizer)}, activations {size(memory.activations)}, "
            f"process {size(memory.process)}",
        ),
        *([("", f"{size(plan.peak)} measured on the largest batch")] if plan.peak is not None else []),
        ("free", f"{size(plan.free)} on {plan.device}"),
        ("GPU of 16 GB", _fit(plan.common_gpu)),
    ]
    if plan.seconds is not None and plan.cost is not None:
        rate = f"{plan.tokens_per_second:,.0f} tokens a second measured" if plan.tokens_per_second else ""
        rows += [
            ("time", f"about {duration(plan.seconds)} ({rate})"),
            ("cost", f"{plan.cost:.2g} at {plan.price_per_hour:g} an hour"),
        ]
    here = "It fits this machine." if plan.fits else f"It does not fit this machine: {_fit(plan.fits_with)}."
    return [*table(("what", "how much"), rows), here]


def _fit(fit: Fit | None) -> str:
    if fit is None:
        return "no change of the recipe would fit; take a smaller model"
    need = size(fit.memory.total)
    if not fit.changes:
        return f"fits as it is, with {need}"
    return f"would fit with {', '.join(f'{k}: {str(v).lower()}' for k, v in fit.changes.items())} ({need})"
