"""Sections of a document → chunks of bounded length, each with the hash of what it says.

Walks in: sections, a function that counts tokens. Walks out: `Chunk`s, and the terms by which a text is found. It does
not know files, indices or whose tokens they are.

A chunk never crosses a heading. Within a section, whole paragraphs are taken as long as they fit; one that does not fit
by itself is taken by sentences, and a sentence that does not, by words. The next chunk of a section begins with the
last sentences of the one before, as many as `overlap` allows. So a change to one section leaves the chunks of all
others as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kasauti.core.files import content_hash
from kasauti.data.knowledge.documents import Section

Count = Callable[[str], int]
"""A text to its number of tokens; more text never has fewer."""
_PARAGRAPH = re.compile(r"\n[ \t]*\n+")
_SENTENCE = re.compile(r"(?<=[.!?…।。！？])\s+|\n")
_TERM = re.compile(r"[\w\u0300-\u036f\u0900-\u0dff\u200c\u200d]+")
"""A word with the marks that belong to it; `\\w` alone tears Devanagari apart at its vowel signs."""
_ALONE = re.compile(r"([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
"""Scripts that write no space between words: every sign is a term."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document that is found and shown as a whole."""

    id: str
    """32 hexadecimal digits over source, heading, text and the vectors' model: equal where nothing changed."""
    source: str
    """The document's name."""
    heading: str
    text: str

    @property
    def name(self) -> str:
        """What it is cited by."""
        return f"{self.source} › {self.heading}" if self.heading else self.source


def estimate(text: str) -> int:
    """Tokens of a text where no tokenizer is at hand: a token for each four letters, and at least one a word."""
    return max(len(text.split()), -(-len(text) // 4))


def terms(text: str) -> list[str]:
    """The words by which a text is found: case folded, NFKC, marks kept with their letters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _TERM.findall(_ALONE.sub(r" \1 ", folded))


def chunks_of(
    source: str,
    sections: Sequence[Section],
    *,
    tokens: int,
    overlap: int,
    count: Count = estimate,
    with_vectors: str = "",
) -> list[Chunk]:
    """The chunks of a document, in order, none twice.

    Args:
        tokens: most that heading and text have together.
        overlap: most that a chunk repeats of the one before.
        count: counts them.
        with_vectors: the model that makes their vectors; part of the hash, as another model's are other vectors.
    """
    found: dict[str, Chunk] = {}
    for section in sections:
        heading = _shortened(section.heading, tokens // 2, count)
        room = tokens - (count(heading + "\n") if heading else 0)
        for text in _packed(_pieces(section.text, room, count), room, overlap, count):
            id = content_hash([source, heading, text, with_vectors])[:32]
            found.setdefault(id, Chunk(id, source, heading, text))
    return list(found.values())


def _shortened(heading: str, most: int, count: Count) -> str:
    """A heading may be as long as a paragraph; its innermost part says most."""
    words = heading.split()
    while len(words) > 1 and count(" ".join(words)) > most:
        words = words[1:]
    return " ".join(words)


def _pieces(text: str, room: int, count: Count) -> Iterator[tuple[str, str]]:
    """(what stands before it, piece): paragraphs, or the sentences or words of one that does not fit."""
    for paragraph in _PARAGRAPH.split(text.strip()):
        if count(paragraph) <= room:
            yield "\n\n", paragraph.strip()
            continue
        before = "\n\n"
        for sentence in filter(None, (part.strip() for part in _SENTENCE.split(paragraph))):
            for piece in _by_words(sentence, room, count):
                yield before, piece
                before = " "


def _by_words(sentence: str, room: int, count: Count) -> Iterator[str]:
    words = sentence.split()
    while words:
        low, high = 1, len(words)  # the most words that fit; one that does not fit by itself is cut below
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if count(" ".join(words[:middle])) <= room else (low, middle - 1)
        taken = " ".join(words[:low])
        while count(taken) > room and len(taken) > 1:
            head = taken[: max(1, len(taken) * room // (count(taken) + 1))]
            yield head
            taken = taken[len(head) :]
        yield taken
        words = words[low:]


def _packed(pieces: Iterator[tuple[str, str]], room: int, overlap: int, count: Count) -> Iterator[str]:
    held, fresh = "", False
    for before, piece in pieces:
        longer = f"{held}{before}{piece}" if held else piece
        if count(longer) <= room:
            held, fresh = longer, True
            continue
        if fresh:
            yield held
        tail = _tail(held, overlap, count)
        with_tail = f"{tail} {piece}" if tail else piece
        held, fresh = with_tail if count(with_tail) <= room else piece, True
    if held and fresh:
        yield held


def _tail(text: str, overlap: int, count: Count) -> str:
    """The last sentences of a text that have at most so many tokens together."""
    kept = ""
    for sentence in reversed([part for part in _SENTENCE.split(text) if part.strip()]):
        longer = f"{sentence.strip()} {kept}".strip()
        if count(longer) > overlap:
            break
        kept = longer
    return kept
