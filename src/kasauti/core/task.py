"""The task file, parsed and checked.

Walks in: a folder with a `task.yaml`. Walks out: a `Task`, or one line that names the file, the line, the fault and the
nearest valid name. It does not know the rows of the data, the recipe's fields (the caller hands their names in), or
models.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from kasauti.core.acceptance import read_acceptance
from kasauti.core.errors import TaskError
from kasauti.core.files import atomic_write
from kasauti.core.hosted import read_hosted
from kasauti.core.knowledge import read_knowledge
from kasauti.core.names import suggestion
from kasauti.core.scoring import format_columns, read_scoring
from kasauti.core.searching import read_prompt_search
from kasauti.core.types import Business, DataFiles, Task
from kasauti.core.yaml_text import Entry, parse

FILE = "task.yaml"
KINDS = ("classification", "summarization", "code", "generation")
SHAPES = ("plain", "messages", "sharegpt", "prompt_completion", "alpaca")
"""Shapes that data may be in; `data.shapes` reads them."""
DEFAULT_MODEL = "kasauti/nano"

_KEYS = (
    "name", "kind", "instructions", "input", "target", "labels", "fallback", "data", "group", "model",
    "chat_template", "train", "business", "metric", "schema", "code", "accept", "registry", "seed",
    "embedding_model", "cascade", "prompt_search", "hosted", "knowledge",
)  # fmt: skip
_REQUIRED = ("kind", "input", "target", "data")


def load_task(folder: str | Path, known_train_fields: Collection[str] | None = None) -> Task:
    """Read and check the task file of a folder.

    Args:
        folder: the folder of `task.yaml`, or the path of that file.
        known_train_fields: names that may stand under `train`; None lets every name through.

    Raises:
        TaskError: no file, broken YAML, an unknown or repeated key, a value of the wrong type.
    """
    path = Path(folder)
    path = path if path.name == FILE else path / FILE
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError("is not UTF-8 text", where=str(path), mend="Save it as UTF-8.") from error
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else os.strerror(error.errno or 0)
        mend = "Write one with `kasauti init`, or name the task's folder with --task."
        raise TaskError(reason, where=str(path), mend=mend) from error
    return parse_task(text, folder=path.parent.resolve(), where=str(path), known_train_fields=known_train_fields)


def resolve(task: Task, path: str) -> Path:
    """The absolute path of a file that the task names relative to its own folder."""
    return (Path(task.folder) / Path(path).expanduser()).resolve()


def locate(task: Task, source: str) -> str:
    """A source of data that the task names: an id with `://` as it stands, a path or pattern made absolute."""
    return source if "://" in source else str(resolve(task, source))


def parse_task(
    text: str, *, folder: str | Path, where: str = FILE, known_train_fields: Collection[str] | None = None
) -> Task:
    """The text of a task file → `Task`; see `load_task`. `where` is the file's name in errors."""
    top = parse(text, where)
    top.only(_KEYS)
    for key in _REQUIRED:
        if top.get(key) is None:
            raise TaskError(f"`{key}` is missing", where=where, mend=f"Add a line `{key}: …`.")
    kind = _one_of(top["kind"], KINDS)
    task_input = top["input"].text()
    columns = _columns(top["input"], task_input)
    target = top["target"].name()
    if target in columns:
        raise TaskError(
            f"`input` shows the answer: {{{target}}} is the target column",
            where=top["input"].where,
            mend="Remove it from `input`.",
        )
    labels = _labels(top, kind)
    train = top.get("train")
    return Task(
        folder=str(folder),
        name=_name(top, "name", Path(folder).name or "task"),
        kind=kind,
        instructions=top["instructions"].text().strip() if top.get("instructions") else "",
        input=task_input,
        target=target,
        labels=labels,
        fallback=_fallback(top, kind, labels),
        data=_data(top["data"]),
        group=_optional(top, "group"),
        model=_name(top, "model", DEFAULT_MODEL),
        chat_template=_optional(top, "chat_template"),
        train=_train(train, known_train_fields) if train else {},
        business=_business(top.get("business")),
        scoring=read_scoring(top, kind),
        accept=read_acceptance(top.get("accept")),
        prompt_search=read_prompt_search(top.get("prompt_search")),
        registry=_optional(top, "registry"),
        embedding_model=_optional(top, "embedding_model"),
        cascade=_pair(top.get("cascade")),
        knowledge=read_knowledge(top.get("knowledge")),
        seed=_seed(top.get("seed")),
        hosted=read_hosted(top),
    )


