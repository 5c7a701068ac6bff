"""Which data was it, and how often was the test set looked at?

Walks in: examples; a task's folder. Walks out: hashes, and counts of looks. A test set that is judged again and again
is slowly fitted to, so every look is a line in `.kasauti/looks.jsonl`, and lines are only ever added.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from kasauti.core.files import STATE, append_line, content_hash, read_json_lines
from kasauti.core.types import Example

_LOOKS = "looks.jsonl"


def data_version(examples: Iterable[Example]) -> str:
    """sha256 over the rows in normal form; their order and their files do not count, how often a row is there does."""
    return content_hash(sorted(example.id for example in examples))


def hash_test_rows(test: Iterable[Example]) -> str:
    """sha256 over the ids of the test rows, sorted: what a look is counted against."""
    return content_hash(sorted(example.id for example in test))


def fingerprint(version: str, seed: int, parts: Mapping[str, Iterable[Example]]) -> str:
    """sha256 over data version, seed, and which rows are in which part."""
    ids = {name: sorted(example.id for example in examples) for name, examples in parts.items()}
    return content_hash({"data": version, "seed": seed, "parts": ids})


def record_look(task_folder: str | Path, test_sha256: str, what: str) -> int:
    """Count a look at the test rows.

    Args:
        task_folder: the folder of `task.yaml`.
        test_sha256: the test set, as `Split.test_sha256` names it.
        what: what looked, for instance a trial's id.

    Returns:
        How many looks there have been at this test set, this one included.

    Raises:
        StorageError: the folder may not be written.
    """
    if any(_is_look(line, test_sha256) and line.get("what") == what for line in read_json_lines(_path(task_folder))):
        return looks(task_folder, test_sha256)  # a command that was killed and started again looks once
    at = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({"at": at, "test_sha256": test_sha256, "what": what}, ensure_ascii=False)
    append_line(_path(task_folder), line)
    return looks(task_folder, test_sha256)


def looks(task_folder: str | Path, test_sha256: str) -> int:
    """How many looks there have been at a test set."""
    lines = read_json_lines(_path(task_folder))
    return sum(_is_look(line, test_sha256) for line in lines)


def _is_look(line: object, test_sha256: str) -> bool:
    return isinstance(line, dict) and line.get("test_sha256") == test_sha256


def _path(task_folder: str | Path) -> Path:
    return Path(task_folder) / STATE / _LOOKS
