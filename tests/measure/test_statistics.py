"""Claims about uncertainty: agreement with statsmodels and scipy, coverage and error rates by simulation."""

import itertools
import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from kasauti.core.errors import KasautiError
from kasauti.measure import statistics as s

fast_p = lru_cache(maxsize=None)(s.mcnemar_exact)
fast_interval = lru_cache(maxsize=None)(s.paired_difference)
p_lists = st.lists(st.floats(0, 1), max_size=12)


@given(st.integers(1, 5000), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_wilson_equals_scipy_and_holds_its_proportion(rows, share):
    hits = round(rows * share)
    low, high = s.wilson(hits, rows)
    oracle = binomtest(hits, rows).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)
    assert 0 <= low <= hits / rows <= high <= 1


def test_wilson_equals_statsmodels():
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    for hits, rows in itertools.product((0, 1, 7, 50), (50, 77, 3080)):
        assert s.wilson(hits, rows) == pytest.approx(
            proportion.proportion_confint(hits, rows, method="wilson"), abs=1e-9
        )


def test_no_rows_say_nothing():
    assert s.wilson(0, 0) == (0.0, 1.0)
    assert s.paired_difference(0, 0, 0, 0) == (-1.0, 1.0)


@given(st.integers(1, 500), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_exact_lower_bound_equals_scipy(rows, share):
    hits = round(rows * share)
    oracle = binomtest(hits, rows, alternative="greater").proportion_ci(0.95, method="exact").low
    assert s.clopper_pearson_low(hits, rows) == pytest.approx(oracle, abs=1e-9)


@given(st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_exact_mcnemar_is_the_two_sided_binomial_test_and_symmetric(only_a, only_b):
    p = s.mcnemar_exact(only_a, only_b)
    oracle = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert p == pytest.approx(oracle, rel=1e-6, abs=1e-12)
    assert p == s.mcnemar_exact(only_b, only_a)


def test_exact_mcnemar_equals_statsmodels():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for only_a, only_b in ((10, 3), (0, 9), (55, 31)):
        oracle = tables.mcnemar([[100, only_a], [only_b, 7]], exact=True).pvalue
        assert s.mcnemar_exact(only_a, only_b) == pytest.approx(oracle)


def test_the_paired_interval_equals_newcombes_published_example():
    assert s.paired_difference(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(*[st.integers(0, 200)] * 4)
@settings(max_examples=80, deadline=None)
def test_the_paired_interval_holds_its_difference_and_turns_with_the_sides(both, only_a, only_b, neither):
    rows = both + only_a + only_b + neither
    low, high = s.paired_difference(both, only_a, only_b, neither)
    assert -1 <= low <= high <= 1
    if rows:
        assert low - 1e-12 <= (only_a - only_b) / rows <= high + 1e-12
        assert s.paired_difference(both, only_b, only_a, neither) == pytest.approx((-high, -low))


@pytest.mark.parametrize("rows", [200, 1000])
@pytest.mark.parametrize(("only_a", "only_b"), [(0.05, 0.03), (0.3, 0.1), (0.02, 0.01), (0.1, 0.1)])
def test_the_paired_interval_covers_the_true_difference_in_95_of_100_samples(rows, only_a, only_b):
    both = 0.5
    drawn = np.random.default_rng(7).multinomial(rows, [both, only_a, only_b, 1 - both - only_a - only_b], size=2000)
    covered = [low <= only_a - only_b <= high for low, high in (fast_interval(*map(int, d)) for d in drawn)]
    assert 0.935 <= np.mean(covered) <= 0.995


@given(p_lists)
@settings(max_examples=60, deadline=None)
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values):
    adjusted = s.holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert all(a <= 1 for a in adjusted)
    for i, j in itertools.combinations(range(len(p_values)), 2):
        if p_values[i] <= p_values[j]:
            assert adjusted[i] <= adjusted[j]


def test_holm_equals_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = list(np.random.default_rng(0).random(9) ** 3)
    assert s.holm(p_values) == pytest.approx(list(multitest.multipletests(p_values, method="holm")[1]))


def test_of_equal_approaches_at_most_5_of_100_families_show_a_winner():
    """Four approaches of the same accuracy, half of their errors shared, all six pairs, 2,000 test sets of 300 rows."""
    generator = np.random.default_rng(3)
    false_wins = 0
    for _ in range(20):
        hard = generator.random((100, 1, 300)) < 0.1
        right = ~(hard | (generator.random((100, 4, 300)) < 0.1))
        only = np.einsum("sir,sjr->sij", right.astype(np.float32), (~right).astype(np.float32)).astype(int)
        for table in only:
            pairs = [fast_p(int(table[i, j]), int(table[j, i])) for i, j in itertools.combinations(range(4), 2)]
            false_wins += min(s.holm(pairs)) < 0.05
    assert false_wins / 2000 <= 0.05


@pytest.mark.parametrize(
    ("rows", "difference", "discordance"), [(200, 0.05, 0.1), (500, 0.06, 0.2), (2000, 0.02, 0.06)]
)
def test_power_is_the_share_of_simulated_test_sets_that_find_the_difference(rows, difference, discordance):
    better, worse = (discordance + difference) / 2, (discordance - difference) / 2
    drawn = np.random.default_rng(5).multinomial(rows, [better, worse, 1 - discordance], size=4000)
    found = np.mean([fast_p(int(a), int(b)) < 0.05 and a > b for a, b, _ in drawn])
    assert s.mcnemar_power(rows, difference, discordance) == pytest.approx(found, abs=0.03)


def test_200_rows_find_five_points_about_every_second_time():
    assert s.mcnemar_power(200, 0.05, 0.1) == pytest.approx(0.54, abs=0.03)


def test_the_smallest_detectable_difference_has_the_wanted_power_and_falls_with_rows():
    small, large = s.smallest_detectable(500, 0.1), s.smallest_detectable(2000, 0.1)
    assert small is not None
    assert large is not None
    assert s.mcnemar_power(500, small, 0.1) == pytest.approx(0.8, abs=1e-3)
    assert large < small
    assert s.smallest_detectable(20, 0.05) is None
    assert s.smallest_detectable(1000, 0.0) is None


@pytest.mark.parametrize(("difference", "discordance"), [(0.05, 0.1), (0.02, 0.08), (-0.1, 0.3), (0.2, 0.1)])
def test_the_rows_needed_are_just_enough(difference, discordance):
    rows, gap = s.rows_needed(difference, discordance), abs(difference)
    share = max(gap, discordance)
    assert s.mcnemar_power(rows, gap, share) >= 0.8
    assert s.mcnemar_power(int(rows * 0.9), gap, share) < 0.8


def test_impossible_differences_are_refused():
    for call in (
        lambda: s.rows_needed(0.0, 0.1),
        lambda: s.mcnemar_power(100, 0.3, 0.2),
        lambda: s.mcnemar_power(100, -0.1, 0.2),
    ):
        with pytest.raises(KasautiError):
            call()
    assert s.mcnemar_power(100, 0.0, 0.2) == 0.0


def test_ruling_out_needs_four_times_the_rows_for_half_the_distance():
    assert s.rows_to_rule_out(0.0, 0.04, 0.02, 500) == 2000
    assert s.rows_to_rule_out(0.03, 0.04, 0.02, 500) is None
    assert s.rows_to_rule_out(0.0, 0.01, 0.02, 500) == 500


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0.001, 0.5))
def test_equivalence_is_non_inferiority_from_both_sides(low, width, margin):
    high = low + width
    assert s.equivalent(low, high, margin) == (s.non_inferior(low, margin) and s.non_inferior(-high, margin))


