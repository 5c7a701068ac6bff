"""A simulated year drives the real rules, and its figures are of what was planted."""

from __future__ import annotations

import random

import pytest

from kasauti.cli.demo import copy_task
from kasauti.core.task import load_task
from kasauti.data.conversation import content, load_examples
from kasauti.watch.simulate import SHIFT, Event, Year, simulate, summary
from kasauti.watch.stream import HIDDEN, pools, week_of


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("year")
    copy_task(folder)
    return load_task(folder)


def test_a_shift_is_alerted_in_time_and_nothing_before(task):
    year = simulate(task, 1, weeks=SHIFT + 1)
    assert year.shift_alerted in (1, 2)
    assert year.false_alerts == 0
    assert not [one for one in year.events if one.what == "alert" and one.week < SHIFT]
    assert 0.92 <= year.covered <= 0.98
    assert year.bad_share == 0


def test_a_stream_holds_no_row_of_a_part_and_the_new_category_only_when_it_is_there(task):
    rows = [row for part in ("train", "test") for row in load_examples(task, part)]
    made = pools(rows, random.Random(3))
    asked = week_of(made, 300, random.Random(3), shifted=False, new=False)
    held = {content(row) for part in (made.train, made.test, made.calibrate) for row in part}
    assert len({content(row) for row in asked} - held) >= 295
    assert not [row for row in (*asked, *made.train, *made.test) if row.answer == HIDDEN]
    late = week_of(made, 300, random.Random(3), shifted=True, new=True)
    assert sum(row.answer == HIDDEN for row in late) == 45
    assert len({content(row) for row in late} & {content(row) for row in rows}) < 150


def test_the_summary_counts_years_that_did_what_is_asked():
    base = {
        "seed": 1, "shift_alerted": 1, "category_alerted": 3, "false_alerts": 1, "shifted_before": 0.5,
        "shifted_after": 0.6, "old_before": 0.8, "old_after": 0.79, "bad_share": 5.0, "bad_reason": "", "covered": 0.95,
    }  # fmt: skip
    event = Event(week=1, what="alert", name="shift", said="", wanted=False)
    years = [Year(**base, events=[event]), Year(**{**base, "shift_alerted": None}, events=[])]
    found = summary(years)
    assert (found["shift_alerted_within_2_weeks"], found["category_alerted_within_2_weeks"]) == (1, 0)
    assert found["false_alerts"] == 2
    assert found["loss_on_old_rows"] == pytest.approx(0.01)
