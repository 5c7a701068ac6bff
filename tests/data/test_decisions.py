"""Decisions survive a kill, are never rewritten, and meet their rows and no others."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import complaints, write_rows
from tests.data.conftest import rows_of, task_of

from kasauti.core.errors import DataError
from kasauti.core.task import load_task
from kasauti.core.types import Severity
from kasauti.data.checks.mislabelled import rank_mislabelled
from kasauti.data.decisions import Choice, Key, apply_decisions, decide, keys_of, log_path, standing
from kasauti.data.split import divide, load_split, parts_of

LABELS = ("card", "parcel", "refund")


@pytest.fixture
def task(tmp_path):
    """A task on disk whose parts are all split off from one file."""
    return task_in(tmp_path, complaints(120))


def task_in(folder, rows, test=None):
    write_rows(folder / "rows.csv", rows)
    if test:
        write_rows(folder / "test.csv", test)
    named = f"{{train: rows.csv, test: {'test.csv' if test else 'null'}}}"
    text = f"name: t\nkind: classification\ninput: 'Say: {{text}}'\ntarget: label\nlabels: [{', '.join(LABELS)}]\n"
    (folder / "task.yaml").write_text(f"{text}data: {named}\nmodel: kasauti/nano\n", "utf-8")
    return load_task(folder)


def filed(task):
    """Every row with its key."""
    rows = divide(task, strict=False).rows
    return dict(zip(keys_of(rows), rows, strict=True))


def lines(task):
    return log_path(task.folder).read_bytes().splitlines(keepends=True)


steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(list(Choice)), st.sampled_from(("a", "b", "c"))), max_size=25
)


@given(steps)
def test_what_stands_is_the_last_decision_on_each_row_and_no_line_is_ever_changed(made):
    with tempfile.TemporaryDirectory() as folder:
        task = task_of(("a", "b", "c"), folder)
        rows = rows_of(task, [("one", "a"), ("two", "b"), ("three", "c"), ("one", "a")])
        keys, model, before = keys_of(rows), {}, b""
        for number, choice, label in made:
            told = decide(task, rows[number], keys[number], choice, label)
            model.pop(keys[number], None)
            if choice is not Choice.UNDO:
                same = choice is Choice.RELABEL and label == rows[number].answer
                kept = Choice.ACCEPT if same else choice
                model[keys[number]] = (kept, label if kept is Choice.RELABEL else None)
            assert (told and (told.choice, told.label)) == model.get(keys[number])
            after = log_path(folder).read_bytes() if log_path(folder).exists() else b""
            assert after.startswith(before)
            before = after
        assert {key: (one.choice, one.label) for key, one in standing(folder).items()} == model


def test_a_log_cut_anywhere_keeps_every_whole_line_and_can_be_gone_on_with(task):
    keys = list(filed(task).items())[:3]
    for key, row in keys:
        decide(task, row, key, Choice.RELABEL, next(label for label in LABELS if label != row.answer))
    whole = log_path(task.folder).read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    more_key, more_row = list(filed(task).items())[5]
    for cut in range(ends[1], len(whole) + 1, 7):
        log_path(task.folder).write_bytes(whole[:cut])
        assert set(standing(task.folder)) >= {key for key, _ in keys[:2]}
        decide(task, more_row, more_key, Choice.DROP)
        assert set(standing(task.folder)) - {keys[2][0]} == {keys[0][0], keys[1][0], more_key}


def test_a_decision_that_stands_already_is_not_written_again(task):
    key, row = next(iter(filed(task).items()))
    for _ in range(3):
        decide(task, row, key, Choice.DROP)
    assert len(lines(task)) == 1
    decide(task, row, key, Choice.UNDO)
    decide(task, row, key, Choice.UNDO)
    assert len(lines(task)) == 2
    assert standing(task.folder) == {}


def test_a_line_says_which_row_it_is_about_and_what_was_decided(task):
    key, row = next(iter(filed(task).items()))
    other = next(label for label in LABELS if label != row.answer)
    decide(task, row, key, Choice.RELABEL, other)
    line = json.loads(lines(task)[0])
    assert line["at"].startswith("20")
    assert {name: line[name] for name in ("row_id", "row", "source", "answer", "choice", "label")} == {
        "row_id": row.id, "row": row.row, "source": "rows.csv", "answer": row.answer, "choice": "relabel",
        "label": other,
    }  # fmt: skip


@pytest.mark.parametrize(("label", "said"), [("refnd", "'refund'"), ("", "empty"), (None, "empty")])
def test_a_new_answer_that_is_no_label_is_refused_and_nothing_is_written(task, label, said):
    key, row = next(iter(filed(task).items()))
    with pytest.raises(DataError, match=said):
        decide(task, row, key, Choice.RELABEL, label)
    assert not log_path(task.folder).exists()


def test_the_rows_go_on_as_if_the_files_had_been_edited_by_hand(tmp_path):
    (tmp_path / "decided").mkdir()
    (tmp_path / "edited").mkdir()
    rows, test = complaints(120), complaints(30, 9)
    task = task_in(tmp_path / "decided", rows, test)
    by_place = list(filed(task).items())
    decide(task, by_place[3][1], by_place[3][0], Choice.RELABEL, "card" if rows[3][1] != "card" else "refund")
    decide(task, by_place[7][1], by_place[7][0], Choice.DROP)
    decide(task, by_place[9][1], by_place[9][0], Choice.ACCEPT)
    edited = [*rows]
    edited[3] = (rows[3][0], "card" if rows[3][1] != "card" else "refund")
    del edited[7]
    by_hand = task_in(tmp_path / "edited", edited, test)
    decided, _ = load_split(task)
    assert decided.data_version == load_split(by_hand)[0].data_version
    assert decided.test_sha256 == load_split(by_hand)[0].test_sha256
    everything = [row for part in parts_of(decided).values() for row in part]
    assert sum(row.reviewed for row in everything) == 2


def test_a_decision_moves_no_other_row_into_another_part(task):
    before = {row.id: part for part, rows in parts_of(load_split(task)[0]).items() for row in rows}
    keys = list(filed(task).items())
    for place, (key, row) in enumerate(keys[:24]):
        choice = (Choice.DROP, Choice.RELABEL)[place % 2]
        decide(task, row, key, choice, next(label for label in LABELS if label != row.answer))
    after = {row.id: part for part, rows in parts_of(load_split(task)[0]).items() for row in rows}
    untouched = {row.id for _, row in keys[24:]}
    assert {id: part for id, part in after.items() if id in untouched} == {id: before[id] for id in untouched}
    assert len(after) == len(before) - 12


def test_undone_decisions_leave_no_trace_in_the_data(task):
    before = load_split(task)
    for key, row in list(filed(task).items())[:5]:
        decide(task, row, key, Choice.DROP)
    assert load_split(task)[0].data_version != before[0].data_version
    for key, row in list(filed(task).items())[:5]:
        decide(task, row, key, Choice.UNDO)
    assert load_split(task) == before


def test_what_was_decided_is_told_with_its_counts(task):
    places = list(filed(task).items())
    for (key, row), choice in zip(places, (Choice.ACCEPT, Choice.ACCEPT, Choice.DROP), strict=False):
        decide(task, row, key, choice)
    (finding,) = (one for one in load_split(task)[1] if one.check == "decisions")
    assert finding.severity is Severity.NOTE
    assert finding.what == "3 rows were decided by a person: 2 accepted, 0 relabelled, 1 dropped"
    assert finding.evidence == [f"rows.csv, row 3: {places[2][1].answer}, dropped"]


def test_a_decision_on_a_row_that_has_changed_since_does_not_apply_and_that_is_said(task):
    key, row = next(iter(filed(task).items()))
    decide(task, row, key, Choice.DROP)
    rows = complaints(120)
    rows[0] = (rows[0][0] + " indeed", rows[0][1])
    write_rows(Path(task.folder) / "rows.csv", rows)
    split, findings = load_split(task)
    assert sum(map(len, parts_of(split).values())) == 120
    (finding,) = (one for one in findings if one.check == "decisions")
    assert "1 decisions no longer apply" in finding.what
    again, row = next(iter(filed(task).items()))
    decide(task, row, again, Choice.ACCEPT)
    (finding,) = (one for one in load_split(task)[1] if one.check == "decisions")
    assert "1 accepted" in finding.what, "the row was read again: the old decision is settled"


def test_a_label_that_is_no_longer_listed_does_not_apply():
    rows = rows_of(task_of(("a", "b")), [("one", "a"), ("two", "b")])
    with tempfile.TemporaryDirectory() as folder:
        decide(task_of(("a", "b"), folder), rows[0], keys_of(rows)[0], Choice.RELABEL, "b")
        applied = apply_decisions(task_of(("a", "c"), folder), rows, standing(folder))
    assert (len(applied.met), len(applied.stale)) == (0, 1)
    assert applied.of(rows) == tuple(rows)


def test_of_equal_rows_only_the_one_that_was_meant_leaves():
    task = task_of(("a", "b"))
    rows = rows_of(task, [("same", "a"), ("other", "b"), ("same", "a")])
    with tempfile.TemporaryDirectory() as folder:
        decide(task_of(("a", "b"), folder), rows[2], keys_of(rows)[2], Choice.DROP)
        assert [row.row for row in apply_decisions(task, rows, standing(folder)).of(rows)] == [1, 2]
    assert keys_of(rows) == [Key(rows[0].id, 0), Key(rows[1].id, 0), Key(rows[0].id, 1)]


@pytest.mark.parametrize("choice", [Choice.RELABEL, Choice.DROP])
def test_a_row_at_fault_that_was_decided_no_longer_stops_the_work(tmp_path, choice):
    rows = complaints(120)
    rows[4] = (rows[4][0], "refnd")
    task = task_in(tmp_path, rows)
    with pytest.raises(DataError, match="refnd"):
        load_split(task)
    key, row = list(filed(task).items())[4]
    decide(task, row, key, choice, "refund")
    assert load_split(task)[0].train
    with pytest.raises(DataError, match="not one of the task's"):
        decide(task, row, key, Choice.ACCEPT)


def test_other_rows_at_fault_still_stop_the_work_when_something_was_decided(tmp_path):
    rows = complaints(120)
    rows[4], rows[5] = (rows[4][0], "refnd"), (rows[5][0], "")
    task = task_in(tmp_path, rows)
    key, row = list(filed(task).items())[4]
    decide(task, row, key, Choice.DROP)
    with pytest.raises(DataError, match=r"row 6: the answer .* is empty"):
        load_split(task)


def test_a_part_whose_every_row_was_dropped_is_one_line(tmp_path):
    task = task_in(tmp_path, complaints(60), complaints(3, 5))
    for key, row in list(filed(task).items())[60:]:
        decide(task, row, key, Choice.DROP)
    with pytest.raises(DataError, match="every row of test was dropped by hand"):
        load_split(task)
    split, findings = load_split(task, strict=False)  # the audit, whose page undoes it, still opens
    assert len(split.test) == 3
    assert [one.check for one in findings if one.severity is Severity.STOP] == ["decisions"]


def test_a_reviewed_row_is_not_suspected_again(tmp_path):
    rows = complaints(240)
    rows[0] = (rows[0][0], next(label for label in LABELS if label != rows[0][1]))
    task = task_in(tmp_path, rows)
    first = rank_mislabelled(load_split(task)[0].train, 0)
    suspect = first.suspects[0].example
    decide(task, suspect, Key(suspect.id, 0), Choice.ACCEPT)
    again = rank_mislabelled(load_split(task)[0].train, 0)
    assert suspect.id not in {one.example.id for one in again.suspects}
    assert len(again.suspects) == len(first.suspects) - 1
    assert again.estimated <= first.estimated


@pytest.mark.parametrize(
    "line", ["[]", "7", "{}", '{"row_id": 1, "choice": "eat"}', '{"row_id": "a", "choice": "relabel"}']
)
def test_a_line_that_is_no_decision_is_left_out(task, line):
    log_path(task.folder).parent.mkdir(parents=True)
    log_path(task.folder).write_text(line + "\n", "utf-8")
    assert standing(task.folder) == {}
