"""The rows to read: drawn so that who comes back finds their place, and never from the test part by the way."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from tests.data.conftest import rows_of, task_of

from kasauti.core.types import Finding, Severity
from kasauti.data.reading import LEARNT, pointed_at, random_rows

TASK = task_of()


def numbered(count, prefix="text"):
    return rows_of(TASK, [(f"{prefix} {number}", "ab"[number % 2]) for number in range(count)])


def told(finding_rows, where):
    return Finding(check="c", severity=Severity.WARN, what="w", where=where, rows=finding_rows)


@given(st.integers(0, 59), st.integers(0, 30), st.integers(0, 5))
def test_a_row_that_goes_changes_the_place_of_no_other(gone, count, seed):
    rows = numbered(60)
    before = [row.id for _, row in random_rows({"train": rows}, count, seed)]
    after = [row.id for _, row in random_rows({"train": rows[:gone] + rows[gone + 1 :]}, count, seed)]
    assert [id for id in after if id in before] == [id for id in before if id != rows[gone].id]


def test_a_corrected_answer_moves_nothing():
    rows = numbered(60)
    corrected = [dataclasses.replace(row, answer="b", id=f"new{row.id}") for row in rows]
    drawn = [[row.row for _, row in random_rows({"train": part}, 20, 1)] for part in (rows, corrected)]
    assert drawn[0] == drawn[1]


def test_another_seed_draws_other_rows_and_the_draw_is_spread_over_the_parts():
    parts = {"train": numbered(400), "validation": numbered(100, "held")}
    one, two = ([row.text for _, row in random_rows(parts, 50, seed)] for seed in (1, 2))
    assert one != two
    drawn = [part for part, _ in random_rows(parts, 250, 3)]
    assert 30 <= drawn.count("validation") <= 70


def test_fewer_rows_than_asked_for_are_all_drawn():
    assert len(random_rows({"train": numbered(7)}, 50, 0)) == 7
    assert random_rows({"train": numbered(7)}, 0, 0) == []


def test_test_rows_are_not_among_the_parts_that_are_read_as_a_matter_of_course():
    assert "test" not in LEARNT


def test_the_rows_of_a_finding_are_found_in_its_part_and_in_its_order():
    parts = {"train": numbered(5), "validation": numbered(5, "held"), "test": numbered(5, "seen")}
    assert [(p, r.text) for p, r in pointed_at(told([3, 1], "test"), parts)] == [
        ("test", "Say: seen 2"),
        ("test", "Say: seen 0"),
    ]
    assert [p for p, _ in pointed_at(told([2, 99], "train and validation"), parts)] == ["train", "validation"]
    assert len(pointed_at(told([2], "rows.csv"), parts)) == 3
