"""The line that serves a version with vLLM, and whether vLLM loads its adapter or needs the merged model.

Walks in: an adapter's settings. Walks out: command lines. It writes no weights.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kasauti.core.types import Task

TEMPLATE = "chat_template.jinja"
SCRIPT = "serve.sh"
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be."""


def why_merged(adapter: Mapping[str, Any], *, four_bit: bool) -> str | None:
    """Why vLLM cannot load this adapter on its base; None where it can."""
    if four_bit:
        return "the adapter was trained on 4-bit weights, and vLLM would put it on the 16-bit ones"
    if adapter.get("modules_to_save"):
        return "the adapter holds whole matrices (token embeddings), and vLLM loads low-rank ones only"
    if adapter.get("use_dora"):
        return "vLLM does not load DoRA adapters"
    if int(adapter.get("r", 0)) > RANKS[-1]:
        return f"vLLM loads ranks up to {RANKS[-1]}"
    return None


def base_of(task: Task) -> str:
    """The base model as vLLM is told it: a folder's whole path, or a Hub id."""
    from kasauti.model.load import resolve

    return resolve(task.model, task.folder)


def adapter_line(base: str, name: str, rank: int, window: int) -> str:
    """Base and adapter; more adapters of the same base are more `NAME=FOLDER` behind `--lora-modules`, and the
    request's `model` names the one that answers."""
    most = next(allowed for allowed in RANKS if allowed >= rank)
    lora = ["--enable-lora", "--max-lora-rank", str(most), "--lora-modules", f"{name}=./adapter"]
    return shlex.join(["vllm", "serve", base, *lora, *_shared(window)])


def merged_line(name: str, window: int) -> str:
    """The merged model."""
    return shlex.join(["vllm", "serve", "./model", "--served-model-name", name, *_shared(window)])


def _shared(window: int) -> list[str]:
    # the content of a turn stays text, as it was trained; the model's own sampling settings are not taken over
    return [
        "--chat-template", f"./{TEMPLATE}", "--chat-template-content-format", "string",
        "--max-model-len", str(window), "--generation-config", "vllm",
    ]  # fmt: skip


def write_script(folder: Path, line: str) -> None:
    """`serve.sh`: the line, run in its own folder."""
    path = folder / SCRIPT
    path.write_text(f'#!/bin/sh\ncd "$(dirname "$0")" && exec {line} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
