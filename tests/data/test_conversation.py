"""Rows become examples and conversations, and a row at fault is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.conftest import rows_of, task_of

from kasauti.core.errors import DataError
from kasauti.core.task import parse_task
from kasauti.core.types import Message, fill
from kasauti.data.conversation import (
    check_labels_used,
    content,
    count_answers,
    load_examples,
    make_example,
    messages,
    read_inputs,
)


def test_a_row_becomes_an_example_and_a_conversation():
    task = task_of(extra="instructions: Sort it.\ngroup: who")
    (example,) = rows_of(task, [("hello", " a ", "me")], strict=True)
    assert (example.text, example.answer, example.group, example.row) == ("Say: hello", "a", "me", 1)
    assert content(example) == "hello"
    assert messages(task, example) == (
        Message(role="system", content="Sort it."),
        Message(role="user", content="Say: hello"),
        Message(role="assistant", content="a"),
    )
    assert [m.role for m in messages(task, example, with_answer=False)] == ["system", "user"]
    assert [m.role for m in messages(task_of(), example)] == ["user", "assistant"]


def test_ids_are_of_the_content_alone():
    task = task_of()
    first, second, other = rows_of(task, [("x", "a"), ("x", "a"), ("x", "b")])
    assert first.id == second.id != other.id
    assert len(first.id) == 16
    assert int(first.id, 16) >= 0


@given(st.text(), st.text())
def test_braces_in_a_value_stay_as_they_are(a, b):
    assert fill("{{{x}}} and {y y}", {"x": a, "y y": b}) == f"{{{a}}} and {b}"


def test_faulty_answers_name_the_row_and_the_nearest_label():
    task = task_of(["refund_delayed", "other"])
    with pytest.raises(DataError, match=r"rows.csv, row 2: the label 'Refund delayed' .*Did you mean 'refund_delayed'"):
        rows_of(task, [("x", "other"), ("x", "Refund delayed")], strict=True)
    with pytest.raises(DataError, match=r"row 1: the answer \(column 'label'\) is empty"):
        rows_of(task, [("x", "  ")], strict=True)
    assert [e.answer for e in rows_of(task, [("x", "Refund delayed"), ("y", " ")])] == ["Refund delayed", ""]


def test_an_answer_that_is_no_label_keeps_its_space():
    task = parse_task("kind: code\ninput: '{text}'\ntarget: label\ndata: {train: r.csv}", folder="/t")
    assert rows_of(task, [("x", "    return 1\n")], strict=True)[0].answer == "    return 1\n"


def test_a_null_input_is_empty_and_a_missing_column_is_an_error():
    task = task_of()
    assert make_example(task, {"text": None, "label": "a"}, 1, "f").text == "Say: "
    with pytest.raises(DataError, match=r"f, row 1: there is no column 'label'"):
        make_example(task, {"text": "x"}, 1, "f")


def test_rows_to_be_answered_need_no_answer(write):
    task = task_of(extra="group: who")
    (example,) = read_inputs(task, write("in.csv", "text\nhello\n"))
    assert (example.text, example.answer, example.group) == ("Say: hello", None, None)
    with pytest.raises(DataError, match="no answer"):
        messages(task, example)
    assert messages(task, example, with_answer=False)


def test_the_files_of_a_task_are_loaded_relative_to_it(write, tmp_path):
    write("rows.csv", "text,label\nx,a\ny,b\n")
    task = task_of(folder=tmp_path)
    rows = load_examples(task, "train")
    assert [(e.fields["text"], e.answer, e.row, e.source) for e in rows] == [
        ("x", "a", 1, "rows.csv"),
        ("y", "b", 2, "rows.csv"),
    ]
    assert load_examples(task, "test") == ()
    with pytest.raises(ValueError, match="part"):
        load_examples(task, "tset")
    with pytest.raises(DataError, match="no column 'who'"):
        load_examples(task_of(folder=tmp_path, extra="group: who"), "train")


def test_answers_are_counted_for_a_new_task(write):
    path = write("rows.csv", "text,label\nx,a\ny, a\nz,b\nw,\n")
    assert count_answers(path, "label", ["text"]) == {"a": 2, "b": 1}
    with pytest.raises(DataError, match=r"no column 'lable'.*Did you mean 'label'"):
        count_answers(path, "lable")


def test_a_label_that_no_row_has_is_told_with_the_answer_that_is_like_it():
    task = task_of(["refund_delayed", "other"])
    with pytest.raises(DataError, match=r"no row has the label 'refund_delayed'\. Did you mean 'refund delayed'"):
        check_labels_used(task, rows_of(task, [("x", "refund delayed"), ("y", "other")]))
    check_labels_used(task, rows_of(task, [("x", "refund_delayed"), ("y", "other")]))


def test_columns_that_only_tests_read_are_kept_apart_from_what_is_asked(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "add", "a": "pass", "tests": ["assert 1", "assert 2"]}\n')
    text = "kind: code\ninput: '{q}'\ntarget: a\ndata: {train: rows.jsonl}\n"
    plain, tested = (parse_task(text + more, folder=tmp_path) for more in ("", "code: {program: '{answer}{tests}{q}'}"))
    (one,), (other,) = load_examples(plain, "train"), load_examples(tested, "train")
    assert (one.fields, other.fields) == ({"q": "add"},) * 2
    assert (one.text, content(other)) == ("add", "add")
    assert one.judging == {}
    assert other.judging == {"tests": '["assert 1", "assert 2"]', "q": "add"}
    assert one.id != other.id
    (asked,) = (example for example in read_inputs(tested, str(tmp_path / "rows.jsonl")))
    assert asked.judging == {}


def test_a_row_without_the_column_of_its_tests_is_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("q,a,test\nadd,pass,assert 1\n")
    text = "kind: code\ninput: '{q}'\ntarget: a\ndata: {train: rows.csv}\ncode: {program: '{answer}{tests}'}"
    with pytest.raises(DataError, match=r"there is no column 'tests'.*'test'"):
        load_examples(parse_task(text, folder=tmp_path), "train")
