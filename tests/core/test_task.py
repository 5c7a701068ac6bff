"""A task file is read as the contract says, and every fault names its line."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.errors import TaskError
from kasauti.core.task import load_task, parse_task, resolve, write_task

CONTRACT = """\
name: payment-disputes
kind: classification              # a comment
instructions: |
  You are a payment dispute classifier. Classify the customer complaint into exactly one category.
  Respond with only the category name, nothing else.
input: "Complaint: {complaint}"
target: category
labels:
  refund_delayed: The refund was promised or started, and its date has passed.
  other:
fallback: other
data: {train: data/complaints.csv, validation: null, test: data/production.csv}
group: null
model: kasauti/nano
train: {method: lora, r: 16}
business: {calls_per_month: 300000, margin: 0.02, gpu_per_hour: 0.6, hosted_per_1m_tokens: {input: 2.5, output: 10}}
"""
LEAST = """\
kind: classification
input: "{text}"
target: label
labels: [a, b]
data: {train: rows.csv}
"""


def parse(text, **changes):
    for old, new in changes.items():
        assert f"{old}:" in text
        text = "\n".join(new if line.startswith(f"{old}:") else line for line in text.splitlines())
    return parse_task(text, folder="/task", known_train_fields=["method", "r", "learning_rate"])


def fault(text, **changes):
    with pytest.raises(TaskError) as caught:
        parse(text, **changes)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_task_of_the_contract_is_read_whole():
    task = parse(CONTRACT)
    assert (task.name, task.kind) == ("payment-disputes", "classification")
    assert (task.target, task.fallback) == ("category", "other")
    assert task.instructions.endswith("nothing else.")
    assert task.columns == ("complaint",)
    assert dict(task.labels) == {
        "refund_delayed": "The refund was promised or started, and its date has passed.",
        "other": "",
    }
    assert (task.data.train, task.data.validation, task.data.test) == (
        "data/complaints.csv",
        None,
        "data/production.csv",
    )
    assert task.train == {"method": "lora", "r": 16}
    assert task.business.calls_per_month == 300_000
    assert task.business.hosted_per_1m_tokens == {"input": 2.5, "output": 10.0}


def test_what_is_left_out_has_the_defaults():
    task = parse(LEAST)
    assert (task.name, task.model, task.seed) == ("task", "kasauti/nano", 42)
    assert (task.group, task.chat_template) == (None, None)
    assert task.business.margin == 0.02
    assert task.train == {}


def test_relative_paths_are_kept_and_resolve_against_the_folder(tmp_path):
    (tmp_path / "task.yaml").write_text(LEAST)
    task = load_task(tmp_path)
    assert task == load_task(tmp_path / "task.yaml")
    assert task.folder == str(tmp_path)
    assert task.data.train == "rows.csv"
    assert resolve(task, "../rows.csv") == tmp_path.parent / "rows.csv"
    assert str(resolve(task, "/data/rows.csv")) == "/data/rows.csv"


def test_names_are_taken_as_they_are_written():
    task = parse(LEAST, labels="labels: [no, on, 1.10, 2024-01-01, null, ' a ']", target="target: 1")
    assert list(task.labels) == ["no", "on", "1.10", "2024-01-01", "null", "a"]
    assert task.target == "1"
    assert parse(LEAST, labels="labels: {yes: , no: not at all}").labels == {"yes": "", "no": "not at all"}


def test_a_learning_rate_with_an_exponent_is_a_number():
    assert parse(LEAST + "train: {learning_rate: 2e-4, r: 8}").train == {"learning_rate": 2e-4, "r": 8}
    assert parse(LEAST + "train: {method: '2e-4'}").train == {"method": "2e-4"}


def test_any_recipe_field_passes_where_none_are_known():
    assert parse_task(LEAST + "train: {made_up: [1, {a: b}]}", folder="/t").train == {"made_up": [1, {"a": "b"}]}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("labls: [a]", "task.yaml:6: unknown key `labls`. Did you mean 'labels'?"),
        ("train: {learning_rte: 1}", "task.yaml:6: unknown key `train.learning_rte`. Did you mean 'learning_rate'?"),
        ("business: {margins: 1}", "task.yaml:6: unknown key `business.margins`. Did you mean 'margin'?"),
        ("business: {hosted_per_1m_tokens: {inputs: 1}}", "_tokens.inputs`. Did you mean 'input'?"),
        ("business: {margin: 2}", "It is a share"),
        ("business: {gpu_per_hour: cheap}", "`business.gpu_per_hour` is 'cheap'"),
        ("business: {gpu_per_hour: -1}", "not negative"),
        ("business: {gpu_per_hour: .nan}", "not negative"),
        ("business: 3", "`business` is '3'"),
        ("train: lora", "`train` is 'lora'"),
        ("seed: 1.5", "`seed` is '1.5'"),
        ("seed: true", "`seed` is 'true'"),
        ("fallback: c", "`fallback` 'c' is not one of the labels"),
        ("target: other", "task.yaml:6: `target` is given twice, first on line 3"),
        ("business: {margin: 0.1, margin: 0.2}", "`margin` is given twice"),
        ("name: [a]", "`name` is a sequence"),
        ("name: ''", "`name` is ''"),
        ("? [a]\n: b", "a key is a sequence"),
        ("name: *there", "alias"),
        ("name: &a x\nmodel: *a", "alias"),
        ("name: 'x", "is not valid YAML"),
        ("name: a: b", "task.yaml:6: is not valid YAML"),
        ("---\nname: x", "is not valid YAML"),
        ("name: \x07", "is not valid YAML"),
        ("name: !!python/object:os.system x", "`name`"),
    ],
)
def test_a_wrong_line_is_named(line, says):
    if says == "`name`":  # the tag has no meaning for a name: its text is taken, and nothing is run
        assert parse(LEAST + line).name == "x"
    else:
        assert says in fault(LEAST + line)


@pytest.mark.parametrize(
    ("key", "line", "says"),
    [
        ("kind", "kind: clasification", "task.yaml:1: `kind` is 'clasification'. Did you mean 'classification'?"),
        ("kind", "name: x", "`kind` is missing"),
        ("target", "target: text", "shows the answer"),
        ("labels", "labels: [a, a]", "task.yaml:4: label 'a' is listed twice"),
        ("labels", "labels: [a]", "1 name(s)"),
        ("labels", "labels: a", "`labels` is 'a'"),
        ("labels", "labels: [a, '']", "name is expected"),
        ("labels", "name: x", "`labels` are missing"),
        ("data", "data: {trian: x}", "unknown key `data.trian`. Did you mean 'train'?"),
        ("data", "data: {test: x}", "`data.train` is missing"),
        ("data", "data: rows.csv", "`data` is 'rows.csv'"),
        ("kind", "kind: generation", "`labels` mean nothing"),
    ],
)
def test_a_wrong_value_is_named(key, line, says):
    assert says in fault(LEAST, **{key: line})


@pytest.mark.parametrize("text", ["{a.b}", "{a[0]}", "{}", "{a!r}", "{a:>4}", "{a", "a}", "no column", "{ }", "{a{b}}"])
def test_an_input_that_is_more_than_columns_and_text_is_refused(text):
    assert "`input`" in fault(LEAST, input=f'input: "{text}"')


@pytest.mark.parametrize("text", ["", "# only a comment", "just text", "- a\n- b"])
def test_a_file_that_is_no_mapping_is_refused(text):
    with pytest.raises(TaskError):
        parse_task(text, folder="/t")


def test_a_missing_or_unreadable_file_is_one_line(tmp_path):
    with pytest.raises(TaskError, match=r"no such file.*kasauti init"):
        load_task(tmp_path)
    (tmp_path / "task.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match="UTF-8"):
        load_task(tmp_path)


def write(folder, **changes):
    values = {"name": "n", "data": folder / "rows.csv", "input_column": "text", "target": "label", "labels": ["a", "b"]}
    return write_task(folder, **(values | changes))


def test_a_written_task_reads_back(tmp_path):
    path = write(tmp_path / "new", data=tmp_path / "rows.csv", test=tmp_path / "new" / "test.csv", model="../m")
    task = load_task(tmp_path / "new")
    assert path == tmp_path / "new" / "task.yaml"
    assert (task.data.train, task.data.test, task.model) == ("../rows.csv", "test.csv", "../m")
    assert (list(task.labels), task.input, task.target) == (["a", "b"], "{text}", "label")
    assert "exactly one category" in task.instructions
    with pytest.raises(TaskError, match="already"):
        write(tmp_path / "new")


@pytest.mark.parametrize("kind", ["summarization", "code", "generation"])
def test_a_task_without_labels_is_written_for_the_other_kinds(tmp_path, kind):
    write(tmp_path, kind=kind, labels=())
    assert load_task(tmp_path).kind == kind


@pytest.mark.parametrize(
    "changes", [{"input_column": "a{b"}, {"input_column": "label"}, {"labels": ["a"]}, {"kind": "cods"}]
)
def test_nothing_is_written_where_the_task_would_not_be_valid(tmp_path, changes):
    with pytest.raises(TaskError):
        write(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1).map(str.strip).filter(bool)


@given(labels=st.lists(NAMES, min_size=2, max_size=5, unique=True), target=NAMES, name=NAMES)
def test_any_label_survives_being_written_and_read(tmp_path_factory, labels, target, name):
    folder = tmp_path_factory.mktemp("task")
    column = "text" if target != "text" else "body"
    write(folder, labels=labels, target=target, name=name, input_column=column)
    task = load_task(folder)
    assert list(task.labels) == labels
    assert (task.target, task.name) == (target, name)


@given(st.text(string.printable, max_size=60))
def test_no_text_brings_a_traceback(text):
    with contextlib.suppress(TaskError):
        parse_task(text, folder="/t")


def test_an_embedding_model_and_the_two_of_a_cascade_are_read():
    task = parse(LEAST + "embedding_model: ./minilm\ncascade: [classical, tuned]\n")
    assert (task.embedding_model, task.cascade) == ("./minilm", ("classical", "tuned"))
    task = parse(LEAST + "embedding_model: null\ncascade: null\n")
    assert (task.embedding_model, task.cascade) == (None, None)


@pytest.mark.parametrize("value", ["classical", "[classical]", "[a, b, c]", "[tuned, tuned]", "{a: b}", "[a, '']"])
def test_a_cascade_that_is_no_pair_is_refused_with_its_line(value):
    said = fault(LEAST + f"cascade: {value}\n")
    assert "cascade" in said
    assert ":6" in said
