"""The proof, over every row, that a model is taught the answer and its end, and nothing else.

Walks in: rows, a frozen template, its tokenizer, and optionally the very ids and labels that a trainer is about to
feed. Walks
out: a `Proof` with counts and sample views, or a `SupervisionError` that names the first row at fault. It does not
make ids and labels: it decodes what it is given and compares.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.render import GAP, Renderer, Turn, normal_turns
from kasauti.chat.supervise import CHUNK, IGNORED, Row, SupervisedRow, in_row, supervise_rows
from kasauti.chat.view import Token, render_html, token_view
from kasauti.core.errors import SupervisionError
from kasauti.core.types import Supervised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Proof", "Prover", "Sample", "Token", "prove", "prove_supervised", "render_html", "token_view"]

_REPORT = "Do not train on this; the labels were changed after they were made, or the template cannot be used."
_SPELLING = "Write the answers in characters that the tokenizer has, or choose another model."


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
    samples: tuple[Sample, ...] = field(default=(), repr=False)


class Prover:
    """The checks of one row.

    Args:
        frozen: the template.
        tokenizer: the tokenizer it was frozen with.
        max_length: no row may be longer; None for no limit.
        allow_unknown: whether answers may hold characters that are unknown to the tokenizer and come out as its unknown
            token. Free generation cannot write such an answer as it stands; `Renderer.parse_answer` reads it back.
    """

    def __init__(
        self,
        frozen: FrozenTemplate,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        allow_unknown: bool = False,
    ) -> None:
        self.frozen, self.max_length, self.allow_unknown = frozen, max_length, allow_unknown
        self.renderer = Renderer(frozen, tokenizer)
        self.bos_id = tokenizer.bos_token_id if tokenizer.bos_token else None
        unknown = tokenizer.unk_token_id if tokenizer.unk_token else None
        self.unknown_id = None if unknown == frozen.frame.end_id else unknown
        self.unknown = str(tokenizer.unk_token)
        self._decoded: dict[tuple[int, ...], str] = {}

    def check(self, ids: Sequence[int], labels: Sequence[int], *, prompt_ids: Sequence[int], answer: str) -> bool:
        """Check one row; see `prove_supervised`.

        Returns:
            Whether the answer holds characters that are unknown to the tokenizer.
        """
        taught = self._taught(ids, labels)
        self._check_border(ids, taught, prompt_ids)
        self._check_bos(ids, len(prompt_ids))
        if self.max_length is not None and len(ids) > self.max_length:
            raise _fault(f"{len(ids)} tokens, and {self.max_length} are allowed: the trainer would cut the answer")
        return self._check_answer(ids, taught, answer)

    def _taught(self, ids: Sequence[int], labels: Sequence[int]) -> range:
        """The supervised positions: one run, labelled with their own ids."""
        if len(ids) != len(labels):
            raise _fault(f"{len(ids)} ids and {len(labels)} labels")
        where = [position for position, label in enumerate(labels) if label != IGNORED]
        if not where:
            raise _fault("no token is supervised")
        wrong = next((position for position in where if labels[position] != ids[position]), None)
        if wrong is not None:
            raise _fault(f"position {wrong} has the id {ids[wrong]} and the label {labels[wrong]}")
        taught = range(where[0], where[-1] + 1)
        if len(taught) != len(where):
            hole = next(position for position in taught if labels[position] == IGNORED)
            raise _fault(f"position {hole} in the middle of the answer is not supervised")
        return taught

    def _check_border(self, ids: Sequence[int], taught: range, prompt_ids: Sequence[int]) -> None:
        start = len(prompt_ids)
        if tuple(ids[:start]) != tuple(prompt_ids):
            different = (i for i, (a, b) in enumerate(zip(ids, prompt_ids, strict=False)) if a != b)
            at = next(different, min(len(ids), start))
            raise _fault(f"the prompt that is trained is not the one that is asked: they differ at position {at}")
        if taught.start < start:
            raise _fault(f"{start - taught.start} tokens of the prompt are supervised, the first at {taught.start}")
        if taught.start > start:
            raise _fault(f"the first {taught.start - start} tokens of the answer are not supervised")

    def _check_bos(self, ids: Sequence[int], start: int) -> None:
        if self.bos_id is None:
            return
        habit, count = self.frozen.bos, list(ids[:start]).count(self.bos_id)
        if habit == "one" and (count != 1 or ids[0] != self.bos_id):
            raise _fault(f"the prompt has {count} BOS tokens, and exactly one belongs at its start")
        if habit == "none" and count and self.bos_id != self.frozen.frame.end_id:
            raise _fault(f"the prompt has {count} BOS tokens, and the template writes none")
        if list(ids[:2]) == [self.bos_id] * 2:
            raise _fault("the prompt begins with two BOS tokens")

    def _check_answer(self, ids: Sequence[int], taught: range, answer: str) -> bool:
        frame = self.frozen.frame
        run = tuple(ids[taught.start : taught.stop])
        if run.count(frame.end_id) != 1 or run[-1] != frame.end_id:
            where = "is not supervised" if frame.end_id not in run else "is not the last supervised token, once"
            raise _fault(f"the end of the turn {frame.end} {where}; supervised is {self._text(ids, taught)[:60]!r}")
        unknown = self.unknown_id is not None and self.unknown_id in run
        text = self._text(ids, taught)
        shown = text.removeprefix(frame.shown).removesuffix(frame.gap + frame.end)
        complete = len(shown) + len(frame.shown) + len(frame.gap) + len(frame.end) == len(text)
        if unknown and complete and _same(shown, answer, trims=frame.trims, unknown=self.unknown):
            if self.allow_unknown:
                return True
            raise SupervisionError(
                f"the tokenizer cannot write the answer {answer[:60]!r}: it reads {shown[:60]!r}", mend=_SPELLING
            )
        if not complete or not _same(shown, answer, trims=frame.trims):
            raise _fault(f"supervised is {text[:80]!r}, and the answer is {answer[:80]!r}")
        return False

    def _text(self, ids: Sequence[int], taught: range) -> str:
        """What the supervised ids decode to behind the prompt; labels recur, so the texts are kept."""
        before = ids[taught.start - 1] if taught.start else None
        key = (-1 if before is None else before, *ids[taught.start : taught.stop])
        if key not in self._decoded:
            if len(self._decoded) > 4096:
                self._decoded.clear()
            self._decoded[key] = self.renderer.encoder.decode_after(before, key[1:])
        return self._decoded[key]


def prove_supervised(
    frozen: FrozenTemplate,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    labels: Sequence[int],
    *,
    messages: Sequence[Turn],
    answer: str,
    max_length: int | None = None,
    allow_unknown: bool = False,
) -> None:
    """Check given ids and labels of one conversation, whoever made them.

    The labels are -100 or the id of their position; one run is supervised; it begins where the prompt that would be
    asked ends, and decodes to the answer and the end of the turn, exactly; one BOS where the template writes one; not
    too long. Decoded text and answer are compared as Unicode text (NFC), and without outer white space where the
    template takes it off.

    Args:
        messages: the conversation as it is asked; its prompt is rendered here, independently of the ids.

    Raises:
        SupervisionError: the first fault found.
    """
    prover = Prover(frozen, tokenizer, max_length=max_length, allow_unknown=allow_unknown)
    prover.check(ids, labels, prompt_ids=prover.renderer.render_prompt(messages), answer=answer)


def prove(
    frozen: FrozenTemplate,
    tokenizer: PreTrainedTokenizerBase,
    rows: Iterable[Row],
    supervised: Iterable[Supervised] | None = None,
    *,
    max_length: int | None = None,
    reserve: int = 0,
    allow_unknown: bool = False,
    samples: int = 5,
) -> Proof:
    """Check every row; stop at the first fault.

    Args:
        rows: (row number, messages, answer), the numbers counting from 1.
        supervised: what a trainer is about to feed, in the order of the rows; None makes it here (`supervise_rows`).
            Rows whose text was shortened must be `SupervisedRow`, which says how.
        max_length: see `supervise`.
        reserve: see `supervise`.
        allow_unknown: see `Prover`. Two different answers that the tokenizer cannot tell apart are refused all the
            same.
        samples: keep the token views of so many rows, each with another answer where there are so many answers.

    Raises:
        SupervisionError: the first row at fault, by its number, or no row at all.
    """
    prover = Prover(frozen, tokenizer, max_length=max_length, allow_unknown=allow_unknown)
    count = _Count(samples)
    for given, made, prompt_ids in _pairs(prover.renderer, rows, supervised, max_length, reserve):
        row, _, answer = given
        unknown = in_row(row, prover.check, made.ids, made.labels, prompt_ids=prompt_ids, answer=answer)
        in_row(row, count.add, given, made, unknown)
    if not count.rows:
        raise SupervisionError("there is no row to train on", mend="Give at least one row with an answer.")
    return Proof(
        rows=count.rows,
        tokens=count.tokens,
        supervised_tokens=count.supervised,
        longest=count.longest,
        longest_row=count.longest_row,
        longest_answer=count.longest_answer,
        shortened_rows=count.shortened,
        shortened_row_numbers=tuple(count.shortened_rows),
        unknown_rows=count.unknown,
        template_sha256=frozen.sha256,
        samples=tuple(Sample(row=row, view=token_view(tokenizer, made)) for row, made in count.samples()),
    )


class _Count:
    """Running totals of a proof."""

    def __init__(self, samples: int) -> None:
        self.wanted = samples
        self.rows = self.tokens = self.supervised = self.longest = self.longest_row = self.longest_answer = 0
        self.shortened = self.unknown = 0
        self.shortened_rows: list[int] = []
        self._fresh: list[tuple[int, Supervised]] = []
        self._repeats: list[tuple[int, Supervised]] = []
        self._answers: set[str] = set()
        self._spelled: dict[tuple[int, ...], str] = {}

    def add(self, given: Row, made: Supervised, unknown: bool) -> None:
        row, _, answer = given
        run = tuple(label for label in made.labels if label != IGNORED)
        self.rows += 1
        self.tokens += len(made.ids)
        self.supervised += len(run)
        self.longest_answer = max(self.longest_answer, len(run))
        if len(made.ids) > self.longest:
            self.longest, self.longest_row = len(made.ids), row
        if isinstance(made, SupervisedRow) and made.removed:
            self.shortened += 1
            self.shortened_rows += [row] if self.shortened <= 20 else []
        if unknown:
            self.unknown += 1
            other = self._spelled.setdefault(run, answer.strip())
            if other != answer.strip():
                raise SupervisionError(
                    f"the tokenizer writes the answers {answer[:40]!r} and {other[:40]!r} with the same tokens",
                    mend=_SPELLING,
                )
        self._keep(row, made, answer)

    def _keep(self, row: int, made: Supervised, answer: str) -> None:
        if len(self._fresh) < self.wanted and answer not in self._answers:
            self._answers.add(answer)
            self._fresh.append((row, made))
        elif len(self._repeats) < self.wanted:
            self._repeats.append((row, made))

    def samples(self) -> list[tuple[int, Supervised]]:
        """Rows with different answers first, in the order of the rows."""
        return sorted([*self._fresh, *self._repeats][: self.wanted], key=lambda kept: kept[0])


def _pairs(
    renderer: Renderer,
    rows: Iterable[Row],
    supervised: Iterable[Supervised] | None,
    max_length: int | None,
    reserve: int,
) -> Iterator[tuple[Row, Supervised, list[int]]]:
    """Every row with its ids and labels and with the prompt that would be asked, rendered apart from them."""
    stream, given = iter(rows), None if supervised is None else iter(supervised)
    while chunk := list(islice(stream, CHUNK)):
        if given is None:
            made: list[Supervised] = list(
                supervise_rows(renderer.frozen, renderer.tokenizer, chunk, max_length, reserve=reserve)
            )
        else:
            made = list(islice(given, len(chunk)))
        if len(made) < len(chunk):
            raise _fault(f"row {chunk[len(made)][0]} has no ids and labels")
        asked = [in_row(row[0], _asked, row, one) for row, one in zip(chunk, made, strict=True)]
        yield from zip(chunk, made, renderer.render_prompts(asked), strict=True)
    if given is not None and next(given, None) is not None:
        raise _fault("there are more ids and labels than rows")


def _asked(row: Row, made: Supervised) -> Sequence[Turn]:
    """The messages as asked: the row's own, or those shortened in the middle of the user's text and nowhere else."""
    if not isinstance(made, SupervisedRow) or not made.removed:
        return row[1]
    turns = normal_turns(row[1])
    for turn, message in zip(turns, made.messages, strict=True):
        head, gap, tail = message.content.partition(GAP)
        cut = turn["role"] == "user" and gap and turn["content"].startswith(head) and turn["content"].endswith(tail)
        if turn["role"] != message.role or (turn["content"] != message.content and not cut):
            raise _fault("something other than the middle of the user's text was shortened")
    return made.messages


def _same(shown: str, answer: str, *, trims: bool, unknown: str = "") -> bool:
    """Whether the decoded text is the answer; with `unknown`, whether it is but for unknown characters."""
    one, other = unicodedata.normalize("NFC", shown), unicodedata.normalize("NFC", answer)
    if trims:
        one, other = one.strip(), other.strip()
    if not unknown:
        return one == other
    pattern = ".+".join(map(re.escape, one.split(unknown)))
    return re.fullmatch(pattern, other, re.DOTALL) is not None


def _fault(what: str) -> SupervisionError:
    return SupervisionError(what, mend=_REPORT)