def _optional(entry: Entry, key: str) -> str | None:
    value = entry.get(key)
    return value.name() if value else None


def _name(entry: Entry, key: str, default: str) -> str:
    return _optional(entry, key) or default


def _one_of(entry: Entry, known: Sequence[str]) -> str:
    value = entry.name()
    if value not in known:
        raise TaskError(f"`{entry.path}` is {value!r}", where=entry.where, mend=suggestion(value, known))
    return value


def _columns(entry: Entry, text: str) -> list[str]:
    """The columns that `input` names, at least one."""
    columns = format_columns(entry, text)
    if not columns:
        mend = "Name at least one, for instance input: '{text}'."
        raise TaskError("`input` names no column", where=entry.where, mend=mend)
    return columns


def _labels(top: Entry, kind: str) -> dict[str, str]:
    """Label → description, names as they are written in the file (a plain `no` is the text "no", not false)."""
    entry = top.get("labels")
    if kind != "classification":
        if entry:
            mend = "Remove them, or set `kind: classification`."
            raise TaskError(f"`labels` mean nothing for kind {kind!r}", where=entry.where, mend=mend)
        return {}
    if entry is None:
        mend = "List the names that an answer may be; `kasauti init` fills them in from the data."
        raise TaskError("`labels` are missing", where=top.where, mend=mend)
    if entry.is_mapping:
        pairs = [(key, value.name() if value else "", entry.where_key(key)) for key, value in entry.items()]
    else:
        pairs = [(item.name(), "", item.where) for item in entry.list()]
    labels: dict[str, str] = {}
    for label, description, where in pairs:
        name = label.strip()
        if not name or name in labels:
            fault = f"label {name!r} is listed twice" if name else "a label is empty"
            raise TaskError(fault, where=where, mend="Remove one of them." if name else "Give it a name.")
        labels[name] = " ".join(description.split())
    if len(labels) < 2:
        mend = "List at least two: with one there is nothing to decide."
        raise TaskError(f"`labels` has {len(labels)} name(s)", where=entry.where, mend=mend)
    return labels


def _fallback(top: Entry, kind: str, labels: Mapping[str, str]) -> str | None:
    value = _optional(top, "fallback")
    if value is not None and kind == "classification" and value not in labels:
        raise TaskError(f"`fallback` {value!r} is not one of the labels", where=top["fallback"].where,
                        mend=suggestion(value, labels))  # fmt: skip
    return value


def _data(entry: Entry) -> DataFiles:
    entry.only([f.name for f in fields(DataFiles)])
    train = _optional(entry, "train")
    if train is None:
        raise TaskError("`data.train` is missing", where=entry.where, mend="Name the file with the rows to learn from.")
    shape = entry.get("shape")
    return DataFiles(
        train=train,
        validation=_optional(entry, "validation"),
        test=_optional(entry, "test"),
        shape=_one_of(shape, SHAPES) if shape else None,
        skip_bad=_yes(entry, "skip_bad"),
        out_of_scope=_optional(entry, "out_of_scope"),
    )


def _yes(entry: Entry, key: str) -> bool:
    value = entry.get(key)
    plain = value.plain() if value else False
    if value and not isinstance(plain, bool):
        raise TaskError(f"`{value.path}` is {value.shown}", where=value.where, mend="Write true or false.")
    return bool(plain)


