"""`kasauti VERB …`: parse, run, print; the only place that ends in an exit code.

Walks in: the words of the command line. Walks out: 0 done, 1 a blocking problem, 2 wrong usage or bad input, 130
interrupted. It does not know what any verb does.

argparse and not typer: importing typer takes 0.2 s, and `kasauti --help` has to answer in under 0.3 s. Verbs import
what they need when they run, never when they are listed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NoReturn

from kasauti import __version__
from kasauti.cli import (
    advise,
    audit,
    calls,
    data,
    demo,
    doctor,
    export,
    init,
    keys,
    merge,
    plan,
    predict,
    promote,
    push,
    register,
    release,
    report,
    retrain,
    review,
    rollback,
    serve,
    simulate,
    train,
    trial,
    versions,
    watch,
)
from kasauti.cli.command import CommandResult, add_common
from kasauti.cli.draw import Draw
from kasauti.cli.faults import debugging, fault_of
from kasauti.cli.outlet import Outlet, ReaderGone
from kasauti.core import ranks
from kasauti.core.errors import UsageError
from kasauti.core.progress import silent

VERBS: dict[str, ModuleType] = {
    "demo": demo,
    "init": init,
    "advise": advise,
    "audit": audit,
    "data": data,
    "plan": plan,
    "train": train,
    "trial": trial,
    "report": report,
    "predict": predict,
    "register": register,
    "versions": versions,
    "promote": promote,
    "rollback": rollback,
    "release": release,
    "merge": merge,
    "export": export,
    "push": push,
    "serve": serve,
    "keys": keys,
    "calls": calls,
    "review": review,
    "watch": watch,
    "doctor": doctor,
    "retrain": retrain,
    "simulate": simulate,
}
"""Verb → its module: HELP (one line), ABOUT (a paragraph), `add(parser)`, `run(args)`."""

SHARED = ("train",)
"""Verbs whose work several processes do together."""

_ABOUT = """Is fine-tuning worth it, or does a prompt or a classical classifier already do the job?
Kasauti answers with evidence on held-out rows; when tuning wins, it trains, proves and ships the model."""
_EXITS = """exit codes: 0 done; 1 it ran and found a blocking problem; 2 wrong usage or bad input; 130 interrupted, and
what was finished is kept. KASAUTI_DEBUG=1 shows tracebacks and what the libraries say."""
_LIBRARIES = (
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "datasets",
    "accelerate",
    "huggingface_hub",
    "torch",
    "sentence_transformers",
)
_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `kasauti`; None takes those of the process.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    as_json, outlet = "--json" in words, Outlet()
    try:
        args = _parse(words)
        with _quiet(), outlet.redirected(), Draw() as draw, _together(args.verb):
            args.progress, args.outlet, args.words = draw if ranks.first() else silent, outlet, words
            result: CommandResult = VERBS[args.verb].run(args)
    except SystemExit as done:  # --help and --version have printed
        return int(done.code or 0)
    except ReaderGone:  # `… | head`: it has had enough, which is no fault
        return 0
    except BaseException as error:
        return _fail(error, outlet, as_json)
    if not ranks.first():
        return result.exit_code
    try:
        outlet.write(_json(result.document) if as_json else "".join(f"{line}\n" for line in result.lines))
    except ReaderGone:
        pass
    except OSError as error:
        return _fail(error, outlet, as_json=False)
    return result.exit_code


def _fail(error: BaseException, outlet: Outlet, as_json: bool) -> int:
    if debugging():
        import traceback

        traceback.print_exception(error)
    if ranks.count() > 1:
        error, told = _among_others(error)
        if told is not None:
            return told
    fault = fault_of(error)
    with contextlib.suppress(OSError):
        sys.stderr.write(f"kasauti: {fault.line}\n")
        sys.stderr.flush()
    if as_json:
        with contextlib.suppress(OSError, ReaderGone):
            outlet.write(_json(fault.document()))
    return fault.exit_code


@contextlib.contextmanager
def _together(verb: str) -> Iterator[None]:
    """Under torchrun or `accelerate launch`: training alone is divided among processes."""
    if ranks.count() == 1:
        yield
        return
    if verb not in SHARED:
        raise UsageError(
            f"{ranks.count()} processes were started, and {verb} is the work of one",
            mend=f"Run `kasauti {verb}` by itself; torchrun is for `kasauti {', '.join(SHARED)}`.",
        )
    from kasauti.train.together import joined

    with joined():
        yield


def _among_others(error: BaseException) -> tuple[BaseException, int | None]:
    """The error in plain words; and the exit code of the process that failed first, where it is not this one: it has
    said why."""
    from kasauti.train.together import cut_off, failed_first

    plain = cut_off(error)
    return plain, failed_first(fault_of(plain).exit_code)


def _json(document: Any) -> str:
    return json.dumps(_finite(document), ensure_ascii=False, indent=1) + "\n"


def _finite(value: Any) -> Any:
    """The value with null for figures that are no numbers, which JSON has no word for."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The libraries' progress bars, advice and warnings are for scripts; ours say what matters."""
    if debugging():
        yield
        return
    import logging
    import warnings

    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Parser(argparse.ArgumentParser):
    """argparse with one-line errors that name the nearest word."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, mend=f"See `{self.prog} --help`.")


def _parser() -> _Parser:
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="kasauti", description=_ABOUT, epilog=_EXITS, formatter_class=form, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"kasauti {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    for name, module in VERBS.items():
        verb = verbs.add_parser(
            name, help=module.HELP, description=module.ABOUT, formatter_class=form, allow_abbrev=False
        )
        module.add(verb)
        add_common(verb)
    return parser


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """The parsed arguments.

    Raises:
        UsageError: in one line, with the nearest command or option.
        SystemExit: --help or --version was asked for, and has printed.
    """
    parser = _parser()
    try:
        args, unknown = parser.parse_known_args(words)
    except UsageError as error:
        raise _with_nearest(error, words) from None
    if unknown:
        raise _unknown(unknown[0], parser, args.verb)
    if args.verb is None:
        raise UsageError("no command is given", mend=_listing())
    return args


def _listing() -> str:
    return f"Commands: {', '.join(VERBS)}; see `kasauti --help`."


def _with_nearest(error: UsageError, words: Sequence[str]) -> UsageError:
    from kasauti.core.names import nearest

    found = re.search(r"argument COMMAND: invalid choice: '(.*?)' \(", error.what)
    if not found:
        return error
    near = nearest(found[1], tuple(VERBS))
    return UsageError(f"there is no command {found[1]!r}", mend=f"Did you mean {near!r}?" if near else _listing())


def _unknown(word: str, parser: argparse.ArgumentParser, verb: str | None) -> UsageError:
    from kasauti.core.names import nearest

    name = word.partition("=")[0]
    if verb is None or not name.startswith("-"):
        mend = _listing() if verb is None else f"See `kasauti {verb} --help`."
        return UsageError(
            f"{name!r} is not understood" if verb is None else f"{name!r} is one word too many", mend=mend
        )
    chosen = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction)).choices[verb]
    known = [option for action in chosen._actions for option in action.option_strings]
    if name in known:
        return UsageError(f"{name} stands before the command", mend=f"Write it behind: kasauti {verb} {name} …")
    near = nearest(name, known)
    mend = f"Did you mean {near!r}?" if near else f"Options of {verb}: {', '.join(known)}."
    return UsageError(f"{verb} has no option {name}", mend=mend)


if __name__ == "__main__":
    raise SystemExit(main())
