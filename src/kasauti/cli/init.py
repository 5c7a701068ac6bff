"""`kasauti init`: a file of labelled rows → `task.yaml`. Nothing is written unless the file makes a task."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from kasauti.cli.command import CommandResult

HELP = "write task.yaml from a file of labelled data"
ABOUT = """Write DIR/task.yaml from a file of labelled data: CSV, TSV, JSON or JSON lines, plain or gzipped. Columns
and labels are checked first, and an existing task is never overwritten."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of init."""
    parser.add_argument(
        "dir", metavar="DIR", nargs="?", help="folder of the new task (default: --task, or the current folder)"
    )
    parser.add_argument("--data", metavar="FILE", required=True, help="the labelled rows")
    parser.add_argument("--input", metavar="COL", required=True, help="the column that the model is shown")
    parser.add_argument("--target", metavar="COL", required=True, help="the column that holds the answer")
    parser.add_argument(
        "--test", metavar="FILE", help="held-out rows, best of real production input (default: split off)"
    )
    parser.add_argument(
        "--model",
        metavar="M",
        default="kasauti/nano",
        help="bundled model, Hugging Face id or folder (default: %(default)s)",
    )
    parser.add_argument(
        "--kind", metavar="K", default="classification", help="classification, summarization, code or generation"
    )
    parser.add_argument(
        "--chat-template", metavar="T", help="known name (chatml, plain) or Jinja file, for a model without one"
    )


def run(args: argparse.Namespace) -> CommandResult:
    """Check everything, then write the task file."""
    from kasauti.chat.known import KNOWN, named_template
    from kasauti.core.errors import KasautiError
    from kasauti.core.task import write_task

    folder = Path(args.dir or args.task or ".")
    labels = _labels(args)
    if args.chat_template is not None:
        named_template(args.chat_template)
    template = args.chat_template
    there = folder.is_dir()
    try:
        path = write_task(
            folder,
            name=folder.resolve().name or "task",
            data=args.data,
            input_column=args.input,
            target=args.target,
            labels=labels,
            model=_model(args.model, folder),
            kind=args.kind,
            test=args.test,
            chat_template=template if template in (None, *KNOWN) else _relative(template, folder),
        )
    except KasautiError:
        if not there:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    document = {
        "task": str(path.resolve()),
        "kind": args.kind,
        "labels": list(labels),
        "model": args.model,
        "test": args.test,
    }
    return CommandResult(document, _next_steps(path, folder, labels))


def _labels(args: argparse.Namespace) -> Sequence[str]:
    """The labels of the data, sorted; none for kinds without labels.

    Raises:
        DataError: a file or a column is at fault, or the answers make no classification.
    """
    from kasauti.core.errors import DataError
    from kasauti.core.names import suggestion
    from kasauti.data.conversation import count_answers
    from kasauti.data.split import MIN_ROWS

    counts = count_answers(args.data, args.target, [args.input])
    rows = counts.total()
    if args.input == args.target:
        raise DataError(
            f"input and target are the same column {args.input!r}", where="--target", mend="Name the answer's column."
        )
    if rows < MIN_ROWS:
        raise DataError(
            f"{rows} rows with an answer, at least {MIN_ROWS} are needed", where=args.data, mend="Collect more rows."
        )
    tests = count_answers(args.test, args.target, [args.input]) if args.test else {}
    if args.kind != "classification":
        return ()
    if len(counts) < 2:
        mend = "Add rows of another label: with one there is nothing to decide."
        raise DataError(f"every row has the label {next(iter(counts))!r}", where=args.data, mend=mend)
    if 2 * len(counts) > rows:
        mend = "Name another column, or give --kind generation if the answers are free text."
        raise DataError(
            f"column {args.target!r} has {len(counts)} different answers in {rows} rows", where=args.data, mend=mend
        )
    strange = next((answer for answer in tests if answer not in counts), None)
    if strange is not None:
        mend = f"{suggestion(strange, counts)} Correct the test rows, or add training rows that have it."
        raise DataError(f"the label {strange!r} is in no row of {args.data}", where=args.test, mend=mend)
    return sorted(counts)


def _model(name: str, folder: Path) -> str:
    """The model as the task file names it: a folder is given relative to the current one, and kept relative to the
    task's.
    """
    from kasauti.model.load import BUNDLED, resolve

    if name in BUNDLED:
        return name
    resolve(name, os.getcwd())  # refuses a folder that is no model
    return _relative(name, folder) if Path(name).is_dir() and not Path(name).is_absolute() else name


def _relative(path: str, folder: Path) -> str:
    return Path(os.path.relpath(Path(path).resolve(), folder.resolve())).as_posix()


def _next_steps(path: Path, folder: Path, labels: Sequence[str]) -> list[str]:
    where = "" if folder.resolve() == Path.cwd() else f" --task {folder}"
    told = f" with {len(labels)} labels" if labels else ""
    return [
        f"Wrote {path}{told}. Next:",
        f"  1. open {path}: say in `instructions` what the input is"
        + (", and in `labels` what each one means" if labels else ""),
        f"  2. kasauti audit{where}    what is wrong with the data",
        f"  3. kasauti trial{where}    which approach to ship"
        if labels
        else f"  3. kasauti train{where}    an adapter",
    ]
