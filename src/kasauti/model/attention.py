"""Attention of prompts and their branches: what all rows begin with stands once, what a row's branches share stands
once in that row, and nothing is padded but what attention itself looks at.

Walks in: queries, keys and values of a pass, and its `Pass`. Walks out: the attention's output. It knows no labels.

The tokens of a pass lie in one row without padding, texts first and branches behind them, so that matrix products see
real tokens only. A token's attention is computed in parts, joined by their log-sum-exp (Milakov and Gimelshein 2018,
arXiv 1805.02867): the common beginning, whose keys are the same tensor for all rows; the row's text; the branch's own
ancestors. Ancestors come in blocks of a tree that is laid out depth first: of a node outside a block only those on the
way to the block's first node can be seen, so a block of S nodes has at most S + depth keys, and a tree of T nodes costs
T·(S + depth) pairs in place of T².

It is registered with Transformers under the name `NAME`: whoever calls the network with a `branches` gets this, and
without one the library's own SDPA.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from kasauti.model.last import last_layer_at
from kasauti.model.registered import attention_of, matrix_unit

NAME = "kasauti_branches"
MATH_SCORES = 2**26
"""Scores that are computed at a time where there is no kernel that tells its log-sum-exp; 256 MiB in float32."""
READY = torch.ones(1, 1, 1, 1, dtype=torch.bool)
"""Handed in as the attention mask: the library takes one of four dimensions as it is and makes none of its own."""
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of every layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """Who sees whom among the branch tokens of a row, in blocks of queries."""

    queries_ns: torch.Tensor | None
    """[blocks, S] the tokens of every block; None where the one block is all of them."""
    keys_nk: torch.Tensor | None
    """[blocks, K] the tokens that some token of the block may see."""
    places_r: torch.Tensor | None
    """[R] where a token's output is in the blocks laid end to end."""
    bias: torch.Tensor
    """[blocks or rows, 1, S, K] added to the scores; the lowest finite number hides a key. Finite, since the kernel's
    answer for a query that sees none of these keys must be a number; its log-sum-exp then gives it no weight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Branches:
    """The branch tokens of a pass, behind its texts."""

    rows: int
    index_br: torch.Tensor | None
    """[rows, R] which of the branch tokens stands where in its row; None where every row has the same number."""
    flat_m: torch.Tensor | None
    """[branch tokens] where they stand in rows·R; None as above."""
    blocks: Blocks
    kept_bias: torch.Tensor | None
    """[rows, 1, 1 or R, kept] hides padding (and, of what was kept, what is no ancestor); None hides nothing."""


@dataclass(kw_only=True, slots=True)
class Pass:
    """One pass through the network: [texts of all rows | branches of all rows]."""

    prefix: Layers = ()
    """Of the common beginning, [1, heads, P, size]; seen by every token."""
    lengths: tuple[int, ...] = ()
    """Text tokens of every row; none where the texts ran in an earlier pass."""
    kept: Layers = ()
    """What the rows' earlier tokens left, [rows, kept, heads, size]; read where no texts run in this pass."""
    branches: Branches | None = None
    places: torch.Tensor | None = None
    """Positions whose logits are needed; None for all."""
    left: list[tuple[torch.Tensor, torch.Tensor]] | None = None
    """A list to collect what these tokens leave for later passes, [rows, longest, heads, size] a layer."""
    _index: tuple[torch.Tensor, torch.Tensor] | None = field(default=None, init=False)

    def attend(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        """Output [N, H, D] for queries [1, H, N, D] and keys and values [1, Hkv, N, D]."""
        wide = q.dtype if q.device.type != "cpu" or matrix_unit() else torch.float32
        q, k, v = q.to(wide), k.to(wide), v.to(wide)
        q_n, k_n, v_n = (x[0].transpose(0, 1) for x in (q, k, v))
        before = None
        if self.prefix:
            keys, values = (x.to(wide) for x in self.prefix[layer])
            out, logs = _part(q, keys, values, scale)
            before = (out[0], logs[0])
        texts, out_n = sum(self.lengths), []
        if self.lengths:
            kept = (self._padded(k_n[:texts]), self._padded(v_n[:texts]))
            q_b = self._padded(q_n[:texts])
            out, logs = _part(_heads(q_b), _heads(kept[0]), _heads(kept[1]), scale, causal=True)
            own = (self._flat(out), self._flat(logs))
            out_n.append(_join([own, _cut(before, 0, texts)]))
            if self.left is not None and self.branches is None:
                self.left.append(kept)
        else:
            kept = self.kept[layer]
            kept = (kept[0].to(wide), kept[1].to(wide))
        if self.branches is not None:
            parts = self._branches(self.branches, q_n[texts:], k_n[texts:], v_n[texts:], kept, scale)
            out_n.append(_join([*parts, _cut(before, texts, len(q_n))]))
        return torch.cat(out_n) if len(out_n) > 1 else out_n[0]

    def _branches(
        self, of: Branches, q_n: Any, k_n: Any, v_n: Any, kept: tuple[torch.Tensor, torch.Tensor], scale: float
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Output and log-sum-exp of the branch tokens, from the rows' texts and from among themselves."""
        q_b, k_b, v_b = (
            x.unflatten(0, (of.rows, -1)) if of.index_br is None else x[of.index_br] for x in (q_n, k_n, v_n)
        )
        if self.left is not None:
            self.left.append((k_b, v_b))
        out, logs = _part(_heads(q_b), _heads(kept[0]), _heads(kept[1]), scale, bias=of.kept_bias)
        parts = [(out.flatten(0, 1), logs.flatten(0, 1))]
        blocks = of.blocks
        if blocks.queries_ns is not None:
            q_b = q_b[:, blocks.queries_ns].flatten(0, 1)
            k_b, v_b = (x[:, blocks.keys_nk].flatten(0, 1) for x in (k_b, v_b))
        bias = blocks.bias
        if len(bias) != len(q_b):
            bias = bias.repeat(len(q_b) // len(bias), 1, 1, 1)
        out, logs = _part(_heads(q_b), _heads(k_b), _heads(v_b), scale, bias=bias)
        if blocks.places_r is not None:
            out, logs = (x.reshape(of.rows, -1, *x.shape[2:])[:, blocks.places_r] for x in (out, logs))
        parts.append((out.flatten(0, 1), logs.flatten(0, 1)))
        return parts if of.flat_m is None else [(out[of.flat_m], logs[of.flat_m]) for out, logs in parts]

    def _padded(self, x_n: torch.Tensor) -> torch.Tensor:
        """[texts, …] → [rows, longest, …], padded on the right, where causality hides it."""
        if min(self.lengths) == max(self.lengths):
            return x_n.unflatten(0, (len(self.lengths), -1))
        return x_n[self._places(x_n.device)[0]]

    def _flat(self, x_bl: torch.Tensor) -> torch.Tensor:
        x_n = x_bl.flatten(0, 1)
        return x_n if min(self.lengths) == max(self.lengths) else x_n[self._places(x_bl.device)[1]]

    def _places(self, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if self._index is None:
            self._index = ragged(self.lengths, device)
        return self._index


def ragged(lengths: Sequence[int], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """For rows of these lengths laid end to end: [rows, longest] which token stands where (any, behind a row's end),
    and [tokens] where each stands in rows·longest."""
    lengths_b, longest = torch.tensor(lengths), max(lengths)
    starts_b = lengths_b.cumsum(0) - lengths_b
    at_l = torch.arange(longest)
    real_bl = at_l[None] < lengths_b[:, None]
    index_bl = (starts_b[:, None] + at_l[None]).clamp(max=int(lengths_b.sum()) - 1)
    return index_bl.to(device), real_bl.flatten().nonzero()[:, 0].to(device)


def hidden_padding(lengths: Sequence[int], dtype: torch.dtype, device: Any) -> torch.Tensor | None:
    """[rows, 1, 1, longest] bias that hides what stands behind a row's end; None where nothing does."""
    if min(lengths) == max(lengths):
        return None
    padding_bl = torch.arange(max(lengths))[None] >= torch.tensor(lengths)[:, None]
    return hiding(padding_bl, dtype, device)[:, None, None]


def hiding(hidden: torch.Tensor, dtype: torch.dtype, device: Any) -> torch.Tensor:
    """A bias that hides where True."""
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min).to(device)


def bias_dtype(model: Any) -> torch.dtype:
    """What scores are computed in: the network's dtype, on a CPU without a matrix unit float32."""
    dtype: torch.dtype = model.dtype
    return dtype if model.device.type != "cpu" or matrix_unit() else torch.float32


def _heads(x_blhd: torch.Tensor) -> torch.Tensor:
    return x_blhd.transpose(1, 2)


def _cut(part: tuple[torch.Tensor, torch.Tensor] | None, start: int, stop: int) -> Any:
    return None if part is None else (part[0][start:stop], part[1][start:stop])


def _join(parts: list[tuple[torch.Tensor, torch.Tensor] | None]) -> torch.Tensor:
    """One output of several, each over its own keys: [N, H, D] with log-sum-exp [N, H]."""
    there = [part for part in parts if part is not None]
    if len(there) == 1:
        return there[0][0]
    logs_p = torch.stack([logs for _, logs in there])
    weights_p = torch.softmax(logs_p, dim=0).unsqueeze(-1)
    joined = there[0][0].float() * weights_p[0]
    for (out, _), weight in zip(there[1:], weights_p[1:], strict=True):
        joined.addcmul_(out.float(), weight)
    return joined


def _part(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, *, causal: bool = False, bias: Any = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over these keys alone: output [B, L, H, D] and its log-sum-exp [B, L, H] in float32."""
    if bias is not None and bias.dtype != q.dtype:  # as under autocast
        bias = bias.clamp(min=torch.finfo(q.dtype).min).to(q.dtype)
    if q.device.type == "cpu" and q.shape[-1] == v.shape[-1]:
        out, logs = _flash(q, k, v, 0.0, causal, attn_mask=bias, scale=scale)
        return out.transpose(1, 2), logs.transpose(1, 2)
    return _math(q, k, v, scale, causal=causal, bias=bias)


def _math(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float, *, causal: bool, bias: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same in plain operations, some queries at a time, for every device."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    size = q.shape[2]
    step = max(1, MATH_SCORES // (q.shape[0] * q.shape[1] * k.shape[2]))
    outs, all_logs = [], []
    for start in range(0, size, step):
        some = slice(start, min(size, start + step))
        scores = (q[:, :, some] @ k.transpose(-1, -2)).float() * scale
        if bias is not None:
            scores = scores + (bias if bias.shape[2] == 1 else bias[:, :, some])
        if causal:
            at = torch.arange(size, device=q.device)
            scores = scores.masked_fill(at[None] > at[some, None], float("-inf"))
        logs = torch.logsumexp(scores, dim=-1)
        outs.append((scores - logs.unsqueeze(-1)).exp().to(v.dtype) @ v)
        all_logs.append(logs)
    return torch.cat(outs, dim=2).transpose(1, 2), torch.cat(all_logs, dim=2).transpose(1, 2)


def branch_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    branches: Pass | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What Transformers calls in every layer: queries [1, H, N, D] in, output [1, N, H, D] out."""
    if branches is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return plain
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = branches.attend(int(module.layer_idx), query, key, value, scale)
    return out[None].to(query.dtype), None


def _places(kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    made = kwargs.get("branches")
    return None if made is None else made.places


@contextlib.contextmanager
def branches_in(network: Any) -> Iterator[None]:
    """Within it, a network of Transformers takes `branches=`; calls without it are as they were."""
    with attention_of(network, NAME, branch_attention), last_layer_at(network, _places):
        yield
