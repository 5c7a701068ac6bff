"""`accept` in the task file."""

import pytest

from kasauti.core.errors import TaskError
from kasauti.core.task import parse_task
from kasauti.core.types import Acceptance

TASK = "kind: classification\ninput: '{x}'\ntarget: y\nlabels: [a, b]\ndata: {train: t.csv}\n"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", Acceptance()),
        ("accept: {accuracy: 0.9}", Acceptance(wanted=0.9)),
        ("accept: {rule: exact, error: 0.1}", Acceptance(rule="exact", error=0.1)),
        ("accept: {coverage: 0.8, rule: exact}", Acceptance(goal="coverage", wanted=0.8, rule="exact")),
    ],
)
def test_what_is_not_there_is_the_default(line, wanted):
    assert parse_task(TASK + line, folder="/nowhere").accept == wanted


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("accept: {accuracy: 95}", r"`accept.accuracy` is '95'. It is a share"),
        ("accept: {coverage: true}", r"`accept.coverage` is 'true'"),
        ("accept: {error: 0}", r"`accept.error` is '0'"),
        ("accept: {rule: sure}", r"`accept.rule` is 'sure'. Write plain or exact"),
        ("accept: {accuracy: 0.9, coverage: 0.8}", r"wants an accuracy and a coverage. Keep one"),
        ("accept: {acuracy: 0.9}", r"unknown key `accept.acuracy`.*accuracy"),
        ("accept: 0.95", r"`accept`.*mapping"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(line, fault):
    with pytest.raises(TaskError, match=fault) as told:
        parse_task(TASK + line, folder="/nowhere")
    assert "task.yaml:6" in told.value.line()


def test_a_file_of_inputs_out_of_scope_is_named_beside_the_others():
    task = parse_task(TASK.replace("t.csv}", "t.csv, out_of_scope: odd.csv}"), folder="/nowhere")
    assert task.data.out_of_scope == "odd.csv"
