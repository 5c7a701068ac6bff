"""Simulated trials whose truth is known, judged by the real `decide` and `compare_all`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kasauti.measure.statistics import holm, mcnemar_exact, paired_difference

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def simulate() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("simulate", BENCHMARKS / "decide" / "simulate.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["simulate"] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path[:] = [path for path in sys.path if path != str(BENCHMARKS)]
        sys.modules.pop("run", None)


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_equally_good_approaches_ship_the_simplest_nineteen_times_out_of_twenty(simulate, margin):
    trials = 120
    right = simulate.drawn([0.8] * 5, 250, 0.5, trials, seed=3)
    wrong = sum(simulate.really(one, margin) != "classical" for one in right)
    assert wrong <= 0.05 * trials


def test_a_large_true_difference_is_found_and_ships(simulate):
    accuracies = [0.80, 0.80, 0.80, 0.90, 0.80]
    right = simulate.drawn(accuracies, 1000, 0.5, 30, seed=4)
    assert sum(simulate.really(one, 0.02) == "tuned" for one in right) >= 0.9 * 30


@pytest.mark.parametrize("accuracies", [[0.8] * 5, [0.8, 0.86, 0.8, 0.86, 0.5], [0.7, 0.75, 0.8, 0.85, 0.9]])
def test_all_trials_at_once_ship_what_decide_ships(simulate, accuracies):
    right = simulate.drawn(accuracies, 300, 0.5, 25, seed=5)
    for margin in (0.0, 0.02):
        made = simulate.judged(right, margin)
        assert [simulate.NAMES[at] for at in made.ship] == [simulate.really(one, margin) for one in right]


def test_p_values_and_intervals_at_once_are_those_of_one_at_a_time(simulate):
    right = simulate.drawn([0.8, 0.85, 0.9, 0.8, 0.8], 200, 0.3, 5, seed=6)
    made = simulate.judged(right, 0.0)
    low, high = simulate._newcombe(right[:, 0], right[:, 1])
    for at, one in enumerate(right):
        pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]
        single = [mcnemar_exact(int((one[a] & ~one[b]).sum()), int((one[b] & ~one[a]).sum())) for a, b in pairs]
        assert [made.adjusted[at, a, b] for a, b in pairs] == pytest.approx(holm(single))
        a, b = one[0], one[1]
        counts = [int(n) for n in ((a & b).sum(), (a & ~b).sum(), (b & ~a).sum(), (~a & ~b).sum())]
        assert (low[at], high[at]) == pytest.approx(paired_difference(*counts))


def test_errors_overlap_as_much_as_is_asked(simulate):
    for shared in (0.0, 0.5, 1.0):
        right = simulate.drawn([0.8, 0.8], 2000, shared, 20, seed=7)
        assert right.mean() == pytest.approx(0.8, abs=0.02)
        differ = float(np.mean(right[:, 0] != right[:, 1]))
        assert differ == pytest.approx((1 - shared) * 2 * 0.8 * 0.2, abs=0.02)
