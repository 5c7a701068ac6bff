"""What rows of ids and labels teach, whoever made them; and why a response template is not found in them.

Walks in: rows as a trainer is about to feed them, a tokenizer, the frozen template. Walks out: counts of what is wrong,
and `Finding`s. It trains nothing, and it does not know who made the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.supervise import IGNORED, supervise_rows
from kasauti.core.errors import DataError, KasautiError
from kasauti.core.files import read_json_lines
from kasauti.core.types import Example, Finding, Severity, Task
from kasauti.data.conversation import messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOOKED = 500
"""Rows that are looked at."""
_MASKS = ("completion_mask", "assistant_masks", "assistant_mask", "loss_mask")

Ids = Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Taught:
    """What rows teach; numbers of rows count from 1."""

    rows: int
    nothing: Sequence[int] = field(default=())
    """Rows without one supervised token."""
    prompt: Sequence[int] = field(default=())
    """Rows in which tokens before the answer are supervised."""
    end: Sequence[int] = field(default=())
    """Rows whose end of turn is not supervised, or missing."""

    @property
    def faults(self) -> list[str]:
        """Each fault in words."""
        told = (
            (self.nothing, "no token is supervised at all"),
            (self.prompt, "tokens of the prompt are supervised"),
            (self.end, "the end of the turn is not supervised"),
        )
        return [f"in {len(rows):,} of {self.rows:,} rows {what}" for rows, what in told if rows]


def taught(rows: Sequence[tuple[Ids, Ids]], frozen: FrozenTemplate, tokenizer: PreTrainedTokenizerBase) -> Taught:
    """Look at rows of ids and labels, each pair of one length."""
    nothing, prompt, end = [], [], []
    for number, (ids, labels) in enumerate(rows, 1):
        places = [at for at, label in enumerate(labels) if label != IGNORED]
        if not places:
            nothing.append(number)
            continue
        if places[0] < answer_start(ids, frozen, tokenizer):
            prompt.append(number)
        if frozen.frame.end_id not in {labels[at] for at in places[-3:]}:
            end.append(number)
    return Taught(rows=len(rows), nothing=nothing, prompt=prompt, end=end)


def answer_start(ids: Ids, frozen: FrozenTemplate, tokenizer: PreTrainedTokenizerBase) -> int:
    """Where the last answer begins: behind the last header of an assistant's turn, found in the text and not among the
    ids, which may be cut otherwise there; 1 where there is none (the row was cut)."""
    ends = [at for at, one in enumerate(ids) if one == frozen.frame.end_id]
    inside = list(ids[: ends[-1]]) if ends else list(ids)
    header = _header(frozen, tokenizer)
    at = _text(tokenizer, inside).rfind(header) if header else -1
    return 1 if at < 0 else _place(tokenizer, inside, at + len(header))


def _header(frozen: FrozenTemplate, tokenizer: PreTrainedTokenizerBase) -> str:
    """What stands at the end of every prompt, whatever the user says."""
    prompts = [list(probe.prompt_ids) for probe in frozen.probes]
    if len(prompts) < 2:
        return frozen.frame.lead
    alike = 0
    while alike < min(map(len, prompts)) and len({prompt[-1 - alike] for prompt in prompts}) == 1:
        alike += 1
    return _text(tokenizer, prompts[0][len(prompts[0]) - alike :]) if alike else ""


def _text(tokenizer: PreTrainedTokenizerBase, ids: Ids) -> str:
    text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text if isinstance(text, str) else "".join(text)


def _place(tokenizer: PreTrainedTokenizerBase, ids: Ids, characters: int) -> int:
    """How many ids it takes to have so many characters of the text."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_text(tokenizer, ids[:middle])) >= characters else (middle + 1, high)
    return low


def read_rows(path: str) -> list[tuple[Ids, Ids]]:
    """Rows of a file of JSON lines, each with `input_ids` and `labels`, or with a mask in place of labels; at most
    `LOOKED`.

    Raises:
        DataError: no such file, or a line that is no such row.
    """
    if not Path(path).is_file():
        raise DataError("there is no such file", where=path, mend="Write input_ids and labels as JSON lines.")
    made = []
    for number, row in enumerate(read_json_lines(path)[:LOOKED], 1):
        pair = _pair(row) if isinstance(row, Mapping) else None
        if pair is None:
            mend = f"Give every line input_ids, and labels or {_MASKS[0]} of the same length."
            raise DataError(f"line {number} is no row of ids and labels", where=path, mend=mend)
        made.append(pair)
    return made


def _pair(row: Mapping[str, Any]) -> tuple[Ids, Ids] | None:
    ids = row.get("input_ids", row.get("ids"))
    if not isinstance(ids, list):
        return None
    mask = next((row[name] for name in _MASKS if isinstance(row.get(name), list)), None)
    labels = row.get("labels")
    if labels is None and mask is not None and len(mask) == len(ids):
        labels = [one if keep else IGNORED for one, keep in zip(ids, mask, strict=True)]
    if not isinstance(labels, list) or len(labels) != len(ids):
        return None
    return (ids, labels) if all(isinstance(one, int) for one in (*ids, *labels)) else None


