"""How much memory training takes, from the shape of a network alone, and what would lower it.

Walks in: a network without weights, a recipe, the longest row. Walks out: a `Memory` in bytes, and the changes of the
recipe under which it fits. It knows no data, and loads nothing.

    weights      parameters x bytes of a weight; in 4 bit the linear layers take half a byte and the rest is float32;
                 the adapter is float32
    gradients    trainable parameters x 4 bytes
    optimizer    trainable parameters x 8 bytes (the two moments of AdamW)
    activations  what the backward pass needs of a forward pass over `micro_batch` of the longest rows (`activations`)
    process      what Python and the libraries take by themselves; a CUDA context

One copy of the model is counted. After Korthikanti et al. 2022 (arXiv 2205.05198), section 4, with a gated MLP.
"""

from __future__ import annotations

import dataclasses
import math
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kasauti.core import ranks
from kasauti.model import adapters, quantise
from kasauti.model.load import LARGE, bf16_in_hardware
from kasauti.model.quantise import BYTES_PER_WEIGHT
from kasauti.train.recipe import AUTO, Recipe

CUDA_CONTEXT = 500_000_000
COMMON_GPU = 15_800_000_000
"""Bytes that can be used of the smallest GPU that people train on, which is sold as one of 16 GB (T4)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    process: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What a network's memory depends on."""

    config: Any
    """Of the text model."""
    parameters: int
    trainable: int
    packed: int
    """Weights of the linear layers, which 4 bit makes smaller."""
    largest: int
    """Weights of the largest of them, which is unpacked to be multiplied."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A recipe that fits."""

    changes: dict[str, Any]
    """Fields of the recipe to set; empty where it fits as it is."""
    memory: Memory


def shape_of(network: Any) -> Shape:
    """The shape of a network as it is trained, its adapter attached; it may be one without weights."""
    from torch import nn

    output = network.get_output_embeddings()
    own = [p for name, p in network.named_parameters() if any(part in name for part in (".lora_", ".modules_to_save."))]
    linear = [
        quantise.weights_of(m.weight)
        for name, m in network.named_modules()
        if isinstance(m, nn.Linear) and m is not output and ".lora_" not in name
    ]
    trained, every = adapters.count(network)
    return Shape(
        config=network.config.get_text_config(),
        parameters=every - sum(p.numel() for p in own),
        trainable=trained,
        packed=sum(linear),
        largest=max(linear, default=0),
    )


def free(device: str) -> int:
    """Bytes that may be used: free ones and those that this process holds already; a container's limit counts, and
    processes that train together on a CPU share them."""
    if device == "gpu":
        import torch

        return int(torch.cuda.mem_get_info()[0]) + int(torch.cuda.memory_reserved())
    limits = []
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024 // ranks.here() + resident())
    except OSError:
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // ranks.here())
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(name).read_text("ascii")) // ranks.here())
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits)


def checkpointing(shape: Shape, recipe: Recipe, longest: int, device: str, room: int, *, loaded: bool) -> Recipe:
    """The recipe with `gradient_checkpointing` decided, where it is auto: off where all activations fit.

    Args:
        longest: tokens of the longest row.
        device: cpu or gpu.
        room: bytes that may be used.
        loaded: whether this process holds the weights already, and so counts them as its own.
    """
    if recipe.gradient_checkpointing != AUTO:
        return recipe
    without = dataclasses.replace(recipe, gradient_checkpointing=False)
    memory = memory_of(shape, without, longest, device)
    need = memory.total - (memory.weights if loaded and device == "cpu" else 0)
    return without if need <= room else dataclasses.replace(recipe, gradient_checkpointing=True)


