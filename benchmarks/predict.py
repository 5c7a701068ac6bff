"""`kasauti predict` on 200,000 rows, killed five times at random: whole, ordered, no row twice; rows a second; memory.

Walks in: nothing. Walks out: figures, a plain dict. It does not know where they are kept.

The command runs in a process of its own with the classical approach, on a task and rows that are generated. First it
answers the first tenth of the rows undisturbed; then it answers all, is killed with SIGKILL at five random sizes of its
unfinished output, and started again each time. Every row has to have one line, in order, and the first tenth has to be
what it was undisturbed, byte by byte. Memory is the resident set, looked at every twentieth of a second: what a tenth
of the rows takes says whether it grows with them.
"""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from complaints import texts, write_task

ROWS, KILLS, LEARNT = 200_000, 5, 2_000
LOOK = 0.05
"""Seconds between two looks at the memory."""


def run(seed: int = 42, rows: int = ROWS, kills: int = KILLS) -> dict[str, object]:
    """Figures of the undisturbed tenth and of the killed run.

    Raises:
        RuntimeError: a command failed, or a row of the killed run is missing, doubled, out of order or another one.
    """
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_task(folder, LEARNT, seed)
        complaints = texts(rows, seed)
        _write(folder / "many.csv", complaints)
        _write(folder / "tenth.csv", complaints[: rows // 10])
        del complaints
        _command(folder, "trial", "--approaches", "majority,classical")
        tenth = _finished(folder, "tenth.csv", "tenth.jsonl")
        size = 10 * (folder / "tenth.jsonl").stat().st_size
        left, peaks, began = [], [], time.perf_counter()
        for target in sorted(draw.sample(range(size * 95 // 100), kills)):
            there, mib = _killed(folder, target)
            left.append(there)
            peaks.append(mib)
        last = _finished(folder, "many.csv", "out.jsonl")
        seconds = time.perf_counter() - began
        _check(folder, rows)
        size = (folder / "out.jsonl").stat().st_size
    return {
        "rows": rows,
        "kills": len(left),
        "killed_at_bytes": left,
        "output_bytes": size,
        "resumed_at_row": last["resumed_at"],
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "peak_mib": max(*peaks, last["peak_mib"]),
        "tenth": {**tenth, "rows": rows // 10, "rows_per_second": round(rows // 10 / tenth["seconds"])},
        "complete_in_order_no_row_twice": True,
    }


def _write(path: Path, complaints: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["complaint"])
        out.writerows([text] for text in complaints)


def _words(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "kasauti.cli.main", *words, "--task", str(folder), "--json"]


def _command(folder: Path, *words: str) -> Any:
    done = subprocess.run(_words(folder, *words), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words[0]} ended with {done.returncode}: {done.stderr[-300:]}")
    return json.loads(done.stdout)


def _watched(words: list[str], stop: Path | None = None, size: int = 0) -> tuple[int, str, float]:
    """Exit code, standard output and the highest resident set in MiB; killed once `stop` has more than `size` bytes."""
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak, looked = 0, 0.0
    while child.poll() is None:
        if time.perf_counter() - looked > LOOK:
            peak, looked = max(peak, _resident(child.pid)), time.perf_counter()
        if stop is not None and stop.exists() and stop.stat().st_size > size:
            child.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    said, _ = child.communicate()
    return child.returncode, said, round(peak / 1024, 1)


def _resident(pid: int) -> int:
    """KiB; 0 for a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def _finished(folder: Path, source: str, out: str) -> dict[str, Any]:
    words = _words(folder, "predict", str(folder / source), "-o", str(folder / out))
    began = time.perf_counter()
    code, said, peak = _watched(words)
    if code:
        raise RuntimeError(f"predict ended with {code}")
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mib": peak,
        "resumed_at": json.loads(said)["resumed_at"],
    }


def _killed(folder: Path, size: int) -> tuple[int, float]:
    """The bytes that lie there after the kill, and the highest resident set in MiB."""
    words = _words(folder, "predict", str(folder / "many.csv"), "-o", str(folder / "out.jsonl"))
    part = folder / "out.jsonl.part"
    code, _, peak = _watched(words, part, size)
    if code != -signal.SIGKILL or (folder / "out.jsonl").exists():
        raise RuntimeError(f"predict ended with {code} before it could be killed")
    return part.stat().st_size, peak


def _check(folder: Path, rows: int) -> None:
    """Every row once and in order, the first tenth as it was undisturbed."""
    with (folder / "out.jsonl").open("rb") as made, (folder / "tenth.jsonl").open("rb") as tenth:
        number = 0
        for number, line in enumerate(made, 1):
            if json.loads(line)["row"] != number or tenth.readline() not in (b"", line):
                raise RuntimeError(f"line {number} is {line[:80]!r}")
    if number != rows:
        raise RuntimeError(f"{number} lines for {rows} rows")
