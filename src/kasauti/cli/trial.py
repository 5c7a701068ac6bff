"""`kasauti trial`: every approach on the same held-out rows, and the verdict."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kasauti.cli.command import CommandResult, add_skip_bad, check_model, left_out, lock, open_task, state_path
from kasauti.cli.draw import findings_lines, percent, table

if TYPE_CHECKING:
    from kasauti.approaches.hosted.estimate import Estimate
    from kasauti.core.progress import Progress
    from kasauti.core.types import Task
    from kasauti.decide.trial import Trial

EXACT = "exact_match"
HELP = "fit every approach, judge all on the same test rows, give the verdict"
ABOUT = """Fit every approach on the training rows, choose on the validation rows, judge all once on the same test
rows, and say which to ship and why. The same command goes on with a trial that was cut off. Leaves
.kasauti/trials/<id>/trial.json, report.html and predictions.parquet. With --dry-run nothing is fitted, sent or written:
it says which answers are there already, and what a hosted model's would cost."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of trial."""
    parser.add_argument(
        "--approaches", metavar="A,B,…", help="only these: majority, classical, prompt_none, … (default: all)"
    )
    parser.add_argument(
        "--seeds",
        metavar="N",
        type=int,
        default=1,
        help="train what is tuned N times and report the spread (default: 1)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do and to pay, and do nothing")
    add_skip_bad(parser)


def run(args: argparse.Namespace) -> CommandResult:
    """Judge and print the verdict."""
    task = open_task(args)
    names = approaches_of(args, task)
    check_seeds(args.seeds)
    if args.dry_run:
        return dry_run(task, names)
    said = check_trial(task, names)
    with lock(task):
        made = judge(task, names, args.progress, args.seeds)
    return CommandResult({**document(task, made), "reading": said}, [*said, *verdict_lines(task, made)])


def approaches_of(args: argparse.Namespace, task: Task) -> Sequence[str]:
    """What `--approaches` names, or all that this task can have. Raises `UsageError` for a name that is none."""
    from kasauti.approaches.catalogue import check_names, default_names

    if args.approaches is None:
        return default_names(task)
    return check_names([name.strip() for name in args.approaches.split(",") if name.strip()], task.kind)


def check_trial(task: Task, names: Sequence[str]) -> list[str]:
    """Find bad data and an unusable model before anything is written.

    Returns:
        What there is to say about how the data were read.

    Raises:
        UsageError: in one line.
    """
    from kasauti.approaches.hosted.approach import endpoint_of
    from kasauti.approaches.hosted.caller import api_key
    from kasauti.approaches.workbench import Workbench
    from kasauti.data.split import load_split
    from kasauti.decide.fitted import asks_network, has_answers

    networks = [name for name in names if asks_network(task, name)]
    split, findings = load_split(task)
    bench = Workbench(task)
    if networks:
        check_model(bench)
    if "hosted" in names and not has_answers(bench, split, "hosted"):
        api_key(endpoint_of(task))
    return left_out(findings)


def check_seeds(seeds: int) -> None:
    """Raise `UsageError` for a number of seeds that is none."""
    from kasauti.core.errors import UsageError
    from kasauti.decide.seeds import MOST

    if not 1 <= seeds <= MOST:
        raise UsageError(f"{seeds} seeds", where="--seeds", mend=f"give a whole number from 1 to {MOST}")


