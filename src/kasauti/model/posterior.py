"""The exact probability of every label: whole label and end-of-turn, normalised over the label set.

Walks in: a causal language model, prompts as token ids, a `LabelTrie`. Walks out: log-probabilities [rows, labels].
It knows no text.

What prompts begin with is computed once. Each row then costs its own tokens and the trie's, laid out as one sequence in
which a trie node sees the prompt and its own ancestors only, at the positions that it would have had alone. That is the
same arithmetic as one plain pass per label (a test holds the two equal to 1e-4), at the price of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kasauti.core.errors import ModelError
from kasauti.model import padded
from kasauti.model.activated import invocation_of
from kasauti.model.attention import branches_in
from kasauti.model.fits import network_of, packs
from kasauti.model.labels import LabelTrie
from kasauti.model.packed import batches, edge_log_probabilities
from kasauti.model.prefix import Prefix, alike, common_prefix, compute_prefix, prefix_for

MEMORY = 2**30
"""Bytes that a pass may take beside the weights, about."""
TOKENS = {"cpu": 2048, "cuda": 32768}
"""Tokens in one pass at most. On one core, float32, two layers of width 768, 77 labels: 84% of the rate of a product of
matrices with 2,048, 77% with 1,024."""


def tokens_for(model: Any, memory: int) -> int:
    """Tokens of a pass that takes about so many bytes: activations of a layer (held twice), and logits of every
    token."""
    text = model.config.get_text_config()
    hidden: int = text.hidden_size
    inner: int = getattr(text, "intermediate_size", None) or 4 * hidden
    width = int(model.dtype.itemsize)
    each: int = 2 * width * (4 * hidden + 3 * inner) + 3 * 4 * hidden + width * text.vocab_size
    best = TOKENS.get(model.device.type, TOKENS["cuda"])
    return max(64, min(best, memory // each))


@torch.inference_mode()
def label_log_probabilities(
    model: Any,
    prompts: Sequence[Sequence[int]],
    trie: LabelTrie,
    *,
    prefix: Prefix | None = None,
    normalise: bool = True,
    memory: int = MEMORY,
    batch_tokens: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """log P(label | prompt) for every prompt and label, float64 [rows, labels].

    Args:
        model: a causal language model in eval mode, adapter attached or merged.
        prompts: token ids up to where the answer begins.
        trie: the labels.
        prefix: a beginning that is computed already. A prompt that begins otherwise uses as much of it as it shares.
            None computes what these prompts have in common. An activated adapter takes just what it is off on.
        normalise: over the label set; otherwise the joint log-probability of the label's tokens among all texts.
        memory: bytes that a pass may take beside the weights, about.
        batch_tokens: tokens in one pass in place of what fits the memory; never changes the result beyond rounding.
        progress: called with the number of rows finished since the last call.

    Raises:
        ModelError: a prompt is empty or longer than the model's window; an activated adapter cannot be asked it.
    """
    if not prompts:
        return np.zeros((0, len(trie.labels)))
    check_lengths(model, prompts, trie)
    edge_index = _label_edge_matrix(trie)
    out = np.empty((len(prompts), len(trie.labels)))
    most = batch_tokens or tokens_for(model, memory)
    with contextlib.ExitStack() as within:
        if packs(model):
            within.enter_context(branches_in(network_of(model)))
        for own, rows in groups(model, prompts, prefix):
            shared = len(own.ids) if own else 0
            rest = [prompts[row][shared:] for row in rows]
            for some, edges_be in _edges(model, rest, own, trie, most):
                # Column -1 is padding: labels have different numbers of edges.
                padded_be = np.concatenate([edges_be, np.zeros((len(some), 1))], axis=1)
                out[[rows[at] for at in some]] = padded_be[:, edge_index].sum(axis=2)
                if progress:
                    progress(len(some))
    if normalise:
        out -= np.logaddexp.reduce(out, axis=1, keepdims=True)
    return out


def _edges(
    model: Any, rows: Sequence[Sequence[int]], prefix: Prefix | None, trie: LabelTrie, batch_tokens: int
) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
    lengths = [len(row) for row in rows]
    if packs(model):
        for some in batches(lengths, trie.size, batch_tokens):
            yield some, edge_log_probabilities(model, [rows[at] for at in some], prefix, trie, batch_tokens)
    else:
        vocabulary = model.config.get_text_config().vocab_size
        for some in padded.batches(lengths, trie.size, vocabulary, batch_tokens):
            yield some, padded.edge_log_probabilities(model, [rows[at] for at in some], prefix, trie)


def groups(
    model: Any, prompts: Sequence[Sequence[int]], prefix: Prefix | None
) -> Iterator[tuple[Prefix | None, list[int]]]:
    """Rows by the beginning that they share: all of `prefix` for those that begin with it, and for the others as much
    of it as they all have. For an activated adapter it is what it is off on, no more and no less.

    Raises:
        ModelError: an activated adapter cannot be asked one of them.
    """
    everyone = list(range(len(prompts)))
    if invocation_of(model):
        yield prefix_for(model, prompts, prefix), everyone
        return
    if prefix is None:
        common = common_prefix(prompts) if len(prompts) > 1 else 0
        yield (compute_prefix(model, prompts[0][:common]) if common else None), everyone
        return
    shares = [min(alike(prompt, prefix.ids), len(prompt) - 1) for prompt in prompts]
    whole = [row for row in everyone if shares[row] == len(prefix.ids)]
    others = [row for row in everyone if shares[row] < len(prefix.ids)]
    if whole:
        yield prefix, whole
    if others:
        least = min(shares[row] for row in others)
        yield (prefix.first(least) if least else None), others


def check_lengths(model: Any, prompts: Sequence[Sequence[int]], trie: LabelTrie) -> None:
    """Refuse what the network would answer wrongly.

    Raises:
        ModelError: a prompt is empty, or with the longest label longer than the window.
    """
    longest = max(len(p) for p in prompts) + max(trie.depths, default=0)
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if min(len(p) for p in prompts) == 0:
        raise ModelError("a prompt without a single token", mend="check the chat template of the task")
    if window and longest > window:
        raise ModelError(
            f"a prompt of {longest} tokens in a model whose window is {window}",
            mend="shorten the input or the instructions",
        )
    sliding = getattr(model.config.get_text_config(), "sliding_window", None)
    if sliding and getattr(model.config.get_text_config(), "use_sliding_window", True) and longest > sliding:
        raise ModelError(
            f"a prompt of {longest} tokens in a model with a sliding window of {sliding}",
            mend="shorten the input or the instructions",
        )


def _label_edge_matrix(trie: LabelTrie) -> NDArray[np.intp]:
    most = max(len(edges) for edges in trie.label_edges)
    return np.array([[*edges, *[-1] * (most - len(edges))] for edges in trie.label_edges])
