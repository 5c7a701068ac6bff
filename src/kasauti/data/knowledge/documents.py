"""The user's documents, each as sections under their headings.

Walks in: a file or a folder. Walks out: `Document`s of text, Markdown, HTML, PDF and CSV files. It does not know chunks
or tokens.

A new format is one function here and one line in `READERS`.
"""

from __future__ import annotations

import html.parser
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.core.errors import DataError
from kasauti.core.files import STATE
from kasauti.data.formats import text as plain
from kasauti.data.read import read_records


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a document."""

    heading: str
    """Its headings from the outermost, joined by ` › `; empty where there is none."""
    text: str
    """Paragraphs parted by blank lines."""


Reader = Callable[[Path], Iterator[Section]]
SEPARATOR = " › "
_HEADING = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


def document_files(path: Path) -> list[tuple[str, Path]]:
    """(source, file) of every document, by name: a file by itself, or all that can be read below a folder.

    Raises:
        DataError: nothing is there, or nothing that can be read.
    """
    if path.is_file():
        if path.suffix.lower() not in READERS:
            known = ", ".join(READERS)
            raise DataError(f"cannot read {path.suffix or 'a file without suffix'}", where=str(path),
                            mend=f"Save it as one of {known}.")  # fmt: skip
        return [(path.name, path)]
    if not path.is_dir():
        raise DataError("no such file or folder", where=str(path), mend="Check `knowledge` in the task file.")
    found = [
        (file.relative_to(path).as_posix(), file)
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and file.suffix.lower() in READERS
        and not any(part.startswith(".") or part == STATE for part in file.relative_to(path).parts)
    ]
    if not found:
        raise DataError("has no document", where=str(path), mend=f"Put files in it: {', '.join(READERS)}.")
    return found


def sections_of(file: Path) -> list[Section]:
    """The sections of a document that have any text, in order.

    Raises:
        DataError: it cannot be read, or has no text.
    """
    try:
        sections = [one for one in READERS[file.suffix.lower()](file) if one.text.strip()]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(file), mend="Check the file.") from error
    if not sections:
        mend = "A scanned page needs text recognition first." if file.suffix.lower() == ".pdf" else "Take it away."
        raise DataError("has no text", where=str(file), mend=mend)
    return sections


def _decoded(path: Path) -> str:
    """The whole text, its encoding found out; bytes that belong to none are an error with their line."""
    parts = []
    for part in plain.parts(path, lambda _: None):
        if part.fault is not None:
            raise part.fault
        parts.append(part.text)
    return "".join(parts).replace("\r\n", "\n").replace("\r", "\n")


def _text(path: Path) -> Iterator[Section]:
    yield Section("", _decoded(path))


def _markdown(path: Path) -> Iterator[Section]:
    """Sections by `#` headings; a `#` within a fenced block is code."""
    levels: list[tuple[int, str]] = []
    lines: list[str] = []
    fence = ""
    for line in _decoded(path).split("\n"):
        mark = _FENCE.match(line)
        if mark:
            fence = "" if mark[1] == fence else fence or mark[1]
        heading = None if fence or mark else _HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        yield _section(levels, lines)
        levels = [one for one in levels if one[0] < len(heading[1])]
        levels.append((len(heading[1]), (heading[2] or "").strip()))
        lines = []
    yield _section(levels, lines)


def _section(levels: list[tuple[int, str]], lines: list[str]) -> Section:
    return Section(SEPARATOR.join(name for _, name in levels if name), "\n".join(lines).strip("\n"))


class _Html(html.parser.HTMLParser):
    """Text by headings; a block ends a paragraph, the cells of a table stand in a line."""

    HIDDEN = ("script", "style", "nav", "noscript", "template", "svg", "head")
    BLOCKS = ("p", "div", "li", "tr", "table", "section", "article", "br", "blockquote", "pre", "dt", "dd", "ul", "ol")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.levels: list[tuple[int, str]] = []
        self.text: list[str] = []
        self.heading: list[str] | None = None
        self.hidden = 0
        self.found: list[Section] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in self.HIDDEN:
            self.hidden += 1
        elif re.fullmatch("h[1-6]", tag):
            self.end()
            self.heading = []
        elif tag in ("td", "th"):
            self.text.append(" ")
        elif tag in self.BLOCKS:
            self.text.append("\n" if tag in ("br", "tr", "li") else "\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.HIDDEN:
            self.hidden = max(0, self.hidden - 1)
        elif re.fullmatch("h[1-6]", tag) and self.heading is not None:
            level = int(tag[1])
            self.levels = [one for one in self.levels if one[0] < level]
            self.levels.append((level, " ".join("".join(self.heading).split())))
            self.heading = None
        elif tag in self.BLOCKS and tag not in ("br", "tr", "li"):
            self.text.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            (self.text if self.heading is None else self.heading).append(re.sub(r"\s+", " ", data))

    def end(self) -> None:
        """Closes the section that is open."""
        lines = [" ".join(line.split()) for line in "".join(self.text).split("\n")]
        self.found.append(_section(self.levels, re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).split("\n")))
        self.text = []


def _html(path: Path) -> Iterator[Section]:
    parser = _Html()
    parser.feed(_decoded(path))
    parser.close()
    parser.end()
    yield from parser.found


def _pdf(path: Path) -> Iterator[Section]:
    """One section a page."""
    try:
        import pypdf
    except ImportError:
        raise DataError("reading PDF needs pypdf", where=str(path), mend="pip install 'kasauti[knowledge]'") from None
    try:
        for number, page in enumerate(pypdf.PdfReader(path).pages, start=1):
            yield Section(f"page {number}", page.extract_text())
    except (pypdf.errors.PyPdfError, ValueError, KeyError) as error:
        mend = "Save it without a password, or as text."
        raise DataError(f"is no PDF that can be read ({error})", where=str(path), mend=mend) from error


def _table(path: Path) -> Iterator[Section]:
    """One section a row, each column with its name."""
    for record in read_records(path):
        lines = [f"{column}: {value}" for column, value in record.row.items() if value]
        yield Section(f"row {record.number}", "\n".join(lines))


READERS: dict[str, Reader] = {
    ".txt": _text,
    ".md": _markdown,
    ".markdown": _markdown,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".csv": _table,
    ".tsv": _table,
}
"""Suffix → what reads it."""
