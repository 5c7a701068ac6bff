"""The constant prefix: what every prompt of a task begins with, on which an activated adapter is off.

Walks in: a task, its template, proved rows. Walks out: a `Constant`, token ids. It knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.render import Renderer
from kasauti.core.errors import TaskError, TemplateError
from kasauti.core.types import Example, Message, Supervised, Task
from kasauti.data.conversation import messages
from kasauti.model.activated import begins_at
from kasauti.model.prefix import common_prefix

WHERE = "task.yaml: train.constant_prefix"
PROBES = ("a", "Z", "7", "(", "क")
"""Rows whose prompts have in common what all have: texts that begin with signs of different kinds."""


@dataclass(frozen=True, slots=True)
class Constant:
    """Where an activated adapter is off and on."""

    ids: tuple[int, ...]
    """Read by the base model alone."""
    invocation: tuple[int, ...]
    """What comes next in every row; from here on the adapter is on."""


def fixed_ids(task: Task, renderer: Renderer, build: Callable[[Example], Sequence[Message]]) -> list[int]:
    """What every prompt begins with, whatever its row says; empty for nothing."""
    fields = [dict.fromkeys(task.columns, word) for word in PROBES]
    rows = [Example(id="", fields=f, template=task.input, answer=None) for f in fields]
    try:
        prompts = renderer.render_prompts([build(row) for row in rows])
    except TemplateError:
        return []
    return list(prompts[0][: common_prefix(prompts)])


def constant_for(task: Task, frozen: FrozenTemplate, tokenizer: Any, rows: Sequence[Supervised]) -> Constant:
    """The constant prefix of a task. Raises `TaskError` where these rows have none."""
    fixed = fixed_ids(task, Renderer(frozen, tokenizer), partial(messages, task, with_answer=False))
    return constant_of(fixed, rows, special_ids(tokenizer))


def constant_of(fixed: Sequence[int], rows: Sequence[Supervised], special: Sequence[int]) -> Constant:
    """The end of `fixed` is the invocation: from the last special token on from which every row holds it once. No text
    is ever made into a special token, so no user can write an invocation.

    Args:
        fixed: what every prompt begins with.
        rows: training and validation rows, in which it must be so.
        special: ids of the tokenizer's special tokens.

    Raises:
        TaskError: prompts have too little in common before such a token, or a row has earlier turns.
    """
    what = "the chat template has no turn that begins after the instructions and before the input"
    for start in [at for at, token in enumerate(fixed) if token in set(special) and 2 * at >= len(fixed)][::-1]:
        ids, invocation = list(fixed[:start]), tuple(fixed[start:])
        held = (_fits(row, ids, invocation) for row in rows)
        wrong = next((at for at, fits in enumerate(held, 1) if not fits), None)
        if wrong is None:
            return Constant(tuple(ids), invocation)
        what = f"row {wrong} does not begin as all prompts do, or has earlier turns"
    raise TaskError(f"the adapter cannot be off on a prefix: {what}", where=WHERE, mend="Leave constant_prefix out.")


def _fits(row: Supervised, ids: list[int], invocation: tuple[int, ...]) -> bool:
    prompt = row.ids[: row.prefix_length]
    return list(prompt[: len(ids)]) == ids and begins_at(prompt, invocation) == len(ids)


def special_ids(tokenizer: Any) -> list[int]:
    """Ids of the tokens that text is never made into."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return [*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)]
