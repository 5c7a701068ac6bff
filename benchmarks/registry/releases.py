"""How releases end that the service judges by itself: candidates that are worse, equal or better, two hundred of each.

Everything is simulated: the champion is right in 90% of the calls, both answer every call, and reviewers read what
differs some hundred calls later. `registry.judge` looks every 250 calls. A rate is a share of the releases.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kasauti.core.files import write_json
from kasauti.registry.judge import BACK, FORTH, Pairs, Rule, Verdict, judge

sys.path.insert(0, str(Path(__file__).parents[1]))
from run import RESULTS, machine

RIGHT = 0.9
CLASSES = 12
NAMES = tuple(f"category {n}" for n in range(CLASSES))
LOOK = 250
CALLS = 10_000
LAG = 300
"""Calls between a disagreement and its reading."""
SCENARIOS: dict[str, dict[str, float]] = {
    "labels permuted": {"permuted": 1.0},
    "5 points worse": {"lost": 0.08, "won": 0.03},
    "2 points worse, the margin": {"lost": 0.06, "won": 0.04},
    "equal, 8% otherwise": {"lost": 0.04, "won": 0.04},
    "equal, 2% otherwise": {"lost": 0.01, "won": 0.01},
    "3 points better": {"lost": 0.03, "won": 0.06},
    "equal, and 3% of its answers are no label": {"lost": 0.02, "won": 0.02, "faults": 0.03},
}
"""Shares of the calls: `lost`, only the champion is right; `won`, only the candidate; `faults`, the candidate's."""


def run(releases: int = 200, seed: int = 0) -> dict[str, Any]:
    """Every scenario."""
    told = {name: _ends(releases, seed + at, **how) for at, (name, how) in enumerate(SCENARIOS.items())}
    return {"releases": releases, "wrong_rollback_at_most": BACK, "wrong_promotion_at_most": FORTH, "scenarios": told}


def release(generator: np.random.Generator, calls: int = CALLS, **how: float) -> tuple[Verdict, int, int]:
    """One release.

    Returns:
        Its end, the calls until then, and the readings until then; the end of the calls is a pause.
    """
    pairs = drawn(generator, calls, **how)
    for end in range(LOOK, calls + 1, LOOK):
        seen = _until(pairs, end)
        found = judge(seen, None, Rule(), days=0, names=NAMES)
        if found.verdict is not Verdict.GO_ON:
            return found.verdict, end, int(found.figures["read"])
    return Verdict.PAUSE, calls, int(found.figures["read"])


def drawn(
    generator: np.random.Generator, calls: int, lost: float = 0.0, won: float = 0.0, faults: float = 0.0,
    permuted: float = 0.0,
) -> Pairs:  # fmt: skip
    """Answers of both versions, everything read."""
    truth = generator.integers(CLASSES, size=calls)

    def wrong(of: Any) -> Any:
        return (of + generator.integers(1, CLASSES, size=calls)) % CLASSES

    champion = np.where(generator.random(calls) < RIGHT - lost, truth, wrong(truth))
    candidate = champion.copy()
    if permuted:
        candidate = (champion + 1) % CLASSES
    else:
        kind = generator.random(calls)
        champion = np.where(kind < lost, truth, champion)
        candidate = np.where(kind < lost, wrong(truth), candidate)
        candidate = np.where((kind >= lost) & (kind < lost + won), truth, candidate)
        champion = np.where((kind >= lost) & (kind < lost + won), wrong(truth), champion)
    right = (candidate == truth).astype(float) - (champion == truth)
    fault = (generator.random(calls) < faults).astype(float)
    return Pairs(champion=champion, candidate=candidate, right=right, faults=fault, late=np.zeros(calls))


def _until(pairs: Pairs, end: int) -> Pairs:
    right = pairs.right[:end].copy()
    differ = pairs.champion[:end] != pairs.candidate[:end]
    right[max(0, end - LAG) :][differ[max(0, end - LAG) :]] = np.nan
    return Pairs(
        champion=pairs.champion[:end], candidate=pairs.candidate[:end], right=right, faults=pairs.faults[:end],
        late=pairs.late[:end],
    )  # fmt: skip


def _ends(releases: int, seed: int, **how: float) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    ended = [release(generator, CALLS, **how) for _ in range(releases)]
    counted = Counter(str(verdict) for verdict, _, _ in ended)
    return {
        **{str(verdict): counted[str(verdict)] / releases for verdict in Verdict if verdict is not Verdict.GO_ON},
        "calls_median": float(np.median([calls for _, calls, _ in ended])),
        "readings_median": float(np.median([read for _, _, read in ended])),
    }


def main() -> int:
    """Simulate, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few releases, and nothing is kept")
    quick = parser.parse_args().quick
    began = time.perf_counter()
    figures = run(10) if quick else run()
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(time.perf_counter() - began, 1)}
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / "releases.json", {**result, "machine": machine(), "figures": figures})
    print(json.dumps({**result, "figures": figures}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
