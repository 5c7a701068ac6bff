"""Worked cases of the verdict: which approach ships, and what is said about it."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import KasautiError
from kasauti.decide.verdict import SIMPLICITY, Judged, decide


def said(sentences, *words) -> bool:
    return any(all(word in sentence for word in words) for sentence in sentences)


def test_a_clear_gap_for_the_simpler_one_ships_it_and_tuning_does_not_win(task, judged_on):
    verdict = decide(task, *judged_on(3080, {"majority": 0.013, "classical": 0.912, "tuned": 0.85}))
    assert verdict.ship == "classical"
    assert verdict.runner_up == "tuned"
    assert not verdict.tuning_wins
    assert said(verdict.because, "classical answers 91.2% (90.1\u201392.2) of the 3,080 test rows right")
    assert said(verdict.because, "tuned answers 85.0%", "6.2 points fewer than classical", "p < 0.001", "surely more")
    assert said(verdict.because, "Tuning does not win: tuned does not beat classical")
    assert verdict.needs == []


def test_tuning_that_beats_everything_simpler_by_more_than_the_margin_ships(task, judged_on):
    shares = {"majority": 0.2, "classical": 0.75, "prompt-none": 0.4, "prompt-instructions": 0.73, "tuned": 0.88}
    verdict = decide(task, *judged_on(1000, shares))
    assert verdict.ship == "tuned"
    assert verdict.tuning_wins
    assert verdict.runner_up == "classical"
    assert said(verdict.because, "Tuning wins: tuned beats every simpler approach")
    assert said(verdict.because, "prompt-instructions answers 73.0%", "15.0 points fewer than tuned")


def test_a_gap_inside_the_noise_ships_the_simpler_one_and_says_how_many_rows_would_decide(task, judged_on):
    verdict = decide(task, *judged_on(250, {"majority": 0.2, "classical": 0.80, "tuned": 0.84}))
    assert verdict.ship == "classical"
    assert said(verdict.because, "tuned answers 84.0%", "4.0 points more than classical", "not outside the noise")
    [open_one] = [s for s in verdict.needs if "tuned may be worth it" in s]
    rows = int(re.search(r"about ([\d,]+) more test rows", open_one).group(1).replace(",", ""))
    assert 1000 < rows < 5000


def test_a_sure_gap_within_the_margin_ships_the_simpler_one(task, judged_on):
    judged = judged_on(3000, {"majority": 0.2, "classical": 0.90, "tuned": 0.912}, nested=("classical", "tuned"))
    verdict = decide(task, *judged)
    assert verdict.ship == "classical"
    assert not verdict.tuning_wins
    assert said(verdict.because, "tuned", "1.2 points more", "outside the noise, but within the margin of 2.0 points")


def test_the_margin_is_the_users(task, judged_on):
    judged = judged_on(3000, {"classical": 0.90, "tuned": 0.912}, nested=("classical", "tuned"))
    strict = replace(task, business=replace(task.business, margin=0.005))
    assert decide(task, *judged).ship == "classical"
    verdict = decide(strict, *judged)
    assert (verdict.ship, verdict.tuning_wins, verdict.margin) == ("tuned", True, 0.005)


def test_a_sure_win_whose_size_is_not_sure_says_so(task, judged_on):
    verdict = decide(task, *judged_on(1000, {"classical": 0.87, "tuned": 0.90}, nested=("classical", "tuned")))
    assert verdict.ship == "tuned"
    assert said(verdict.because, "classical", "3.0 points fewer than tuned", "though the interval reaches into it")


def test_where_nothing_beats_the_majority_nothing_is_worth_shipping(task, judged_on):
    verdict = decide(task, *judged_on(400, {"majority": 0.5, "classical": 0.51, "tuned": 0.49}))
    assert verdict.ship == "majority"
    assert said(verdict.needs, "nothing here is worth shipping")
    assert not verdict.tuning_wins


def test_hosted_above_tuned_is_called_a_data_or_training_problem(task, judged_on):
    verdict = decide(task, *judged_on(1500, {"majority": 0.1, "classical": 0.6, "tuned": 0.8, "hosted": 0.93}))
    assert verdict.ship == "hosted"
    assert verdict.tuning_wins, "it beats everything simpler than itself, though another is better still"
    assert said(verdict.because, "Tuning wins", "hosted ships because it is better still")
    assert said(verdict.needs, "hosted answers 13.0 points more than tuned: that is a data or training problem")


def test_a_hosted_model_within_the_margin_of_a_tuned_one_is_not_worth_it_and_the_break_even_is_said(task, judged_on):
    judged = judged_on(
        1500,
        {"majority": 0.1, "tuned": 0.94, "hosted": 0.94},
        priced={"tuned": (0.10, 1188.0), "hosted": (10.0, 0.0)},
    )
    verdict = decide(task, *judged)
    assert (verdict.ship, verdict.runner_up) == ("tuned", "hosted")
    assert verdict.break_even_calls_per_month == pytest.approx(10_000)
    assert said(verdict.because, "Above 10,000 calls a month tuned is the cheaper of the two")
    assert said(
        verdict.because, "tuned costs 0.10 per 1,000 calls and 1,188.00 to fit: 129.00 a month at 300,000 calls"
    )
    assert said(verdict.because, "hosted costs 10.00", "3,000.00 a month")


def test_one_that_is_proven_equal_and_cheaper_is_named(task, judged_on):
    judged = judged_on(
        4000,
        {"retrieval": 0.9, "tuned": 0.9},
        nested=("retrieval", "tuned"),
        priced={"retrieval": (4.0, 0.0), "tuned": (0.1, 12.0)},
    )
    verdict = decide(task, *judged)
    assert verdict.ship == "retrieval"
    assert said(verdict.needs, "tuned is equal to retrieval within the margin and saves 1,169.00 a month")


def test_few_test_rows_and_many_looks_are_warned_of(task, judged_on):
    judged = judged_on(120, {"majority": 0.3, "classical": 0.8})
    verdict = decide(task, *judged, test_looks=6)
    assert said(verdict.needs, "120 test rows are too few to decide on: label at least 80 more")
    assert said(verdict.needs, "looked at 6 times")
    assert not said(decide(task, *judged, test_looks=5).needs, "looked at")


def test_instructions_count_as_less_simple_than_none_by_their_place_in_the_list(task, judged_on):
    verdict = decide(task, *judged_on(800, {"prompt-none": 0.8, "prompt-instructions": 0.805}))
    assert verdict.ship == "prompt-none"
    assert decide(task, *judged_on(800, {"prompt-none": 0.4, "prompt-instructions": 0.8})).ship == "prompt-instructions"


def test_the_order_in_which_families_are_listed_does_not_matter(task, judged_on):
    judged, comparisons = judged_on(600, {"tuned": 0.8, "classical": 0.8, "majority": 0.2})
    assert decide(task, judged, comparisons).ship == decide(task, judged[::-1], comparisons).ship == "classical"


def test_a_simpler_one_that_is_only_beaten_by_a_third_is_compared_with_that_one(task, judged_on):
    """classical is beaten by hosted only, hosted does not beat tuned, so tuned ships without beating classical."""
    judged, comparisons = judged_on(2000, {"classical": 0.80, "tuned": 0.83, "hosted": 0.845})
    by_pair = {(c.a, c.b): c for c in comparisons}
    unsure = replace(by_pair["classical", "tuned"], p_adjusted=0.2)
    sure = replace(by_pair["classical", "hosted"], p_adjusted=0.001)
    unsure_too = replace(by_pair["tuned", "hosted"], p_adjusted=0.4)
    verdict = decide(task, judged, [unsure, sure, unsure_too])
    assert verdict.ship == "tuned"
    assert verdict.tuning_wins
    assert said(verdict.because, "classical answers 80.0%", "4.5 points fewer than hosted", "p = 0.001")
    assert said(verdict.because, "Tuning wins: every simpler approach is beaten, though classical not by tuned")


def test_if_each_is_beaten_the_most_accurate_ships(task, judged_on):
    judged, comparisons = judged_on(500, {"classical": 0.8, "tuned": 0.8, "hosted": 0.81})
    ring = {("classical", "tuned"): -0.1, ("tuned", "hosted"): -0.1, ("classical", "hosted"): 0.1}
    turned = [replace(c, difference=ring[c.a, c.b], p_adjusted=0.001) for c in comparisons]
    assert decide(task, judged, turned).ship == "hosted"


def test_one_approach_alone_ships_but_proves_nothing_about_tuning(task, judged_on):
    verdict = decide(task, *judged_on(300, {"tuned": 0.9}))
    assert (verdict.ship, verdict.runner_up, verdict.break_even_calls_per_month) == ("tuned", None, None)
    assert not verdict.tuning_wins
    assert said(verdict.because, "nothing simpler than tuned was judged")


def test_of_two_tuned_ones_the_first_listed_is_the_simpler(task, judged_on):
    verdict = decide(task, *judged_on(1000, {"majority": 0.2, "tuned": 0.85, "tuned-r64": 0.855}))
    assert verdict.ship == "tuned"
    assert verdict.tuning_wins


def test_small_sums_are_written_out(task, judged_on):
    judged, comparisons = judged_on(300, {"classical": 0.9}, priced={"classical": (0.0000213, 0.004)})
    verdict = decide(task, judged, comparisons)
    assert said(verdict.because, "classical costs 0.000021 per 1,000 calls and 0.0040 to fit")


def test_latency_is_said_where_it_was_measured(task, judged_on):
    judged, comparisons = judged_on(300, {"classical": 0.9})
    verdict = decide(task, [replace(judged[0], p95_ms=1234.5)], comparisons)
    assert said(verdict.because, "95% of its answers come within 1,234 ms")


def test_the_smallest_difference_that_the_rows_can_show_is_said(task, judged_on):
    verdict = decide(task, *judged_on(400, {"classical": 0.8, "tuned": 0.82}))
    [sentence] = [s for s in verdict.because if "four times out of five" in s]
    assert 3.0 < float(re.search(r"is ([\d.]+) points", sentence).group(1)) < 12.0


def test_an_entry_of_the_trial_file_can_be_judged():
    entry = {
        "name": "tuned",
        "family": "tuned",
        "accuracy": {"value": 0.8, "low": 0.7, "high": 0.9},
        "cost_per_1k_calls": 0.1,
        "fit_cost": 2.0,
        "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
    }
    one = Judged.from_entry(entry, 100)
    assert (one.accuracy.value, one.accuracy.rows, one.p95_ms, one.price.fit) == (0.8, 100, 2.0, 2.0)
    assert Judged.from_entry({**entry, "latency_ms": None}, 100).p95_ms is None


def test_what_cannot_be_judged_is_refused(task, judged_on):
    judged, comparisons = judged_on(100, {"classical": 0.8, "tuned": 0.9})
    for wrong, pairs, words in (
        ([], [], "no approach could be judged"),
        (judged, [], "classical and tuned were not compared"),
        ([judged[0], judged[0]], comparisons, "stands twice"),
        ([replace(judged[0], family="magic")], [], "no place in the order of simplicity"),
        ([judged[0], replace(judged[1], accuracy=replace(judged[1].accuracy, rows=7))], comparisons, "on 7 rows"),
    ):
        with pytest.raises(KasautiError, match=words):
            decide(task, wrong, pairs)


@given(
    rows=st.integers(20, 300),
    shares=st.dictionaries(
        st.sampled_from(["majority", "classical", "prompt-none", "retrieval", "tuned", "hosted", "cascade"]),
        st.floats(0, 1),
        min_size=1,
        max_size=5,
    ),
    seed=st.integers(0, 100),
)
@settings(max_examples=40, deadline=None)
def test_whatever_ships_is_unbeaten_and_everything_simpler_is_beaten(task, judged_on, rows, shares, seed):
    judged, comparisons = judged_on(rows, shares, seed=seed)
    verdict = decide(task, judged, comparisons)

    def beaten(name):
        return any(
            c.p_adjusted < 0.05 and (c.difference if c.b == name else -c.difference) > verdict.margin
            for c in comparisons
            if name in (c.a, c.b)
        )

    family = {j.name: j.family for j in judged}
    assert not beaten(verdict.ship)
    for name in shares:
        if SIMPLICITY[family[name]] < SIMPLICITY[family[verdict.ship]]:
            assert beaten(name)
    assert verdict.runner_up != verdict.ship
    assert all(s.endswith(".") and "  " not in s for s in (*verdict.because, *verdict.needs))


def test_a_false_win_over_an_equal_simpler_approach_is_rare(task, judged_on):
    """No margin, three approaches of the same true accuracy: the simplest must ship in at least 95 of 100 trials."""
    import numpy as np

    strict = replace(task, business=replace(task.business, margin=0.0))
    generator = np.random.default_rng(0)
    lost = 0
    for seed in range(150):
        draws = generator.binomial(200, 0.8, 3) / 200
        shares = dict(zip(("classical", "retrieval", "tuned"), map(float, draws), strict=True))
        lost += decide(strict, *judged_on(200, shares, seed=seed)).ship != "classical"
    assert lost / 150 <= 0.05
