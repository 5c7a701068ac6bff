"""What `kasauti plan` predicts beside what `kasauti train` then takes: peak memory of the process, seconds of the run.

Walks in: nothing; tasks are cut from the bundled one. Walks out: one entry a case. Both commands run in processes of
their own, one after the other, with the same number of threads.

Memory is the peak resident set of the training process, time that of `run.json` (from the first step to the last
checkpoint).
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import kasauti

CASES: dict[str, dict[str, Any]] = {
    "lora": {"epochs": 2, "patience": 0},
    "lora, checkpointing, micro-batch 4": {
        "epochs": 2,
        "patience": 0,
        "gradient_checkpointing": True,
        "micro_batch": 4,
    },
    "qlora": {"method": "qlora", "epochs": 2, "patience": 0},
    "full": {"method": "full", "epochs": 2, "patience": 0},
}
ROWS = 360
MEASURE = "import resource, sys; from kasauti.cli.main import main\ntry:\n    main(sys.argv[1:])\nfinally:\n    " + (
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
)


def run(rows: int = ROWS, names: Sequence[str] = tuple(CASES)) -> dict[str, Any]:
    """Every case: predicted and measured, and how far off the prediction is."""
    return {"rows": rows, "cases": [_case(name, CASES[name], rows) for name in names]}


def _case(name: str, settings: dict[str, Any], rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="kasauti-bench-") as folder:
        task = _task(Path(folder), settings, rows)
        began = time.perf_counter()
        plan, _ = _command("plan", task)
        took = time.perf_counter() - began
        done, peak = _command("train", task)
        return {
            "case": name,
            "memory_predicted": plan["peak"],
            "memory_by_shape": plan["memory"]["total"],
            "memory_measured": peak,
            "memory_off": plan["peak"] / peak - 1,
            "plan_took": took,
            "seconds_predicted": plan["seconds"],
            "seconds_measured": done["seconds"],
            "seconds_off": plan["seconds"] / done["seconds"] - 1,
        }


def _task(folder: Path, settings: dict[str, Any], count: int) -> Path:
    bundled = Path(kasauti.__file__).parent / "bundled" / "disputes"
    task = yaml.safe_load((bundled / "task.yaml").read_text(encoding="utf-8"))
    with (bundled / task["data"]["train"]).open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    step = len(rows) // count
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows[::step][:count]])
    task |= {"data": {"train": "rows.csv"}, "train": settings}
    (folder / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    return folder


def _command(verb: str, task: Path) -> tuple[dict[str, Any], int]:
    """The document of a command, and the peak resident set of its process in bytes."""
    made = subprocess.run(
        [sys.executable, "-c", MEASURE, verb, "--task", str(task), "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if not made.stdout:
        raise RuntimeError(made.stderr[-500:])
    return json.loads(made.stdout), int(made.stderr.split()[-1]) * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    chosen = parser.parse_args()
    print(json.dumps(run(chosen.rows, chosen.cases), indent=1))
