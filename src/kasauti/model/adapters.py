"""LoRA for a model: attach, count, save, load (PEFT).

Walks in: a network and a rank. Walks out: the network with an adapter. It knows no data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kasauti.core.errors import ModelError
from kasauti.model import quantise

QUERY_VALUE = "query-value"
"""The target that stands for the query and value projections, whatever the architecture calls them."""
_QUERY_VALUE_NAMES = (("q_proj", "v_proj"), ("query", "value"), ("qkv_proj",), ("query_key_value",), ("c_attn",))


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraSettings:
    """The adapter's shape (Hu et al. 2021, arXiv 2106.09685)."""

    r: int = 16
    """Rank of the update of every matrix."""
    alpha: int = 32
    """The update is scaled by alpha / r."""
    dropout: float = 0.05
    """On the adapter's input, in training."""
    targets: tuple[str, ...] | str = "all-linear"
    """Names of the modules, every linear layer but the output, or `QUERY_VALUE`."""
    rslora: bool = False
    dora: bool = False
    embeddings: bool = False
    """Token embeddings are trained too, whole, and the output with them where the two are one matrix."""


def attach(model: Any, settings: LoraSettings, seed: int) -> Any:
    """The model with a fresh adapter; only the adapter is trainable.

    Raises:
        ModelError: the model has no module of the wanted names.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
    if targets == QUERY_VALUE:
        targets = _query_value(model)
    embeddings = [_embedding_name(model)] if settings.embeddings else None
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        bias="none",
        target_modules=targets,
        task_type="CAUSAL_LM",
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        modules_to_save=embeddings,
        ensure_weight_tying=bool(embeddings) and bool(model.config.get_text_config().tie_word_embeddings),
    )
    torch.manual_seed(seed)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(
            f"no adapter for {targets!r}: {error}", where="task.yaml: train", mend="name linear modules"
        ) from error


def _embedding_name(model: Any) -> str:
    """The token embeddings' path in the network."""
    wanted = model.get_input_embeddings()
    return next(str(name) for name, module in model.named_modules() if module is wanted)


def _query_value(model: Any) -> list[str]:
    """This architecture's names of the query and value projections; where they are one matrix, of that."""
    there = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    for names in _QUERY_VALUE_NAMES:
        if there.issuperset(names):
            return list(names)
    known = ", ".join("/".join(names) for names in _QUERY_VALUE_NAMES)
    raise ModelError(
        f"the model has no query and value projections of a known name ({known})",
        where="task.yaml: train.targets",
        mend="name its linear modules",
    )


def count(model: Any) -> tuple[int, int]:
    """Trainable and all parameters."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return trainable, sum(quantise.weights_of(p) for p in model.parameters())


def load_adapter(model: Any, folder: str, name: str = "default") -> Any:
    """The model with the adapter of `folder`, in eval mode.

    Raises:
        ModelError: the folder has none, or one for another architecture.
    """
    from peft import PeftModel

    with _one_line(folder):
        adapted = PeftModel.from_pretrained(model, folder, adapter_name=name).eval()
    _check_whole(adapted, folder, name)
    return adapted


def load_another(adapted: Any, folder: str, name: str) -> Any:
    """A model that has adapters, with the adapter of `folder` beside them, in eval mode; which of them is on stays as
    it was.

    Raises:
        ModelError: the folder has none, or one for another architecture; the adapters that are there are kept.
    """
    try:
        with _one_line(folder):
            adapted.load_adapter(folder, adapter_name=name)
        _check_whole(adapted, folder, name)
    except ModelError:
        if name in adapted.peft_config:
            adapted.delete_adapter(name)
        raise
    return adapted.eval()


@contextlib.contextmanager
def _one_line(folder: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"the adapter cannot be loaded: {line[:200]}", where=folder, mend="train again") from error


def _check_whole(adapted: Any, folder: str, name: str) -> None:
    """The library loads what fits and leaves the rest untrained."""
    from peft.utils import get_peft_model_state_dict, load_peft_weights

    with _one_line(folder):
        saved = set(load_peft_weights(folder, device="cpu"))
    there = get_peft_model_state_dict(adapted, save_embedding_layers=False, adapter_name=name)
    wrong = saved ^ set(there)
    if wrong:
        raise ModelError(
            f"the adapter belongs to another model: {min(wrong)} fits nothing", where=folder, mend="train again"
        )
