"""One network in memory, asked under several adapters: beginnings computed once for each, labels scored or searched.

Walks in: a network, with or without adapters; prompts as token ids; a `LabelTrie`. Walks out: log-probabilities of all
labels, or the best label with bounds. It knows no text and no task.

A beginning is kept under the adapter, its ids, and the state of the weights: what was trained, merged or loaded since
is computed anew. What an activated adapter is off on is the base's, and kept as the base's.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kasauti.core.errors import ModelError
from kasauti.model.activated import begins_at, invocation_of, prefix_length
from kasauti.model.adapters import load_adapter, load_another
from kasauti.model.attention import branches_in
from kasauti.model.fits import network_of, packs
from kasauti.model.labels import LabelTrie
from kasauti.model.packed import batches
from kasauti.model.posterior import MEMORY, check_lengths, groups, label_log_probabilities, tokens_for
from kasauti.model.prefix import Prefix, alike, common_prefix, compute_prefix
from kasauti.model.search import Best, search

BASE = ""
"""The name under which the network is asked without an adapter."""


class Engine:
    """Asks one network.

    Args:
        model: a causal language model in eval mode; with PEFT adapters, or merged, or as it is.
        memory: bytes that a pass may take beside the weights, about; beginnings are kept in as much again.
    """

    def __init__(self, model: Any, *, memory: int = MEMORY) -> None:
        self.model, self.memory = model, memory
        self._prefixes: OrderedDict[tuple[str, tuple[int, ...]], Prefix] = OrderedDict()
        self._state: int | None = None

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names that a question may be asked under, beside `BASE`."""
        return tuple(getattr(self.model, "peft_config", ()))

    @property
    def active(self) -> str:
        """The adapter that is on."""
        active = getattr(self.model, "active_adapter", BASE) if self.adapters else BASE
        return active if isinstance(active, str) else BASE

    def load(self, name: str, folder: str) -> None:
        """One more adapter beside those that are there; the base stays in memory once.

        Raises:
            ModelError: the name is taken, or the folder has no adapter for this network.
        """
        if name == BASE or name in self.adapters:
            raise ModelError(f"there is an adapter {name!r} already", mend="give it another name")
        self.model = load_another(self.model, folder, name) if self.adapters else load_adapter(self.model, folder, name)

    @contextlib.contextmanager
    def under(self, adapter: str | None) -> Iterator[None]:
        """Within it, the network answers with this adapter; None leaves what is on.

        Raises:
            ModelError: there is none of this name.
        """
        if adapter is None or (adapter == BASE and not self.adapters):
            yield
            return
        if adapter != BASE and adapter not in self.adapters:
            known = ", ".join(map(repr, self.adapters)) or "none"
            raise ModelError(f"no adapter {adapter!r}; there are {known}", mend="load it first")
        if adapter == BASE:
            with self.model.disable_adapter():
                yield
            return
        before = self.active
        if adapter != before:
            self.model.set_adapter(adapter, inference_mode=True)
        try:
            yield
        finally:
            if before not in (adapter, BASE):
                self.model.set_adapter(before, inference_mode=True)

    def log_probabilities(
        self,
        prompts: Sequence[Sequence[int]],
        trie: LabelTrie,
        *,
        adapter: str | None = None,
        beginning: Sequence[int] | None = None,
        normalise: bool = True,
        batch_tokens: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float64]:
        """log P(label | prompt) for every prompt and label, float64 [rows, labels].

        Args:
            adapter: whose answers; None for what is on, `BASE` for the network without any.
            beginning: ids that prompts are expected to begin with; None finds what these have in common.
            normalise, batch_tokens, progress: as in `label_log_probabilities`.

        Raises:
            ModelError: as `label_log_probabilities`; no adapter of this name.
        """
        with self.under(adapter):
            logs: NDArray[np.float64] = label_log_probabilities(
                self.model, prompts, trie, prefix=self._prefix_for(prompts, beginning, adapter), normalise=normalise,
                memory=self.memory, batch_tokens=batch_tokens, progress=progress,
            )  # fmt: skip
            return logs

    def best(
        self,
        prompts: Sequence[Sequence[int]],
        trie: LabelTrie,
        *,
        adapter: str | None = None,
        beginning: Sequence[int] | None = None,
        within: float | None = None,
        batch_tokens: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Best]:
        """The most probable label of every prompt: the full posterior's argmax, with bounds on its probability.

        Args:
            within: how far apart the bounds may be; None takes what finding the label leaves.
            adapter, beginning, batch_tokens, progress: as above.

        Raises:
            ModelError: as above.
        """
        if not prompts:
            return []
        check_lengths(self.model, prompts, trie)
        found: dict[int, Best | None] = dict.fromkeys(range(len(prompts)))
        with self.under(adapter):
            prefix = self._prefix_for(prompts, beginning, adapter)
            if packs(self.model):
                with branches_in(network_of(self.model)):
                    self._search(found, prompts, trie, prefix, within, batch_tokens, progress)
            undecided = [row for row, one in found.items() if one is None]
            if undecided:
                logs = label_log_probabilities(
                    self.model, [prompts[row] for row in undecided], trie, prefix=prefix, memory=self.memory,
                    progress=None if packs(self.model) else progress,
                )  # fmt: skip
                for row, line in zip(undecided, logs, strict=True):
                    top = int(line.argmax())
                    p = float(np.exp(line[top]))
                    found[row] = Best(label=top, low=p, high=p, opened=trie.size)
        return [one for _, one in sorted(found.items()) if one is not None]

    def _search(
        self,
        found: dict[int, Best | None],
        prompts: Sequence[Sequence[int]],
        trie: LabelTrie,
        prefix: Prefix | None,
        within: float | None,
        batch_tokens: int | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        most = batch_tokens or min(tokens_for(self.model, self.memory), self._rows_kept())
        for own, rows in groups(self.model, prompts, prefix):
            rest = [prompts[row][len(own.ids) if own else 0 :] for row in rows]
            for some in batches([len(row) for row in rest], 0, most):
                answers = search(self.model, [rest[at] for at in some], own, trie, within=within, progress=progress)
                found.update({rows[at]: one for at, one in zip(some, answers, strict=True)})

    def _rows_kept(self) -> int:
        """Tokens whose keys and values, kept in all layers while a batch is searched, fit the memory."""
        text = self.model.config.get_text_config()
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        # Twice: while a round's are added to those before, both are there. float32, the widest they may be kept in.
        each: int = 2 * 2 * 4 * heads * size * text.num_hidden_layers
        return max(64, int(self.memory // each // 2))

    def prefix(self, ids: Sequence[int], *, adapter: str | None = None) -> Prefix | None:
        """The beginning computed under an adapter, now or before; None for no ids. An activated adapter's ends
        where the invocation begins."""
        name = self.active if adapter is None else adapter
        invocation = () if name == BASE else invocation_of(self.model, name)
        at = begins_at(ids, invocation) if invocation else -1
        return self._computed(ids if at < 0 else ids[:at], adapter)

    def _computed(self, ids: Sequence[int], adapter: str | None) -> Prefix | None:
        if not ids:
            return None
        self._forget_if_changed()
        key = (self._owner(adapter), tuple(ids))
        if key not in self._prefixes:
            with self.under(adapter):
                self._prefixes[key] = compute_prefix(self.model, ids)
            while len(self._prefixes) > 1 and sum(p.bytes for p in self._prefixes.values()) > self.memory:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        return self._prefixes[key]

    def _owner(self, adapter: str | None) -> str:
        """The name that beginnings computed under an adapter are kept under: an activated one's are the base's, unless
        it brings whole layers of its own, which are never off."""
        name = self.active if adapter is None else adapter
        if name == BASE or not invocation_of(self.model, name):
            return name
        return name if self.model.peft_config[name].modules_to_save else BASE

    def _prefix_for(
        self, prompts: Sequence[Sequence[int]], beginning: Sequence[int] | None, adapter: str | None
    ) -> Prefix | None:
        """The one asked for; else one that is kept and covers what these prompts have in common; else a new one. For an
        activated adapter that is on, what it is off on."""
        if prompts and (off := prefix_length(self.model, prompts)) is not None:
            return self._computed(prompts[0][:off], adapter)
        if beginning is not None or not prompts:
            return self.prefix(beginning or (), adapter=adapter)
        self._forget_if_changed()
        name = self.active if adapter is None else adapter
        common = tuple(prompts[0][: common_prefix(prompts)])
        kept = [key for key in self._prefixes if key[0] == name]
        best = max(kept, key=lambda key: alike(key[1], common), default=None)
        if best is not None and (len(prompts) == 1 or alike(best[1], common) == len(common)):
            return self.prefix(best[1], adapter=adapter).first(alike(best[1], common) or 1)  # type: ignore[union-attr]
        return self.prefix(common, adapter=adapter) if len(prompts) > 1 else None

    def forget(self) -> None:
        """Lets all beginnings go; needed only where weights were written through `.data`, which leaves no trace."""
        self._prefixes.clear()

    def _forget_if_changed(self) -> None:
        merged: tuple[tuple[str, ...], ...] = ()
        if self.adapters:  # merged into the same memory, through `.data`
            merged = tuple(tuple(m.merged_adapters) for m in self.model.modules() if hasattr(m, "merged_adapters"))
        state = hash((merged, *(_state(p) for p in self.model.parameters())))
        if state != self._state:
            self.forget()
        self._state = state


def _state(parameter: Any) -> tuple[int, int]:
    """Changes with every change of a tensor that torch knows of."""
    return parameter.data_ptr(), 0 if parameter.is_inference() else int(parameter._version)