def _train(entry: Entry, known: Collection[str] | None) -> dict[str, Any]:
    if known is not None:
        entry.only(sorted(known))
    value = entry.plain()
    assert isinstance(value, dict)  # `only` and `plain` have refused anything but a mapping
    return value


def _business(entry: Entry | None) -> Business:
    if entry is None:
        return Business()
    entry.only([f.name for f in fields(Business)])
    numbers = {key: _number(value) for key, value in entry.items() if value and key != "hosted_per_1m_tokens"}
    if numbers.get("margin", 0.0) >= 1:
        mend = "It is a share: 0.02 is two points of accuracy."
        raise TaskError(f"`business.margin` is {numbers['margin']:g}", where=entry["margin"].where, mend=mend)
    prices = dict(Business().hosted_per_1m_tokens)
    hosted = entry.get("hosted_per_1m_tokens")
    if hosted is not None:
        hosted.only(tuple(prices))
        prices |= {key: _number(value) for key, value in hosted.items() if value}
    return Business(**numbers, hosted_per_1m_tokens=prices)


def _number(entry: Entry) -> float:
    value = entry.plain()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        mend = "Write a number that is not negative."
        raise TaskError(f"`{entry.path}` is {entry.shown}, which is no such number", where=entry.where, mend=mend)
    return float(value)


def _pair(entry: Entry | None) -> tuple[str, str] | None:
    """Two names that differ; which approaches there are is not known here."""
    if entry is None:
        return None
    names = [item.name() for item in entry.list()]
    if len(names) != 2 or names[0] == names[1]:
        mend = "Write two approaches, the cheap one first: cascade: [classical, tuned]."
        raise TaskError(f"`cascade` is {names}", where=entry.where, mend=mend)
    return names[0], names[1]


def _seed(entry: Entry | None) -> int:
    if entry is None:
        return 42
    value = entry.plain()
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
        mend = "Write a whole number from 0 to 4294967295."
        raise TaskError(f"`seed` is {entry.shown}", where=entry.where, mend=mend)
    return value


_TEMPLATE = """\
# What is asked of the model. `kasauti audit` looks at the data, `kasauti trial` compares the ways to answer it.
name: {name}
kind: {kind}  # classification | summarization | code | generation
instructions: {instructions}
input: {input}  # the user turn; {{column}} names a column of the data
target: {target}  # the column that holds the answer
{labels}data:
  train: {data}
  validation: null  # null: split off from train
  test: {test}  # a file of real production input is best; null: split off from train
{options}group: null  # a column whose values must never straddle a split, such as a customer
model: {model}  # {default}, a Hugging Face id, or a folder
{chat_template}  # a Jinja file or the name of a known template, for a model without one
# train: {{method: lora, r: 16}}  # any field of the recipe
# business: {{calls_per_month: 100000, margin: 0.02}}  # what the verdict depends on
# accept: {{accuracy: 0.95, rule: plain}}  # which answers need no person; rule: exact makes it a promise
{scoring}seed: 42
"""

_METRIC = "# metric: scores:right  # a function (answer, expected) of scores.py beside this file, from 0 to 1\n"
_SCORING = {
    "code": '# code: {program: "{answer}\\n{tests}", seconds: 10}  # what tests an answer; {tests} is a column\n',
    "generation": _METRIC + "# schema: answer.json  # a JSON Schema that every answer has to satisfy\n",
    "summarization": _METRIC,
}
"""What says when an answer is right, for kinds where the user may say it."""

_INSTRUCTIONS = {
    "classification": "Classify the {column} into exactly one category.\n"
    "Respond with only the category name, nothing else.",
    "summarization": "Summarise the {column} in one or two sentences.",
    "code": "Write the Python code that the {column} asks for.\nRespond with only the code, nothing else.",
    "generation": "Answer the {column}.",
}


