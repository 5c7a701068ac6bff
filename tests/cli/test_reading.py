"""`kasauti audit --read`, up to the browser: its words, the lists that it lays out, and looks at the test rows."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tests.conftest import WORDS, complaints, write_rows

from kasauti.cli.audit import audit
from kasauti.cli.reading import lay_out, look_counter, remembering
from kasauti.cli.taught import Audit
from kasauti.core.progress import silent
from kasauti.core.task import load_task
from kasauti.core.types import Task
from kasauti.data.decisions import Choice, decide
from kasauti.data.split import load_split
from kasauti.data.versions import looks
from kasauti.pages.reading import TEST, Desk


def test_a_port_without_the_page_is_refused(kasauti: Any, make_task: Any) -> None:
    assert "Add --read" in (ran := kasauti("audit", "--task", make_task(), "--port", 8000)).error_line
    assert ran.code == 2


@pytest.mark.parametrize("port", [70000, -1])
def test_a_port_that_is_none_is_refused_before_any_work(kasauti: Any, make_task: Any, port: int) -> None:
    folder = make_task()
    ran = kasauti("audit", "--read", "--task", folder, "--port", port)
    assert ran.code == 2
    assert "a port is a number from 1 to 65535" in ran.error_line
    assert not (folder / ".kasauti").exists()


def test_a_port_that_is_taken_is_told_in_one_line_before_any_work(kasauti: Any, make_task: Any) -> None:
    folder = make_task()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = kasauti("audit", "--read", "--task", folder, "--port", taken.getsockname()[1])
    assert ran.code == 2
    assert "in use" in ran.error_line
    assert not (folder / ".kasauti").exists()


@pytest.fixture
def task(make_task: Any) -> Task:
    """With two wrong labels, and a label that is not listed in row 6."""
    folder = make_task(rows=240, test=30, model="./nowhere")  # no model is needed to read
    rows = [list(row) for row in complaints(240, 1)]
    for place in (0, 1):
        rows[place][1] = next(label for label in WORDS if label != rows[place][1])
    rows[5][1] = "refnd"
    write_rows(folder / "train.csv", rows)
    return load_task(folder)


def laid_out(task: Task) -> tuple[Audit, Desk]:
    rankings: list[Any] = []
    done = audit(task, 10, silent, remembering(task, rankings))
    return done, lay_out(task, done, 10, rankings)


def numbers(desk: Desk, name: str) -> list[int]:
    return [row.example.row for row in desk.readings[name].rows] if name in desk.readings else []


def test_random_rows_come_first_and_none_is_a_test_row(task: Task) -> None:
    _, desk = laid_out(task)
    assert next(iter(desk.readings)) == "random"
    assert len(desk.readings["random"].rows) == 10
    assert {row.part for row in desk.readings["random"].rows} <= {"train", "validation"}
    assert {row.part for row in desk.readings[TEST].rows} == {"test"}


def test_suspects_are_listed_from_the_most_suspect_with_the_label_that_is_suggested(task: Task) -> None:
    _, desk = laid_out(task)
    first = desk.readings["suspects"].rows[:2]
    assert {row.example.row for row in first} == {1, 2}
    right = dict(complaints(240, 1))
    assert [row.suggested for row in first] == [right[row.example.fields["text"]] for row in first]


def test_the_rows_of_a_finding_can_be_read(task: Task) -> None:
    done, desk = laid_out(task)
    place = next(place for place, one in enumerate(done.findings) if "not one of the task's labels" in one.what)
    assert numbers(desk, desk.pointed[place]) == [6]


def test_a_decided_row_stays_in_its_place_among_the_random_ones_and_leaves_the_suspects(task: Task) -> None:
    _, desk = laid_out(task)
    before, suspects = numbers(desk, "random"), desk.readings["suspects"].rows
    dropped, relabelled = desk.readings["random"].rows[3], suspects[0]
    decide(task, dropped.example, dropped.key, Choice.DROP)
    decide(task, relabelled.example, relabelled.key, Choice.RELABEL, relabelled.suggested)
    done, again = laid_out(task)
    assert numbers(again, "random") == before
    assert relabelled.example.row not in numbers(again, "suspects")
    assert {row.key for row in again.readings["decided"].rows} == {dropped.key, relabelled.key}
    assert sum(done.document["data"]["rows"].values()) == 269
    (told,) = (one for one in done.findings if one.check == "decisions")
    assert "1 relabelled, 1 dropped" in told.what


def test_a_look_is_counted_once_a_day_and_again_for_the_test_set_that_a_correction_makes(make_task: Any) -> None:
    task = load_task(make_task(rows=240, test=30, model="./nowhere"))
    done, desk = laid_out(task)
    first, _ = load_split(task)
    counter = look_counter(task, done)
    assert counter.so_far() == 0
    assert (counter.count(), counter.count()) == (1, 1)
    row = desk.readings[TEST].rows[0]
    decide(task, row.example, row.key, Choice.DROP)
    assert counter.count() == 1
    corrected, _ = load_split(task)
    assert corrected.test_sha256 != first.test_sha256
    assert [looks(task.folder, one.test_sha256) for one in (first, corrected)] == [1, 1]


def test_a_row_can_be_seen_as_the_model_is_taught_it(make_task: Any) -> None:
    _, desk = laid_out(load_task(make_task(rows=240)))
    row = desk.readings["random"].rows[0].example
    view = desk.view(row)
    assert view.count("kas-sup") >= 1
    assert desk.view(row) is view, "made once"