def test_the_bootstrap_of_a_mean_agrees_with_the_normal_interval_and_with_itself():
    values = np.random.default_rng(0).exponential(2.0, 400)
    low, high = s.bootstrap_mean(values, seed=1)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert s.bootstrap_mean(values, seed=1) == (low, high)
    assert s.bootstrap_mean(values, seed=2) != (low, high)
    with pytest.raises(KasautiError):
        s.bootstrap_mean(np.array([]), seed=0)


def test_the_bootstrap_draws_as_many_resamples_as_asked_when_it_works_in_parts():
    seen: list[int] = []

    def count(drawn):
        seen.append(len(drawn))
        return drawn.mean(axis=1)

    s.bootstrap(count, rows=10_000, seed=0, resamples=900)
    assert sum(seen) == 900
    assert len(seen) > 1


def test_the_macro_f1_interval_agrees_with_resampling_rows():
    generator = np.random.default_rng(2)
    truth = [str(t) for t in generator.choice(list("abc"), 300, p=[0.6, 0.3, 0.1])]
    answers = [
        t if u < 0.8 else str(o)
        for t, u, o in zip(truth, generator.random(300), generator.choice(list("abc"), 300), strict=True)
    ]
    measured = s.macro_f1_measurement(truth, answers, seed=0)
    from kasauti.measure.metrics import macro_f1

    plain = [
        macro_f1([truth[i] for i in drawn], [answers[i] for i in drawn])
        for drawn in generator.integers(0, 300, (1000, 300))
    ]
    assert (measured.low, measured.high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.02)
    assert measured == s.macro_f1_measurement(truth, answers, seed=0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["a", "b", None])), min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_the_macro_f1_interval_holds_its_value(pairs):
    measured = s.macro_f1_measurement([t for t, _ in pairs], [a for _, a in pairs], seed=0, resamples=200)
    assert 0 <= measured.low <= measured.value <= measured.high <= 1 + 1e-9


