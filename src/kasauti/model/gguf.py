"""A model folder as one GGUF file, which llama.cpp and what is built on it (Ollama, LM Studio) load.

Walks in: a folder of a Llama, Mistral, Qwen2 or Qwen3 network in Hugging Face format, and its vocabulary as
`gguf_words` has it. Walks out: the file, and how far its weights, read back, are from those of the folder. It knows no
chat and no task.

Tensors are renamed by the tables of the `gguf` package, which llama.cpp's authors keep. The one change of content: rows
of the query and key projections of `llama` files stand in another order, since llama.cpp turns neighbouring pairs where
Transformers turns the two halves of a head (its `convert_hf_to_gguf.py`, `LlamaModel.permute`). One tensor at a time is
in memory.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kasauti.core.errors import ModelError
from kasauti.core.files import storage_errors
from kasauti.model.gguf_words import Words, add_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""`model_type` of the configuration → llama.cpp's name of the architecture."""
WEIGHTS = ("f32", "bf16", "f16", "q8_0")
"""How matrices are stored; vectors (norms, biases) are always in float32. q8_0: 8 bits a number and a float16 scale for
every 32 of them."""
_TURNED = ("q_proj", "k_proj")
_F16_MOST = 65504.0
_BLOCK = 32
_MEND = "Export with --to hf, and convert that folder with llama.cpp's own convert_hf_to_gguf.py."


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A GGUF file, read back."""

    tensors: int
    weights: str
    """One of `WEIGHTS`."""
    largest_difference: float
    """Largest distance of a number from the folder's, as a share of the largest number of its tensor."""


def check(folder: str | Path) -> Any:
    """The configuration of a folder that can be written so.

    Raises:
        ModelError: another architecture, a setting that llama.cpp has no field for, or no package `gguf`.
    """
    from transformers import AutoConfig

    if importlib.util.find_spec("gguf") is None:
        raise ModelError("GGUF files are written by a package that is not installed", mend="pip install kasauti[gguf]")
    config = AutoConfig.from_pretrained(str(folder))
    kind = str(config.model_type)
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"a {kind} model is not written as GGUF (known: {known})", where=str(folder), mend=_MEND)
    rope = _rope(config)
    if (turning := str(rope.get("rope_type", "default"))) not in ("default", "llama3"):
        raise ModelError(f"rope_type {turning!r} is not written as GGUF", where=str(folder), mend=_MEND)
    if str(config.hidden_act) not in ("silu", "swish"):
        raise ModelError(f"hidden_act {config.hidden_act!r} is not written as GGUF", where=str(folder), mend=_MEND)
    if getattr(config, "use_sliding_window", False) and getattr(config, "sliding_window", None):
        raise ModelError("layers with a sliding window are not written as GGUF", where=str(folder), mend=_MEND)
    return config


