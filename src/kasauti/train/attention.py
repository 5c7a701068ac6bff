"""Attention over a packed row: every token sees its own path from the root of the tree, and nothing else.

Walks in: queries, keys and values of a packed row, and its `Tree`. Walks out: the attention's output, with gradients
that are those of the plain batch. It does not know rows, labels or losses.

It is registered with Transformers under the name `NAME`, so that no model is patched: whoever calls the network with a
`tree` gets this, and without one the library's own SDPA.

On a CPU the tree is computed node by node, without a mask and without a copy of the prefix for each row. A node's
tokens see each other causally, and all of its descendants' tokens, which stand right behind it, see it whole. So a
layer is a few calls of the flash kernel on slices, whose results are joined by their log-sum-exp (as in Milakov and
Gimelshein 2018, arXiv 1805.02867, and Liu et al. 2023, arXiv 2310.01889). The backward pass calls the kernel's own on
the same slices, with the *joined* output and log-sum-exp, which makes its gradients the exact ones. On CUDA it is
FlexAttention with the same tree as a block mask; elsewhere SDPA with a boolean mask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from kasauti.model.registered import attention_of, matrix_unit

NAME = "kasauti_tree"
STEP = 256
"""FlexAttention is compiled for a length; lengths that are multiples of this make few of them."""
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True, slots=True)
class Part:
    """Queries that see keys: one call of the kernel."""

    queries: slice
    keys: slice
    causal: bool
    """Whether the keys are the queries' own node."""
    first: bool
    """Whether no part before this one has these queries."""


