"""A GGUF file in llama.cpp itself, through llama-cpp-python's C interface: its token ids, and its probabilities.

Walks in: a file, texts, token ids. Walks out: token ids and log-probabilities. It knows no task; that they are the ones
of our own engine is proved elsewhere (`registry.export`).
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kasauti.core.errors import ModelError
from kasauti.model.labels import LabelTrie

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 512
"""Tokens of one pass."""


def installed() -> bool:
    """Whether llama-cpp-python is there."""
    return importlib.util.find_spec("llama_cpp") is not None


class Runtime:
    """A file in memory, on as many threads as torch takes; close it, or use it as a context.

    Args:
        path: the GGUF file.
        window: tokens of a prompt with its answer, at most.

    Raises:
        ModelError: llama.cpp is not installed, or cannot load the file.
    """

    def __init__(self, path: str | Path, window: int) -> None:
        if not installed():
            raise ModelError("llama.cpp is not installed", mend="pip install llama-cpp-python")
        import llama_cpp
        import torch

        self.name = f"llama.cpp (llama-cpp-python {llama_cpp.__version__})"
        self._context: Any = None
        self._model: Any = None
        self._c: Any = llama_cpp
        lib = self._c
        _begin()
        settings = lib.llama_model_default_params()
        settings.n_gpu_layers = 0  # what is proved is the file, and a CPU is the same everywhere
        self._model = lib.llama_model_load_from_file(str(path).encode(), settings)
        if not self._model:
            raise ModelError("llama.cpp cannot load the file", where=str(path), mend="Export it again.")
        around = lib.llama_context_default_params()
        around.n_ctx, around.n_batch, around.n_ubatch = window, BATCH, BATCH
        around.n_threads = around.n_threads_batch = torch.get_num_threads()
        self._context = lib.llama_init_from_model(self._model, around)
        if not self._context:
            raise ModelError(f"llama.cpp has no room for {window} tokens", where=str(path), mend="Free some memory.")
        self._words = lib.llama_model_get_vocab(self._model)
        self.size = int(lib.llama_vocab_n_tokens(self._words))
        self._held: list[int] = []

    def tokens(self, text: str) -> list[int]:
        """Ids of a rendered prompt: strings of control tokens are read as such, and a BOS comes before the text where
        the file says so."""
        raw = text.encode()
        room = (ctypes.c_int32 * (len(raw) + 8))()
        count = self._c.llama_tokenize(self._words, raw, len(raw), room, len(room), True, True)
        if count < 0:
            raise ModelError("llama.cpp cannot tokenize a text", where=text[:40], mend="Export again.")
        return list(room[:count])

    def next_logs(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """log P(next token | ids), [vocabulary]. What the ids share with those of the call before is not computed
        again."""
        import numpy as np

        shared = 0
        while shared < min(len(self._held), len(ids) - 1) and self._held[shared] == ids[shared]:
            shared += 1
        self._c.llama_memory_seq_rm(self._c.llama_get_memory(self._context), 0, shared, -1)
        for start in range(shared, len(ids), BATCH):
            part = (ctypes.c_int32 * len(ids[start : start + BATCH]))(*ids[start : start + BATCH])
            if self._c.llama_decode(self._context, self._c.llama_batch_get_one(part, len(part))):
                raise ModelError(f"llama.cpp cannot run {len(ids)} tokens", mend="Allow a larger window.")
        self._held = list(ids)
        found = np.ctypeslib.as_array(self._c.llama_get_logits_ith(self._context, -1), shape=(self.size,))
        logits = found.astype(np.float64)
        logits -= logits.max()
        logs: NDArray[np.float64] = logits - np.log(np.exp(logits).sum())
        return logs

    def label_logs(self, prompt: Sequence[int], trie: LabelTrie) -> NDArray[np.float64]:
        """log P(label and its end | prompt), not normalised over the labels, [labels]."""
        import numpy as np

        paths: list[list[int]] = [[]]
        for token, parent in zip(trie.tokens, trie.parents, strict=True):
            paths.append([*paths[parent], token])
        logs_by_node = [self.next_logs([*prompt, *path]) for path in paths]
        edges = [logs_by_node[node][token] for node, token in zip(trie.edge_nodes, trie.edge_tokens, strict=True)]
        return np.array([sum(edges[edge] for edge in path) for path in trie.label_edges])

    def close(self) -> None:
        """Give the memory back."""
        if self._context:
            self._c.llama_free(self._context)
        if self._model:
            self._c.llama_model_free(self._model)
        self._context = self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@cache
def _begin() -> Any:
    """Start llama.cpp, and keep the page of facts from standard error that it tells on every load. It calls what it was
    given as long as the process lives, so that is kept as long."""
    import llama_cpp

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return silent
