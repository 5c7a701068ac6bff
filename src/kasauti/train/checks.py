"""What only a tokenizer can see in the data: over-long rows, labels that begin alike, a model's own control strings.

Walks in: examples, supervised rows, a frozen template with its tokenizer. Walks out: findings. It does not know how
they are shown, and trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from kasauti.chat.frozen import FrozenTemplate
from kasauti.chat.render import Renderer
from kasauti.chat.supervise import supervise_rows
from kasauti.chat.totals import Cut
from kasauti.core.types import Example, Finding, Message, Severity, Task
from kasauti.data.checks.control import CHAT
from kasauti.data.checks.evidence import SHOWN, quote, row_numbers, share
from kasauti.data.conversation import messages

SHARED = 0.5
"""Share of the shorter label's tokens from which two labels are told as beginning alike."""
LEAST = 2
"""Tokens that they must have in common besides."""


def too_long(
    task: Task,
    part: str,
    examples: Sequence[Example],
    cut: Sequence[Cut],
    renderer: Renderer,
    limit: int,
    window: int | None,
) -> list[Finding]:
    """Rows over the recipe's length, with the tokens that each loses, and those over the model's window.

    Args:
        task: the task.
        part: the part's name.
        examples: its rows.
        cut: those that were shortened to `limit`, as a proof over `examples` names them.
        renderer: template and tokenizer.
        limit: the recipe's length, in tokens; no more than `window`.
        window: what the model takes; None where it does not say.
    """
    losses = []
    for one in cut:
        example = examples[one.place]
        whole = len(renderer.render_prompt(messages(task, example, with_answer=False)))
        losses.append((whole - one.prefix_length, whole + one.length - one.prefix_length, example))
    if not losses:
        return []
    losses.sort(key=lambda loss: -loss[0])
    lost = sum(loss for loss, _, _ in losses)
    findings = [
        Finding(
            check="lengths",
            severity=Severity.WARN,
            where=part,
            count=len(losses),
            rows=row_numbers(example for _, _, example in losses),
            what=f"{len(losses)} rows ({share(len(losses), len(examples))}) are longer than {limit} tokens: the middle "
            f"of the user's text is left out, {losses[-1][0]} to {losses[0][0]} tokens a row, {lost} in all",
            evidence=[f"row {e.row}: {whole} tokens, {loss} left out: {quote(e)}" for loss, whole, e in losses[:SHOWN]],
            why="What decides the answer may stand there. The answer itself is never cut.",
            mend="Set train.length higher, or shorten those inputs." if limit != window else "Shorten those inputs.",
        )
    ]
    over = [(whole, example) for _, whole, example in losses if window and whole > window]
    if over:
        findings.append(
            Finding(
                check="window",
                severity=Severity.WARN,
                where=part,
                count=len(over),
                rows=row_numbers(example for _, example in over),
                what=f"{len(over)} rows ({share(len(over), len(examples))}) are longer than the model's window of "
                f"{window} tokens",
                evidence=[
                    f"row {e.row}: {whole} tokens, {whole - (window or 0)} too many" for whole, e in over[:SHOWN]
                ],
                why="No setting makes room for them: in production too, the middle of such a text is left out.",
                mend="Choose a model with a longer window, or shorten the inputs before they are asked.",
            )
        )
    return findings


def labels_that_begin_alike(task: Task, frozen: FrozenTemplate, tokenizer: Any) -> list[Finding]:
    """Pairs of labels of which at least half the tokens, and two or more, are the same from the beginning."""
    probe = [Message(role="user", content="a")]
    rows = supervise_rows(frozen, tokenizer, [(0, probe, label) for label in task.labels])
    ids = [tuple(token for token in row.labels[row.prefix_length :] if token >= 0)[:-1] for row in rows]
    pairs = []
    for (a, one), (b, other) in combinations(zip(task.labels, ids, strict=True), 2):
        differ = (at for at, (x, y) in enumerate(zip(one, other, strict=False)) if x != y)
        shared, shorter = next(differ, min(len(one), len(other))), min(len(one), len(other))
        if shared >= LEAST and shared >= SHARED * shorter:
            pairs.append((shared, f"{a!r} and {b!r}: the first {shared} of {len(one)} and {len(other)} tokens"))
    if not pairs:
        return []
    pairs.sort(key=lambda pair: -pair[0])
    return [
        Finding(
            check="label_tokens",
            severity=Severity.NOTE,
            what=f"{len(pairs)} pairs of labels begin with the same tokens, up to {pairs[0][0]} of them",
            where="labels",
            count=len(pairs),
            evidence=[told for _, told in pairs[:SHOWN]],
            why="The first token says nothing about which it will be, so a confidence read from it is worthless; "
            "Kasauti scores whole labels.",
            mend="Where another server will read first tokens, give the labels names that differ in the first word.",
        )
    ]


def own_control_strings(part: str, examples: Sequence[Example], renderer: Renderer) -> list[Finding]:
    """Rows whose text holds a control string of this very tokenizer that the check `control` cannot know."""
    own = [text for text in renderer.encoder.controls if not CHAT.fullmatch(text)]
    hits = [(e, [text for text in own if text in e.text or text in (e.answer or "")]) for e in examples] if own else []
    hits = [(example, found) for example, found in hits if found]
    if not hits:
        return []
    strings = sorted({text for _, found in hits for text in found})
    return [
        Finding(
            check="control",
            severity=Severity.WARN,
            what=f"{len(hits)} rows ({share(len(hits), len(examples))}) hold control tokens of the model: "
            f"{', '.join(strings[:8])}",
            where=part,
            count=len(hits),
            rows=row_numbers(example for example, _ in hits),
            evidence=[quote(example) for example, _ in hits[:SHOWN]],
            why="Kasauti encodes them as plain text; a server that does not takes them for its own marks.",
            mend="Look how they came in; take them out unless users do write them, and serve with the same encoding.",
        )
    ]
