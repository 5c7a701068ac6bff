"""What the constant prefix costs in quality and saves in time: one task tuned with and without it, the same seeds.

Walks in: a task folder, or none for the bundled task. Walks out: one JSON line, and
`benchmarks/results/constant_prefix.json` with the machine it was measured on.

Both sides are `kasauti train` in a process of its own, on the same rows and with the same recipe but for
`constant_prefix`; they take turns. Accuracy and log loss are those of the validation rows at the kept epoch, before any
temperature; no test row is looked at. Seconds are those of the run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

import kasauti
from kasauti.core.files import write_json

sys.path.insert(0, str(Path(__file__).parents[1]))
from run import RESULTS, machine

FIGURES = ("validation_accuracy", "validation_macro_f1", "validation_log_loss")


def compare(source: Path, seeds: list[int], settings: dict[str, Any], rows: int | None) -> dict[str, Any]:
    """Every seed with and without, and the mean difference."""
    runs = []
    for seed in seeds:
        for constant in (False, True) if seed % 2 else (True, False):
            runs.append(_run(source, {**settings, "seed": seed, "constant_prefix": constant}, rows))
    sides = {name: [one for one in runs if one["constant_prefix"] is on] for name, on in (("on", False), ("off", True))}
    mean = {
        side: {f: statistics.fmean(one[f] for one in of) for f in (*FIGURES, "seconds")} for side, of in sides.items()
    }
    return {
        "runs": runs,
        "adapter_on_everywhere": mean["on"],
        "adapter_off_on_the_prefix": mean["off"],
        "accuracy_difference": mean["off"]["validation_accuracy"] - mean["on"]["validation_accuracy"],
        "time_ratio": mean["on"]["seconds"] / mean["off"]["seconds"],
    }


def _run(source: Path, train: dict[str, Any], rows: int | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kasauti-bench-") as name:
        folder = Path(name, "task")
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".kasauti"))
        task = yaml.safe_load((folder / "task.yaml").read_text(encoding="utf-8"))
        task["train"] = {**(task.get("train") or {}), **train}
        (folder / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False, allow_unicode=True), encoding="utf-8")
        if rows is not None:
            _cut(folder / task["data"]["train"], rows)
        done = subprocess.run(
            [sys.executable, "-m", "kasauti.cli.main", "train", "--task", str(folder), "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        if not done.stdout or "best" not in (made := json.loads(done.stdout)):
            raise RuntimeError(done.stderr[-500:])
    figures = {name: made["best"][name] for name in FIGURES}
    return {"seed": train["seed"], "constant_prefix": train["constant_prefix"], **figures, "seconds": made["seconds"]}


def _cut(path: Path, rows: int) -> None:
    """Every n-th row of a CSV file of single lines, so that about so many are left."""
    head, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    step = max(1, len(lines) // rows)
    path.write_text("".join([head, *lines[::step][:rows]]), encoding="utf-8")


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    bundled = Path(kasauti.__file__).parent / "bundled" / "disputes"
    parser.add_argument("task", nargs="?", type=Path, default=bundled, help="a task folder (default: the bundled task)")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--rows", type=int, help="training rows, where not all")
    parser.add_argument("--epochs", type=float, help="where not the recipe's")
    args = parser.parse_args()
    settings = {} if args.epochs is None else {"epochs": args.epochs}
    figures = compare(args.task, list(range(1, args.seeds + 1)), settings, args.rows)
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "task": args.task.name, **figures}
    if args.rows is None and args.epochs is None:
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / "constant_prefix.json", {**result, "machine": machine()})
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
