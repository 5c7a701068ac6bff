"""Claims about money."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.errors import UsageError
from kasauti.core.types import Business, Prediction
from kasauti.decide import cost
from kasauti.decide.cost import Price, break_even

money = st.floats(0, 1e4)


def test_seconds_are_priced_by_the_hour():
    assert cost.per_1k_from_seconds(3.6, 0.6) == pytest.approx(0.6)
    assert cost.fit_cost(1800, Business(gpu_per_hour=0.6), "gpu") == pytest.approx(0.3)
    assert cost.fit_cost(1800, Business(cpu_per_hour=0.1), "cpu") == pytest.approx(0.05)
    assert cost.fit_cost(1800, Business(), "hosted") == 0.0


def test_tokens_are_priced_by_the_million():
    assert cost.per_1k_from_tokens(3000, 250, {"input": 2.5, "output": 10.0}) == pytest.approx(10.0)


def test_calls_are_priced_by_what_was_measured():
    business = Business(cpu_per_hour=0.36, gpu_per_hour=3.6)
    answers = [Prediction(answer="a", seconds=s, input_tokens=1000, output_tokens=100) for s in (0.1, 0.3)]
    assert cost.per_1k_calls(answers, business, "cpu") == pytest.approx(0.02)
    assert cost.per_1k_calls(answers, business, "gpu") == pytest.approx(0.2)
    assert cost.per_1k_calls(answers, business, "hosted") == pytest.approx(3.5)


def test_a_cost_that_the_answers_carry_goes_before_a_price_list():
    answers = [Prediction(answer="a", cost=c, input_tokens=10**6) for c in (0.01, 0.03)]
    assert cost.per_1k_calls(answers, Business(), "hosted") == pytest.approx(20.0)


def test_a_month_holds_the_calls_and_a_twelfth_of_the_fit():
    assert Price(per_1k_calls=0.1, fit=120.0).monthly(300_000) == pytest.approx(30 + 10)
    assert Price(per_1k_calls=0.1, fit=120.0).monthly(300_000, months=3) == pytest.approx(30 + 40)


def test_the_motivating_example_breaks_even_where_both_cost_the_same():
    hosted, tuned = Price(per_1k_calls=10.0), Price(per_1k_calls=0.10, fit=1188.0)
    calls = break_even(tuned, hosted)
    assert calls == pytest.approx(10_000)
    assert break_even(hosted, tuned) == calls


def test_there_is_no_break_even_when_one_is_cheaper_at_every_volume_or_both_are_equal():
    cheap, dear = Price(per_1k_calls=0.1, fit=1.0), Price(per_1k_calls=1.0, fit=10.0)
    assert break_even(cheap, dear) is None
    assert break_even(cheap, cheap) is None
    assert break_even(Price(per_1k_calls=1.0, fit=5), Price(per_1k_calls=1.0)) is None
    assert break_even(Price(per_1k_calls=1.0), Price(per_1k_calls=2.0)) is None


@given(money, money, money, money, st.floats(1, 60))
def test_at_the_break_even_both_months_cost_the_same(fit_a, call_a, fit_b, call_b, months):
    a, b = Price(per_1k_calls=call_a, fit=fit_a), Price(per_1k_calls=call_b, fit=fit_b)
    calls = break_even(a, b, months)
    if calls is not None and calls < 1e12:
        assert calls > 0
        assert a.monthly(calls, months) == pytest.approx(b.monthly(calls, months), rel=1e-6, abs=1e-6)


def test_prices_that_cannot_be_are_refused_with_a_next_step():
    for call in (
        lambda: cost.per_1k_from_seconds(-1, 1),
        lambda: cost.per_1k_from_seconds(float("nan"), 1),
        lambda: cost.per_1k_from_tokens(1, 1, {"input": 1.0}),
        lambda: cost.per_1k_calls([], Business(), "cpu"),
        lambda: cost.fit_cost(1, Business(), "tpu"),
        lambda: break_even(Price(per_1k_calls=1.0), Price(per_1k_calls=2.0), months=0),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.mend