def supervision(found: Taught, where: str) -> Finding | None:
    """What rows teach that they should not, as a finding; None where nothing is wrong."""
    if not found.faults:
        return None
    rows = sorted({*found.nothing, *found.prompt, *found.end})
    missing = bool(found.nothing)
    return Finding(
        check="supervision",
        severity=Severity.STOP,
        what=f"the rows teach something else than the answer and its end: {'; '.join(found.faults)}",
        where=where,
        count=len(rows),
        rows=rows[:20],
        why="Nothing is learnt from a row without supervised tokens, as when a response template is not found."
        if missing
        else "The model learns to write prompts, or never learns to stop: it gives the right label and goes on.",
        mend="Train with `kasauti train`: it finds the answer by comparing ids, supervises it and its end of turn, "
        "and proves every row; `kasauti audit` shows each token. Elsewhere, supervise the answer and its end only.",
    )


def response_template(
    task: Task,
    rows: Sequence[Example],
    frozen: FrozenTemplate,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
) -> Finding | None:
    """Why a trainer does not find a response template in the task's rows; None where it finds it in each, once.

    Raises:
        SupervisionError: a row cannot be rendered at all.
    """
    looked = [row for row in rows if row.answer][:LOOKED]
    given = [(row.row, messages(task, row, with_answer=False), row.answer or "") for row in looked]
    alone = list(tokenizer.encode(template, add_special_tokens=False))
    missing: list[tuple[int, Ids]] = []
    often: list[int] = []
    for row, made in zip(looked, supervise_rows(frozen, tokenizer, given), strict=True):
        number = sum(list(made.ids[at : at + len(alone)]) == alone for at in range(len(made.ids)))
        if not alone or not number:
            missing.append((row.row, made.ids))
        elif number > 1:
            often.append(row.row)
    if missing:
        return _not_found(missing, len(looked), frozen, tokenizer, template, alone)
    if often and len(often) < len(looked):  # in every row it is the mark of each turn, of which trainers take the last
        return Finding(
            check="response template",
            severity=Severity.WARN,
            what=f"the response template {template!r} occurs more than once in {len(often):,} of {len(looked):,} rows",
            where="train",
            count=len(often),
            rows=often[:20],
            why="What users write then moves the border between prompt and answer.",
            mend="Train with `kasauti train`: it compares the ids of prompt and conversation, searching for nothing.",
        )
    return None


def _not_found(
    missing: Sequence[tuple[int, Ids]],
    looked: int,
    frozen: FrozenTemplate,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    alone: Ids,
) -> Finding:
    ids = missing[0][1]
    text = _text(tokenizer, ids)
    at = text.rfind(template)
    evidence = [f"alone it is {_shown(tokenizer, alone)} = {list(alone)}"]
    if at < 0:
        lead = _header(frozen, tokenizer) or frozen.frame.lead
        cause = f"the chat template does not write it: before an answer stands {lead!r}"
        step = f"give your trainer {lead!r}"
    else:
        start, end = _place(tokenizer, ids, at + 1) - 1, _place(tokenizer, ids, at + len(template))
        inside = ids[start:end]
        evidence.append(f"in the row it is {_shown(tokenizer, inside)} = {list(inside)}")
        cause = "its first or last characters are cut into other tokens beside what stands around it"
        core = _core(inside, alone)
        step = f"give your trainer the ids {core} in place of the text" if core else "give your trainer ids, not text"
    return Finding(
        check="response template",
        severity=Severity.STOP,
        what=f"the response template {template!r} is not found in {len(missing):,} of {looked:,} rows: {cause}",
        where="train",
        count=len(missing),
        rows=[row for row, _ in missing][:20],
        evidence=evidence,
        why="A trainer that searches for it supervises nothing in these rows, or everything.",
        mend="Train with `kasauti train`: it renders the prompt as it is asked and the whole conversation, and the "
        f"answer begins where the first ids end in the second. To stay with your trainer, {step}.",
    )


def _core(inside: Ids, alone: Ids) -> list[int]:
    """The longest run that both spellings share: what a search would find."""
    best: list[int] = []
    for start in range(len(inside)):
        for end in range(start + 1, len(inside) + 1):
            part = list(inside[start:end])
            if len(part) > len(best) and any(list(alone[at : at + len(part)]) == part for at in range(len(alone))):
                best = part
    return best


def _shown(tokenizer: PreTrainedTokenizerBase, ids: Ids) -> str:
    found = tokenizer.convert_ids_to_tokens(list(ids))
    return " | ".join(map(str, found if isinstance(found, list) else [found]))


def own_rows(
    task: Task, rows: Sequence[Example], frozen: FrozenTemplate, tokenizer: PreTrainedTokenizerBase
) -> Finding | None:
    """Whether this task's own rows can be taught with this model at all; None where they can."""
    given = [(row.row, messages(task, row, with_answer=False), row.answer or "") for row in rows[:LOOKED] if row.answer]
    try:
        made = list(supervise_rows(frozen, tokenizer, given))
    except KasautiError as error:
        return Finding(
            check="supervision",
            severity=Severity.STOP,
            what=error.what,
            where=error.where,
            count=1,
            why="A model that is taught this learns something else than the answer and its end.",
            mend=error.mend or "Run `kasauti audit` for every row at fault.",
        )
    return supervision(taught([(one.ids, one.labels) for one in made], frozen, tokenizer), "train")
