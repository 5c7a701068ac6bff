"""Where the figures of a run are sent while it trains: TensorBoard, MLflow, W&B.

Walks in: a recipe, a folder. Walks out: what is told of every tracker, and callbacks for the trainer's loop. It knows
no figures.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from kasauti.core import ranks
from kasauti.core.errors import TrainingError
from kasauti.train.recipe import Recipe


def trackers_of(recipe: Recipe, folder: Path) -> tuple[dict[str, str], list[Any]]:
    """Where every tracker's figures go, and the callbacks that are not the trainer's own.

    TensorBoard is the default, so where it is not installed the run goes on without it; what was asked for by name
    is not silently left out.

    Raises:
        TrainingError: MLflow or W&B is wanted and not installed.
    """
    where: dict[str, str] = {}
    callbacks: list[Any] = []
    for name in recipe.trackers:
        if name == "none":
            continue
        if importlib.util.find_spec(name) is not None:
            where[name] = "tensorboard/" if name == "tensorboard" else "as its own environment variables say"
        elif name == "tensorboard":
            where[name] = "not installed (pip install kasauti[tracking])"
        else:
            raise TrainingError(
                f"the tracker {name!r} is not installed",
                where="task.yaml: train.trackers",
                mend=f"install it with `pip install kasauti[{name}]`, or leave it out",
            )
    if where.get("tensorboard") == "tensorboard/" and ranks.first():
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        callbacks.append(TensorBoardCallback(SummaryWriter(log_dir=str(folder / "tensorboard"))))
    return where, callbacks
