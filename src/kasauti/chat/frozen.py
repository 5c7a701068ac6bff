"""A chat template as a value: its text, its arguments, how an answer stands in it, and a hash.

Walks in: what `freeze` found, or `template.json`. Walks out: `FrozenTemplate`, kept beside an adapter so that serving
renders what training rendered. It does not know how to render.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kasauti.core.errors import StorageError, TemplateError

FILE_NAME = "template.json"
_FORMAT = 1
_WHERE_CHANGED = "Take the file from the run that trained the adapter, or train again."


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerFrame:
    """What stands around an answer; the constants that rendering and parsing share.

    A conversation to train on is  prompt · `lead` · `space` · answer · `gap` · `end` · whatever follows,  of which
    the prompt with the lead is asked and everything from the space to the end is supervised.
    """

    lead: str
    """What the template writes between its own prompt and the answer (a header, an empty think block); part of the
    prompt."""
    space: str
    """Spaces before the answer that belong to it, because vocabularies join them to its first word."""
    tail: str
    """All that the template itself writes after the answer."""
    gap: str
    """White space between the answer and the end of the turn."""
    end: str
    """The token that ends the turn."""
    end_id: int
    appended: bool
    """True where the template writes no end of turn, and the tokenizer's end-of-sequence token stands in place of
    `tail`."""
    longer_prompt: bool
    """True where the prompt to ask is longer than the rendering to train on (a think block written only when asking);
    the answer is then trained behind the prompt that is asked."""
    trims: bool
    """True where the template takes white space off the ends of an answer."""
    shown: str
    """What the supervised ids decode to before the answer: `space`, as this tokenizer writes it."""
    before_id: int | None
    """The last token of a prompt, behind which answers are decoded; None where a prompt has no token."""

    @property
    def closing(self) -> str:
        """What is written after the answer in training."""
        return self.end if self.appended else self.tail


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A small conversation with the ids that the tokenizer gave it when the template was frozen."""

    messages: tuple[tuple[str, str], ...]
    """(role, content), in order."""
    answer: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FrozenTemplate:
    """A chat template that renders the same tomorrow, and on every machine."""

    text: str
    """The Jinja text, with the amendments."""
    origin: str
    """`tokenizer`, or the name or path that the task gave."""
    arguments: Mapping[str, Any]
    """Template arguments that are always passed: a fixed `date_string`, `enable_thinking`."""
    special_tokens: Mapping[str, str]
    """The special tokens that the template can write, name → string."""
    amendments: tuple[str, ...] = ()
    """What was added to the tokenizer's own text, in words."""
    system: str = "own"
    """`own`: the template has a system turn; `folded`: it refuses or drops one (Mistral v0.3: in training), and the
    system text is put before the first user text, two newlines between them."""
    bos: str = "none"
    """`one`: exactly one, at the start; `none`: the template writes none and the tokenizer adds none; `turns`: the
    BOS is also the mark of a turn, and only a doubled one at the start is a fault."""
    frame: AnswerFrame
    probes: tuple[Probe, ...] = field(default=(), repr=False)

    @property
    def sha256(self) -> str:
        """Hash over text, arguments and special tokens; 64 hexadecimal digits."""
        parts = {"text": self.text, "arguments": dict(self.arguments), "special_tokens": dict(self.special_tokens)}
        return hashlib.sha256(_canonical(parts)).hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write `template.json` into an existing folder, atomically.

        Raises:
            StorageError: the disk is full or may not be written.
        """
        path = Path(folder) / FILE_NAME
        document = {"format": _FORMAT, "sha256": self.sha256, **asdict(self)}
        name = ""
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=folder, prefix=f".{FILE_NAME}.", delete=False
            ) as file:
                name = file.name
                json.dump(document, file, ensure_ascii=False, indent=1, default=dict)
                file.write("\n")
            os.replace(name, path)
        except OSError as error:
            if name:
                Path(name).unlink(missing_ok=True)
            raise StorageError(
                f"cannot be written: {error.strerror or error}",
                where=str(path),
                mend="Free some space, or choose a folder that may be written.",
            ) from None
        return path

    @classmethod
    def load(cls, folder: str | Path) -> FrozenTemplate:
        """Read `template.json`; the inverse of `save`.

        Raises:
            TemplateError: no such file, not this format, or changed since it was written.
        """
        path = Path(folder) / FILE_NAME
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            frozen = cls._from_document(document)
        except OSError as error:
            raise TemplateError(f"cannot be read: {error.strerror}", where=str(path), mend=_WHERE_CHANGED) from None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            what = f"is no frozen chat template: {error!r}"
            raise TemplateError(what, where=str(path), mend=_WHERE_CHANGED) from None
        if document["sha256"] != frozen.sha256:
            raise TemplateError(
                f"was changed after it was written: its hash is {frozen.sha256[:12]} and it says "
                f"{document['sha256'][:12]}",
                where=str(path),
                mend=_WHERE_CHANGED,
            )
        return frozen

    @classmethod
    def _from_document(cls, document: dict[str, Any]) -> FrozenTemplate:
        fields = {name: value for name, value in document.items() if name not in {"format", "sha256"}}
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']!r}, and this version reads {_FORMAT}")
        fields["amendments"] = tuple(fields["amendments"])
        fields["frame"] = AnswerFrame(**fields["frame"])
        fields["probes"] = tuple(
            Probe(
                messages=tuple((role, content) for role, content in probe["messages"]),
                answer=probe["answer"],
                prompt_ids=tuple(probe["prompt_ids"]),
                ids=tuple(probe["ids"]),
            )
            for probe in fields["probes"]
        )
        return cls(**fields)


def _canonical(parts: Mapping[str, Any]) -> bytes:
    return json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
