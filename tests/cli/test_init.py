"""`kasauti init`."""

from pathlib import Path

import pytest

from kasauti.core.task import load_task

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
        "model": "kasauti/nano", "test": None,
    }  # fmt: skip
