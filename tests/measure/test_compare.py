"""Claims about pairs: counts, direction, correction over the family."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import KasautiError
from kasauti.core.types import Ended, Prediction
from kasauti.measure.compare import compare_all, compare_two, swapped
from kasauti.measure.kinds.generation import correct as normalised
from kasauti.measure.statistics import holm, mcnemar_exact

patterns = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=60)


def predictions(right) -> list[Prediction]:
    return [Prediction(answer="a" if r else "b") for r in right]


def test_rows_that_only_one_has_right_are_counted():
    pair = compare_two("x", "y", ["a"] * 5, predictions([1, 1, 1, 0, 0]), predictions([1, 0, 0, 1, 0]))
    assert (pair.only_a, pair.only_b) == (2, 1)
    assert pair.difference == pytest.approx(0.2)
    assert pair.low < 0.2 < pair.high
    assert pair.p_value == pair.p_adjusted == 1.0
    assert pair.test == "mcnemar_exact"


@given(patterns)
@settings(max_examples=50, deadline=None)
def test_a_comparison_turned_round_is_the_comparison_of_the_other_side(rows):
    first, second = predictions([r[0] for r in rows]), predictions([r[1] for r in rows])
    turned = compare_two("y", "x", ["a"] * len(rows), second, first)
    other = swapped(compare_two("x", "y", ["a"] * len(rows), first, second))
    assert (other.a, other.b, other.only_a, other.only_b) == (turned.a, turned.b, turned.only_a, turned.only_b)
    assert (other.difference, other.low, other.high) == pytest.approx((turned.difference, turned.low, turned.high))


@given(patterns)
@settings(max_examples=50, deadline=None)
def test_all_pairs_are_compared_once_with_holm_over_the_family(rows):
    by_name = {name: predictions([r[i] for r in rows]) for i, name in enumerate("xyz")}
    pairs = compare_all(["a"] * len(rows), by_name)
    assert [(p.a, p.b) for p in pairs] == [("x", "y"), ("x", "z"), ("y", "z")]
    assert [p.p_adjusted for p in pairs] == holm([mcnemar_exact(p.only_a, p.only_b) for p in pairs])
    assert pairs[0].difference + pairs[2].difference == pytest.approx(pairs[1].difference)


def test_an_approach_against_itself_shows_nothing():
    same = predictions(np.arange(50) % 3 > 0)
    pair = compare_two("x", "y", ["a"] * 50, same, same)
    assert (pair.difference, pair.p_value) == (0.0, 1.0)
    assert pair.low <= 0 <= pair.high


def test_one_approach_makes_no_pair():
    assert compare_all(["a"], {"x": predictions([1])}) == []


def test_unanswered_rows_are_wrong_in_a_comparison():
    silent = [Prediction(answer="a", ended=Ended.ABSTAINED)] * 10
    assert compare_two("x", "y", ["a"] * 10, predictions([1] * 10), silent).only_a == 10


def test_the_kind_of_task_says_what_is_right():
    loud, exact = [Prediction(answer=" YES ")] * 3, [Prediction(answer="yes")] * 3
    assert compare_two("x", "y", ["yes"] * 3, exact, loud).only_a == 3
    assert compare_two("x", "y", ["yes"] * 3, exact, loud, right=normalised).only_a == 0


def test_lists_of_different_length_are_refused():
    with pytest.raises(KasautiError, match="3 expected answers but 2"):
        compare_all(["a"] * 3, {"x": predictions([1, 1, 1]), "y": predictions([1, 1])})
