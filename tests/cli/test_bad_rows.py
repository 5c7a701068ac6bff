"""Conversations with bad rows among them, through every command that reads the data of a task."""

import json

import pytest
from tests.conftest import complaints

TASK = (
    "kind: classification\ninstructions: Name the category.\ninput: '{prompt}'\ntarget: completion\n"
    "labels: [refund, card, parcel]\ndata: {train: chat.jsonl}\nmodel: %s\n"
    "train: {epochs: 1, batch: 16, r: 4}\n"
)


@pytest.fixture
def chat(tmp_path, tiny_model):
    """A task over 90 conversations of two questions each, and two lines that are none."""
    lines = []
    for text, label in complaints(90):
        turns = [("user", "hello"), ("assistant", "How can I help?"), ("user", text), ("assistant", label)]
        lines.append(json.dumps({"messages": [{"role": role, "content": words} for role, words in turns]}))
    lines[7:7] = ["{", '{"messages": [{"role": "judge", "content": "no"}]}']
    folder = tmp_path / "chat"
    folder.mkdir()
    (folder / "chat.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "task.yaml").write_text(TASK % tiny_model, encoding="utf-8")
    return folder


@pytest.mark.parametrize("command", ["audit", "plan", "train", "trial"])
def test_a_bad_row_is_refused_with_its_line_and_nothing_is_written(kasauti, chat, tree, command):
    before = tree(chat)
    ran = kasauti(command, "--task", chat)
    assert ran.code == 2
    assert "chat.jsonl:8: is not valid JSON" in ran.error_line
    assert "--skip-bad" in ran.error_line
    assert tree(chat) == before


def test_an_audit_counts_what_was_left_out_and_says_the_shape(kasauti, chat):
    ran = kasauti("audit", "--task", chat, "--skip-bad", "--json")
    assert ran.code in (0, 1), ran
    document = ran.document
    assert sum(document["data"]["rows"].values()) == 90
    assert document["data"]["shapes"] == {"train": "messages"}
    bad = next(f for f in document["findings"] if f["check"] == "reading" and f["severity"] == "warn")
    assert (bad["count"], bad["rows"]) == (2, [8, 9])
    assert "turn 1 has the unknown role 'judge'" in bad["evidence"][1]
    assert "Read as: train messages." in kasauti("audit", "--task", chat, "--skip-bad").out


def test_the_other_commands_go_on_and_say_so(kasauti, chat):
    for words in (["plan", "--no-timing"], ["train"], ["trial", "--approaches", "majority,classical"]):
        ran = kasauti(*words, "--task", chat, "--skip-bad")
        assert ran.code == 0, ran
        assert "train: 2 bad rows were left out (" in ran.out
        assert "chat.jsonl:8" in ran.out
    ran = kasauti("predict", chat / "chat.jsonl", "--task", chat)
    assert ran.code == 2
    assert "chat.jsonl:8" in ran.error_line
    assert "--skip-bad" in ran.error_line
    out = chat / "out.jsonl"
    ran = kasauti("predict", chat / "chat.jsonl", "--task", chat, "--skip-bad", "-o", out)
    assert ran.code == 0, ran
    assert "2 rows could not be read, and have no answer:" in ran.out
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["row"] for line in lines] == list(range(1, 93))
    bad = [line for line in lines if "error" in line]
    assert [(line["row"], line["answer"], line["accepted"]) for line in bad] == [(8, None, False), (9, None, False)]
    assert "chat.jsonl:8: is not valid JSON" in bad[0]["error"]


def test_a_file_that_is_no_utf8_is_said_where_it_is_used(kasauti, chat):
    rows = "prompt,completion\n" + "".join(f"caf\xe9 {text},{label}\n" for text, label in complaints(60))
    (chat / "rows.csv").write_bytes(rows.encode("cp1252"))
    (chat / "task.yaml").write_text((chat / "task.yaml").read_text().replace("chat.jsonl", "rows.csv"))
    ran = kasauti("plan", "--no-timing", "--task", chat)
    assert ran.code == 0, ran
    assert "read as Windows-1252" in ran.out
