"""A cheap approach where it is sure, a dearer one for the rest; the threshold from validation rows alone."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.approaches.cascade import Cascade, choose_threshold
from kasauti.approaches.catalogue import make, members_of
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import TaskError

ROWS = st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=40)


def columns(rows):
    return np.array([r[0] / 10 for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows])


@given(ROWS, st.sampled_from([0.0, 0.02, 0.1, 0.5]))
def test_the_threshold_loses_no_more_than_the_margin_and_no_lower_one_would_do(rows, margin):
    sure, cheap, dear = columns(rows)
    least = max(cheap.mean(), dear.mean()) - margin - 1e-9

    def together(line):
        return np.where(sure >= line, cheap, dear).mean()

    found = choose_threshold(sure, cheap, dear, margin)
    if math.isfinite(found):
        assert together(found) >= least
    assert all(together(line) < least for line in set(sure) if line < found)


def test_a_dear_one_that_is_never_better_is_never_asked_and_a_useless_cheap_one_never_kept():
    sure = np.array([0.2, 0.5, 0.9])
    always, never = np.array([True] * 3), np.array([False] * 3)
    assert choose_threshold(sure, always, never, 0.0) == 0.2
    assert choose_threshold(sure, never, always, 0.0) == math.inf
    assert choose_threshold(sure[:0], always[:0], never[:0], 0.1) == math.inf


def test_what_is_no_answer_is_never_kept():
    sure = np.array([-math.inf, 0.9])
    assert choose_threshold(sure, np.array([False, True]), np.array([False, True]), 1.0) == 0.9


@pytest.fixture(scope="module")
def made(place):
    """A cascade of two cheap ones, which was fitted by itself."""
    here = place("cascade: [majority, classical]\n")
    split = here.split
    fitted = Cascade(here.bench).fit(split.train, split.validation_choose, split.validation_calibrate)
    return here, fitted


@pytest.mark.parametrize("threshold", [0.0, 0.5, math.inf])
def test_every_answer_is_the_first_ones_where_it_is_sure_and_the_seconds_are_of_both_where_both_were_asked(
    made, threshold
):
    here, cascade = made
    rows, before = here.split.test, cascade.threshold
    cascade.threshold = threshold
    try:
        answers = cascade.predict(rows)
    finally:
        cascade.threshold = before
    first, second = (member.predict(rows) for member in cascade.members)
    for one, cheap, dear in zip(answers, first, second, strict=True):
        wanted = cheap if cheap.confidence >= threshold else dear
        assert (one.answer, one.probabilities, one.log_mass) == (wanted.answer, wanted.probabilities, None)
        assert one.seconds > 0 or cheap.confidence >= threshold


def test_members_that_are_fitted_already_are_not_fitted_again(made, tmp_path, monkeypatch):
    from kasauti.approaches.classical import Classical
    from kasauti.approaches.majority import Majority
    from kasauti.approaches.workbench import Member

    here, _ = made
    split = here.split
    bench = Workbench(here.task)
    for name in ("majority", "classical"):
        one = make(name, bench).fit(split.train, split.validation_choose, split.validation_calibrate)
        (tmp_path / name).mkdir()
        one.save(str(tmp_path / name))
        held_out = getattr(one, "held_out", ()) or one.predict(split.validation_calibrate)
        bench.members[name] = Member(folder=tmp_path / name, held_out=held_out, fit_seconds=1.0)
    monkeypatch.setattr(Classical, "fit", None)
    monkeypatch.setattr(Majority, "fit", None)
    again = Cascade(bench).fit((), (), split.validation_calibrate)
    assert again.chosen == made[1].chosen
    assert [p.answer for p in again.predict(split.test)] == [p.answer for p in made[1].predict(split.test)]


def test_what_it_says_of_calibration_rows_is_by_thresholds_chosen_without_them(made):
    here, cascade = made
    rows = here.split.validation_calibrate
    assert len(cascade.held_out) == len(rows)
    assert cascade.chosen["validation_rows"] == len(rows)
    assert 0 <= cascade.chosen["answered_by_the_first"] <= 1


def test_two_networks_are_asked_in_turn_without_loading_them_again(place):
    here = place("cascade: [prompt_none, prompt_instructions]\n")
    split = here.split
    cascade = Cascade(here.bench).fit(split.train, split.validation_choose, split.validation_calibrate)
    held = [member.asker.loaded for member in cascade.members]
    cascade.threshold = 2.0
    cascade.predict(split.test[:2])
    assert [member.asker.loaded for member in cascade.members] == held


@pytest.mark.parametrize("pair", [("classical", "tunde"), ("cascade", "tuned"), ("nearest", "tuned")])
def test_a_pair_that_cannot_be_is_refused_with_the_nearest_name(place, pair):
    task = dataclasses.replace(place().task, cascade=pair)
    with pytest.raises(TaskError, match="unknown approach") as caught:
        members_of(task)
    assert "\n" not in str(caught.value)
    assert members_of(dataclasses.replace(task, cascade=None)) == ("classical", "tuned")
