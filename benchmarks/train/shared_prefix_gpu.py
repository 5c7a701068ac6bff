"""The comparison of `shared_prefix.py` at eight billion parameters, with peak memory: for a machine with a GPU.

Walks in: nothing; the weights are drawn at random from a configuration, since neither time nor memory depends on them.
Walks out: one JSON line, and `benchmarks/results/shared_prefix_gpu.json` with the machine it was measured on.

Two methods, QLoRA (NF4, double quantisation, computed in bfloat16) and LoRA in bfloat16; two measurements each: 16 rows
with a shared prefix of 500 tokens against TRL, and the peak of a step of 4 x 4 rows of 512 tokens that share nothing.
Needs bitsandbytes for QLoRA. `--small` is the same with a tiny network, on a CPU too: it shows that the script runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from shared_prefix import RESULTS, Case, Sides, compare, machine, network, rows_of  # type: ignore[import-not-found]
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from kasauti.core.files import write_json
from kasauti.model.adapters import LoraSettings, attach

EIGHT = {
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
"""The shape of Llama 3.1 8B."""
SMALL = EIGHT | {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


def quantised(shape: dict[str, Any], device: str) -> Any:
    """A network of this shape in NF4 with an adapter, made a layer at a time so that it never stands in 16 bit."""
    import bitsandbytes

    config = LlamaConfig(**shape)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.bfloat16)
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or name == "lm_head":
            continue
        size = (module.out_features, module.in_features)
        layer = bitsandbytes.nn.Linear4bit(*size[::-1], bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
        weight = (torch.randn(size, device=device) * 0.02).to(torch.bfloat16)
        layer.weight = bitsandbytes.nn.Params4bit(
            weight.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True
        )
        layer.support_avx512bf16_for_cpu = False  # its repacked weights have no gradient
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.to(device))
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                drawn = torch.randn(parameter.shape, device=device) * 0.02 if parameter.ndim > 1 else 1.0
                filled = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device).copy_(torch.as_tensor(drawn))
                setattr(module, name, nn.Parameter(filled, requires_grad=False))
    model.model.rotary_emb = LlamaRotaryEmbedding(config).to(device)
    return attach(model, LoraSettings(r=16, dropout=0.0), seed=0)


def peak(model: Any, vocabulary: int, device: str) -> dict[str, float | None]:
    """GiB at the most in a step of 4 x 4 rows of 512 tokens with gradient checkpointing, ours and TRL's padded one."""
    own = [rows_of(Case(prefix=478, batch=1, dtype="bf16", pairs=1), vocabulary, seed)[0] for seed in range(4)]
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    found: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(model, own, folder, device=device)
        update = sides.update
        sides.update = lambda: None
        for name in ("packed", "padded"):
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            for _ in range(4):
                getattr(sides, name)()
            update()
            found[name] = round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else None
    model.gradient_checkpointing_disable()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--small", action="store_true", help="a tiny network, to see that the script runs; keeps nothing"
    )
    small = parser.parse_args(arguments).small
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not small:
        print("no GPU: nothing is measured; `--small` shows that the script runs", file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore")
    shape, found = SMALL if small else EIGHT, []
    for method in ("qlora", "lora"):
        model = quantised(shape, device) if method == "qlora" else network(shape, torch.bfloat16, device)
        case = Case(prefix=40 if small else 500, batch=16, dtype="bf16", pairs=1 if small else 5)
        compared = compare(model, case, rows_of(case, shape["vocab_size"]), device)
        found.append({"method": method, **compared, "peak_gib": peak(model, shape["vocab_size"], device)})
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
        del model
        if device == "cuda":
            torch.cuda.empty_cache()
    if not small:
        gpu = torch.cuda.get_device_name()
        kept = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": {**machine(), "gpu": gpu}}
        write_json(RESULTS / "shared_prefix_gpu.json", {**kept, "shape": EIGHT, "cases": found})
    print(json.dumps({"cases": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
