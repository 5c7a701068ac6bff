"""Loads a model and its tokenizer: bundled, a folder, or a Hugging Face id; checks what would load wrong.

Walks in: the name in the task file. Walks out: a `Loaded`. It knows no task and no template.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kasauti.core.errors import ModelError
from kasauti.core.files import content_hash, file_hash
from kasauti.model import quantise

BUNDLED = {"kasauti/nano": Path(__file__).parent.parent / "bundled" / "nano"}
LARGE = 100_000_000
"""Parameters from which a model is kept in bfloat16 on a CPU that multiplies it in hardware."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network in eval mode with its tokenizer."""

    id: str
    """The name in the task file."""
    model: Any
    """transformers PreTrainedModel."""
    tokenizer: Any
    """transformers PreTrainedTokenizerBase."""
    parameters: int
    sha256: str
    """Hash of configuration and weights (for a Hub id: of its resolved commit)."""


def resolve(name: str, task_folder: str) -> str:
    """The bundled folder, an existing folder (relative ones against the task), or the name itself as a Hub id.

    Raises:
        ModelError: a folder that is none, or that lacks configuration, weights or tokenizer.
    """
    if name in BUNDLED:
        return str(BUNDLED[name])
    folder = Path(task_folder, name).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        return str(folder.resolve())
    looks_local = name.startswith((".", "/", "~")) or name.count("/") != 1
    if looks_local or name.startswith("kasauti/"):
        known = ", ".join(BUNDLED)
        raise ModelError(
            f"no model folder {name!r}", where="task.yaml: model", mend=f"give a folder, a Hub id, or {known}"
        )
    return name


def _check_folder(folder: Path) -> None:
    names = {p.name for p in folder.iterdir()}
    where = str(folder)
    if "config.json" not in names:
        raise ModelError(
            "the model folder has no config.json", where=where, mend="name a folder in Hugging Face format"
        )
    if not any(n.endswith((".safetensors", ".bin", ".safetensors.index.json")) for n in names):
        raise ModelError("the model folder has no weights", where=where, mend="add model.safetensors")
    if not names & {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"}:
        raise ModelError(
            "the model folder has no tokenizer", where=where, mend="save the tokenizer into it (tokenizer.json)"
        )
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(
            f"config.json cannot be read: {error}", where=where, mend="copy the model folder again"
        ) from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError("config.json names no model_type", where=where, mend="name a folder in Hugging Face format")


def load_tokenizer(name: str, task_folder: str) -> Any:
    """The model's tokenizer alone; needs no weights in memory.

    Raises:
        ModelError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    path = resolve(name, task_folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:
        raise ModelError(
            f"the tokenizer of {name!r} cannot be loaded: {_first_line(error)}", mend=_mend(path)
        ) from error
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {name!r} has no end token", mend="set eos_token in its tokenizer_config.json"
        )
    return tokenizer


def load(name: str, task_folder: str, *, device: str | None = None, four_bit: bool = False) -> Loaded:
    """Model and tokenizer, in eval mode, on the best device there is.

    float32 on CPU (bfloat16 for large models where the CPU multiplies it in hardware), bfloat16 or float16 on CUDA.

    Args:
        four_bit: the linear layers in NF4 (see `model.quantise`).

    Raises:
        ModelError: with the reason in one line.
    """
    import torch
    from transformers import AutoModelForCausalLM

    quiet()
    if four_bit:
        quantise.check_installed()
    path = resolve(name, task_folder)
    tokenizer = load_tokenizer(name, task_folder)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        packed: dict[str, Any] = {}
        if four_bit:
            packed = {"quantization_config": quantise.settings(_compute(device)), "device_map": {"": device}}
        model, found = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=_dtype(path, device),
            attn_implementation="sdpa",
            output_loading_info=True,
            **packed,
        )
    except Exception as error:
        raise ModelError(f"the model {name!r} cannot be loaded: {_first_line(error)}", mend=_mend(path)) from error
    if absent := sorted(found["missing_keys"]):  # the library would make them up, at random
        raise ModelError(f"the weights of {name!r} lack {len(absent)} tensors, the first {absent[0]}", mend=_mend(path))
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of {name!r} has {len(tokenizer)} tokens and the model {rows} embeddings",
            mend="take the tokenizer that belongs to the model",
        )
    (quantise.guard(model) if four_bit else model.to(device)).eval()
    parameters = sum(quantise.weights_of(p) for p in model.parameters())
    return Loaded(name, model, tokenizer, parameters, model_hash(name, task_folder))


@lru_cache(maxsize=8)
def model_hash(name: str, task_folder: str) -> str:
    """sha256 over configuration, weights and tokenizer of a folder; over the commit for a Hub id."""
    path = Path(resolve(name, task_folder))
    if path.is_dir():
        parts = [p for p in sorted(path.iterdir()) if p.suffix in (".safetensors", ".bin", ".json", ".model", ".jinja")]
        return content_hash([[p.name, file_hash(p)] for p in parts])
    from huggingface_hub import HfApi, try_to_load_from_cache

    # What lies in the cache is what is loaded, online and off, so its commit comes first.
    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        return content_hash([name, Path(cached).parent.name])
    try:
        return content_hash([name, HfApi().model_info(name).sha or ""])
    except Exception as error:
        raise ModelError(f"the model {name!r} cannot be found: {_first_line(error)}", mend=_mend(name)) from error


def without_weights(name: str, task_folder: str) -> Any:
    """The network with all its shapes and no memory behind them.

    Raises:
        ModelError: the configuration cannot be read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet()
    path = resolve(name, task_folder)
    try:
        config = AutoConfig.from_pretrained(path)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception as error:
        raise ModelError(
            f"the configuration of {name!r} cannot be read: {_first_line(error)}", mend=_mend(path)
        ) from error


def window_of(model: Any) -> int | None:
    """Tokens that a prompt and its answer may have together; None where the model sets no bound."""
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(window) if window else None


def _dtype(path: str, device: str) -> Any:
    import torch
    from transformers import AutoConfig

    if device != "cpu":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    config = AutoConfig.from_pretrained(path)
    size = (
        getattr(config.get_text_config(), "hidden_size", 0) ** 2
        * 12
        * getattr(config.get_text_config(), "num_hidden_layers", 0)
    )
    return torch.bfloat16 if size > LARGE and bf16_in_hardware() else torch.float32


def _compute(device: str) -> Any:
    """What 4-bit weights are multiplied in: bfloat16; float16 on a GPU without it, float32 on a CPU without it."""
    import torch

    if device == "cpu":
        return torch.bfloat16 if bf16_in_hardware() else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


@lru_cache(maxsize=1)
def bf16_in_hardware() -> bool:
    """Whether this CPU multiplies bfloat16 itself (AMX or AVX512-BF16); elsewhere it is emulated, and slower than
    float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def quiet() -> None:
    """The library's own progress bars and advice are for scripts; ours say what matters."""
    import logging

    import transformers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels that it does without
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _mend(path: str) -> str:
    if Path(path).is_dir():
        return "check that the folder is a complete causal language model in Hugging Face format"
    return "check the spelling of the id and the network, or download it and name its folder"