@pytest.mark.parametrize(("power", "true"), [(1.0, 0.0), (1.5, 0.0817), (3.0, 0.2522)])
def test_the_calibration_interval_covers_the_true_error_where_the_plain_one_is_biased(power, true):
    """Right with probability confidence ** power; `true` from 400,000 rows."""
    generator = np.random.default_rng(11)
    measured = []
    for seed in range(120):
        confidence = generator.beta(4, 1.2, 400)
        measured.append(s.ece_measurement(confidence, generator.random(400) < confidence**power, seed, resamples=200))
    assert np.mean([m.low <= true <= m.high for m in measured]) >= 0.85
    assert abs(np.mean([m.value for m in measured]) - true) <= 0.04


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50))
@settings(max_examples=30, deadline=None)
def test_the_calibration_interval_holds_its_value(pairs):
    measured = s.ece_measurement(np.array([c for c, _ in pairs]), np.array([r for _, r in pairs]), 0, resamples=100)
    assert 0 <= measured.low <= measured.value <= measured.high


def test_ten_thousand_rows_are_measured_in_seconds():
    import time

    generator = np.random.default_rng(0)
    confidence, truth = generator.random(10_000), [str(t) for t in generator.integers(0, 77, 10_000)]
    answers = [t if u < 0.9 else "0" for t, u in zip(truth, generator.random(10_000), strict=True)]
    start = time.process_time()
    s.macro_f1_measurement(truth, answers, seed=0)
    s.ece_measurement(confidence, generator.random(10_000) < confidence, seed=0)
    assert time.process_time() - start < 8


def test_sign_changes_find_a_shift_and_keep_their_level_without_one():
    generator = np.random.default_rng(0)
    assert s.sign_flip(generator.normal(0.5, 1, 100), seed=1) < 0.001
    assert s.sign_flip(np.zeros(5), seed=1) == 1.0
    p_values = [s.sign_flip(generator.normal(0, 1, 30), seed=i, flips=499) for i in range(400)]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_sign_changes_agree_with_counting_every_one():
    gap = np.array([0.3, -0.1, 0.25, 0.4, 0.05, 0.2])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    exact = np.mean(np.abs(signs @ gap) >= abs(gap.sum()) - 1e-12)
    assert s.sign_flip(gap, seed=3) == pytest.approx(exact, abs=0.02)


def test_scores_that_are_right_or_wrong_have_wilsons_interval_and_others_a_bootstrap():
    binary = s.score_measurement(np.array([1.0, 0.0, 1.0, 1.0]), "x", seed=1)
    assert (binary.low, binary.high) == s.wilson(3, 4)
    graded = s.score_measurement(np.array([1.0, 0.5, 0.25, 0.0]), "x", seed=1)
    assert 0 <= graded.low < graded.value == 0.4375 < graded.high <= 1
