"""How often the alerts of `kasauti watch` cry wolf, and what they find, beside the rules as they are usually written.

Everything is simulated from the models that the rules allow for: shares of categories that differ between days or do
not, reviews that are right with a constant probability or a lower one from some week on, latencies with bursts. A look
is one day; rates are shares of looks, for accuracy shares of half-years.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kasauti.core.files import write_json
from kasauti.watch.alerts import (
    ACCURACY_LEVEL,
    BASELINE_ERROR,
    DOUBLED,
    HISTORY,
    HOURS,
    LATE,
    LEVEL,
    POINTS,
    SPANS,
)
from kasauti.watch.counts import History, history, share_above, tails
from kasauti.watch.seen import Texts
from kasauti.watch.sequential import floor_of, fortune
from kasauti.watch.shift import LEVEL as SHIFT_LEVEL
from kasauti.watch.shift import compare

sys.path.insert(0, str(Path(__file__).parents[1]))
from run import RESULTS, machine

CATEGORIES = 12
TRIPLED = 5
"""The category that is made three times as common: 5.4% of the calls."""

Floats = NDArray[np.float64]


def run(looks: int = 1000, services: int = 2000, shifts: int = 100) -> dict[str, Any]:
    """All of it."""
    return {
        "level_of_a_look": LEVEL,
        "categories": categories(looks),
        "latency": latency(20 * looks),
        "accuracy": accuracy(services),
        "shift": shift(shifts),
    }


def categories(looks: int, seed: int = 0) -> list[dict[str, Any]]:
    """Twelve categories by Zipf's law; nothing wrong, or one of 5.4% three times as common on the last day."""
    made = []
    for calls, rho in ((100, 0.0), (300, 0.0), (1000, 0.0), (100, 0.005), (300, 0.005), (1000, 0.005)):
        quiet = _days(looks, calls, rho, seed)
        tripled = _days(max(200, looks // 4), calls, rho, seed + 1, times=3.0)
        naive, ours = _alarms(*quiet)
        found = _alarms(*tripled)[1][:, TRIPLED]
        made.append(
            {
                "calls_a_day": calls,
                "correlation_within_a_day": rho,
                "false_alarms_naive": float(naive.any(-1).mean()),
                "false_alarms": float(ours.any(-1).mean()),
                "tripled_found_on_its_first_day": float(found.mean()),
            }
        )
    return made


def _days(looks: int, calls: int, rho: float, seed: int, times: float = 1.0) -> tuple[Floats, Floats]:
    """[looks, days, categories] counts and [looks, days] totals."""
    draw = np.random.default_rng(seed)
    usual = 1 / np.arange(1, CATEGORIES + 1)
    usual /= usual.sum()
    shape = (looks, HISTORY + max(SPANS), CATEGORIES)
    share = np.broadcast_to(usual, shape).copy()
    if rho:
        share = draw.gamma(usual * (1 / rho - 1), size=shape)
        share /= share.sum(-1, keepdims=True)
    share[:, -1, TRIPLED] *= times
    share /= share.sum(-1, keepdims=True)
    totals = draw.poisson(calls, shape[:2])
    return draw.multinomial(totals, share).astype(float), totals.astype(float)


def _alarms(counts: Floats, totals: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The naive rule and ours, [looks, categories]. Tails are asked for only where the naive rule of a span alarms."""
    naive = np.zeros(counts.shape[::2], dtype=bool)
    ours = np.zeros_like(naive)
    for span, (grow, cease) in SPANS.items():
        before = slice(counts.shape[1] - span - HISTORY, counts.shape[1] - span)
        usual = history(counts[:, before], totals[:, before])
        now, whole = counts[:, -span:].sum(1), totals[:, -span:]
        grown = now / whole.sum(-1)[:, None] >= DOUBLED * usual.share
        odd = (grown & (now > 0)) | (now == 0)
        if span == 1:
            naive = odd
        looks, names = np.nonzero(odd)
        cells = [one[looks, names][:, None] for one in (usual.share, usual.rho, usual.spread, usual.calls)]
        upper, lower = tails(History(*cells), now[looks, names][:, None], whole[looks])
        up, down = upper[:, 0] <= LEVEL * grow / CATEGORIES, lower[:, 0] <= LEVEL * cease / CATEGORIES
        ours[looks, names] |= (grown[looks, names] & up) | ((now[looks, names] == 0) & down)
    return naive, ours


def latency(looks: int, seed: int = 0) -> list[dict[str, Any]]:
    """48 half hours of 50 calls: 4% late, 5% late (the bound), more for an hour, six or a day, and in bursts alone."""
    made = []
    for name, share, worse, hours in (
        ("4% late", 0.04, 0.04, 24), ("5% late", 0.05, 0.05, 24),
        ("10% late in the last hour", 0.03, 0.1, 1), ("10% late for 6 hours", 0.03, 0.1, 6),
        ("7% late all day", 0.07, 0.07, 24),
    ):  # fmt: skip
        draw = np.random.default_rng(seed)
        chance = np.full(48, share)
        chance[48 - 2 * hours :] = worse
        late = draw.binomial(50, chance, (looks, 48)).astype(float)
        made.append({"service": name, **_latency_rates(late)})
    draw = np.random.default_rng(seed + 1)
    burst = (draw.random((looks, 48)) < 0.025) * 50.0
    late = np.minimum(draw.binomial(50, 0.02, (looks, 48)) + burst, 50)
    made.append({"service": "2% late, and half an hour a day on average late altogether", **_latency_rates(late)})
    return made


def _latency_rates(late: Floats) -> dict[str, float]:
    alarm = np.zeros(len(late), dtype=bool)
    for hours in HOURS:
        part = late[:, -2 * hours :]
        calls = 50 * part.shape[1]
        p = {k: share_above(calls, int(k), LATE) for k in np.unique(part.sum(-1))}
        sure = np.array([p[k] <= LEVEL / len(HOURS) for k in part.sum(-1)])
        alarm |= sure & (2 * (part > LATE * 50).sum(-1) > part.shape[1])
    naive = late[:, -2:].sum(-1) > LATE * 100
    return {"alarms_naive_last_hour": float(naive.mean()), "alarms": float(alarm.mean())}


def accuracy(services: int, seed: int = 0) -> list[dict[str, Any]]:
    """26 weeks of 100 reviews; the version is right with 94% on its test rows; from week 13 on the same, or less."""
    made = []
    level = np.log(1 / (ACCURACY_LEVEL * (1 - BASELINE_ERROR)))
    for rows in (200, 1000, 3000):
        for later in (0.94, 0.91, 0.88, 0.85):
            draw = np.random.default_rng(seed)
            number = services if later == 0.94 else max(300, services // 8)
            base = draw.binomial(rows, 0.94, number)
            chance = np.where(np.arange(26) < 12, 0.94, later)
            right = draw.binomial(100, chance, (number, 26)).astype(float)
            naive = right / 100 < (base / rows)[:, None] - POINTS
            alarm = np.zeros((number, 26), dtype=bool)
            for hits in np.unique(base):
                floor = floor_of(int(hits), rows, ACCURACY_LEVEL * BASELINE_ERROR)
                mine = base == hits
                wealth = fortune(right[mine], np.full_like(right[mine], 100.0), floor)
                alarm[mine] = np.maximum.accumulate(wealth, axis=-1) >= level
            recent = np.stack([right[:, max(0, w - 4) : w + 1].mean(-1) / 100 for w in range(26)], axis=-1)
            alarm &= recent < (base / rows)[:, None] - POINTS
            first = np.where(alarm.any(-1), alarm.argmax(-1), 99)
            after = first[(first >= 12) & (first < 99)] - 11
            entry: dict[str, Any] = {"test_rows": rows, "accuracy_from_week_13": later}
            if later == 0.94:
                entry |= {"false_alarms_naive": float(naive.any(-1).mean()), "false_alarms": float((first < 99).mean())}
            else:
                entry |= {
                    "found_within_14_weeks": float((first < 99).mean()),
                    "weeks_until_found_median": float(np.median(after)) if len(after) else None,
                }
            made.append(entry)
    return made


def shift(times: int) -> list[dict[str, Any]]:
    """100 texts beside 100 of the same vocabulary, and with 10%, 20% or 30% of them in other words."""
    made = []
    words = [f"w{number}" for number in range(300)]
    weights = [1 / (number + 1) for number in range(300)]
    for other in (0.0, 0.1, 0.2, 0.3):
        number, alarms, plain = (times if other == 0 else max(20, times // 10)), 0, 0
        for seed in range(number):
            draw = random.Random(seed)
            texts = [draw.choices(words, weights, k=10) for _ in range(200)]
            for text in texts[100 : 100 + round(100 * other)]:
                text[:6] = [f"x{draw.randint(0, 30)}" for _ in range(6)]
            plain_texts = [" ".join(text) for text in texts]
            found = compare(Texts(reference=plain_texts[:100], called=plain_texts[100:]), seed)
            assert found is not None
            alarms += found.stands
            plain += found.p_value <= SHIFT_LEVEL
        made.append({"share_in_other_words": other, "looks": number, "sure": plain / number, "alarms": alarms / number})
    return made


def main() -> int:
    """Simulate, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few simulations, and nothing is kept")
    quick = parser.parse_args().quick
    began = time.perf_counter()
    figures = run(100, 200, 10) if quick else run()
    result = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": round(time.perf_counter() - began, 1)}
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        write_json(RESULTS / "watch_alarms.json", {**result, "machine": machine(), "figures": figures})
    print(json.dumps({**result, "figures": figures}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
