"""YAML read so that every fault can name its line.

Walks in: the text of a YAML document. Walks out: an `Entry`, a value that remembers where it stood. It does not know
what the keys mean. Keys that are given twice are refused (a plain loader keeps the last one silently), and so are
anchors.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from kasauti.core.errors import TaskError
from kasauti.core.names import suggestion

_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""YAML 1.1 reads `2e-4` as text; a learning rate is written so, and is meant as a number."""


def parse(text: str, where: str) -> Entry:
    """The document as an `Entry`, which is a mapping. Raises `TaskError` with file and line."""
    import yaml

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise TaskError("has an alias (`*name`)", where=where, mend="Write the value out.")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        mend = "Check the indentation, and put quotes around text that holds a colon or a brace."
        raise TaskError(f"is not valid YAML: {error.problem}", where=f"{where}{line}", mend=mend) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise TaskError("is not valid YAML", where=where, mend="Check its characters and nesting.") from error
    if node is None:
        raise TaskError("is empty", where=where, mend="Write a task with `kasauti init`.")
    entry = Entry(node, where, "")
    entry.check()
    return entry


class Entry:
    """A value of the document with its place.

    Args:
        node: the node that PyYAML composed.
        file: the file's name for errors.
        path: the dotted path of keys that leads here; empty at the top.
    """

    def __init__(self, node: Any, file: str, path: str) -> None:
        self._node = node
        self._file = file
        self.path = path

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self._file}:{self._node.start_mark.line + 1}"

    @property
    def is_mapping(self) -> bool:
        return str(self._node.id) == "mapping"

    @property
    def shown(self) -> str:
        """The value as an error quotes it."""
        return repr(self._node.value) if self._node.id == "scalar" else f"a {self._node.id}"

    def check(self) -> None:
        """Refuse anything but mappings with text keys, each given once, all the way down."""
        if not self.is_mapping:
            raise self._wrong("a mapping of names to values")
        self._check_keys()

    def _check_keys(self) -> None:
        if self._node.id == "sequence":
            for item in self._node.value:
                Entry(item, self._file, self.path)._check_keys()
        if not self.is_mapping:
            return
        seen: dict[str, int] = {}
        for key, value in self._node.value:
            line = key.start_mark.line + 1
            if key.id != "scalar":
                raise TaskError(f"a key is a {key.id}", where=f"{self._file}:{line}", mend="Put quotes around it.")
            if key.value in seen:
                raise TaskError(
                    f"`{key.value}` is given twice, first on line {seen[key.value]}",
                    where=f"{self._file}:{line}",
                    mend="Remove one of them.",
                )
            seen[key.value] = line
            Entry(value, self._file, self._below(key.value))._check_keys()

    def only(self, known: Collection[str]) -> None:
        """Raise `TaskError` for the first key that is not known, with the nearest one that is."""
        for key, _ in self.items():
            if key not in known:
                raise TaskError(f"unknown key `{self._below(key)}`", where=self.where_key(key),
                                mend=suggestion(key, known))  # fmt: skip

    def where_key(self, key: str) -> str:
        """`file:line` of a key that is there."""
        line = next(k.start_mark.line for k, _ in self._node.value if k.value == key)
        return f"{self._file}:{line + 1}"

    def items(self) -> Iterator[tuple[str, Entry | None]]:
        """Keys and values in order; None stands for null. Raises `TaskError` where this is no mapping."""
        if not self.is_mapping:
            raise self._wrong("a mapping of names to values")
        for key, value in self._node.value:
            yield str(key.value), None if _is_null(value) else Entry(value, self._file, self._below(key.value))

    def get(self, key: str) -> Entry | None:
        """The value of a key; None where it is missing or null."""
        return dict(self.items()).get(key)

    def __getitem__(self, key: str) -> Entry:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def list(self) -> list[Entry]:
        """The items of a list, null ones included. Raises `TaskError` where this is no list."""
        if self._node.id != "sequence":
            raise self._wrong("a list")
        return [Entry(item, self._file, f"{self.path}[{number}]") for number, item in enumerate(self._node.value)]

    def text(self) -> str:
        """A scalar as it is written: a plain `no`, `1.10` or `2024-01-01` is that text, not a bool, number or date."""
        if self._node.id != "scalar":
            raise self._wrong("text")
        return str(self._node.value)

    def name(self) -> str:
        """A scalar that is not empty, without the space around it."""
        value = self.text().strip()
        if not value:
            raise self._wrong("a name")
        return value

    def plain(self) -> Any:
        """The value as Python's str, int, float, bool, None, list and dict."""
        if self._node.id == "mapping":
            return {key: value.plain() if value else None for key, value in self.items()}
        if self._node.id == "sequence":
            return [item.plain() for item in self.list()]
        return self._scalar()

    def _scalar(self) -> Any:
        import yaml

        value, style = self._node.value, self._node.style
        if style is None and _EXPONENT.fullmatch(value):
            return float(value)
        loader = yaml.SafeLoader("")
        try:
            built = loader.construct_object(self._node)
            # a date is kept as it is written: what is set here is stored as JSON later
            return built if built is None or isinstance(built, str | int | float) else value
        except (yaml.YAMLError, ValueError) as error:
            raise self._wrong("a plain value") from error
        finally:
            loader.dispose()

    def _below(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else str(key)

    def _wrong(self, expected: str) -> TaskError:
        name = f"`{self.path}`" if self.path else "the file"
        return TaskError(f"{name} is {self.shown}", where=self.where, mend=f"{expected.capitalize()} is expected here.")


def _is_null(node: Any) -> bool:
    return node.id == "scalar" and str(node.tag) == "tag:yaml.org,2002:null"
