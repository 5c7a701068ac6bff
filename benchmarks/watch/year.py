"""Simulated years of `kasauti simulate`, each with its own seed, beside what is asked of them.

Asked: the shift and the new category alerted within two weeks each; at most two false alerts in all; retraining gains
at least five points on shifted rows that nobody has learnt from and loses at most one on the old test rows; the bad
candidate never has more than 5% of the callers; the intervals of reviewed weeks hold the truth in 95% ± 2.
Years that are done are kept beside the result, so that a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kasauti.cli.demo import copy_task
from kasauti.core.files import write_json
from kasauti.core.task import load_task
from kasauti.watch.simulate import Event, Year, simulate, summary

sys.path.insert(0, str(Path(__file__).parents[1]))
from run import RESULTS, machine

PARTIAL = RESULTS.parent / ".years"


def run(years: int = 20, folder: Path = PARTIAL) -> dict[str, Any]:
    """Seeds 1 to `years`."""
    with tempfile.TemporaryDirectory() as place:
        copy_task(Path(place))
        task = load_task(place)
        lived = [_year(task, seed, folder) for seed in range(1, years + 1)]
    kept = [year for year, _ in lived]
    return {
        "summary": summary(kept),
        "processor_seconds_a_year": sum(seconds for _, seconds in lived) / len(lived),
        "years": [{k: v for k, v in one.document().items() if k != "events"} for one in kept],
        "alerts": [
            [f"week {e.week}: {e.name}{'' if e.wanted else ' (false)'}" for e in one.events if e.what == "alert"]
            for one in kept
        ],
    }


def _year(task: Any, seed: int, folder: Path) -> tuple[Year, float]:
    path = folder / f"{seed}.json"
    if not path.exists():
        began = time.process_time()
        made = simulate(task, seed)
        write_json(path, {"seconds": time.process_time() - began, "year": made.document()})
    found = json.loads(path.read_text("utf-8"))
    events = [Event(**one) for one in found["year"]["events"]]
    return Year(**{**found["year"], "events": events}), float(found["seconds"])


def main() -> int:
    """Run, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=20)
    args = parser.parse_args()
    figures = run(args.years)
    kept = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine(), "figures": figures}
    write_json(RESULTS / "simulated_years.json", kept)
    print(json.dumps(figures["summary"], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
