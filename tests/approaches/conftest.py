"""A small task over the tiny model, its split, and benches to work at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import complaints, task_text, write_rows

from kasauti.approaches.workbench import Workbench
from kasauti.core.task import load_task
from kasauti.core.types import Split, Task
from kasauti.data.split import load_split


@dataclass(frozen=True)
class Place:
    """A task folder, read."""

    task: Task
    split: Split

    @property
    def bench(self) -> Workbench:
        """A new bench, with nothing loaded."""
        return Workbench(self.task)


@pytest.fixture(scope="session")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with a sentence-transformers model: the mean of a random vector for every token."""
    parts = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-embedder")
    words = parts.StaticEmbedding(AutoTokenizer.from_pretrained(tiny_model), embedding_dim=64)
    SentenceTransformer(modules=[words], device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Callable[[], Place]:
    """`place()`: a new task folder with the same rows and the same seed each time, `extra` at the task file's end."""

    def make(extra: str = "") -> Place:
        folder = tmp_path_factory.mktemp("task")
        write_rows(folder / "train.csv", complaints(60, 1))
        write_rows(folder / "test.csv", complaints(9, 2))
        (folder / "task.yaml").write_text(task_text(tiny_model) + extra, encoding="utf-8")
        task = load_task(folder)
        return Place(task, load_split(task)[0])

    return make
