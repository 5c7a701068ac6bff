"""A candidate wins only where it is surely better and has lost nothing that matters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.types import Prediction
from kasauti.watch.weigh import Answered, rows_to_prove, weigh

NONE = Answered(truth=[], champion=[], candidate=[])


def rows(label: str, both: int = 0, gained: int = 0, lost: int = 0, neither: int = 0, said: str = "x") -> Answered:
    """So many rows of a label, by who has them right; a wrong answer is `said`."""
    good, bad = Prediction(answer=label), Prediction(answer=said)
    counts = ((both, good, good), (gained, bad, good), (lost, good, bad), (neither, bad, bad))
    return Answered(
        truth=[label] * (both + gained + lost + neither),
        champion=[a for n, a, _ in counts for _ in range(n)],
        candidate=[b for n, _, b in counts for _ in range(n)],
    )


def test_better_on_new_rows_and_as_good_on_old_ones_wins():
    found = weigh(rows("a", 200, neither=20) + rows("b", 200, gained=2), rows("a", 40, gained=20), 0.02)
    assert found.reason is None
    assert found.new is not None
    assert found.new.only_a == 20


def test_a_forgotten_category_is_named_whatever_the_gain():
    found = weigh(rows("a", 200, gained=60) + rows("b", 30, lost=10), rows("a", 10, gained=50), 0.02)
    assert found.reason is not None
    assert found.reason.startswith("it has forgotten b (-25 points on 40 rows)")


def test_a_loss_that_may_be_chance_is_told_and_does_not_stop_it():
    found = weigh(rows("a", 300, gained=20) + rows("b", 30, lost=1), rows("a", 20, gained=30), 0.02)
    assert found.reason is None
    assert [one.label for one in found.unproved] == ["b"]


def test_too_few_old_rows_are_said_to_be_too_few():
    found = weigh(rows("a", 60), rows("a", 20, gained=30), 0.02)
    assert found.reason is not None
    assert "--may-lose" in found.reason
    assert weigh(rows("a", 60), rows("a", 20, gained=30), 0.06).reason is None


def test_no_gain_is_no_win():
    assert "not surely better" in str(weigh(rows("a", 400, gained=2, lost=2), NONE, 0.02).reason)


def test_what_a_new_category_takes_from_others_is_counted():
    old = rows("a", 300, lost=3, said="new") + rows("b", 100)
    found = weigh(old, rows("new", gained=40), 0.05, ["new"])
    assert found.takes == {"new": {"a": 3}}
    assert found.reason is None


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(1, 60))
def test_a_candidate_that_is_worse_never_wins(both, gained, lost, neither):
    found = weigh(rows("a", both, gained, gained + lost, neither), NONE, 1.0)
    assert found.reason is not None


def test_rows_to_prove_fall_with_what_is_right():
    assert rows_to_prove(0.9) <= rows_to_prove(0.5) <= rows_to_prove(0.3)
    assert 10 <= rows_to_prove() <= 20
