"""The exact probability of every label: whole label and end-of-turn, normalised over the label set.

Walks in: a causal language model, prompts as token ids, a `LabelTrie`. Walks out: log-probabilities [rows, labels].
It knows no text.

What all prompts of a call begin with is computed once. Each row then costs one pass over its own tokens followed by
the trie, laid out as one sequence in which a trie node sees the prompt and its own ancestors only, at the positions
that it would have had alone. That is the same arithmetic as one plain pass per label (a test holds the two equal to
1e-4), at the price of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kasauti.core.errors import ModelError
from kasauti.model.activated import adapter_off, invocation_of, prefix_length
from kasauti.model.labels import LabelTrie

BATCH_TOKENS = 8192
"""Query tokens in one forward pass."""
LOGIT_BYTES = 2**28
"""Memory that the logits of one forward pass may take."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A common beginning of prompts, its keys and values computed."""

    ids: tuple[int, ...]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Keys and values of every layer, [1, heads, length, head size]."""


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many ids all prompts begin with; at least the last id of every prompt is left out, since its logits are
    needed."""
    if not prompts:
        return 0
    low, high = min(map(tuple, prompts)), max(map(tuple, prompts))
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return min(length, min(len(p) for p in prompts) - 1)


@torch.inference_mode()
def compute_prefix(model: Any, ids: Sequence[int]) -> Prefix:
    """Runs the beginning of prompts once, for any number of later calls with the same weights; an activated adapter is
    off on it."""
    with adapter_off(model):
        out = model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=True, logits_to_keep=1)
    return Prefix(tuple(ids), tuple((layer.keys, layer.values) for layer in out.past_key_values.layers))