def write_task(
    folder: str | Path,
    *,
    name: str,
    data: str | Path,
    input_column: str,
    target: str,
    labels: Collection[str] = (),
    model: str = DEFAULT_MODEL,
    kind: str = "classification",
    test: str | Path | None = None,
    chat_template: str | None = None,
    instructions: str | None = None,
    shape: str | None = None,
    skip_bad: bool = False,
) -> Path:
    """Write a commented `task.yaml`; nothing is written unless it reads back as a valid task.

    Args:
        folder: where it goes; made where it is missing.
        name: the task's name.
        data: the labelled rows, absolute or relative to the current folder; kept relative to `folder`.
        input_column: the column that the user turn shows.
        target: the column that holds the answer.
        labels: the answers there are, for a classification; sorted as given.
        model: a Hugging Face id, a folder, or the bundled model.
        kind: one of `KINDS`.
        test: a file of held-out rows; None lets them be split off.
        chat_template: the name of a known template, or a Jinja file relative to `folder`; None where the model has one.
        instructions: the system turn; None writes one that asks for the kind's answer, empty writes none.
        shape: the shape that the data are in; None leaves it to be recognised.
        skip_bad: leave bad rows out.

    Returns:
        The path of the file.

    Raises:
        TaskError: a file is there already, or the values make no valid task.
        StorageError: the folder may not be written.
    """
    path = Path(folder) / FILE
    if path.exists():
        raise TaskError("there is a task already", where=str(path), mend="Choose another folder, or delete that file.")
    if kind not in KINDS:
        raise TaskError(f"kind {kind!r} is not known", where="--kind", mend=suggestion(kind, KINDS))
    lines = "".join(f"  {_quoted(label)}:\n" for label in labels)
    if instructions is None:
        instructions = _INSTRUCTIONS[kind].format(column=" ".join(input_column.split()))
    options = f"  shape: {shape}\n" if shape else ""
    text = _TEMPLATE.format(
        name=_quoted(name),
        kind=kind,
        instructions=_block(instructions),
        options=options + ("  skip_bad: true  # bad rows are left out and counted\n" if skip_bad else ""),
        input=_quoted("{" + input_column + "}"),
        target=_quoted(target),
        labels=f"labels:  # name: one-line description\n{lines}fallback: null\n" if labels else "",
        data=_quoted(_relative(data, folder)),
        test=_quoted(_relative(test, folder)) if test else "null",
        model=_quoted(model),
        scoring=_SCORING.get(kind, ""),
        default=DEFAULT_MODEL,
        chat_template=f"chat_template: {_quoted(chat_template)}" if chat_template else "# chat_template: null",
    )
    parse_task(text, folder=Path(folder).resolve(), where=str(path))
    try:
        return atomic_write(path, text, overwrite=False)
    except FileExistsError:
        raise TaskError("there is a task already", where=str(path), mend="Choose another folder.") from None


def _block(text: str) -> str:
    """Text as a YAML block, or quoted where a block would not read back as this text."""
    lines = text.strip().split("\n")
    told = "# the system turn: say what the input is and what the answer must look like"
    if text.strip() and all(line.isprintable() and line == line.rstrip() for line in lines):
        return f"|  {told}\n" + "\n".join(f"  {line}" if line else "" for line in lines)
    import yaml

    dumped = yaml.dump(text.strip(), Dumper=yaml.SafeDumper, default_style='"', width=2**20)
    return f"{str(dumped).strip()}  {told}"


def _relative(path: str | Path, folder: str | Path) -> str:
    if "://" in str(path):
        return str(path)
    return Path(os.path.relpath(Path(path).expanduser().resolve(), Path(folder).resolve())).as_posix()


def _quoted(text: str) -> str:
    """A YAML scalar on one line that reads back as this text."""
    import yaml

    dumped = yaml.dump(str(text), Dumper=yaml.SafeDumper, allow_unicode=True, width=2**20)
    return str(dumped).removesuffix("...\n").removesuffix("\n").replace("\n", " ")
