"""Banking77 with its 77 labels listed in the prompt: a whole trial's time, and the metric a minute of training buys.

Walks in: the folder of the data. Walks out: one JSON line, and `benchmarks/results/banking77.json` with the machine it
was measured on.

The trial is `kasauti trial` with majority, classical, prompt and tuned on the data's own split, as a user would run it;
the tuned approach reads every training row once an epoch, for as many epochs as fit (`--epochs`).

The metric a minute: `kasauti train` for a share of an epoch, on rows that share their prompt and, with the same
recipe, as TRL trains them: one row after the other (no padding, no mask), and padded; logits at supervised positions
only. All take the same steps over the same rows, so that what differs is the time; each side's figure is the gain in
validation accuracy over one label for all, by its own minutes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from kasauti.core.files import write_json

sys.path.insert(0, str(Path(__file__).parents[1]))
from run import RESULTS, machine

DATA = Path(__file__).parents[3] / "shared" / "data" / "banking77" / "banking_data"
APPROACHES = "majority,classical,prompt_instructions,tuned"
RECIPE = {"length": 1024, "batch": 32, "micro_batch": 32}
SIDES = {
    "packed": {},
    "row by row": {"prefix_sharing": "never", "micro_batch": 1},
    "padded": {"prefix_sharing": "never", "micro_batch": 8},
}
"""Ours first; of the other two the faster one is what is compared with."""
COMMAND = (
    "import sys, trl.trainer.utils as u\n"
    "u._use_triton = lambda device: True  # logits at supervised positions on a CPU, too\n"
    "from kasauti.cli.main import main\nsys.exit(main(sys.argv[1:]))"
)


def task(folder: Path, data: Path, train: dict[str, Any]) -> Path:
    """A task folder on the data's own split, the labels listed in its instructions."""
    labels = json.loads((data / "categories.json").read_text("utf-8"))
    for name in ("train", "test"):
        (folder / f"{name}.csv").write_bytes((data / f"{name}.csv").read_bytes())
    listed = "\n".join(f"- {label}" for label in labels)
    told = f"Classify the bank customer's message into exactly one category.\n\nCategories:\n{listed}"
    document = {
        "name": "banking77",
        "kind": "classification",
        "instructions": told,
        "input": "{text}",
        "target": "category",
        "labels": labels,
        "data": {"train": "train.csv", "test": "test.csv"},
        "model": "kasauti/nano",
        "train": train,
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(document, sort_keys=False, width=1000), "utf-8")
    return folder


def command(*words: str) -> dict[str, Any]:
    """What a command answers."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", COMMAND, *words, "--json"], stdout=subprocess.PIPE, env=environment)
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def trial(data: Path, epochs: float) -> dict[str, Any]:
    """Minutes and figures of the whole trial."""
    with tempfile.TemporaryDirectory(prefix="kasauti-bench-") as name:
        folder = task(Path(name), data, {**RECIPE, "epochs": epochs})
        began = time.perf_counter()
        made = command("trial", "--task", str(folder), "--approaches", APPROACHES)
        minutes = (time.perf_counter() - began) / 60
        found = json.loads(next(folder.glob(".kasauti/trials/*/trial.json")).read_text("utf-8")) if made else {}
    shown = ("name", "accuracy", "invalid_rate", "macro_f1", "ece", "fit_seconds")
    return {
        "epochs": epochs,
        "minutes": round(minutes, 2),
        "approaches": [{key: one.get(key) for key in shown} for one in found["approaches"]],
        "verdict": found["verdict"]["ship"],
    }


def a_minute(data: Path, share: float) -> dict[str, Any]:
    """Both ways of training over the same steps."""
    with (data / "train.csv").open(encoding="utf-8", newline="") as file:
        counts = Counter(row["category"] for row in csv.DictReader(file))
    chance = max(counts.values()) / counts.total()
    found: dict[str, Any] = {"epochs": share, "one_label_for_all": round(chance, 4), "sides": {}}
    for name, settings in SIDES.items():
        with tempfile.TemporaryDirectory(prefix="kasauti-bench-") as folder:
            made = command("train", "--task", str(task(Path(folder), data, {**RECIPE, "epochs": share, **settings})))
        accuracy, minutes = made["best"]["validation_accuracy"], made["seconds"] / 60
        found["sides"][name] = {
            "validation_accuracy": round(accuracy, 4),
            "steps": made["steps"],
            "minutes": round(minutes, 3),
            "gain_a_minute": round((accuracy - chance) / minutes, 4),
        }
    ours, *others = (found["sides"][name] for name in SIDES)
    other = min(others, key=lambda side: side["minutes"])
    found["time_ratio"] = round(other["minutes"] / ours["minutes"], 2)
    found["gain_a_minute_ratio"] = round(ours["gain_a_minute"] / other["gain_a_minute"], 2)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--epochs", type=float, default=3.0, help="of the trial's tuned approach; 0: no trial")
    parser.add_argument(
        "--share", type=float, default=0.05, help="of an epoch, for the metric a minute; 0: leave it out"
    )
    given = parser.parse_args(arguments)
    kept: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine()}
    if given.share:
        kept["a_minute"] = a_minute(given.data, given.share)
        print(json.dumps(kept["a_minute"]), file=sys.stderr, flush=True)
    if given.epochs:
        kept["trial"] = trial(given.data, given.epochs)
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / "banking77.json", kept)
    print(json.dumps({key: kept[key] for key in ("a_minute", "trial") if key in kept}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