def write_gguf(folder: Path, path: Path, words: Words, *, weights: str = "f16", name: str = "") -> Written:
    """Write the file and read it back.

    Args:
        folder: the model in Hugging Face format, with safetensors.
        path: the new file.
        weights: one of `WEIGHTS`.
        name: what a runtime calls the model.

    Raises:
        ModelError: `check`'s; weights that float16 cannot hold; a tensor of an unknown name.
    """
    from gguf import GGUFWriter

    config = check(folder)
    made = _Tensors(folder, config, weights)
    with storage_errors(path):
        writer = GGUFWriter(path, ARCHITECTURES[str(config.model_type)])
        _add_settings(writer, config, weights, name)
        add_words(writer, words, int(config.vocab_size))
        for own, shape, kind in made.described():
            size = _bytes(shape, kind)
            writer.add_tensor_info(own, shape, made.plain, size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for content in made.contents():
            writer.write_tensor_data(content)
        writer.close()
    return read_back(folder, path)


def read_back(folder: Path, path: Path) -> Written:
    """How far the weights of a GGUF file are from those of the folder it was made of.

    Raises:
        ModelError: a tensor is missing, or one too many is there.
    """
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize

    config = check(folder)
    stored = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    source = _Tensors(folder, config, "f32")
    worst, kinds = 0.0, set()
    for own, want in source.plain_contents():
        if own not in stored:
            raise ModelError(f"the GGUF file has no tensor {own}", where=str(path), mend="Export again.")
        tensor = stored.pop(own)
        kinds.add(tensor.tensor_type.name.lower())
        found = dequantize(tensor.data, tensor.tensor_type).reshape(want.shape)
        largest = float(np.abs(want).max()) or 1.0
        worst = max(worst, float(np.abs(found - want).max()) / largest)
    if stored:
        raise ModelError(f"the GGUF file has a tensor too many, {min(stored)}", where=str(path), mend="Export again.")
    return Written(
        tensors=source.count, weights=next(iter(kinds - {"f32"}), "f32"), largest_difference=worst
    )  # fmt: skip


class _Tensors:
    """The tensors of a folder under llama.cpp's names, one at a time, always in the same order."""

    def __init__(self, folder: Path, config: Any, weights: str) -> None:
        import gguf
        import numpy as np

        self.config, self.weights, self.folder = config, weights, folder
        self.plain = np.dtype(np.float32)
        wanted = ARCHITECTURES[str(config.model_type)]
        arch = next(key for key, text in gguf.MODEL_ARCH_NAMES.items() if text == wanted)
        self._names = gguf.get_tensor_name_map(arch, int(config.num_hidden_layers))
        self._turns = wanted == "llama"
        self._factors = _rope_factors(config)

    @property
    def count(self) -> int:
        """Tensors of the file."""
        return sum(1 for _ in self._each()) + (self._factors is not None)

    def described(self) -> Iterator[tuple[str, tuple[int, ...], Any]]:
        """Name, shape and type of every tensor."""
        import gguf

        for own, _, part in self._each():
            shape = tuple(part.get_shape())
            yield own, shape, self._kind(shape)
        if self._factors is not None:
            yield "rope_freqs.weight", self._factors.shape, gguf.GGMLQuantizationType.F32

    def contents(self) -> Iterator[NDArray[Any]]:
        """What is written, in the order of `described`."""
        import numpy as np
        from gguf.quants import quantize

        for own, full in self.plain_contents():
            kind = self._kind(full.shape) if own != "rope_freqs.weight" else None
            if kind is None or kind.name == "F32":
                yield full
            elif kind.name == "F16":
                if float(np.abs(full).max()) > _F16_MOST:
                    mend = "Export with --weights bf16."
                    raise ModelError(f"float16 cannot hold the numbers of {own}", where=str(self.folder), mend=mend)
                yield full.astype(np.float16)
            else:
                yield quantize(full, kind)

    def plain_contents(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Every tensor in float32 and in llama.cpp's order of rows."""
        for own, name, part in self._each():
            full = part[:].float().numpy()
            if self._turns and name.rpartition(".")[0].endswith(_TURNED):
                full = turned(full, self._heads(name))
            yield own, full
        if self._factors is not None:
            yield "rope_freqs.weight", self._factors

    def _each(self) -> Iterator[tuple[str, str, Any]]:
        """(llama.cpp's name, own name, the part of the file)."""
        from safetensors import safe_open

        tied = bool(self.config.tie_word_embeddings)
        files = sorted(self.folder.glob("*.safetensors"))
        if not files:
            raise ModelError("the folder has no safetensors", where=str(self.folder), mend=_MEND)
        for file in files:
            with safe_open(file, framework="pt") as opened:
                for name in sorted(opened.keys()):
                    if name.endswith("rotary_emb.inv_freq") or (tied and name == "lm_head.weight"):
                        continue
                    own = self._names.get_name(name, try_suffixes=(".weight", ".bias"))
                    if own is None:
                        raise ModelError(f"the tensor {name} has no place in GGUF", where=str(file), mend=_MEND)
                    yield own, name, opened.get_slice(name)

    def _heads(self, name: str) -> int:
        own = "num_attention_heads" if "q_proj" in name else "num_key_value_heads"
        return int(getattr(self.config, own))

    def _kind(self, shape: tuple[int, ...]) -> Any:
        """The type of a tensor of this shape; a row that is no multiple of a block stays in float16."""
        import gguf

        kinds = gguf.GGMLQuantizationType
        if len(shape) < 2:
            return kinds.F32
        if self.weights == "q8_0" and shape[-1] % _BLOCK:
            return kinds.F16
        return kinds[self.weights.upper()]


def turned(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a projection of so many heads from Transformers' order (a head's first halves, then its second halves)
    to llama.cpp's (pairs), [heads · size] or [heads · size, inputs]."""
    size = weight.shape[0] // heads
    pairs = weight.reshape(heads, 2, size // 2, *weight.shape[1:]).swapaxes(1, 2)
    return pairs.reshape(weight.shape).copy()


def _bytes(shape: tuple[int, ...], kind: Any) -> int:
    from gguf.constants import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[kind]
    return int(math.prod(shape) // block * size)


def _rope(config: Any) -> dict[str, Any]:
    found = dict(getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {})
    found.setdefault("rope_theta", getattr(config, "rope_theta", 10000.0))
    return found


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _rope_factors(config: Any) -> NDArray[np.float32] | None:
    """By what each frequency of Llama 3.1's rotary embedding is divided; None for a plain one. The formula is that of
    Transformers' `_compute_llama3_parameters`."""
    import numpy as np

    rope = _rope(config)
    if rope.get("rope_type", "default") != "llama3":
        return None
    size = _head_size(config)
    lengths = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, size, 2, dtype=np.float64) / size)
    factor, window = float(rope["factor"]), float(rope["original_max_position_embeddings"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    smooth = ((window / lengths - low) / (high - low)).clip(0, 1)
    factors: NDArray[np.float32] = (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)
    return factors


def _add_settings(writer: Any, config: Any, weights: str, name: str) -> None:
    import gguf

    files = gguf.LlamaFileType
    kinds = {"f32": files.ALL_F32, "f16": files.MOSTLY_F16, "bf16": files.MOSTLY_BF16, "q8_0": files.MOSTLY_Q8_0}
    size = _head_size(config)
    window = int(config.max_position_embeddings)
    writer.add_name(name or "model")
    writer.add_file_type(kinds[weights])
    writer.add_context_length(min(window, int(getattr(config, "sliding_window", None) or window)))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(float(_rope(config)["rope_theta"]))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
