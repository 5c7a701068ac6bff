"""A small task over the tiny model, its split, and benches to work at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.approaches.asked import PRICES
from tests.conftest import complaints, task_text, write_rows
from tests.endpoint import KEY, LABELS, Endpoint, endpoint

from kasauti.approaches.hosted import caller as caller_module
from kasauti.approaches.hosted.approach import Hosted
from kasauti.approaches.hosted.ledger import Ledger
from kasauti.approaches.workbench import Workbench
from kasauti.core.hosted import Endpoint as Settings
from kasauti.core.task import load_task
from kasauti.core.types import Business, DataFiles, Split, Task
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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A hosted model: a server process of its own, and its key in the environment."""
    with pytest.MonkeyPatch.context() as patch, endpoint(tmp_path_factory.mktemp("endpoint")) as running:
        patch.setenv("OPENAI_API_KEY", KEY)
        yield running


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, server: Endpoint) -> Callable[..., Place]:
    """`place()`: a new task folder with the same rows and the same seed each time, `extra` at the task file's end."""

    def make(extra: str = "") -> Place:
        folder = tmp_path_factory.mktemp("task")
        write_rows(folder / "train.csv", complaints(60, 1))
        write_rows(folder / "test.csv", complaints(9, 2))
        hosted = f"hosted: {{base_url: '{server.url}', model: big}}\n"
        (folder / "task.yaml").write_text(task_text(tiny_model) + hosted + extra, encoding="utf-8")
        task = load_task(folder)
        return Place(task, load_split(task)[0])

    return make


@pytest.fixture
def make(server: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Hosted]:
    """`make(cap=…)`: a hosted approach on a task of its own folder."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(caller_module, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(Ledger, "sync", lambda self: None)  # a busy disk takes its time; see the test that counts them
    server.forget()

    def build(url: str = "", conversation: Any = None, **settings: Any) -> Hosted:
        task = Task(
            folder=str(tmp_path),
            name="complaints",
            kind="classification",
            instructions="Name the category.",
            input="{text}",
            target="label",
            labels=dict.fromkeys(LABELS, ""),
            fallback=None,
            data=DataFiles(train="train.csv"),
            group=None,
            model="kasauti/nano",
            chat_template=None,
            train={},
            business=Business(hosted_per_1m_tokens=PRICES),
            hosted=Settings(base_url=url or server.url, model="big", **{"timeout": 20.0, **settings}),
        )
        return Hosted(Workbench(task), conversation)

    return build
