"""A task with a finished trial that a test may change."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kasauti.core.task import load_task
from kasauti.core.types import Task
from kasauti.decide.trial import Trial


@pytest.fixture
def tried(finished_task: Any, tmp_path: Path) -> tuple[Task, Trial]:
    """(task, trial) in a folder of its own."""
    folder, _, trial = finished_task
    copy = Path(shutil.copytree(folder, tmp_path / "task"))
    moved = dataclasses.replace(
        trial, folder=copy / trial.folder.relative_to(folder), shipped=copy / trial.shipped.relative_to(folder)
    )
    return load_task(copy), moved


@pytest.fixture
def shipping(tried: tuple[Task, Trial]) -> Callable[[str], tuple[Task, Trial]]:
    """`shipping("tuned")`: the same trial with another approach shipped, to test what only some approaches need."""

    def build(name: str) -> tuple[Task, Trial]:
        task, trial = tried
        place = next((Path(task.folder) / ".kasauti/approaches").glob(f"{name}-*"))
        document = {**trial.document, "verdict": {**trial.document["verdict"], "ship": name}}
        return task, dataclasses.replace(trial, document=document, shipped=place / "model", id=f"{trial.id}-{name}")

    return build


@pytest.fixture
def finished_copy(tried: tuple[Task, Trial]) -> Path:
    """The folder of a task with a finished trial."""
    return Path(tried[0].folder)