def memory_of(shape: Shape, recipe: Recipe, longest: int, device: str) -> Memory:
    """The sum of the parts.

    Args:
        longest: tokens of the longest row.
        device: cpu or gpu.
    """
    half = device == "gpu" or (shape.parameters > LARGE and bf16_in_hardware())
    weights, bytes = float(shape.parameters * (2 if half else 4)), 2 if half else 4
    unpacked = 0
    if recipe.method == "qlora":
        weights = shape.packed * BYTES_PER_WEIGHT + (shape.parameters - shape.packed) * 4
        bytes, unpacked = 4, 2 * shape.largest * 2
    if recipe.method != "full":
        weights += shape.trainable * 4
    kept = activations(shape.config, recipe.micro_batch * longest, longest, bytes, recipe)
    parts = {
        "weights": int(weights),
        "gradients": shape.trainable * 4,
        "optimizer": shape.trainable * 8,
        "activations": kept + unpacked,
        "process": resident() if device == "cpu" else CUDA_CONTEXT,
    }
    return Memory(**parts, total=sum(parts.values()))


def activations(config: Any, tokens: int, length: int, bytes: int, recipe: Recipe) -> int:
    """Bytes that the backward pass needs of a forward pass over `tokens` tokens in rows of `length`.

    A layer keeps, for each token: the inputs of both norms and of the projections, queries and the attention's output
    (8 x hidden), keys and values, gate, up, their activation and product (4 x MLP), and the attention's weights
    before and after the softmax (2 x heads x length, for the kernel that keeps them). An adapter keeps the dropped-out
    input of its matrices in float32, and which were dropped. With checkpointing only a layer's input is kept, and one
    layer is recomputed at a time. The logits of supervised positions, which are few, are counted as eight a row.

    Args:
        config: of the text model; missing sizes count as the hidden size would make them.
        bytes: of one number.
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    heads = getattr(config, "num_attention_heads", 1)
    keys = getattr(config, "num_key_value_heads", None) or heads
    head_size = getattr(config, "head_dim", None) or hidden // heads
    mlp = getattr(config, "intermediate_size", None) or 4 * hidden
    layer = tokens * (8 * hidden + 2 * keys * head_size + 4 * mlp + 2 * heads * length) * bytes
    if recipe.method != "full":
        inputs = 2 * hidden if recipe.targets == (adapters.QUERY_VALUE,) else 6 * hidden + mlp
        layer += tokens * inputs * (5 if recipe.dropout else 4 * (bytes != 4))
    logits = 2 * 4 * getattr(config, "vocab_size", 0) * math.ceil(tokens / max(1, length)) * 8
    if recipe.gradient_checkpointing:
        return int(layers * tokens * hidden * bytes + layer + logits)
    return int(layers * layer + logits)


def what_fits(shape: Shape, recipe: Recipe, longest: int, device: str, free: int) -> Fit | None:
    """The first recipe that fits into `free` bytes, what changes the result least first; None where none does."""
    for changes in _smaller(recipe, longest):
        changed = dataclasses.replace(recipe, **changes)
        memory = memory_of(shape, changed, min(longest, changed.length), device)
        if memory.total <= free:
            return Fit(changes=changes, memory=memory)
    return None


def _smaller(recipe: Recipe, longest: int) -> Iterator[dict[str, Any]]:
    """Changes, each with those before it: checkpointing and a smaller micro-batch change nothing but time, 4 bit
    changes the base model's weights a little, shorter rows lose text."""
    changes: dict[str, Any] = {}
    yield dict(changes)
    if not recipe.gradient_checkpointing:
        changes["gradient_checkpointing"] = True
        yield dict(changes)
    cut: dict[str, Any] = {}
    micro = recipe.micro_batch
    while micro % 2 == 0:
        micro //= 2
        cut = {"micro_batch": micro}
        yield changes | cut
    if recipe.method != "qlora":
        changes["method"] = "qlora"
        yield dict(changes)
        yield changes | cut
    length = longest
    while length > 64:
        length //= 2
        yield changes | cut | {"length": length}


def resident() -> int:
    """Bytes that this process has held at its most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
