"""Scales are monotone, stay inside their paper, and their ticks are round values of the domain."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kasauti.core.paper.scale import Linear, Log, domain, log_domain, round_step

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)
PIXELS = st.floats(-2000, 2000, allow_nan=False)


@st.composite
def linears(draw: st.DrawFn) -> Linear:
    low, size = draw(st.floats(-1e6, 1e6)), draw(st.floats(1e-3, 1e6))
    assume(low + size > low)
    return Linear(low, low + size, draw(PIXELS), draw(PIXELS))


@st.composite
def logs(draw: st.DrawFn) -> Log:
    low, factor = draw(st.floats(1e-9, 1e6)), draw(st.floats(1.01, 1e9))
    return Log(low, low * factor, draw(PIXELS), draw(PIXELS))


@given(linears() | logs(), NUMBERS)
def test_a_position_never_leaves_the_paper(scale: Linear | Log, value: float) -> None:
    low, high = sorted((scale.start, scale.end))
    assert low - 1e-6 <= scale(value) <= high + 1e-6


@given(linears() | logs(), NUMBERS, NUMBERS)
def test_a_larger_value_is_never_drawn_before_a_smaller_one(scale: Linear | Log, a: float, b: float) -> None:
    small, large = sorted((a, b))
    direction = 1 if scale.end >= scale.start else -1
    assert direction * (scale(large) - scale(small)) >= -1e-6


@given(linears() | logs())
def test_the_ends_of_the_domain_fall_on_the_ends_of_the_range(scale: Linear | Log) -> None:
    assert scale(scale.low) == pytest.approx(scale.start, abs=1e-6)
    assert scale(scale.high) == pytest.approx(scale.end, abs=1e-6)


@given(linears(), st.integers(1, 12))
def test_linear_ticks_are_few_ascending_and_inside(scale: Linear, about: int) -> None:
    ticks = scale.ticks(about)
    room = (scale.high - scale.low) * 1e-6
    assert len(ticks) <= about + 1
    assert ticks == sorted(set(ticks))
    assert all(scale.low - room <= tick <= scale.high + room for tick in ticks)


@given(logs(), st.integers(2, 8))
def test_log_ticks_are_inside_and_their_first_digit_is_1_2_or_5(scale: Log, about: int) -> None:
    for tick in scale.ticks(about):
        assert scale.low <= tick <= scale.high
        assert f"{tick:.6e}"[0] in "125"


@given(st.floats(1e-12, 1e12))
def test_a_round_step_covers_the_rough_one_and_is_at_most_two_and_a_half_times_it(rough: float) -> None:
    step = round_step(rough)
    assert rough * (1 - 1e-6) <= step <= rough * 2.5 * (1 + 1e-6)


@given(st.lists(st.floats(-1e6, 1e6), max_size=8), st.booleans())
def test_a_domain_holds_its_values_and_can_be_drawn(values: list[float], zero: bool) -> None:
    low, high = domain(values, zero=zero)
    assert low < high
    assert all(low <= value <= high for value in values)
    assert not zero or low <= 0 <= high
    Linear(low, high, 0, 100)


@given(st.lists(st.floats(0, 1e6), max_size=8))
def test_a_log_domain_holds_every_price_above_zero(values: list[float]) -> None:
    low, high = log_domain(values)
    assert 0 < low < high
    assert high / low >= 10 * (1 - 1e-9)
    assert all(low <= value <= high for value in values if value > 1e-300)


def test_free_calls_are_drawn_at_the_left_edge_of_a_log_axis() -> None:
    assert Log(0.01, 10, 30, 300)(0.0) == 30


def test_the_axis_of_shares_has_the_ticks_that_readers_expect() -> None:
    assert Linear(0, 1, 0, 100).ticks(5) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("ends", [(1, 1), (2, 1), (0, math.inf), (math.nan, 1)])
def test_a_domain_that_cannot_be_drawn_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite domain"):
        Linear(*ends, 0, 100)


@pytest.mark.parametrize("low", [0, -1])
def test_a_log_scale_that_begins_at_zero_is_refused(low: float) -> None:
    with pytest.raises(ValueError, match="begin above zero"):
        Log(low, 10, 0, 100)


@pytest.mark.parametrize("rough", [0, -1, math.nan, math.inf])
def test_a_step_of_nothing_is_refused(rough: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        round_step(rough)
