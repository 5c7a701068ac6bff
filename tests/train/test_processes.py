"""Two processes that train together end with the adapter that one would have, whatever the last batch looks like."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import fresh_network, word_tokenizer
from tests.train.test_attention import drawn

from kasauti.core.types import Supervised
from kasauti.model.adapters import LoraSettings, attach
from kasauti.train.recipe import Recipe
from kasauti.train.trainer import run_training

RECIPE = Recipe(
    epochs=3, batch=8, micro_batch=2, learning_rate=1e-3, dropout=0.0, gradient_checkpointing=False, label_smoothing=0.1
)


def rows(count: int, seed: int) -> list[Supervised]:
    made = drawn(count, 20, seed)
    return [Supervised(ids=tuple(r["input_ids"]), labels=tuple(r["labels"]), prefix_length=20) for r in made]


def work(folder: str, rank: int, processes: int, port: int, prefix_sharing: str) -> None:
    """One process of `processes`: trains, and saves its adapter under its rank."""
    if processes > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(processes)}
    import dataclasses

    torch.set_num_threads(1)
    model = attach(fresh_network("llama"), LoraSettings(r=4, dropout=0.0), seed=0)
    recipe = dataclasses.replace(RECIPE, prefix_sharing=prefix_sharing)
    trained = run_training(
        model, rows(21, 1), rows(19, 2), recipe, Path(folder), tokenizer=word_tokenizer(), end_ids=(2,)
    )
    model.save_pretrained(f"{folder}/rank{rank}")
    Path(folder, f"loss{rank}").write_text(repr(trained.best_validation_loss), encoding="utf-8")


def trained_by(folder: Path, processes: int, prefix_sharing: str = "auto") -> tuple[torch.Tensor, float]:
    """The adapter's weights, equal in every process, and the validation loss."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = [(str(folder), rank, processes, port, prefix_sharing) for rank in range(processes)]
    started = [context.Process(target=work, args=one) for one in given]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * processes
    weights = []
    for rank in range(processes):
        saved = load_file(folder / f"rank{rank}" / "adapter_model.safetensors")
        weights.append(torch.cat([saved[name].flatten().double() for name in sorted(saved)]))
    assert all(torch.equal(weights[0], other) for other in weights)
    return weights[0], float((folder / "loss0").read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("prefix_sharing", ["auto", "never"])
def test_two_processes_end_with_the_adapter_and_the_loss_of_one(tmp_path, prefix_sharing):
    """21 rows in batches of 8: the last has 5, so that the processes have different numbers of them, and blank ones."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    alone, alone_loss = trained_by(folders[0], 1, prefix_sharing)
    together, loss = trained_by(folders[1], 2, prefix_sharing)
    assert float((together - alone).norm() / alone.norm()) <= 1e-5
    fresh = attach(fresh_network("llama"), LoraSettings(r=4, dropout=0.0), seed=0)
    before = sum(float(p.detach().double().pow(2).sum()) for p in fresh.parameters() if p.requires_grad)
    assert abs(float(alone.pow(2).sum()) - before) > 1e-3 * before  # they have been trained at all
    assert loss == pytest.approx(alone_loss, rel=1e-5)
