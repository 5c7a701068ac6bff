"""Claims about thresholds, and about curves of risk over coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.types import Ended, Prediction
from kasauti.measure import selective as c

confidence_rows = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80)


@given(confidence_rows, st.floats(0.05, 0.99))
@settings(max_examples=80, deadline=None)
def test_the_plain_threshold_is_the_widest_that_was_accurate_enough(pairs, wanted):
    confidence, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    chosen = c.plain_threshold(confidence, right, wanted)
    widest = max(
        (float((confidence >= t).mean()) for t in confidence if right[confidence >= t].mean() >= wanted), default=0.0
    )
    assert chosen.coverage == widest
    assert chosen.value is None or (chosen.accuracy or 0) >= wanted


@given(confidence_rows, st.floats(0.05, 0.99))
@settings(max_examples=80, deadline=None)
def test_the_exact_threshold_never_accepts_more_than_the_plain_one(pairs, wanted):
    confidence, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    exact, plain = c.exact_threshold(confidence, right, wanted), c.plain_threshold(confidence, right, wanted)
    assert exact.coverage <= plain.coverage
    assert (exact.rule, plain.rule) == ("exact", "plain")


def simulated(rule, rows: int, wanted: float, fits: int = 600) -> tuple[float, float, float]:
    """Share of fits that miss the wanted accuracy on new rows, share that miss the wanted coverage, and mean coverage.

    Answers are right with the probability that they state; what a threshold is worth is integrated, not drawn.
    """
    from scipy.stats import beta

    generator, law = np.random.default_rng(1), beta(4, 1.2)
    grid = np.linspace(0, 1, 4001)
    above = law.sf(grid)
    mass = np.diff(law.cdf(grid)) * (grid[1:] + grid[:-1]) / 2
    hits = np.append(mass[::-1].cumsum()[::-1], 0.0)  # P(right and at least so sure)
    inaccurate, narrow, coverage = 0, 0, 0.0
    for _ in range(fits):
        confidence = generator.beta(4, 1.2, rows)
        chosen = rule(confidence, generator.random(rows) < confidence, wanted)
        value = 2.0 if chosen.value is None else chosen.value
        share = float(np.interp(value, grid, above, right=0.0))
        inaccurate += share > 0 and float(np.interp(value, grid, hits)) / share < wanted - 1e-4
        narrow += share < wanted
        coverage += share
    return inaccurate / fits, narrow / fits, coverage / fits


ALLOWED = 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5
"""5% of 600 fits, and three standard errors for the luck of the simulation."""


@pytest.mark.parametrize("rows", [200, 1000])
def test_the_exact_rule_keeps_its_promise_where_the_plain_rule_breaks_it(rows):
    exact, _, kept = simulated(c.exact_threshold, rows, 0.9)
    plain, _, more = simulated(c.plain_threshold, rows, 0.9)
    assert exact <= ALLOWED
    assert plain >= 0.2
    assert 0.05 < kept < more


@pytest.mark.parametrize("rows", [60, 500])
def test_a_promised_coverage_is_kept_and_a_plain_one_is_missed_half_of_the_time(rows):
    _, exact, kept = simulated(c.exact_coverage, rows, 0.8)
    _, plain, less = simulated(c.plain_coverage, rows, 0.8)
    assert exact <= ALLOWED
    assert exact > 0.01  # and it accepts no more than it must
    assert 0.35 < plain < 0.65
    assert kept > less


@given(confidence_rows, st.floats(0.05, 0.95))
@settings(max_examples=80, deadline=None)
def test_a_coverage_threshold_accepts_as_many_of_its_rows_as_wanted_and_the_exact_one_no_fewer(pairs, wanted):
    confidence, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    plain, exact = c.plain_coverage(confidence, right, wanted), c.exact_coverage(confidence, right, wanted)
    assert wanted - 1e-9 <= plain.coverage <= exact.coverage
    assert (confidence > plain.value).mean() < wanted  # no higher one would do
    assert (plain.goal, exact.goal, plain.error, exact.error) == ("coverage", "coverage", None, 0.05)


def test_a_threshold_says_what_it_promises():
    confidence, right = np.linspace(0.1, 1, 500), np.ones(500, dtype=bool)
    plain, exact = c.plain_threshold(confidence, right, 0.95), c.exact_threshold(confidence, right, 0.95)
    assert plain.promise.endswith("95% of the accepted answers are right; new rows may miss it")
    assert "on new rows like the 500 validation rows" in exact.promise
    assert exact.promise.endswith("with 95% certainty")
    few = c.exact_threshold(confidence[:50], right[:50], 0.95)
    assert few.promise == (
        "nothing is accepted: no confidence shows enough on 50 validation rows, and it takes 94 accepted ones to tell"
    )
    assert "80% of the answers are accepted" in c.plain_coverage(confidence, right, 0.8).promise


def test_too_few_rows_for_a_promise_accept_nothing():
    confidence, right = np.full(50, 0.99), np.ones(50, dtype=bool)
    chosen = c.exact_threshold(confidence, right, 0.95)
    assert (chosen.value, chosen.coverage, chosen.accuracy) == (None, 0.0, None)


def test_an_answerer_that_is_always_right_is_always_accepted():
    confidence, right = np.linspace(0.1, 1, 500), np.ones(500, dtype=bool)
    assert c.exact_threshold(confidence, right, 0.95).coverage == 1.0
    assert c.plain_threshold(confidence, right, 0.95).coverage == 1.0


def test_settings_that_cannot_be_are_refused():
    one, yes = np.array([0.5]), np.array([True])
    for wanted in (0.0, 1.0, 95, float("nan")):
        with pytest.raises(UsageError, match="not between 0 and 1"):
            c.plain_threshold(one, yes, wanted)
    with pytest.raises(UsageError, match="error of 2"):
        c.exact_threshold(one, yes, 0.9, error=2)
    with pytest.raises(KasautiError, match="1 confidences for 0 rows"):
        c.plain_threshold(one, yes[:0], 0.9)


@given(confidence_rows)
@settings(max_examples=60, deadline=None)
def test_the_risk_coverage_curve_ends_with_all_rows_and_coverage_only_grows(pairs):
    confidence, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    curve = c.risk_coverage(confidence, right)
    coverages = [point["coverage"] for point in curve]
    assert coverages == sorted(set(coverages))
    assert coverages[-1] == 1.0
    assert curve[-1]["accuracy"] == pytest.approx(right.mean())
    for point in curve:
        assert point["accuracy"] == pytest.approx(right[confidence >= point["threshold"]].mean())


@given(confidence_rows)
@settings(max_examples=60, deadline=None)
def test_every_point_of_the_curve_lies_in_its_interval(pairs):
    confidence, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    assert all(point["low"] <= point["accuracy"] <= point["high"] for point in c.risk_coverage(confidence, right))


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=30), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_area_is_the_mean_risk_among_the_rows_at_least_as_sure_in_any_order(pairs, draw):
    shuffled = draw.sample(pairs, len(pairs))
    confidence, right = np.array([p for p, _ in shuffled]), np.array([r for _, r in shuffled])
    by_hand = np.mean([(~right[confidence >= sure]).mean() for sure in confidence])
    assert c.aurc(confidence, right) == pytest.approx(by_hand)


def test_the_area_is_less_where_the_sure_answers_are_the_right_ones():
    right = np.array([True] * 80 + [False] * 20)
    best, worst = np.linspace(1, 0, 100), np.linspace(0, 1, 100)
    assert c.aurc(best, right) < 0.03
    assert c.aurc(np.full(100, 0.5), right) == pytest.approx(0.2)
    assert c.aurc(worst, right) > 0.4


def test_the_interval_of_the_area_holds_the_true_one_as_often_as_it_says():
    generator = np.random.default_rng(5)
    many = generator.beta(4, 1.2, 100_000)
    true = c.aurc(many, generator.random(len(many)) < many)
    held = 0
    for seed in range(150):
        confidence = generator.beta(4, 1.2, 300)
        one = c.aurc_measurement(confidence, generator.random(300) < confidence, seed, resamples=300)
        held += one.low <= true <= one.high
    assert 0.88 <= held / 150 <= 0.995


@pytest.mark.parametrize(
    "one",
    [
        Prediction(answer=None, ended=Ended.UNPARSABLE, confidence=1.0),
        Prediction(answer=None, ended=Ended.ABSTAINED),
        Prediction(answer="a", confidence=None),
        Prediction(answer="a", confidence=0.49),
    ],
)
def test_what_is_no_sure_answer_is_not_accepted(one):
    assert not c.is_accepted(one, 0.5)
    assert c.is_accepted(Prediction(answer="a", confidence=0.5), 0.5)
    assert not c.is_accepted(Prediction(answer="a", confidence=1.0), None)
