"""What a proof comes to: totals that are added up row by row, or portion by portion.

Walks in: rows that were checked. Walks out: a `Proof`. It does not know what is checked.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.supervise import IGNORED, Row, SupervisedRow
from kasauti.chat.view import Token, token_view
from kasauti.core.errors import SupervisionError
from kasauti.core.types import Supervised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPELLING = "Write the answers in characters that the tokenizer has, or choose another model."


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """A row whose user text lost its middle."""

    place: int
    """Its place among the rows that were proved, from 0."""
    row: int
    """Its number in its file."""
    prefix_length: int
    """Tokens of the prompt that are left."""
    length: int
    """Tokens of the row that are left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One row as the model sees it."""

    row: int
    view: tuple[Token, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """Every row was checked and none was at fault."""

    rows: int
    tokens: int
    """Of all rows together, supervised or not."""
    supervised_tokens: int
    longest: int
    """Tokens of the longest row."""
    longest_row: int
    longest_answer: int
    """Supervised tokens of the row that has most."""
    shortened_rows: int
    """Rows whose user text lost its middle."""
    shortened_row_numbers: tuple[int, ...]
    """Up to 20 of them."""
    unknown_rows: int
    """Rows whose answer holds characters that the tokenizer has no token for; 0 unless they are allowed."""
    template_sha256: str
    lengths: tuple[int, ...] = field(default=(), repr=False)
    """Tokens of each row, in order."""
    cut: tuple[Cut, ...] = field(default=(), repr=False)
    """All rows whose user text lost its middle."""
    samples: tuple[Sample, ...] = field(default=(), repr=False)


class Count:
    """Running totals of a proof."""

    def __init__(self, samples: int = 0) -> None:
        self.wanted = samples
        self.rows = self.tokens = self.supervised = self.longest = self.longest_row = self.longest_answer = 0
        self.unknown = 0
        self.cut: list[Cut] = []
        self.lengths = array("i")
        self._fresh: list[tuple[int, Supervised]] = []
        self._repeats: list[tuple[int, Supervised]] = []
        self._answers: set[str] = set()
        self._spelled: dict[tuple[int, ...], str] = {}

    def add(self, given: Row, made: Supervised, unknown: bool) -> None:
        row, _, answer = given
        taught = len(made.labels) - made.labels.count(IGNORED)
        self.rows += 1
        self.tokens += len(made.ids)
        self.supervised += taught
        self.lengths.append(len(made.ids))
        self.longest_answer = max(self.longest_answer, taught)
        if len(made.ids) > self.longest:
            self.longest, self.longest_row = len(made.ids), row
        if isinstance(made, SupervisedRow) and made.removed:
            self.cut.append(Cut(place=self.rows - 1, row=row, prefix_length=made.prefix_length, length=len(made.ids)))
        if unknown:
            self.unknown += 1
            run = tuple(label for label in made.labels if label != IGNORED)
            other = self._spelled.setdefault(run, answer.strip())
            if other != answer.strip():
                raise SupervisionError(
                    f"the tokenizer writes the answers {answer[:40]!r} and {other[:40]!r} with the same tokens",
                    mend=SPELLING,
                )
        self._keep(row, made, answer)

    def _keep(self, row: int, made: Supervised, answer: str) -> None:
        if len(self._fresh) < self.wanted and answer not in self._answers:
            self._answers.add(answer)
            self._fresh.append((row, made))
        elif len(self._repeats) < self.wanted:
            self._repeats.append((row, made))

    def extend(self, later: Count) -> bool:
        """Add the totals of later rows, counted apart (without samples); False, and nothing added, where two answers
        of the two would be spelled with the same tokens."""
        if any(self._spelled.get(run, answer) != answer for run, answer in later._spelled.items()):
            return False
        before = self.rows
        if later.longest > self.longest:
            self.longest, self.longest_row = later.longest, later.longest_row
        for name in ("rows", "tokens", "supervised", "unknown"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.longest_answer = max(self.longest_answer, later.longest_answer)
        self.cut += [replace(one, place=one.place + before) for one in later.cut]
        self.lengths += later.lengths
        self._spelled |= later._spelled
        return True

    def proof(self, frozen: FrozenTemplate, tokenizer: PreTrainedTokenizerBase) -> Proof:
        """What was counted; `SupervisionError` where it was nothing."""
        if not self.rows:
            raise SupervisionError("there is no row to train on", mend="Give at least one row with an answer.")
        return Proof(
            rows=self.rows,
            tokens=self.tokens,
            supervised_tokens=self.supervised,
            longest=self.longest,
            longest_row=self.longest_row,
            longest_answer=self.longest_answer,
            shortened_rows=len(self.cut),
            shortened_row_numbers=tuple(one.row for one in self.cut[:20]),
            cut=tuple(self.cut),
            unknown_rows=self.unknown,
            template_sha256=frozen.sha256,
            lengths=tuple(self.lengths),
            samples=tuple(Sample(row=row, view=token_view(tokenizer, made)) for row, made in self.samples()),
        )

    def samples(self) -> list[tuple[int, Supervised]]:
        """Rows with different answers first, in the order of the rows."""
        return sorted([*self._fresh, *self._repeats][: self.wanted], key=lambda kept: kept[0])
