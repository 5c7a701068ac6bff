"""Parquet, and data sets of the Hugging Face library: a saved folder, or an id.

Walks in: the place. Walks out: rows, batch by batch. It does not know columns' meaning. A class label is given by its
name, not by its number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kasauti.core.errors import DataError
from kasauti.data.formats.row import Item, Row, Say, row_of

HUB = "hf://"
_BATCH = 1024
"""Rows that are in memory at once."""


def read_parquet(source: str, say: Say) -> Iterator[Item]:
    """A Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source, pre_buffer=False) as file:
            names = _named_by_metadata(file.schema_arrow.metadata or {})
            _check_names(file.schema_arrow.names, source)
            yield from _rows(file.iter_batches(batch_size=_BATCH), names, source)
    except (pa.ArrowException, UnicodeDecodeError, NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the disk, not of the file
        raise DataError(f"is no whole Parquet file: {_short(error)}", where=source, mend="Copy it again.") from error


def read_saved(source: str, say: Say) -> Iterator[Item]:
    """A folder that `save_to_disk` made."""
    if (Path(source) / "dataset_dict.json").is_file():
        splits = sorted(p.name for p in Path(source).iterdir() if (p / "state.json").is_file())
        mend = f"Name one of them: {', '.join(f'{source}/{name}' for name in splits)}."
        raise DataError(f"holds {len(splits)} splits", where=source, mend=mend)
    if not (Path(source) / "state.json").is_file():
        mend = "Name a file, or a folder that a data set was saved to (save_to_disk)."
        raise DataError("is a folder and no saved data set", where=source, mend=mend)
    import datasets

    try:
        saved = datasets.load_from_disk(source)
    except Exception as error:  # the library raises what it likes for a damaged folder
        raise DataError(f"is no whole data set: {_short(error)}", where=source, mend="Save it again.") from error
    yield from _dataset_rows(saved, source)


def read_hub(source: str, say: Say) -> Iterator[Item]:
    """`hf://owner/name`, with `/configuration` and `:split` where they are needed (the split is train)."""
    name, _, split = source.removeprefix(HUB).partition(":")
    parts = name.split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        mend = f"Write {HUB}owner/name, {HUB}owner/name:test or {HUB}owner/name/configuration:train."
        raise DataError("is no id of a data set", where=source, mend=mend)
    import datasets

    try:
        loaded = datasets.load_dataset("/".join(parts[:2]), *parts[2:], split=split or "train")
    except Exception as error:  # no network, no such id, no such split: every layer has errors of its own
        mend = "Check the id, the split and the network, or download it and name its files."
        raise DataError(f"cannot be loaded from the Hub: {_short(error)}", where=source, mend=mend) from error
    yield from _dataset_rows(loaded, source)


def _dataset_rows(dataset: Any, source: str) -> Iterator[Item]:
    named = {name: list(feature.names) for name, feature in dataset.features.items() if hasattr(feature, "names")}
    _check_names(dataset.column_names, source)
    tables = dataset.with_format("arrow").iter(batch_size=_BATCH)
    yield from _rows((batch for table in tables for batch in table.to_batches()), named, source)


def _rows(batches: Iterable[Any], named: Mapping[str, Sequence[str]], source: str) -> Iterator[Item]:
    number = 0
    for batch in batches:
        for values in _values(batch):
            number += 1
            where = f"{source}, row {number}"
            yield 0, values if isinstance(values, DataError) else _row(values, named, where)


def _values(batch: Any) -> Iterator[Any]:
    """The rows of a batch as Python values; where one of them cannot be, each for itself."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for at in range(batch.num_rows):
        try:
            yield from batch.slice(at, 1).to_pylist()
        except UnicodeDecodeError:
            yield None


def _row(values: Any, named: Mapping[str, Sequence[str]], where: str) -> Row | DataError:
    if values is None:
        return DataError("a text is not UTF-8", where=where, mend="Write the file again from its source.")
    for column, names in named.items():
        number = values.get(column)
        if isinstance(number, int):
            if not -1 <= number < len(names):
                return DataError(f"class {number} of {column!r} has no name", where=where, mend="Mend that row.")
            values = {**values, column: names[number] if number >= 0 else None}  # -1 is an unknown class
    return row_of(values, where)


def _named_by_metadata(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column → names of its classes, from what the library writes into a Parquet file."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {k: list(f["names"]) for k, f in features.items() if f.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # written by something else: the numbers stay numbers


def _check_names(names: Sequence[str], source: str) -> None:
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two columns are named {twice!r}", where=source, mend="Rename one of them.")


def _short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
