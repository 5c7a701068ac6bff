"""Runs the benchmarks and keeps what they measured, with the machine they were measured on.

Walks in: names of benchmarks, or none for all. Walks out: `results/<name>.json`, one file a benchmark. It does not know
what is measured: a benchmark is one module beside this one, with a function `run()` that returns plain figures, and one
line in `BENCHMARKS`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kasauti.core.files import write_json

BENCHMARKS = {
    "audit": "the whole audit of 100,000 and of a million generated rows",
    "duplicates": "the exact near-duplicate join beside comparing every pair, datasketch and rensa",
    "embedding": "embeddings with a linear classifier beside TF-IDF with one, on Banking77 and on the bundled task",
    "plan": "what `kasauti plan` predicts against what `kasauti train` takes",
    "predict": "`kasauti predict` on 200,000 rows, killed five times: every row once and in order; speed; memory",
}
"""Module beside this one → what it measures."""

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("kasauti", "numpy", "scikit-learn", "torch", "transformers", "peft", "trl", "datasketch", "rensa")


def machine() -> dict[str, object]:
    """What a reader must know to compare the figures with their own."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main(arguments: list[str] | None = None) -> int:
    """Run, print, keep; 1 where a benchmark failed, and the others are still run."""
    parser = argparse.ArgumentParser(description="Runs benchmarks and keeps their figures in benchmarks/results/.")
    about = "; ".join(f"{name}: {what}" for name, what in BENCHMARKS.items())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which to run; all where none is named. {about}")
    names = parser.parse_args(arguments).names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    failed = False
    for name in names:
        started = time.perf_counter()
        try:
            figures = importlib.import_module(name).run()
        except Exception as error:
            print(f"{name}: failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed = True
            continue
        result = {
            "benchmark": name,
            "measures": BENCHMARKS[name],
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - started, 1),
            "machine": machine(),
            "figures": figures,
        }
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / f"{name}.json", result)
        print(f"{name}: {json.dumps(figures)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
