"""Claims about free text: the user's own metric, and answers that have to be JSON of a given shape."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.errors import TaskError
from kasauti.core.types import Prediction, Scoring
from kasauti.measure.kinds import judge
from kasauti.measure.schema import canonical, load_schema

SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "number"}, "bank": {"enum": ["a", "b"]}},
    "required": ["amount"],
    "additionalProperties": False,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def metric_task(task, tmp_path):
    """A task with a metric of its own: `build(source, name)`."""

    def build(source: str, name: str = "scores:right", kind: str = "generation"):
        (tmp_path / "scores.py").write_text(source)
        return replace(task, kind=kind, labels={}, fallback=None, folder=str(tmp_path), scoring=Scoring(metric=name))

    return build


@pytest.fixture
def schema_task(task, tmp_path):
    def build(schema: object):
        (tmp_path / "shape.json").write_text(schema if isinstance(schema, str) else json.dumps(schema))
        return replace(task, kind="generation", labels={}, fallback=None, folder=str(tmp_path),
                       scoring=Scoring(schema="shape.json"))  # fmt: skip

    return build


def test_the_users_metric_decides_from_answer_expectation_and_row(metric_task, examples, answers):
    source = (
        "def right(answer, expected, fields):\n    return (answer == expected) * 0.5 + (fields['x'] == 'text 1') * 0.5"
    )
    judged = judge(metric_task(source), examples("a", "b", "c"), answers("a", "b", None))
    assert judged["metric"] == "scores:right"
    assert judged["accuracy"]["value"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert judged["accuracy"]["low"] < judged["accuracy"]["high"]


def test_a_metric_that_says_true_or_false_has_wilsons_interval_and_calibration(metric_task, examples, answers):
    task = metric_task("def right(answer, expected):\n    return answer[0] == expected[0]")
    judged = judge(task, examples("apple", "bear"), answers("a", "x", confidence=[0.9, 0.2]))
    assert judged["accuracy"]["value"] == 0.5
    assert judged["ece"] is not None


def test_the_tasks_folder_is_looked_in_first_and_its_modules_may_import_one_another(
    metric_task, tmp_path, examples, answers
):
    (tmp_path / "beside.py").write_text("WORTH = 0.25")
    task = metric_task("from beside import WORTH\ndef right(answer, expected):\n    return WORTH")
    assert judge(task, examples("a"), answers("a"))["accuracy"]["value"] == 0.25
    (tmp_path / "json.py").write_text("def right(answer, expected):\n    return 0.75")
    mine = replace(task, scoring=Scoring(metric="json:right"))
    assert judge(mine, examples("a"), answers("a"))["accuracy"]["value"] == 0.75
    assert json.dumps(1) == "1", "what others import under that name is unharmed"
    installed = replace(task, scoring=Scoring(metric="operator:eq"))
    assert judge(installed, examples("a", "b"), answers("a", "x"))["accuracy"]["value"] == 0.5


@pytest.mark.parametrize(
    ("source", "name", "line"),
    [
        ("def right(a, b): return 2", "scores:right", r"row 1 of t\.csv: it returned 2\. Return True or False"),
        ("def right(a, b): return float('nan')", "scores:right", "it returned nan"),
        ("def right(a, b): return None", "scores:right", "it returned None"),
        ("def right(a, b): return '1'", "scores:right", "it returned '1'"),
        ("def right(a, b): return a.x", "scores:right", "it raised AttributeError: .*take any answer"),
        ("def right(a): return 1", "scores:right", r"scores:right takes \(a\)\. Write it as def function"),
        ("def right(a, b): return 1", "scores:rigth", "scores has no function 'rigth'. Did you mean 'right'"),
        ("right = 3", "scores:right", "scores has no function 'right'"),
        ("def right(a, b: return 1", "scores:right", "scores could not be imported: SyntaxError"),
        ("import nowhere_at_all", "scores:right", "there is no module 'nowhere_at_all'"),
        ("raise SystemExit(3)", "scores:right", "scores could not be imported: SystemExit: 3"),
        ("", "nowhere_at_all:right", r"'nowhere_at_all'\. Put nowhere_at_all\.py into the task's folder"),
    ],
)  # fmt: skip
def test_a_metric_that_cannot_be_used_is_one_line(metric_task, examples, answers, source, name, line):
    with pytest.raises(TaskError, match=line) as refused:
        judge(metric_task(source, name), examples("a"), answers("a"))
    assert "\n" not in str(refused.value)
    assert "task.yaml: metric" in str(refused.value)


def test_answers_that_break_the_schema_are_wrong_invalid_and_told(schema_task, examples):
    said = ['{"bank": "a", "amount": 5.0}', '{"amount": "5"}', "Sure! {}", '{"amount": 6}', '{"amount": 5, "x": 1}']
    truth = ['{"amount": 5, "bank": "a"}'] * 5
    judged = judge(schema_task(SCHEMA), examples(*truth), [Prediction(answer=a) for a in said])
    assert judged["accuracy"]["value"] == 0.2, "the order of keys and the spelling of a number do not count"
    assert judged["invalid_rate"] == 0.6
    assert judged["schema"]["valid"] == 0.4
    faults = {f["fault"] for f in judged["schema"]["faults"]}
    assert "amount: '5' is not of type 'number'" in faults
    assert any(f.startswith("no JSON:") for f in faults)
    assert any("'x' was unexpected" in f for f in faults)


def test_an_answer_as_expected_is_still_wrong_where_it_breaks_the_schema(schema_task, examples, answers):
    assert judge(schema_task(SCHEMA), examples("5"), answers("5"))["accuracy"]["value"] == 0.0


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ("{", "is no JSON"),
        ({"type": "objekt"}, "is no schema, at type: 'objekt' is not valid"),
        ({"$ref": "https://example.org/s.json"}, "refers to 'https://example.org/s.json'.*Put what it refers to"),
    ],
)
def test_a_schema_that_cannot_be_used_is_one_line(schema_task, examples, answers, schema, line):
    with pytest.raises(TaskError, match=line):
        judge(schema_task(schema), examples("{}"), answers("{}"))


def test_a_schema_that_is_not_there_is_one_line(schema_task):
    task = replace(schema_task(SCHEMA), scoring=Scoring(schema="none.json"))
    with pytest.raises(TaskError, match=r"none\.json: no such file\. Name a JSON Schema file"):
        load_schema(task)


def test_what_parsers_let_through_is_no_json_here(schema_task):
    fault = load_schema(schema_task({}))
    assert fault("NaN") == "no JSON: NaN is no JSON value"
    assert fault('{"a": 1, "a": 2}') == "no JSON: a key stands twice in one object"
    assert fault("[" * 100_000) == "no JSON: nested too deeply"
    assert fault("{}") is None


@given(JSON)
def test_equal_json_values_have_one_spelling(value):
    assert canonical(json.dumps(value, indent=2)) == canonical(json.dumps(value, ensure_ascii=False))
    assert canonical(canonical(json.dumps(value))) == canonical(json.dumps(value))


def test_true_is_not_one():
    assert canonical("true") != canonical("1") == canonical("1.0")
