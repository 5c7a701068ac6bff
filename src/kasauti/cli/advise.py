"""`kasauti advise`: what to try, in which order, and why; asked on a terminal, or told by options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kasauti.cli.command import CommandResult, open_task

if TYPE_CHECKING:
    from kasauti.core.types import Task
    from kasauti.decide.advise import Advice

HELP = "which of prompt, retrieval, tuning to try, in which order, and why"
ABOUT = """Say what to try for a task, in which order, with reasons, costs and times: before there is data by rules of
thumb, and by the newest trial's evidence where the task has one. What is not given as an option is asked on a terminal;
elsewhere, and with --json, it is taken from the task, or from the default that is told. Nothing is written."""


class Question(NamedTuple):
    """One thing that has to be known."""

    field: str
    """Of `decide.advise.Situation`."""
    asked: str
    read: Callable[[str], Any]
    shown: str
    """What the option takes."""


def _yes(text: str) -> bool:
    word = text.strip().casefold()
    if word in ("yes", "y", "true", "1"):
        return True
    if word in ("no", "n", "false", "0"):
        return False
    raise ValueError("yes or no")


def _number(text: str) -> float:
    plain = text.strip().replace(",", "").replace("_", "").casefold()
    scale = {"k": 1e3, "m": 1e6}.get(plain[-1:], 1.0)
    found = float(plain[:-1] if scale != 1 else plain) * scale
    if not 0 <= found < float("inf"):
        raise ValueError("a number of at least 0")
    return found


def _whole(text: str) -> int:
    return int(_number(text))


def _speed(text: str) -> float | None:
    return None if text.strip().casefold() in ("none", "no", "0") else _number(text)


def _problem(text: str) -> str:
    from kasauti.core.names import nearest
    from kasauti.decide.advise import PROBLEMS

    found = nearest(text, PROBLEMS)
    if found is None:
        raise ValueError("format, knowledge or both")
    return found


QUESTIONS = (
    Question("calls_per_month", "Calls a month?", _number, "N"),
    Question("labelled_rows", "Labelled rows?", _whole, "N"),
    Question("problem", "What does a prompted model get wrong: the format, knowledge, or both?", _problem, "P"),
    Question("facts_change", "Do the facts that an answer needs change?", _yes, "YES"),
    Question("cite_sources", "Must an answer cite its sources?", _yes, "YES"),
    Question("private", "Must the texts stay in the house?", _yes, "YES"),
    Question("latency_ms", "Milliseconds within which an answer has to come (none: nobody waits)?", _speed, "MS"),
    Question("gpu", "Is there a GPU of 16 GB or more?", _yes, "YES"),
    Question("task_changes", "Do labels or rules change every few weeks?", _yes, "YES"),
    Question("day_cost", "What does a working day cost?", _number, "N"),
)


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of advise."""
    for one in QUESTIONS:
        shown = {"YES": "yes|no", "P": "format|knowledge|both"}.get(one.shown, one.shown)
        parser.add_argument(
            f"--{one.field.replace('_', '-')}", metavar=shown, help=one.asked[0].lower() + one.asked[1:]
        )


def run(args: argparse.Namespace) -> CommandResult:
    """Ask, and answer."""
    from kasauti.decide.advise import Situation, advise

    task = _task(args)
    known = _known(task)
    told = _options(args)
    asked: dict[str, Any] = {}
    if not args.json and sys.stdin.isatty() and sys.stderr.isatty():
        asked = _ask({**asdict(Situation()), **known}, told)
    situation = Situation(**{**known, **asked, **told})
    trial = _trial(task) if task is not None else None
    found = advise(situation, trial)
    assumed = [one.field for one in QUESTIONS if one.field not in {**told, **asked, **known}]
    document = {"situation": asdict(situation), "assumed": assumed, **asdict(found)}
    return CommandResult(document, _lines(found, asdict(situation), assumed))


def _task(args: argparse.Namespace) -> Task | None:
    """The task, where there is one: advice is wanted before there is a task too."""
    if args.task is None and not Path("task.yaml").exists():
        return None
    return open_task(args)


def _known(task: Task | None) -> dict[str, Any]:
    """What the machine and the task say already."""
    known: dict[str, Any] = {"gpu": os.path.exists("/dev/nvidia0") or os.path.exists("/dev/kfd")}
    if task is None:
        return known
    from kasauti.data.split import load_split
    from kasauti.model.load import BUNDLED

    split, _ = load_split(task)
    rows = len(split.train) + len(split.validation) + len(split.test)
    return {
        **known,
        "calls_per_month": task.business.calls_per_month,
        "labelled_rows": rows,
        "classification": task.kind == "classification",
        "small_model": task.model in BUNDLED,
    }


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What the options say. Raises `UsageError`."""
    from kasauti.core.errors import UsageError

    told = {}
    for one in QUESTIONS:
        text = getattr(args, one.field)
        if text is None:
            continue
        try:
            told[one.field] = one.read(text)
        except ValueError:
            option = f"--{one.field.replace('_', '-')}"
            raise UsageError(f"{text!r} cannot be read", where=option, mend=f"Write {_wanted(one)}.") from None
    return told


def _wanted(one: Question) -> str:
    return {"YES": "yes or no", "P": "format, knowledge or both", "MS": "a number, or none"}.get(one.shown, "a number")


def _ask(defaults: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Every question that no option answers, on the terminal; an empty line takes what stands in brackets."""
    answers: dict[str, Any] = {}
    for one in QUESTIONS:
        while one.field not in told and one.field not in answers:
            sys.stderr.write(f"{one.asked} [{_shown(defaults[one.field])}] ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line.strip():
                answers[one.field] = defaults[one.field]
                if not line:  # the end of what is typed: the rest as it is
                    sys.stderr.write("\n")
                    return {**defaults, **answers}
                continue
            try:
                answers[one.field] = one.read(line)
            except ValueError:
                sys.stderr.write(f"Please write {_wanted(one)}.\n")
    return answers


def _trial(task: Task) -> dict[str, Any] | None:
    """The newest finished trial of the task."""
    from kasauti.core.files import RunFolder

    done = [folder for folder in RunFolder.all(task.folder, "trials", mark="trial.json") if folder.finished]
    if not done:
        return None
    newest = max(done, key=lambda folder: (folder.result()["created"], folder.id))
    return {**newest.result(), "id": newest.id}


def _lines(found: Advice, situation: dict[str, Any], assumed: list[str]) -> list[str]:
    lines = [found.headline, ""]
    number = 0
    for step in found.steps:
        if step.advice in ("do not", "not yet"):
            lines.append(f"-  {step.title}: {step.advice}.")
        else:
            number += 1
            lines.append(f"{number}. {step.title}: {step.advice}.")
        lines += [f"     {reason}" for reason in step.reasons]
        lines += [f"     measured: {step.measured}"] if step.measured else []
        lines.append(f"     use when: {step.use_when}")
        lines.append(f"     do not use when: {step.not_when}")
        if step.advice != "do not":
            lines += [f"     takes {step.time}; {step.cost}", f"     next: {step.next}"]
        lines.append("")
    if assumed:
        names = ", ".join(f"--{name.replace('_', '-')} {_shown(situation[name])}" for name in assumed)
        lines.append(f"Assumed, since nobody said: {names}.")
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:,.0f}" if isinstance(value, int | float) else str(value)
