"""Signs that nobody sees, and strings by which chat templates mark turns, in what users wrote.

Walks in: the split. Walks out: findings. It does not know which model will be used: strings are looked for by the
shapes that models give them; what only one model knows is looked for where its tokenizer is (`train.checks`).
"""

from __future__ import annotations

import re
from collections import Counter

from kasauti.core.types import Example, Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN, row_numbers, share
from kasauti.data.conversation import content
from kasauti.data.split import parts_of

CHAT = re.compile(
    r"<\|[A-Za-z0-9_ ]{1,40}\|>|<｜[^｜<>]{1,40}｜>|\[/?INST\]|<</?SYS>>|</?s>|</?(?:start|end)_of_turn>|<[be]os>"
    r"|</?think>|</?tool_(?:call|response)>",
    re.IGNORECASE,
)
"""Llama-3, Phi-3 and ChatML (`<|…|>`), DeepSeek, Mistral and Llama-2, Gemma, and the tags of thinking and tools."""
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|[\u200b\u2060\ufeff\u00ad]|(?<![^\x00-\u024f])[\u200c\u200d](?![^\x00-\u024f])"
    "|[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]|[\ufffd\ufdd0-\ufdef\ufffe\uffff]|[\U000e0000-\U000e007f]"
)
"""Joiners belong to Devanagari, to Arabic and to emoji: they are told between Latin letters only. Tab and line ends are
text. A pattern and not Unicode's categories, since most rows hold none of these and a search says so at once."""


def invisible_kinds(text: str) -> set[str]:
    """The kinds of signs in a text that are not seen or not text."""
    if text.isprintable() and "\ufffd" not in text:  # the one of them that counts as printable
        return set()
    return {_kind(ord(sign)) for sign in _INVISIBLE.findall(text)}


def chat_strings(text: str) -> set[str]:
    """The strings in a text by which chat templates mark turns."""
    return set(CHAT.findall(text)) if "<" in text or "[" in text else set()


def _kind(point: int) -> str:
    if point < 0x20 or 0x7F <= point < 0xA0:
        return "control characters (C0, C1)"
    if point in (0x200E, 0x200F, 0x061C) or 0x202A <= point <= 0x202E or 0x2066 <= point <= 0x2069:
        return "writing-direction marks and overrides"
    if point == 0xFFFD:
        return "replacement characters (text that was decoded wrongly)"
    if point >= 0xE0000:
        return "invisible tag characters"
    return "noncharacters" if point >= 0xFFFE or 0xFDD0 <= point <= 0xFDEF else "zero-width characters"


def shown(text: str, width: int = 120) -> str:
    """The text with its invisible signs written as `\\u200b`, on one line; cut around the first of them."""
    first = _INVISIBLE.search(text)
    start = max(0, first.start() - width // 2) if first else 0
    part = " ".join(text[start : start + width].split(" "))
    written = _INVISIBLE.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), part)
    return " ".join(written.split())


def control(task: Task, split: Split) -> list[Finding]:
    """Rows with invisible signs in their input or answer, and rows with chat-template strings in them."""
    findings = []
    for part, examples in parts_of(split).items():
        hidden, marked = _Found(), _Found()
        for example in examples:
            text, answer = content(example), example.answer or ""
            hidden.add(example, invisible_kinds(text) | invisible_kinds(answer))
            marked.add(example, chat_strings(text) | chat_strings(answer))
        if hidden.rows:
            findings.append(_hidden(part, hidden.rows, hidden.counts, len(examples)))
        if marked.rows:
            findings.append(_marked(part, marked.rows, marked.counts, len(examples)))
    return findings


class _Found:
    """Rows with something in them, and how many hold each kind of it."""

    def __init__(self) -> None:
        self.rows: list[Example] = []
        self.counts = Counter[str]()

    def add(self, example: Example, kinds: set[str]) -> None:
        if kinds:
            self.rows.append(example)
            self.counts.update(kinds)


def _hidden(part: str, rows: list[Example], counts: Counter[str], total: int) -> Finding:
    kinds = ", ".join(f"{kind}: {number} rows" for kind, number in counts.most_common())
    return Finding(
        check="control",
        severity=Severity.WARN,
        what=f"{len(rows)} rows ({share(len(rows), total)}) hold signs that nobody sees: {kinds}",
        where=part,
        count=len(rows),
        rows=row_numbers(rows),
        evidence=[shown(content(row)) for row in rows[:SHOWN]],
        why="A tokenizer sees them: words fall apart into rare tokens, and what a reader sees is not what is learnt.",
        mend="Take them out where the data are made, and in the same way from production input.",
    )


def _marked(part: str, rows: list[Example], counts: Counter[str], total: int) -> Finding:
    strings = ", ".join(f"{text} in {number}" for text, number in counts.most_common(8))
    return Finding(
        check="control",
        severity=Severity.WARN,
        what=f"{len(rows)} rows ({share(len(rows), total)}) hold strings by which chat templates mark turns: {strings}",
        where=part,
        count=len(rows),
        rows=row_numbers(rows),
        evidence=[shown(content(row)) for row in rows[:SHOWN]],
        why="Kasauti encodes them as plain text; a server that does not lets such a text end the user's turn and give "
        "instructions of its own.",
        mend="Look how they came in; take them out unless users do write them, and serve with the same encoding.",
    )
