"""The whole audit of 100,000 and of a million generated rows: seconds of each stage, memory, and what a row costs.

Walks in: nothing. Walks out: figures, a plain dict. It does not know where they are kept.

Each size is audited in a process of its own, as `kasauti audit` does it: files read, rows split, all checks, the proof
over every row, both files written. The check for likely mislabelled rows, which judges a sample above 100,000 rows,
runs afterwards and is timed by itself. Memory is what all processes together hold: resident, where what they share
counts once for each of them, looked at every fifth of a second; and proportional, where it counts once, every third
second, since each such look holds the process up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from complaints import write_task

SIZES = (100_000, 1_000_000)
LEFT_OUT = "mislabelled"
LOOK = 0.2
"""Seconds between two looks at the memory."""
LOOKS = 15
"""Of so many looks, one counts shared pages once."""


def run(seed: int = 42, sizes: tuple[int, ...] = SIZES) -> dict[str, object]:
    """Figures of each size, and the ratio of the largest's cost of a row to the smallest's.

    Raises:
        RuntimeError: an audit failed, or found fewer repeated rows than were planted.
    """
    found: dict[str, Any] = {}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as folder:
            planted = write_task(Path(folder), rows, seed)
            figures = _measured(Path(folder))
        least = sum(planted[kind] for kind in ("exact", "normalised", "near", "conflicting"))
        # a tenth of the rows that test rows repeat are validation rows by now
        if figures["repeated_rows"] < least or figures["leaked_rows"] < 0.8 * planted["leaked"]:
            raise RuntimeError(f"planted {planted}, found {figures['repeated_rows']} and {figures['leaked_rows']}")
        found[str(rows)] = {"planted": planted, **figures}
    first, last = found[str(sizes[0])], found[str(sizes[-1])]
    growth = sizes[-1] / sizes[0]
    return {
        "sizes": found,
        "times_linear": round(last["seconds"] / first["seconds"] / growth, 3),
        "times_linear_of_processor_seconds": round(last["processor_seconds"] / first["processor_seconds"] / growth, 3),
    }


def _measured(folder: Path) -> dict[str, Any]:
    """The figures of one audit, made in a process of its own."""
    import psutil

    out, peaks = folder / "figures.json", {"audit": [0, 0], LEFT_OUT: [0, 0]}
    child = subprocess.Popen([sys.executable, __file__, str(folder), str(out)])
    watched = psutil.Process(child.pid)
    looks = 0
    while child.poll() is None:
        stage = LEFT_OUT if (folder / "audited").exists() else "audit"
        try:
            processes = [watched, *watched.children(recursive=True)]
            resident = sum(one.memory_info().rss for one in processes)
            proportional = sum(_proportional(one.pid) for one in processes) if looks % LOOKS == 0 else 0
        except (psutil.Error, OSError):  # one has just ended
            continue
        looks += 1
        peaks[stage] = [max(peaks[stage][0], resident), max(peaks[stage][1], proportional)]
        time.sleep(LOOK)
    if child.returncode:
        raise RuntimeError(f"the audit of {folder} ended with {child.returncode}")
    figures: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    for taker, stage in ((figures, "audit"), (figures[LEFT_OUT], LEFT_OUT)):
        taker["peak_gib"], taker["peak_gib_shared_once"] = (round(peak / 2**30, 2) for peak in peaks[stage])
    return figures


def _proportional(pid: int) -> int:
    """Bytes of a process, of which a page that n processes share counts 1/n."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _audit(folder: Path) -> dict[str, Any]:
    from kasauti.cli.audit import audit
    from kasauti.core.task import load_task
    from kasauti.data.audit import CHECKS

    started = time.perf_counter()
    stages: dict[str, float] = {}
    clocks = {"audit": ("", started), "other": ("read and split", started)}

    def progress(stage: str, done: int, total: int, remark: str | Mapping[str, float] = "") -> None:
        # The checks run while the rows are proved: each of the two has a clock.
        lane, now = ("audit" if stage == "audit" else "other"), time.perf_counter()
        running, since = clocks[lane]
        if running:
            stages[running] = stages.get(running, 0.0) + now - since
        clocks[lane] = ((str(remark) if stage == "audit" else stage if done < total else "write"), now)

    checks = {name: check for name, check in CHECKS.items() if name != LEFT_OUT}
    done = audit(load_task(folder), 50, progress, checks)
    progress("end", 0, 0)
    seconds, used = time.perf_counter() - started, os.times()
    (folder / "audited").touch()
    counts = {(f.check, f.where): f.count for f in done.findings}
    begun = time.perf_counter()
    suspects = CHECKS[LEFT_OUT](load_task(folder), done.divided.decided)
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.user + used.system + used.children_user + used.children_system, 1),
        "stages": {name: round(value, 2) for name, value in stages.items()},
        "repeated_rows": sum(count for (check, _), count in counts.items() if check == "repeated"),
        "leaked_rows": counts.get(("leakage", "test"), 0),
        "proved_rows": (done.document["proof"] or {}).get("rows", 0),
        LEFT_OUT: {"seconds": round(time.perf_counter() - begun, 1), "said": [f.what for f in suspects]},
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(_audit(Path(sys.argv[1]))), encoding="utf-8")
