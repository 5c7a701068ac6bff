"""What money does to the verdict: worked cases, and what holds at any price."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.types import Business
from kasauti.decide.cost import MONTHS, Price, break_even, label_cost
from kasauti.decide.field import Field, Judged
from kasauti.decide.verdict import decide
from kasauti.decide.worth import Worth, money_of


def at(task, **business):
    """The task with other figures in its `business` section."""
    return replace(task, business=replace(task.business, **business))


def said(sentences, *words) -> bool:
    return any(all(word in sentence for word in words) for sentence in sentences)


SHARES = {"majority": 0.2, "prompt-instructions": 0.73, "tuned": 0.94}
# 2,000 labels at 0.50 and 5 for the GPU: 1,005 once, 83.75 a month
PRICES = {"prompt-instructions": (0.12, 0.0), "tuned": (0.1, 1005.0)}


def test_at_a_low_volume_the_answer_is_a_prompt_and_the_verdict_says_so(task, judged_on):
    judged = judged_on(1000, SHARES, priced=PRICES)
    few = decide(at(task, calls_per_month=500, value_per_right_answer=0.2), *judged)
    assert (few.ship, few.tuning_wins) == ("prompt-instructions", False)
    assert said(few.because, "tuned's gain is not worth its cost at 500 calls a month", "0.80", "0.20")
    assert said(
        few.because, "The volume is too low for it", "below 1,993 calls a month prompt-instructions is the answer"
    )
    assert said(few.because, "Tuning does not win: tuned is better than", "not worth what it costs more")

    many = decide(at(task, calls_per_month=300_000, value_per_right_answer=0.2), *judged)
    assert (many.ship, many.tuning_wins) == ("tuned", True)
    assert said(many.because, "where a right answer is worth 0.20 and there are 300,000 calls a month")


def test_the_verdict_turns_at_the_volume_that_it_names(task, judged_on):
    judged = judged_on(1000, SHARES, priced=PRICES)
    prompt, tuned = (next(j for j in judged[0] if j.name == name) for name in ("prompt-instructions", "tuned"))
    turns = Worth(calls=500, value=0.2, margin=0.02).pays_from(0.21, tuned.price, prompt.price)
    assert turns == pytest.approx(1005 / MONTHS / (0.21 * 0.2 + 0.00002))
    for factor, ship in ((0.99, "prompt-instructions"), (1.01, "tuned")):
        there = at(task, calls_per_month=turns * factor, value_per_right_answer=0.2)
        assert decide(there, *judged).ship == ship


def test_the_price_of_a_hosted_model_decides_whether_its_better_answers_are_worth_it(task, judged_on):
    shares = {"majority": 0.1, "classical": 0.8, "hosted": 0.92}

    def ship(per_1k: float) -> str:
        judged = judged_on(1500, shares, priced={"hosted": (per_1k, 0.0)})
        return decide(at(task, value_per_right_answer=0.05), *judged).ship

    # 12 points are 120 right answers in 1,000 calls, worth 6
    assert [ship(5.5), ship(6.5)] == ["hosted", "classical"]
    dear = decide(at(task, value_per_right_answer=0.05), *judged_on(1500, shares, priced={"hosted": (10.0, 0.0)}))
    assert said(dear.because, "hosted's gain is not worth its cost", "no volume changes that, only prices")


def test_a_less_simple_approach_ships_where_it_saves_more_than_it_may_lose(task, judged_on):
    shares = {"majority": 0.1, "prompt-instructions": 0.9, "tuned": 0.905}
    judged = judged_on(3000, shares, priced={"prompt-instructions": (10.0, 0.0), "tuned": (0.1, 600.0)}, nested=shares)
    # it saves 2,920 a month of 300,000 calls; the margin alone is worth 600 of them if an answer is worth 0.10
    verdict = decide(at(task, value_per_right_answer=0.1), *judged)
    assert (verdict.ship, verdict.tuning_wins) == ("tuned", True)
    assert said(verdict.because, "tuned saves 2,920.00 a month against prompt-instructions", "(600.00)", "5,051")
    # where an answer is worth more, or calls are few, the simpler one stays
    assert decide(at(task, value_per_right_answer=1.0), *judged).ship == "prompt-instructions"
    assert decide(at(task, value_per_right_answer=0.1, calls_per_month=4_000), *judged).ship == "prompt-instructions"


@pytest.mark.parametrize("calls", [100, 300_000])
def test_without_a_value_of_an_answer_accuracy_decides_and_the_price_of_the_gain_is_told(task, judged_on, calls):
    verdict = decide(at(task, calls_per_month=calls), *judged_on(1000, SHARES, priced=PRICES))
    assert verdict.ship == "tuned"
    few = said(verdict.because, "each right answer that tuned gives more than prompt-instructions costs 3.99", "fit")
    assert few == (calls == 100)


def test_labels_are_paid_for_by_who_learns_from_training_rows():
    rows = {"train": 800, "validation": 200, "test": 400}
    business = Business(price_per_label=0.5)
    for name, family in (("tuned", "tuned"), ("nearest", "classical"), ("prompt_optimised", "prompt")):
        assert label_cost(name, family, rows, business) == 500
        assert label_cost(name, family, rows, replace(business, labelled_rows=2000)) == 1000
        assert label_cost(name, family, rows, Business()) == 0
    for name, family in (("prompt_instructions", "prompt"), ("majority", "majority"), ("grounded", "retrieval")):
        assert label_cost(name, family, rows, business) == 0
    assert label_cost("hosted", "hosted", rows, business) == 0
    assert Price(per_1k_calls=1.0, fit=12.0, labels=24.0).monthly(2000) == pytest.approx(3 + 2)


def test_where_no_gain_pays_that_is_said_and_not_that_nothing_is_better(task, judged_on):
    judged = judged_on(1000, {"majority": 0.2, "tuned": 0.9}, priced={"tuned": (0.1, 1000.0)})
    verdict = decide(at(task, calls_per_month=10, value_per_right_answer=0.01), *judged)
    assert verdict.ship == "majority"
    assert said(verdict.needs, "costs more than its right answers are worth")


price = st.builds(
    Price,
    per_1k_calls=st.floats(0, 50, allow_nan=False),
    fit=st.floats(0, 5000, allow_nan=False),
    labels=st.floats(0, 5000, allow_nan=False),
)


@given(a=price, b=price)
def test_a_break_even_is_where_both_cost_the_same_and_the_cheaper_call_wins_above(a, b):
    calls = break_even(a, b)
    if calls is None or not 1 < calls < 1e9:
        return
    assert a.monthly(calls) == pytest.approx(b.monthly(calls), rel=1e-6)
    cheaper, dearer = (a, b) if a.per_1k_calls < b.per_1k_calls else (b, a)
    assert cheaper.monthly(calls * 2) <= dearer.monthly(calls * 2)


@settings(max_examples=60, deadline=None)
@given(
    shares=st.lists(st.floats(0.05, 0.95), min_size=2, max_size=5),
    prices=st.lists(st.tuples(st.floats(0, 20), st.floats(0, 3000)), min_size=5, max_size=5),
    calls=st.floats(0, 1e6),
    value=st.one_of(st.none(), st.floats(0, 2)),
)
def test_whatever_the_prices_somebody_is_unbeaten_and_ships(task, judged_on, shares, prices, calls, value):
    names = ("classical", "prompt-instructions", "retrieval", "tuned", "hosted")
    judged, comparisons = judged_on(
        200, dict(zip(names, shares, strict=False)), priced=dict(zip(names, prices, strict=True))
    )
    field = Field(judged, comparisons, Worth(calls=calls, value=value, margin=0.02))
    unbeaten = [j for j in judged if not any(field.beats(other, j) for other in field.others(j))]
    assert unbeaten
    assert field.unbeaten(field.ordered) is min(unbeaten, key=field.ordered.index)


def test_the_curve_has_a_line_for_each_approach_and_the_break_even_of_each_pair():
    judged = [
        Judged(name=name, family="tuned", accuracy=None, cost_per_1k_calls=per_1k, fit_cost=fit)  # type: ignore[arg-type]
        for name, per_1k, fit in (("a", 1.0, 0.0), ("b", 0.1, 108.0), ("c", 2.0, 500.0))
    ]
    money = money_of(Business(calls_per_month=50_000), judged)
    [pair] = [pair for pair in money["break_even"] if {pair["a"], pair["b"]} == {"a", "b"}]
    assert pair["calls_per_month"] == pytest.approx(10_000)
    assert pair["cheaper_above"] == "b"
    assert pair["monthly_cost"] == pytest.approx(10)
    assert not [pair for pair in money["break_even"] if {pair["a"], pair["b"]} == {"a", "c"}], "c is dearer everywhere"
    assert [line["approach"] for line in money["curve"]] == ["a", "b", "c"]
    for line in money["curve"]:
        calls = [point["calls"] for point in line["points"]]
        assert calls == sorted(calls)
        assert calls[0] <= 10_000 <= calls[-1]
