"""`kasauti init`."""

import json
from pathlib import Path

import datasets
import pytest

from kasauti.core.task import load_task
from kasauti.core.types import Message
from kasauti.data.conversation import load_examples, messages

ROWS = "text,label\n" + "".join(f"words {n} here,{'ab'[n % 2]}\n" for n in range(20))


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.csv").write_text(ROWS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(kasauti, *words):
    return kasauti("init", *words, "--data", "data/rows.csv", "--input", "text", "--target", "label")


def test_a_task_is_written_that_reads_back(kasauti, here):
    ran = init(kasauti, "new", "--test", "data/rows.csv")
    assert ran.code == 0
    assert "kasauti audit --task new" in ran.out
    task = load_task("new")
    assert (task.name, list(task.labels), task.columns, task.target) == ("new", ["a", "b"], ("text",), "label")
    assert (task.data.train, task.data.test, task.model) == ("../data/rows.csv", "../data/rows.csv", "kasauti/nano")


def test_without_a_folder_the_task_is_made_where_the_command_stands(kasauti, here):
    assert init(kasauti).code == 0
    assert load_task(".").data.train == "data/rows.csv"
    assert init(kasauti, "--task", "other").code == 0
    assert Path("other/task.yaml").exists()


def test_a_task_that_is_there_is_never_overwritten(kasauti, here):
    init(kasauti, "new")
    before = Path("new/task.yaml").read_text()
    ran = init(kasauti, "new", "--kind", "generation")
    assert ran.code == 2
    assert "there is a task already" in ran.error_line
    assert Path("new/task.yaml").read_text() == before


def test_a_model_folder_is_kept_relative_to_the_task(kasauti, here, tiny_model):
    Path("models").mkdir()
    Path("models/tiny").symlink_to(tiny_model)
    assert init(kasauti, "deep/new", "--model", "models/tiny").code == 0
    task = load_task("deep/new")
    assert (Path(task.folder) / task.model).resolve() == tiny_model.resolve()
    assert init(kasauti, "absolute", "--model", str(tiny_model)).code == 0
    assert load_task("absolute").model == str(tiny_model)


def test_a_template_is_a_known_name_or_a_file(kasauti, here):
    assert init(kasauti, "named", "--chat-template", "chatml").code == 0
    assert load_task("named").chat_template == "chatml"
    Path("mine.jinja").write_text("{{ messages }}")
    assert init(kasauti, "own", "--chat-template", "mine.jinja").code == 0
    assert load_task("own").chat_template == "../mine.jinja"


def test_other_kinds_need_no_labels(kasauti, here):
    ran = init(kasauti, "free", "--kind", "generation", "--json")
    assert ran.document["labels"] == []
    assert load_task("free").labels == {}


def test_the_document_says_what_was_made(kasauti, here):
    document = init(kasauti, "new", "--json").document
    assert document == {
        "task": str(here / "new" / "task.yaml"), "kind": "classification", "labels": ["a", "b"],
        "model": "kasauti/nano", "test": None, "shape": "plain", "input": "text", "target": "label",
        "rows": 20, "bad_rows": 0, "reading": [],
    }  # fmt: skip


def turns(*pairs, role="role", content="content"):
    return [{role: name, content: text} for name, text in pairs]


SYSTEM = "Name the category.\nOne word:  no more."
SHAPED = {
    "messages": lambda text, label: {
        "messages": turns(("system", SYSTEM), ("user", text), ("assistant", label))
    },
    "sharegpt": lambda text, label: {
        "conversations": turns(("system", SYSTEM), ("human", text), ("gpt", label), role="from", content="value")
    },
    "prompt_completion": lambda text, label: {
        "prompt": turns(("system", SYSTEM), ("user", text)), "completion": turns(("assistant", label))
    },
    "alpaca": lambda text, label: {"instruction": SYSTEM, "input": text, "output": label},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPED)
def test_a_shape_is_recognised_said_and_makes_a_task_that_loads(kasauti, here, shape):
    rows = [SHAPED[shape](f"words {n} here", "ab"[n % 2]) for n in range(20)]
    Path("data/shaped.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    ran = kasauti("init", "new", "--data", "data/shaped.jsonl")
    assert ran.code == 0, ran.err
    assert f"Read as {shape}" in ran.out
    task = load_task("new")
    assert (task.instructions, list(task.labels)) == (SYSTEM, ["a", "b"])
    first = load_examples(task, "train")[0]
    assert messages(task, first) == (
        Message(role="system", content=SYSTEM),
        Message(role="user", content="words 0 here"),
        Message(role="assistant", content="a"),
    )
    assert first.history == ()
    document = kasauti("init", "forced", "--data", "data/shaped.jsonl", "--shape", shape, "--json").document
    assert document["shape"] == shape
    assert load_task("forced").data.shape == shape


def test_rows_with_system_turns_of_their_own_keep_them(kasauti, here):
    rows = [{"messages": turns(("system", f"You are {n}."), ("user", "hi"), ("assistant", "ab"[n % 2]))}
            for n in range(20)]  # fmt: skip
    Path("data/shaped.json").write_text(json.dumps({"version": 1, "data": rows}), encoding="utf-8")
    assert kasauti("init", "new", "--data", "data/shaped.json").code == 0
    task = load_task("new")
    assert task.instructions == ""
    assert [messages(task, e)[0].content for e in load_examples(task, "train")[:2]] == ["You are 0.", "You are 1."]


def test_plain_columns_have_to_be_named(kasauti, here):
    ran = kasauti("init", "new", "--data", "data/rows.csv", "--input", "text")
    assert ran.code == 2
    assert ran.error_line.endswith("Give --target. Known: 'text', 'label'.")


def test_bad_rows_are_left_out_only_where_that_is_asked_for(kasauti, here):
    with Path("data/rows.csv").open("a", encoding="utf-8") as file:
        file.write("one,two,three\nlast,a\n")
    ran = init(kasauti, "new")
    assert ran.code == 2
    assert "rows.csv:22: the row has 3 values" in ran.error_line
    assert "--skip-bad" in ran.error_line
    ran = init(kasauti, "new", "--skip-bad")
    assert ran.code == 0
    assert "1 bad rows were left out (data/rows.csv:22)" in ran.out
    task = load_task("new")
    assert task.data.skip_bad
    assert [e.row for e in load_examples(task, "train")][-2:] == [20, 22]


def test_several_files_and_a_saved_data_set_make_a_task(kasauti, here):
    Path("data/more.csv").write_text(ROWS, encoding="utf-8")
    assert kasauti("init", "many", "--data", "data/*.csv", "--input", "text", "--target", "label").code == 0
    rows = load_examples(load_task("many"), "train")
    assert [(e.source, e.row) for e in rows][19:21] == [("../data/more.csv", 20), ("../data/rows.csv", 1)]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["x", "y"])})
    saved = datasets.Dataset.from_dict({"text": ["a", "b"] * 10, "label": [0, 1] * 10}, features=features)
    saved.save_to_disk("data/saved")
    assert kasauti("init", "saved", "--data", "data/saved", "--input", "text", "--target", "label").code == 0
    assert list(load_task("saved").labels) == ["x", "y"]
