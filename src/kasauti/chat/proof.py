"""The proof, over every row, that a model is taught the answer and its end, and nothing else.

Walks in: rows, a frozen template, its tokenizer, and optionally the very ids and labels that a trainer is about to
feed. Walks out: a `Proof` with counts and sample views, or a `SupervisionError` that names the first row at fault. It
does not make ids and labels: it decodes what it is given and compares.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.render import GAP, Renderer, Turn, normal_turns
from kasauti.chat.supervise import CHUNK, IGNORED, Limits, Row, SupervisedRow, in_row, supervise_chunk
from kasauti.chat.totals import SPELLING, Count, Proof, Sample
from kasauti.chat.view import Token, render_html, token_view
from kasauti.core.errors import SupervisionError
from kasauti.core.types import Supervised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Proof", "Prover", "Sample", "Token", "prove", "prove_supervised", "render_html", "token_view"]

_REPORT = "Do not train on this; the labels were changed after they were made, or the template cannot be used."


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
        taught = self._quickly(ids, labels, len(prompt_ids)) or self._taught(ids, labels)
        self._check_border(ids, taught, prompt_ids)
        self._check_bos(ids, len(prompt_ids))
        if self.max_length is not None and len(ids) > self.max_length:
            raise _fault(f"{len(ids)} tokens, and {self.max_length} are allowed: the trainer would cut the answer")
        return self._check_answer(ids, taught, answer)

    @staticmethod
    def _quickly(ids: Sequence[int], labels: Sequence[int], start: int) -> range | None:
        """`_taught` where all is well and the answer begins at `start`, at a tenth of the cost; None otherwise."""
        end = start + len(labels) - labels.count(IGNORED)
        right = start < end and len(ids) == len(labels) and labels[start:end] == ids[start:end]
        right = right and labels[:start].count(IGNORED) == start
        return range(start, end) if right and labels[start:end].count(IGNORED) == 0 else None

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
                f"the tokenizer cannot write the answer {answer[:60]!r}: it reads {shown[:60]!r}", mend=SPELLING
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
    count = Count(samples)
    count_rows(count, prover, rows, supervised, reserve=reserve)
    return count.proof(frozen, tokenizer)


def count_rows(
    count: Count,
    prover: Prover,
    rows: Iterable[Row],
    supervised: Iterable[Supervised] | None = None,
    *,
    reserve: int = 0,
) -> None:
    """Check rows and add them to the totals; see `prove`."""
    for given, made, prompt_ids in _pairs(prover, rows, supervised, reserve):
        row, _, answer = given
        unknown = in_row(row, prover.check, made.ids, made.labels, prompt_ids=prompt_ids, answer=answer)
        in_row(row, count.add, given, made, unknown)


def _pairs(
    prover: Prover, rows: Iterable[Row], supervised: Iterable[Supervised] | None, reserve: int
) -> Iterator[tuple[Row, Supervised, Sequence[int]]]:
    """Every row with its ids and labels and the ids of the prompt that would be asked."""
    renderer, limits = prover.renderer, Limits(max_length=prover.max_length, reserve=reserve)
    stream, given = iter(rows), None if supervised is None else iter(supervised)
    while chunk := list(islice(stream, CHUNK)):
        if given is None:
            pairs: list[tuple[Supervised, Sequence[int] | None]] = list(supervise_chunk(renderer, chunk, limits))
        else:
            pairs = [(one, None) for one in islice(given, len(chunk))]
        made, prompts = [one for one, _ in pairs], [prompt or () for _, prompt in pairs]
        if len(made) < len(chunk):
            raise _fault(f"row {chunk[len(made)][0]} has no ids and labels")
        open_rows = [at for at, prompt in enumerate(prompts) if not prompt]
        asked = [in_row(chunk[at][0], _asked, chunk[at], made[at]) for at in open_rows]
        for at, prompt in zip(open_rows, renderer.render_prompts(asked), strict=True):
            prompts[at] = prompt
        yield from zip(chunk, made, prompts, strict=True)
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
