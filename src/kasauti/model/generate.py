"""Free text: batched greedy generation that stops at the end of the turn.

Walks in: a causal language model, prompts as token ids. Walks out: generated token ids, and whether the model ended
its turn by itself. It knows no text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from kasauti.model.prefix import Prefix, prefix_cache, prefix_for

if TYPE_CHECKING:
    from kasauti.model.constrain import Grammar


@dataclass(frozen=True, slots=True)
class Generated:
    """What came out for one prompt."""

    ids: tuple[int, ...]
    """Without the end-of-turn."""
    ended: bool
    """True where the model ended its turn; False where it was cut at the limit."""


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    end_ids: Sequence[int],
    max_new_tokens: int,
    prefix: Prefix | None = None,
    batch_tokens: int = 16384,
    grammar: Grammar | None = None,
    progress: Callable[[int], None] | None = None,
    told: Callable[[int, int], None] | None = None,
) -> list[Generated]:
    """The most probable continuation, token by token (greedy), for every prompt, in order.

    Args:
        model: a causal language model in eval mode.
        prompts: token ids up to where the answer begins.
        end_ids: ids that end a turn; the first of them pads.
        max_new_tokens: where an answer that does not end is cut.
        prefix: a beginning that is computed already; used where all prompts begin with it.
        batch_tokens: prompt and answer tokens in one batch.
        grammar: what answers have to be; see `constrain.py`.
        progress: called with the number of rows finished since the last call.
        told: called with the place of a prompt and each of its tokens as it comes, without the end-of-turn.
    """
    if prompts:
        prefix = prefix_for(model, prompts, prefix)
    out: list[Generated | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    at = 0
    while at < len(order):
        rows = [order[at]]
        while at + len(rows) < len(order):
            longest = len(prompts[order[at + len(rows)]]) + max_new_tokens
            if (len(rows) + 1) * longest > batch_tokens:
                break
            rows.append(order[at + len(rows)])
        asked = [prompts[i] for i in rows]
        streamer = _teller(told, rows, end_ids) if told else None
        answers = _batch(model, asked, end_ids, max_new_tokens, prefix, grammar, streamer)
        for row, made in zip(rows, answers, strict=True):
            out[row] = made
        at += len(rows)
        if progress:
            progress(len(rows))
    return [made for made in out if made is not None]


def _batch(
    model: Any,
    prompts: Sequence[Sequence[int]],
    end_ids: Sequence[int],
    max_new_tokens: int,
    prefix: Prefix | None,
    grammar: Grammar | None,
    streamer: Any = None,
) -> list[Generated]:
    from transformers import GenerationConfig

    shared = list(prefix.ids) if prefix else []
    own = [list(p[len(shared) :]) for p in prompts]
    longest = max(map(len, own))
    pad = end_ids[0]
    # Padded between the shared beginning and the rest, where the mask hides it.
    ids = torch.tensor([shared + [pad] * (longest - len(p)) + p for p in own], device=model.device)
    mask = torch.tensor([[1] * len(shared) + [0] * (longest - len(p)) + [1] * len(p) for p in own], device=model.device)
    longest += len(shared)
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=list(end_ids), pad_token_id=pad, use_cache=True
    )
    with _without_own_settings(model):
        sequences = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=[grammar.processor(len(prompts), longest)] if grammar else [],
            past_key_values=prefix_cache(prefix, len(prompts)) if prefix else None,
            streamer=streamer,
        )[:, longest:].tolist()
    ends = set(end_ids)
    made = []
    for sequence in sequences:
        stop = next((i for i, token in enumerate(sequence) if token in ends), None)
        made.append(Generated(tuple(sequence if stop is None else sequence[:stop]), stop is not None))
    return made


def _teller(told: Callable[[int, int], None], rows: Sequence[int], end_ids: Sequence[int]) -> Any:
    """What transformers hands the tokens of a batch to, step by step; the prompts come first."""
    from transformers.generation.streamers import BaseStreamer

    class Teller(BaseStreamer):  # type: ignore[misc]
        def __init__(self) -> None:
            self.begun = False
            self.going = set(range(len(rows)))

        def put(self, value: Any) -> None:
            if self.begun:
                for at, token in enumerate(value.tolist()):
                    if token in end_ids:
                        self.going.discard(at)
                    elif at in self.going:
                        told(rows[at], token)
            self.begun = True

        def end(self) -> None:
            pass

    return Teller()


@contextlib.contextmanager
def _without_own_settings(model: Any) -> Iterator[None]:
    """Settings that came with a model (sampling, beams, a repetition penalty) would fill in all that ours leave
    open."""
    from transformers import GenerationConfig

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    own = base.generation_config
    base.generation_config = GenerationConfig()
    try:
        yield
    finally:
        base.generation_config = own
