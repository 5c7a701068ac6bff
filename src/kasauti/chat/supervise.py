"""Ids and labels of conversations: which tokens a model is taught.

Walks in: messages and an answer, a frozen template, its tokenizer. Walks out: `Supervised` values, or a
`SupervisionError` that names the fault: nothing is trained on a guess. It does not know files, batches or losses.

The prompt is rendered as it will be asked and the conversation as it is trained, both become token ids, and the
border is where the first list ends in the second: no response template is searched for, since one tokenises
differently in mid-sequence. Supervised are the answer and the token that ends the turn; what the template writes
after it (a newline, Phi-3's end-of-sequence) is kept, unsupervised. An answer is never cut: where a conversation is
too long, the middle of the user's longest text gives way, or the row is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.render import Renderer, Texts, Turn
from kasauti.core.errors import KasautiError, SupervisionError
from kasauti.core.types import Message, Supervised

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a position that is not supervised; what the loss of torch and transformers leaves out."""
# Rows that are rendered and tokenised together.
CHUNK = 512

P = ParamSpec("P")
T = TypeVar("T")

Row = tuple[int, Sequence[Turn], str]
"""Row number (the first row of data is 1), messages that end with the user's, answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisedRow(Supervised):
    """A supervised conversation, and what was done to make it."""

    row: int = 0
    answer: str = ""
    messages: tuple[Message, ...] = ()
    """As rendered, roles normal; what was shortened is short here. Empty where they are the row's own."""
    removed: int = 0
    """Characters of the user's text that were taken out to fit `max_length`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long a conversation may be; see `supervise`."""

    max_length: int | None = None
    reserve: int = 0
    shorten: bool = True


def supervise(
    frozen: FrozenTemplate,
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Turn],
    answer: str,
    max_length: int | None = None,
    *,
    reserve: int = 0,
    shorten: bool = True,
) -> SupervisedRow:
    """Ids and labels of one conversation; `supervise_rows` does many, faster.

    Args:
        frozen: the template.
        tokenizer: the tokenizer it was frozen with.
        messages: the last one is the user's.
        answer: what the model shall say.
        max_length: at most so many ids, answer and end of turn included; None for no limit.
        reserve: ids kept free for the answer where that is more than this one takes, so that every prompt is
            shortened alike (the longest label's, say), and serving with `limit=max_length - reserve` asks with the
            same prompts.
        shorten: False refuses a conversation over `max_length`, True shortens the user's text.

    Raises:
        SupervisionError: no such supervision is right; it says why.
        TemplateError: the template cannot express the conversation.
    """
    renderer = Renderer(frozen, tokenizer)
    limits = Limits(max_length=max_length, reserve=reserve, shorten=shorten)
    return next(supervise_chunk(renderer, [(0, messages, answer)], limits))[0]


def supervise_rows(
    frozen: FrozenTemplate,
    tokenizer: PreTrainedTokenizerBase,
    rows: Iterable[Row],
    max_length: int | None = None,
    *,
    reserve: int = 0,
    shorten: bool = True,
) -> Iterator[SupervisedRow]:
    """`supervise` for many rows, in order, a few hundred at a time.

    Raises:
        SupervisionError: the first row that cannot be supervised, by its number.
    """
    renderer = Renderer(frozen, tokenizer)
    limits = Limits(max_length=max_length, reserve=reserve, shorten=shorten)
    stream = iter(rows)
    while chunk := list(islice(stream, CHUNK)):
        for made, _ in supervise_chunk(renderer, chunk, limits):
            yield made


def supervise_chunk(
    renderer: Renderer, chunk: Sequence[Row], limits: Limits
) -> Iterator[tuple[SupervisedRow, list[int] | None]]:
    """Rows that are rendered and tokenised together, each with the ids of its prompt as it would be asked.

    `Renderer.render_prompts` would render the same messages with the same function and give the same ids; None where
    that is not so, since the answer has a part in the prompt's mark, or since the messages were shortened.
    """
    try:
        texts = renderer.texts_of([(messages, answer) for _, messages, answer in chunk])
    except KasautiError:  # once more, one after the other, to name the row
        texts = [in_row(row, renderer.texts, messages, answer) for row, messages, answer in chunk]
    marks = [text.mark for text in texts]
    pairs = renderer.encoder.encode_pairs([text.prompt for text in texts], [text.continuation for text in texts], marks)
    for (row, messages, answer), text, (prompt_ids, whole) in zip(chunk, texts, pairs, strict=True):
        ids = in_row(row, renderer.join, prompt_ids, whole, text)
        made = in_row(row, _labelled, renderer, row, prompt_ids, ids, text)
        asked = None if text.mark else prompt_ids
        if limits.max_length is not None and len(ids) > _allowed(limits, made):
            made, asked = in_row(row, _shortened, renderer, (row, messages, answer), made, limits), None
        yield made, asked


def _allowed(limits: Limits, made: SupervisedRow) -> int:
    """Ids that this row may have: with a reserve, its prompt may be no longer than any other's."""
    behind = len(made.ids) - made.prefix_length
    return int(limits.max_length or 0) - max(limits.reserve - behind, 0)


def _labelled(renderer: Renderer, row: int, prompt_ids: list[int], ids: list[int], text: Texts) -> SupervisedRow:
    frame, start = renderer.frozen.frame, len(prompt_ids)
    try:
        end = ids.index(frame.end_id, start)
    except ValueError:
        raise SupervisionError(
            f"no end of turn {frame.end} after the answer {text.answer[:40]!r}: the model would never learn to stop",
            mend="Name a template that ends every turn with a token of the tokenizer.",
        ) from None
    if end == start:
        raise SupervisionError(
            f"the tokenizer has no tokens for the answer {text.answer[:40]!r}",
            mend="Write the answer in characters that the tokenizer knows.",
        )
    labels = [IGNORED] * start + ids[start : end + 1] + [IGNORED] * (len(ids) - end - 1)
    return SupervisedRow(ids=tuple(ids), labels=tuple(labels), prefix_length=start, row=row, answer=text.answer)


def _shortened(renderer: Renderer, given: Row, made: SupervisedRow, limits: Limits) -> SupervisedRow:
    row, messages, answer = given
    behind = len(made.ids) - made.prefix_length
    limit = int(limits.max_length or 0) - max(limits.reserve, behind)
    if not limits.shorten or limit < 1:
        fault = "its answer alone takes" if limit < 1 else "it has"
        count = behind if limit < 1 else len(made.ids)
        raise SupervisionError(
            f"{fault} {count} tokens, and {limits.max_length} are allowed; an answer is never cut",
            mend="Allow more tokens (train: max_length), or leave the row out.",
        )
    shorter, removed = renderer.fit(messages, limit)
    made, _ = next(supervise_chunk(renderer, [(0, shorter, answer)], Limits()))
    return replace(made, row=row, messages=tuple(shorter), removed=removed)


def in_row(row: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it; an error on purpose becomes a `SupervisionError` that names the row (row 0: the error as it is)."""
    try:
        return function(*args, **kwargs)
    except KasautiError as error:
        if not row:
            raise
        where = f"row {row}" + (f", {error.where}" if error.where else "")
        raise SupervisionError(error.what, where=where, mend=error.mend) from error
