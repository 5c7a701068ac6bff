"""`kasauti init`: a file of labelled rows → `task.yaml`. Nothing is written unless the file makes a task."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kasauti.cli.command import CommandResult, add_skip_bad, left_out

if TYPE_CHECKING:
    from kasauti.data.read import ReadLog
    from kasauti.data.survey import Survey

HELP = "write task.yaml from a file of labelled data"
ABOUT = """Write DIR/task.yaml from labelled data: CSV, TSV, JSON or JSON lines, plain or gzipped; Parquet; a pattern of
such files; a saved data set of the Hugging Face library, or hf://owner/name:split. Conversations (messages,
ShareGPT), prompt and completion, and Alpaca are recognised, and need no --input and --target. Columns and
labels are checked first, and an existing task is never overwritten."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments of init."""
    parser.add_argument(
        "dir", metavar="DIR", nargs="?", help="folder of the new task (default: --task, or the current folder)"
    )
    parser.add_argument("--data", metavar="FILE", required=True, help="the labelled rows")
    parser.add_argument("--input", metavar="COL", help="the column that the model is shown (default: the shape's)")
    parser.add_argument("--target", metavar="COL", help="the column that holds the answer (default: the shape's)")
    parser.add_argument(
        "--shape",
        metavar="S",
        help="plain, messages, sharegpt, prompt_completion or alpaca (default: recognised by the first rows)",
    )
    add_skip_bad(parser)
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
    from kasauti.data.read import ReadLog

    folder = Path(args.dir or args.task or ".")
    log = ReadLog(args.skip_bad)
    found = _survey(args, log)
    input_column, target = str(found.input), str(found.target)
    labels = _labels(args, input_column, target)
    if args.chat_template is not None:
        named_template(args.chat_template)
    template = args.chat_template
    there = folder.is_dir()
    try:
        path = write_task(
            folder,
            name=folder.resolve().name or "task",
            data=args.data,
            input_column=input_column,
            target=target,
            labels=labels,
            model=_model(args.model, folder),
            kind=args.kind,
            test=args.test,
            chat_template=template if template in (None, *KNOWN) else _relative(template, folder),
            instructions=found.instructions,
            shape=args.shape,
            skip_bad=args.skip_bad,
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
        "shape": found.shape,
        "input": input_column,
        "target": target,
        "rows": found.rows,
        "bad_rows": log.bad,
        "reading": left_out(log.findings("data")),
    }
    told = [] if found.shape == "plain" else [_shape_line(found)]
    return CommandResult(document, [*document["reading"], *told, *_next_steps(path, folder, labels)])


def _survey(args: argparse.Namespace, log: ReadLog) -> Survey:
    """What the data are, with the columns that the user named in place of those that the shape says.

    Raises:
        UsageError: an unknown shape, or a column that has to be named.
        DataError: a row is at fault.
    """
    import dataclasses

    from kasauti.core.errors import UsageError
    from kasauti.core.names import suggestion
    from kasauti.core.task import SHAPES
    from kasauti.data.survey import survey

    if args.shape is not None and args.shape not in SHAPES:
        raise UsageError(f"shape {args.shape!r} is not known", where="--shape", mend=suggestion(args.shape, SHAPES))
    wanted = [column for column in (args.input, args.target) if column is not None]
    found = survey(args.data, args.shape, log, wanted)
    missing = [f"--{name}" for name in ("input", "target") if not (getattr(args, name) or getattr(found, name))]
    if missing:
        columns = _columns(args)
        mend = f"Give {' and '.join(missing)}. {columns}"
        raise UsageError("the rows are plain columns, and which one is what is not said", where=args.data, mend=mend)
    own = args.input is not None and args.input != found.input
    return dataclasses.replace(
        found,
        input=args.input or found.input,
        target=args.target or found.target,
        # instructions that stand in the rows ask for the rows' own completion
        instructions=None if own or (args.target or found.target) != found.target else found.instructions,
    )


def _columns(args: argparse.Namespace) -> str:
    from kasauti.core.names import listing
    from kasauti.data.read import read_rows

    return listing(next(read_rows(args.data))[1])


def _shape_line(found: Survey) -> str:
    system = (
        "the system turn that all rows share is `instructions`" if found.instructions else "`instructions` are empty"
    )
    return f"Read as {found.shape}: input {{{found.input}}}, target {found.target}; {system}."


def _labels(args: argparse.Namespace, input_column: str, target: str) -> Sequence[str]:
    """The labels of the data, sorted; none for kinds without labels.

    Raises:
        DataError: a file or a column is at fault, or the answers make no classification.
    """
    from kasauti.core.errors import DataError
    from kasauti.core.names import suggestion
    from kasauti.data.conversation import count_answers
    from kasauti.data.read import ReadLog
    from kasauti.data.split import MIN_ROWS

    counts = count_answers(args.data, target, [input_column], shape=args.shape, log=ReadLog(args.skip_bad))
    rows = counts.total()
    if input_column == target:
        raise DataError(
            f"input and target are the same column {target!r}", where="--target", mend="Name the answer's column."
        )
    if rows < MIN_ROWS:
        raise DataError(
            f"{rows} rows with an answer, at least {MIN_ROWS} are needed", where=args.data, mend="Collect more rows."
        )
    tests: Mapping[str, int] = {}
    if args.test:
        tests = count_answers(args.test, target, [input_column], shape=args.shape, log=ReadLog(args.skip_bad))
    if args.kind != "classification":
        return ()
    if len(counts) < 2:
        mend = "Add rows of another label: with one there is nothing to decide."
        raise DataError(f"every row has the label {next(iter(counts))!r}", where=args.data, mend=mend)
    if 2 * len(counts) > rows:
        mend = "Name another column, or give --kind generation if the answers are free text."
        raise DataError(
            f"column {target!r} has {len(counts)} different answers in {rows} rows", where=args.data, mend=mend
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