def dry_run(task: Task, names: Sequence[str]) -> CommandResult:
    """What a trial would do, and what its hosted calls would cost."""
    import dataclasses

    from kasauti.approaches.catalogue import CATALOGUE, make
    from kasauti.approaches.hosted.approach import Hosted
    from kasauti.approaches.hosted.estimate import estimate
    from kasauti.approaches.workbench import Workbench
    from kasauti.data.conversation import load_out_of_scope
    from kasauti.data.split import load_split
    from kasauti.decide.fitted import has_answers

    split, findings = load_split(task)
    bench = Workbench(task)
    there = {name: has_answers(bench, split, name) for name in names}
    document: dict[str, Any] = {"approaches": [{"name": n, "answered": done} for n, done in there.items()]}
    rows = [(name, CATALOGUE[name].title, "answered" if there[name] else "to do") for name in names]
    lines = [*left_out(findings), *table(("approach", "what it is", "test rows"), rows)]
    if "hosted" in names:
        approach = make("hosted", bench)
        assert isinstance(approach, Hosted)
        fitting = approach.prepare(split.train).asked_to_fit(split.validation_calibrate)
        found = estimate(approach, [*fitting, *split.test, *load_out_of_scope(task)])
        document["hosted"] = {**dataclasses.asdict(found), "fits": found.fits}
        lines += _estimate_lines(found)
    return CommandResult({**document, "reading": left_out(findings)}, lines)


def _estimate_lines(found: Estimate) -> list[str]:
    missing = found.rows - found.answered
    if not missing:
        return [f"Hosted: all {found.rows:,} rows are answered; nothing would be sent. {found.spent:.2f} spent so far."]
    room = "" if found.fits else " That is more than the cap leaves: it would stop there, and go on once it is raised."
    return [
        f"Hosted: the texts of {missing:,} rows would be sent to {found.endpoint} ({found.model}); "
        f"{found.answered:,} are answered already.",
        f"About {found.input_tokens:,} tokens in and {found.output_tokens:,} out: about {found.price:.2g}, at the very "
        f"most {found.most:.2g}. Spent so far {found.spent:.2g}, cap {found.cap:g}.{room}",
    ]


def judge(task: Task, names: Sequence[str], progress: Progress, seeds: int = 1) -> Trial:
    """The trial, found, resumed or made."""
    from kasauti.decide.trial import run_trial

    return run_trial(task, names, progress, seeds=seeds)


def document(task: Task, made: Trial) -> dict[str, Any]:
    """`trial.json`, with the trial's id and the paths of what it left."""
    return {
        **made.document,
        "id": made.id,
        "folder": state_path(task, "trials", made.id),
        "report": state_path(task, "trials", made.id, "report.html"),
    }


def verdict_lines(task: Task, made: Trial) -> list[str]:
    """The verdict in sentences, the approaches as a table, the report's path."""
    trial = made.document
    verdict = trial["verdict"]
    lines = [f"Ship: {verdict['ship']}.", *(f"- {sentence}" for sentence in verdict["because"])]
    if verdict["needs"]:
        lines += ["What would change it:", *(f"- {sentence}" for sentence in verdict["needs"])]
    said = [finding for one in trial["approaches"] for finding in one["about"].get("findings", ())]
    return [
        *lines,
        "",
        *approaches_table(trial),
        *findings_lines(said),
        f"Report: {state_path(task, 'trials', made.id, 'report.html')}",
    ]


def approaches_table(trial: Mapping[str, Any]) -> list[str]:
    """One line an approach, those that failed with their reason."""
    ship = trial["verdict"]["ship"]
    rows: list[tuple[str, ...]] = []
    for one in trial["approaches"]:
        accuracy, latency = one["accuracy"], one.get("latency_ms") or {}
        rows.append(
            (
                f"{one['name']} *" if one["name"] == ship else one["name"],
                percent(accuracy["value"]),
                f"{percent(accuracy['low'])} – {percent(accuracy['high'])}",
                percent(one["macro_f1"]),
                percent(one["invalid_rate"]),
                f"{latency['p95']:.1f}" if latency.get("p95") is not None else "–",
                f"{one['cost_per_1k_calls']:.2g}",
            )
        )
    metric = trial.get("metric", EXACT)
    head = (
        "approach",
        "accuracy" if metric == EXACT else metric,
        "95% interval",
        "macro-F1",
        "invalid",
        "p95 ms",
        "cost per 1k",
    )
    failed = [f"{one['name']} failed: {one['why']}" for one in trial.get("failed", ())]
    return [*table(head, rows, right=head[1:]), *failed]
