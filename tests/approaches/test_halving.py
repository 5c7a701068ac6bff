"""Successive halving: the best is found with few scores, the log has them all, and time ends it in order."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.approaches.halving import LAST, Score, halve, rounds_of


def by(losses: list[float]):
    return lambda candidate, rows: Score(loss=losses[candidate], told={"note": candidate})


@given(st.lists(st.floats(0, 9), min_size=1, max_size=40), st.integers(1, 300))
def test_what_is_best_on_any_rows_is_found_and_the_last_round_has_them_all(losses, rows):
    found = halve(len(losses), rows, by(losses))
    assert losses[found.best] == min(losses)
    assert not found.cut_off
    assert max(one["rows"] for one in found.log) == rows
    assert len(found.log) == sum(number for number, _ in rounds_of(len(losses), rows))


@given(st.integers(1, 200), st.integers(1, 2000))
def test_candidates_halve_while_rows_double_until_few_are_left(candidates, rows):
    plan = rounds_of(candidates, rows)
    assert plan[0][0] == candidates
    assert plan[-1] == (min(candidates, LAST), rows) or candidates <= LAST
    for (more, few), (less, many) in pairwise(plan):
        assert less >= math.ceil(more / 2)
        assert less < more
        assert many >= few


def test_one_that_is_kept_goes_on_to_every_round_however_bad_it_is():
    found = halve(16, 100, by([9.0, *range(15)]), keep=0)
    assert [one["round"] for one in found.log if one["candidate"] == 0] == [1, 2, 3]
    assert found.best == 1


def test_a_candidate_that_is_good_on_few_rows_only_is_found_out():
    def score(candidate: int, rows: int) -> Score:
        return Score(loss=[0.1, 0.5][candidate] if rows < 50 else [0.9, 0.5][candidate], told={})

    found = halve(2, 100, score)
    assert found.best == 1


@pytest.mark.parametrize(("seconds", "scores"), [(0.5, 1), (3.5, 4), (17.5, 18)])
def test_time_ends_a_search_and_the_last_round_that_was_whole_counts(seconds, scores):
    now = [0.0]

    def score(candidate: int, rows: int) -> Score:
        now[0] += 1
        return Score(loss=-candidate if rows <= 50 else candidate, told={})

    found = halve(16, 200, score, seconds=seconds, clock=lambda: now[0])
    assert found.cut_off
    assert len(found.log) == scores
    assert found.best == min(15, scores - 1)
    assert found.seconds == scores
