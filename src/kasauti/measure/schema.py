"""Answers that have to be JSON of a given shape: a JSON Schema and an answer → what is wrong with it, if anything.

Walks in: the task, which names the schema's file, and answers. Walks out: parsed values, faults, and the text by which
two JSON values are compared. It does not make a model write such answers (`model/constrain.py` does); it checks what it
wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.core.errors import TaskError
from kasauti.core.types import Task

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

Fault = Callable[[str], str | None]
"""An answer → the first thing wrong with it in one line, or None."""
_WHERE = "task.yaml: schema"


def load_schema(task: Task) -> Fault:
    """The check of answers by the task's schema. A `$ref` to another document is refused, not fetched.

    Raises:
        TaskError: the file is missing, no JSON, or no schema.
    """
    schema, path = _read(task)
    validator = _validator(schema, path)

    def fault(answer: str) -> str | None:
        try:
            value = parse_json(answer)
        except ValueError as error:
            return f"no JSON: {error}"
        return _first_fault(validator, value, path)

    return fault


def schema_of(task: Task) -> Any:
    """The task's schema, checked to be one.

    Raises:
        TaskError: as `load_schema`.
    """
    schema, path = _read(task)
    _validator(schema, path)
    return schema


def _read(task: Task) -> tuple[Any, Path]:
    path = (Path(task.folder) / str(task.scoring.schema)).resolve()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise TaskError(f"{path}: {reason}", where=_WHERE, mend="Name a JSON Schema file.") from error
    try:
        return json.loads(text), path
    except ValueError as error:
        raise TaskError(f"{path} is no JSON: {error}", where=_WHERE, mend="Mend the file.") from error


def _validator(schema: Any, path: Path) -> Validator:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    made = validator_for(schema, default=Draft202012Validator)
    try:
        made.check_schema(schema)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path)) or "its root"
        mend = "Mend it there; see json-schema.org for what a schema may say."
        raise TaskError(f"{path} is no schema, at {where}: {error.message}", where=_WHERE, mend=mend) from error
    checker: Validator = made(schema, registry=Registry())
    return checker


def _first_fault(validator: Validator, value: Any, path: Path) -> str | None:
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(validator.iter_errors(value))
    except Unresolvable as unresolvable:
        mend = "Put what it refers to under $defs in the same file."
        raise TaskError(f"{path} refers to {unresolvable.ref!r}", where=_WHERE, mend=mend) from unresolvable
    except RecursionError:
        return "nested too deeply"
    if error is None:
        return None
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    return " ".join(f"{place.lstrip('.') or 'the whole'}: {error.message}".split())[:300]


def parse_json(text: str) -> Any:
    """The value of a JSON text as RFC 8259 has it: no NaN, and no key twice.

    Raises:
        ValueError: it is none.
    """

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no JSON value")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice in one object")
        return found

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def canonical(text: str) -> str:
    """One spelling for equal JSON values: keys sorted, no space, 1.0 as 1; text that is no JSON stays as it is."""
    try:
        return json.dumps(_plain(parse_json(text)), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
