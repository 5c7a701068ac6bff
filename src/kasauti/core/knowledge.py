"""What the task file says about the documents that answers may rest on: `knowledge`.

Walks in: the parsed task file. Walks out: a `Knowledge`, or one line that names the fault. It does not know documents.
"""

from __future__ import annotations

from dataclasses import dataclass

from kasauti.core.errors import TaskError
from kasauti.core.yaml_text import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Knowledge:
    """The user's documents, and how much of them a prompt shows."""

    path: str
    """A file, or a folder with all that is in it; relative to the task's folder."""
    top: int = 4
    """Chunks in a prompt, at most: as many of the best ones as its window has room for."""
    tokens: int = 160
    """Tokens that a chunk has at most, its headings counted. Four of them leave a window of 1,024 room for the rest."""
    overlap: int = 24
    """Tokens at the end of a chunk that the next one begins with, about: whole sentences."""
    store: str | None = None
    """Where the index is: None for `.kasauti/knowledge/`; a LanceDB URI (a folder, s3://…, db://…) where it is shared,
    or has more than some 100,000 chunks."""


def read_knowledge(entry: Entry | None) -> Knowledge | None:
    """`knowledge: docs`, or `knowledge: {path: docs, top: 4, tokens: 160, overlap: 24, store: null}`; None without it.

    Raises:
        TaskError: an unknown key, no path, or a number that cannot be.
    """
    if entry is None:
        return None
    if not entry.is_mapping:
        return Knowledge(path=entry.name())
    entry.only(("path", "top", "tokens", "overlap", "store"))
    path, store = entry.get("path"), entry.get("store")
    if path is None:
        raise TaskError("`knowledge.path` is missing", where=entry.where, mend="Name a file or a folder of documents.")
    plain = Knowledge(path=path.name())
    tokens = _whole(entry.get("tokens"), plain.tokens, 16)
    overlap = _whole(entry.get("overlap"), min(plain.overlap, tokens // 4), 0)
    if overlap * 2 > tokens:
        mend = f"Write at most {tokens // 2}, half of `tokens`."
        raise TaskError(f"`knowledge.overlap` is {overlap}", where=entry["overlap"].where, mend=mend)
    return Knowledge(
        path=plain.path,
        top=_whole(entry.get("top"), plain.top, 1),
        tokens=tokens,
        overlap=overlap,
        store=store.name() if store else None,
    )


def _whole(entry: Entry | None, default: int, least: int) -> int:
    if entry is None:
        return default
    value = entry.plain()
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        mend = f"Write a whole number from {least}."
        raise TaskError(f"`{entry.path}` is {entry.shown}", where=entry.where, mend=mend)
    return value