class Tree:
    """Who sees whom in a packed row.

    Args:
        nodes: [N, 3] of every node, its first token, the one behind its last, the one behind its last descendant's.
        positions: [T] position ids.
        places: [K] positions whose output is needed; the last layer may leave the others out.
        before: keys and values of every layer, [1, heads, P, head size], of what stands before the row and is seen by
            all of it; they get no gradient. None for nothing. Positions then begin at P.
    """

    def __init__(
        self,
        nodes: torch.Tensor,
        positions: torch.Tensor,
        places: torch.Tensor,
        before: Sequence[tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> None:
        self.positions, self.places, self.before = positions, places, before
        skip = self.skip = before[0][0].shape[2] if before else 0
        """P, how many keys stand before those of the row."""
        self.key_positions = torch.cat([torch.arange(skip, device=positions.device), positions])
        self.longest = int(positions.max()) + 1
        self.filled = -(-len(positions) // STEP) * STEP
        self.filled_keys = self.filled if not skip else -(-(skip + self.filled) // STEP) * STEP
        self.parts: list[Part] = []
        self._nodes: list[tuple[int, int, int]] = [(int(a), int(b), int(c)) for a, b, c in nodes.tolist()]
        if skip:
            self.parts.append(Part(slice(0, len(positions)), slice(0, skip), False, True))
        behind = 0  # the end of the last tree of the forest
        for start, stop, end in self._nodes:
            top = start >= behind and not skip
            behind = max(behind, end)
            keys = slice(skip + start, skip + stop)
            self.parts.append(Part(slice(start, stop), keys, True, top))
            if end > stop:
                self.parts.append(Part(slice(stop, end), keys, False, top))
        self._kept: dict[Any, Any] = {}

    def ends(self) -> torch.Tensor:
        """[T] of every token, where the descendants of its node end."""
        ends_t = torch.empty_like(self.positions)
        for start, stop, end in self._nodes:
            ends_t[start:stop] = end
        return ends_t

    def mask(self, window: int | None) -> torch.Tensor:
        """Who sees whom, boolean [T, P + T]; True = sees."""
        if ("mask", window) not in self._kept:
            at_t, ends_t = torch.arange(len(self.positions), device=self.positions.device), self.ends()
            own_qk = (at_t[None] <= at_t[:, None]) & (at_t[:, None] < ends_t[None])
            mask_qk = torch.cat([own_qk.new_ones(len(at_t), self.skip), own_qk], dim=1)
            if window is not None:
                mask_qk &= self.positions[:, None] - self.key_positions[None] < window
            self._kept["mask", window] = mask_qk
        return self._kept["mask", window]

    def block_mask(self, window: int | None) -> Any:
        """The same for FlexAttention, filled up to a multiple of `STEP` with tokens that see themselves."""
        from torch.nn.attention.flex_attention import create_block_mask

        if ("block", window) not in self._kept:
            used, size, skip, keys = len(self.positions), self.filled, self.skip, self.filled_keys
            # Of every key the query behind the last that sees it, counted from where the row begins.
            first_k = torch.arange(keys, device=self.positions.device) - skip
            ends_k = torch.where(first_k < 0, size, first_k + 1)
            places_k = torch.zeros_like(first_k)
            ends_k[skip : skip + used], places_k[: skip + used] = self.ends(), self.key_positions

            def sees(batch: Any, head: Any, q: Any, k: Any) -> Any:
                seen = (first_k[k] <= q) & (q < ends_k[k])
                return seen if window is None else seen & (places_k[q + skip] - places_k[k] < window)

            self._kept["block", window] = create_block_mask(sees, None, None, size, keys, device=places_k.device)
        return self._kept["block", window]

    def bias(self, part: Part, window: int | None, dtype: torch.dtype) -> torch.Tensor | None:
        """What a part's scores need where the window ends within it, [1, 1, queries, keys]; None where all are seen.

        The bias is finite, since the kernel's answer for a query that sees none of these keys must be a number; the
        log-sum-exp then gives it no weight.
        """
        queries_q, keys_k = self.positions[part.queries], self.key_positions[part.keys]
        if window is None or int(queries_q.max()) - int(keys_k.min()) < window:
            return None
        key = (part.queries.start, part.keys.start, window, dtype)
        if key not in self._kept:
            far_qk = queries_q[:, None] - keys_k[None]
            unseen_qk = far_qk >= window
            if part.causal:
                unseen_qk |= far_qk < 0
            bias_qk = torch.zeros(far_qk.shape, dtype=dtype).masked_fill(unseen_qk, torch.finfo(dtype).min)
            self._kept[key] = bias_qk[None, None]
        return self._kept[key]


class _ByNode(torch.autograd.Function):  # type: ignore[misc]
    """Tree attention on a CPU; queries, keys and values [1, H, T, D] of one dtype."""

    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tree: Tree, scale: float, window: int | None
    ) -> torch.Tensor:
        _, heads, size, width = q.shape
        out = q.new_empty(1, size, heads, width).transpose(1, 2)
        logs = q.new_empty(1, size, heads, dtype=torch.float32).transpose(1, 2)
        for part in tree.parts:
            bias = tree.bias(part, window, q.dtype)
            new, new_logs = _flash(
                q[:, :, part.queries], k[:, :, part.keys], v[:, :, part.keys], 0.0, part.causal and bias is None,
                attn_mask=bias, scale=scale,
            )  # fmt: skip
            if part.first:
                out[:, :, part.queries], logs[:, :, part.queries] = new, new_logs
                continue
            before, before_logs = out[:, :, part.queries], logs[:, :, part.queries]
            joined = torch.logaddexp(before_logs, new_logs)
            weight = (new_logs - joined).exp().unsqueeze(-1).to(new.dtype)
            out[:, :, part.queries] = torch.lerp(before, new, weight)
            logs[:, :, part.queries] = joined
        ctx.save_for_backward(q, k, v, out, logs)
        ctx.tree, ctx.scale, ctx.window = tree, scale, window
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, logs = ctx.saved_tensors
        (grad_out,) = gradients
        grads = tuple(torch.zeros_like(x) for x in (q, k, v))
        for part in ctx.tree.parts:
            bias = ctx.tree.bias(part, ctx.window, q.dtype)
            parts = _flash_backward(
                grad_out[:, :, part.queries], q[:, :, part.queries], k[:, :, part.keys], v[:, :, part.keys],
                out[:, :, part.queries], logs[:, :, part.queries], 0.0, part.causal and bias is None,
                attn_mask=bias, scale=ctx.scale,
            )  # fmt: skip
            for whole, where, new in zip(grads, (part.queries, part.keys, part.keys), parts, strict=True):
                whole[:, :, where] += new
        return (*grads, None, None, None)


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    tree: Tree | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What Transformers calls in every layer: queries [1, H, T, D] in, output [1, T, H, D] out."""
    if tree is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return plain
    if tree.before is not None:
        before_key, before_value = tree.before[int(module.layer_idx)]
        key = torch.cat([before_key.to(key), key], dim=2)
        value = torch.cat([before_value.to(value), value], dim=2)
    window = sliding_window if sliding_window and tree.longest > sliding_window else None
    if query.device.type == "cuda" and not dropout:
        from transformers.integrations.flex_attention import flex_attention_forward

        size = query.shape[2]
        filled = pad(query, (0, 0, 0, tree.filled - size))
        keys, values = (pad(x, (0, 0, 0, tree.filled_keys - x.shape[2])) for x in (key, value))
        out = flex_attention_forward(module, filled, keys, values, tree.block_mask(window), scaling=scaling)[0]
        return out[:, :size], None
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if query.device.type == "cpu" and not dropout and value.shape[-1] == query.shape[-1]:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        # The kernel is no slower in float32 where bfloat16 has no matrix unit: 43 against 58 ms a layer at P = 500.
        wide = query.dtype if matrix_unit() else torch.float32
        joined: torch.Tensor = _ByNode.apply(query.to(wide), key.to(wide), value.to(wide), tree, scale, window)
        return joined.transpose(1, 2).to(query.dtype), None
    masked = scaled_dot_product_attention(query, key, value, tree.mask(window), dropout, scale=scaling)
    return masked.transpose(1, 2), None


@contextlib.contextmanager
def tree_attention_in(network: Any) -> Iterator[None]:
    """Within it, a network of Transformers takes `tree=`; calls without it are as they were."""
    with attention_of(network, NAME, tree_attention):
        yield