@torch.inference_mode()
def label_log_probabilities(
    model: Any,
    prompts: Sequence[Sequence[int]],
    trie: LabelTrie,
    *,
    prefix: Prefix | None = None,
    normalise: bool = True,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """log P(label | prompt) for every prompt and label, float64 [rows, labels].

    Args:
        model: a causal language model in eval mode, adapter attached or merged.
        prompts: token ids up to where the answer begins.
        trie: the labels.
        prefix: a beginning that is computed already; one that a prompt does not begin with is not used. None computes
        what
            these prompts have in common.
        normalise: over the label set; otherwise the joint log-probability of the label's tokens among all texts.
        batch_tokens: query tokens in one pass; bounds memory, never changes the result beyond rounding.
        progress: called with the number of rows finished since the last call.

    Raises:
        ModelError: a prompt is empty or longer than the model's window.
    """
    if not prompts:
        return np.zeros((0, len(trie.labels)))
    _check_lengths(model, prompts, trie)
    prefix = prefix_for(model, prompts, prefix)
    if prefix is None and len(prompts) > 1 and not invocation_of(model) and (common := common_prefix(prompts)):
        prefix = compute_prefix(model, prompts[0][:common])
    shared = len(prefix.ids) if prefix else 0
    edge_index = _label_edge_matrix(trie)
    out = np.empty((len(prompts), len(trie.labels)))
    for rows in _batches(
        [len(p) - shared for p in prompts], trie.size, model.config.get_text_config().vocab_size, batch_tokens
    ):
        edges_be = _edge_log_probabilities(model, [prompts[i][shared:] for i in rows], prefix, trie)
        # Column -1 is padding: labels have different numbers of edges.
        padded_be = np.concatenate([edges_be, np.zeros((len(rows), 1))], axis=1)
        out[rows] = padded_be[:, edge_index].sum(axis=2)
        if progress:
            progress(len(rows))
    if normalise:
        out -= np.logaddexp.reduce(out, axis=1, keepdims=True)
    return out


def _check_lengths(model: Any, prompts: Sequence[Sequence[int]], trie: LabelTrie) -> None:
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


def _batches(lengths: Sequence[int], trie_size: int, vocabulary: int, batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers by length, so that little is padded, within the bounds on tokens and logits."""
    most_by_logits = max(1, LOGIT_BYTES // (4 * vocabulary * (trie_size + 1)))
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and ((len(batch) + 1) * (lengths[row] + trie_size) > batch_tokens or len(batch) >= most_by_logits):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def begins(prompt: Sequence[int], ids: tuple[int, ...]) -> bool:
    """Whether a prompt begins with these ids and goes on after them."""
    return len(prompt) > len(ids) and tuple(prompt[: len(ids)]) == ids


def prefix_for(model: Any, prompts: Sequence[Sequence[int]], prefix: Prefix | None) -> Prefix | None:
    """The prefix that these prompts are asked with: the given one where all begin with it; for an activated adapter the
    one that it is off on, computed where it is not given.

    Raises:
        ModelError: an activated adapter cannot be asked one of them.
    """
    off = prefix_length(model, prompts)
    if off is not None and (prefix is None or list(prefix.ids) != list(prompts[0][:off])):
        return compute_prefix(model, prompts[0][:off]) if off else None
    return prefix if prefix is not None and all(begins(p, prefix.ids) for p in prompts) else None


def prefix_cache(prefix: Prefix | None, rows: int) -> Any:
    """A new transformers cache that holds the prefix for so many rows; empty without one."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for at, (keys, values) in enumerate(prefix.layers if prefix else ()):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), at)
    return cache


def _edge_log_probabilities(
    model: Any, rows: Sequence[Sequence[int]], prefix: Prefix | None, trie: LabelTrie
) -> NDArray[np.float64]:
    """log P of every trie edge for every row, [rows, edges], float64."""
    shared, longest = len(prefix.ids) if prefix else 0, max(len(r) for r in rows)
    # Padded on the left: the last prompt token and the trie then stand at the same columns in every row.
    pads_b = torch.tensor([longest - len(r) for r in rows])
    ids_bq = torch.tensor([[0] * (longest - len(r)) + list(r) + list(trie.tokens) for r in rows])
    depth_t = torch.tensor(trie.depths, dtype=torch.long)
    own_bu = (torch.arange(longest)[None] - pads_b[:, None]).clamp(min=0)
    lengths_b = longest - pads_b
    positions_bq = shared + torch.cat([own_bu, lengths_b[:, None] - 1 + depth_t[None]], dim=1)
    mask = _mask(pads_b, longest, trie, shared)
    device = model.device
    logits_bnv = model(
        input_ids=ids_bq.to(device),
        position_ids=positions_bq.to(device),
        attention_mask=mask.to(device),
        past_key_values=prefix_cache(prefix, len(rows)),
        use_cache=True,
        logits_to_keep=trie.size + 1,
    ).logits.float()
    normaliser_bn = torch.logsumexp(logits_bnv, dim=-1)
    nodes = torch.tensor(trie.edge_nodes, device=device)
    tokens = torch.tensor(trie.edge_tokens, device=device)
    result: NDArray[np.float64] = (logits_bnv[:, nodes, tokens] - normaliser_bn[:, nodes]).double().cpu().numpy()
    return result


def _mask(pads_b: torch.Tensor, longest: int, trie: LabelTrie, shared: int) -> torch.Tensor:
    """Who sees whom, boolean [rows, 1, longest + T, shared + longest + T]; True = sees."""
    size = trie.size
    queries = longest + size
    tree = torch.zeros(size, size, dtype=torch.bool)
    for at, path in enumerate(trie.ancestors()):
        tree[at, [p - 1 for p in path]] = True
    base = torch.zeros(queries, queries, dtype=torch.bool)
    base[:longest, :longest] = torch.ones(longest, longest, dtype=torch.bool).tril()
    base[longest:, :longest] = True
    base[longest:, longest:] = tree
    real_bk = torch.cat(
        [torch.arange(longest)[None] >= pads_b[:, None], torch.ones(len(pads_b), size, dtype=torch.bool)], dim=1
    )
    # A padding query sees itself, since a softmax over nothing is not a number; nobody sees it.
    own_bqk = (base[None] & real_bk[:, None, :]) | torch.eye(queries, dtype=torch.bool)[None]
    before = torch.ones(len(pads_b), queries, shared, dtype=torch.bool)
    return torch.cat([before, own_bqk], dim=2)[:, None]


def _label_edge_matrix(trie: LabelTrie) -> NDArray[np.float64]:
    most = max(len(edges) for edges in trie.label_edges)
    return np.array([[*edges, *[-1] * (most - len(edges))] for edges in trie.label_edges])
