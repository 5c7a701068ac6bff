"""What the task file says about when an answer is right, and what it may not say."""

from __future__ import annotations

import pytest

from kasauti.core.errors import TaskError
from kasauti.core.task import load_task, parse_task, write_task
from kasauti.core.types import Scoring, Task


def parse(kind: str, extra: str) -> Task:
    labels = "labels: [a, b]\n" if kind == "classification" else ""
    text = f'kind: {kind}\ninput: "{{prompt}}"\ntarget: solution\ndata: {{train: rows.csv}}\n{labels}{extra}\n'
    return parse_task(text, folder="/task")


def test_what_is_left_out_takes_the_kinds_own_figure():
    assert parse("generation", "").scoring == parse("code", "").scoring == Scoring()


def test_a_metric_and_a_schema_are_read():
    assert parse("generation", "metric: a.b:right\nschema: s.json").scoring == Scoring(
        metric="a.b:right", schema="s.json"
    )


def test_a_program_names_its_columns_once_and_in_order():
    program = (
        "code:\n  program: |\n    {prompt}{answer}\n    x = {{1: 2}}\n    {test} {prompt} {entry}\n"
        "  seconds: 2.5\n  memory_mb: 512"
    )
    scoring = parse("code", program).scoring
    assert scoring.columns == ("prompt", "test", "entry")
    assert (scoring.seconds, scoring.memory_mb) == (2.5, 512)
    assert scoring.program == "{prompt}{answer}\nx = {{1: 2}}\n{test} {prompt} {entry}\n"


@pytest.mark.parametrize(
    ("kind", "extra", "says"),
    [
        ("classification", "metric: a:b", ":6: `metric` means nothing for kind 'classification'"),
        ("code", "metric: a:b", "`metric` means nothing for kind 'code'"),
        ("summarization", "schema: s.json", r"`schema` means nothing for kind 'summarization'.*set `kind: generation`"),
        ("generation", "code: {program: '{answer}'}", "`code` means nothing for kind 'generation'.*set `kind: code`"),
        ("generation", "metric: right", "`metric` is 'right'. Write module:function"),
        ("generation", "metric: a/b.py:right", "Write module:function"),
        ("code", "code: {seconds: 3}", "`code.program` is missing"),
        ("code", "code: {program: '{answer}', secnds: 3}", "unknown key `code.secnds`. Did you mean 'seconds'"),
        ("code", "code: {program: '{tests}'}", "does not run the answer. Write {answer}"),
        ("code", "code: {program: '{answer!r}'}", r"`code.program` has {answer!r}, which is not a plain column"),
        ("code", "code: {program: '{answer} {'}", "`code.program` is no format string"),
        ("code", "code: {program: '{answer}', seconds: 0}", "`code.seconds` is '0'. Write a number of at least 1"),
        ("code", "code: {program: '{answer}', memory_mb: lots}", "`code.memory_mb` is 'lots'"),
        ("code", "code: x", "a mapping"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(kind, extra, says):
    with pytest.raises(TaskError, match="(?i)" + says) as refused:
        parse(kind, extra)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("code", ["# code:"]), ("generation", ["# metric:", "# schema:"]), ("summarization", ["# metric:"])],
)
def test_a_written_task_shows_what_can_be_said_and_reads_back_with_it(tmp_path, kind, names):
    path = write_task(tmp_path, name="n", data=tmp_path / "d.csv", input_column="prompt", target="solution", kind=kind)
    text = path.read_text()
    assert all(name in text for name in names)
    path.write_text(
        "\n".join(line.removeprefix("# ") if line.startswith(tuple(names)) else line for line in text.splitlines())
    )
    assert load_task(tmp_path).scoring != Scoring()
