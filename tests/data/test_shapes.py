"""Shapes are recognised and made one; a turn is an error or is kept, and never dropped."""

import json

import pytest
from tests.data.conftest import task_of

from kasauti.core import task as task_file
from kasauti.core.errors import DataError, TaskError
from kasauti.core.task import parse_task
from kasauti.data.conversation import content, load_examples, messages, read_inputs, shapes_of
from kasauti.data.read import ReadLog
from kasauti.data.shapes import SHAPES, recognise
from kasauti.data.split import load_split

TASK = "kind: generation\ninstructions: Be brief.\ninput: '{prompt}'\ntarget: completion\ndata: {train: rows.jsonl%s}\n"


def say(*turns, role="role", text="content"):
    return [{role: name, text: words} for name, words in turns]


def chat_task(folder, more="", text=TASK):
    return parse_task(text % more, folder=folder)


@pytest.fixture
def load(write, tmp_path):
    """`load({…}, {…})`: the examples of these rows."""

    def do(*rows, more="", log=None, strict=True):
        write("rows.jsonl", "\n".join(map(json.dumps, rows)))
        return load_examples(chat_task(tmp_path, more), "train", log=log, strict=strict)

    return do


def roles(task, example):
    return [(m.role, m.content) for m in messages(task, example)]


def test_the_task_file_knows_every_shape(tmp_path):
    assert set(SHAPES) == set(task_file.SHAPES)
    with pytest.raises(TaskError, match="Did you mean 'sharegpt'"):
        chat_task(tmp_path, ", shape: shargpt")
    with pytest.raises(TaskError, match=r"`data\.skip_bad` is 'maybe'\. Write true or false"):
        chat_task(tmp_path, ", skip_bad: maybe")


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        ({"messages": say(("user", "a"))}, "messages"),
        ({"conversations": say(("user", "a"))}, "messages"),
        ({"conversations": say(("human", "a"), role="from", text="value")}, "sharegpt"),
        ({"messages": "[call me]", "text": "x"}, "plain"),
        ({"messages": "3", "prompt": "x", "completion": "y"}, "prompt_completion"),
        ({"prompt": say(("user", "a")), "completion": say(("assistant", "a"))}, "prompt_completion"),
        ({"instruction": "a", "output": "b"}, "alpaca"),
        ({"text": "a", "label": "b"}, "plain"),
    ],
)
def test_a_shape_is_recognised(row, shape):
    text = {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
    assert recognise([text]) == shape
    assert recognise([text], list(text)) == (shape if shape == "prompt_completion" else "plain")


def test_earlier_turns_and_a_system_turn_of_the_row_are_kept(load, tmp_path):
    turns = say(("system", "Be kind."), ("human", "one"), ("gpt", "two"), ("user", "three"), ("bot", "four"))
    first, other, plain = load(
        {"messages": turns, "id": 7},
        {"messages": turns[1:]},
        {"messages": [*say(("system", " Be brief. ")), *turns[3:]]},
    )
    task = chat_task(tmp_path)
    earlier = [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")]
    assert roles(task, first) == [("system", "Be kind."), *earlier]
    assert roles(task, other) == [("system", "Be brief."), *earlier]
    assert roles(task, plain) == [("system", "Be brief."), ("user", "three"), ("assistant", "four")]
    assert plain.history == ()
    assert content(first) == "Be kind.\none\ntwo\nthree"
    assert len({first.id, other.id, plain.id}) == 3


def test_prompt_and_completion_as_text_are_plain_columns_with_the_same_id(load, write, tmp_path):
    (flat,) = load({"prompt": "a", "completion": "b"})
    (told,) = load({"messages": say(("user", "a"), ("assistant", "b"))})
    write("rows.csv", "prompt,completion\na,b\n")
    task = parse_task(TASK.replace("rows.jsonl%s", "rows.csv, shape: plain"), folder=tmp_path)
    (plain,) = load_examples(task, "train")
    assert flat.id == told.id == plain.id


def test_alpacas_instruction_is_the_users_or_the_systems_and_never_lost(load, write, tmp_path):
    rows = [
        {"instruction": "Sort.", "input": "x", "output": "y"},
        {"instruction": "Count.", "input": "", "output": "y"},
    ]
    first, second = load(*rows)
    assert (first.text, second.text) == ("Sort.\n\nx", "Count.")
    task = chat_task(tmp_path, text=TASK.replace("{prompt}", "{input}").replace("Be brief.", "Sort."))
    first, second = load_examples(task, "train")
    assert roles(task, first) == [("system", "Sort."), ("user", "x"), ("assistant", "y")]
    assert roles(task, second)[0] == ("system", "Count.")
    (talk,) = load({"instruction": "c", "output": "d", "history": [["a", "b"]], "system": "S"})
    assert roles(chat_task(tmp_path), talk) == [
        ("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"),
    ]  # fmt: skip


def test_a_shape_can_be_forced(load, tmp_path):
    row = {"instruction": "a", "output": "b", "prompt": "c", "completion": "d"}
    assert load(row)[0].text == "c"
    assert load(row, more=", shape: alpaca")[0].text == "a"
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the row has no conversation"):
        load(row, more=", shape: messages")


FAULTY = {
    "an unknown role": (say(("user", "a"), ("narrator", "b")), "turn 2 has the unknown role 'narrator'"),
    "a tool's turn": (say(("user", "a"), ("tool", "b"), ("assistant", "c")), "turn 2 has the unknown role 'tool'"),
    "no content": ([{"role": "user", "content": "a"}, {"role": "assistant"}], "content of turn 2 is null"),
    "an image": ([{"role": "user", "content": [{"type": "image"}]}], "content of turn 1 is list, not text"),
    "a system turn behind": (say(("user", "a"), ("system", "b"), ("user", "a")), "a system turn stands behind"),
    "two answers": (say(("user", "a"), ("assistant", "b"), ("assistant", "c")), "a assistant turn stands before"),
    "no question": (say(("assistant", "b")), "nothing stands before the answer"),
    "system alone": (say(("system", "b")), "a system turn stands before the end"),
    "no answer": (say(("user", "a")), "the answer (column 'completion') is empty"),
    "no role": ([{"role": "user", "content": "a"}, {"content": "b"}], "turn 2 has no 'role'"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_conversation_at_fault_is_refused_with_its_line_or_counted(load, name):
    turns, says = FAULTY[name]
    good = {"messages": say(("user", "a"), ("assistant", "b"))}
    with pytest.raises(DataError) as caught:
        load(good, {"messages": turns})
    assert says in caught.value.what
    assert "rows.jsonl:2" in caught.value.where
    log = ReadLog(skip_bad=True)
    assert len(load(good, {"messages": turns}, good, log=log)) == 2
    assert (log.bad, log.first_bad[0][0]) == (1, 2)


def test_text_parts_are_joined(load):
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    (row,) = load({"messages": [{"role": "user", "content": parts}, *say(("assistant", "c"))]})
    assert row.text == "ab"


def test_rows_of_another_shape_are_bad_rows_and_not_dropped(load):
    chat, plain = {"messages": say(("user", "a"), ("assistant", "b"))}, {"text": "a", "label": "b"}
    log = ReadLog(skip_bad=True)
    assert len(load(chat, chat, plain, log=log)) == 2
    assert log.bad == 1
    with pytest.raises(DataError, match=r"rows\.jsonl:3: the row has no conversation"):
        load(chat, chat, plain)


def test_a_conversation_to_be_answered_ends_with_the_user(write, tmp_path):
    path = write("new.jsonl", json.dumps({"messages": say(("user", "a"), ("assistant", "b"), ("user", "c"))}))
    (row,) = read_inputs(chat_task(tmp_path), path)
    assert (row.text, row.answer, [m.content for m in row.history]) == ("c", None, ["a", "b"])
    (row,) = read_inputs(chat_task(tmp_path), write("new.csv", "prompt\nc\n"))
    assert row.text == "c"


def test_a_split_says_its_shape_and_counts_what_was_left_out(write, tmp_path):
    rows = [json.dumps({"messages": say(("user", f"words {n} of mine {n * 7}"), ("assistant", "ab"[n % 2]))})
            for n in range(40)]  # fmt: skip
    write("rows.jsonl", "\n".join([*rows[:5], "{", *rows[5:], '{"messages": []}']))
    text = "kind: classification\ninput: '{prompt}'\ntarget: completion\nlabels: [a, b]\ndata: {train: rows.jsonl%s}\n"
    task = chat_task(tmp_path, ", skip_bad: true", text)
    split, findings = load_split(task)
    assert len(split.train) + len(split.validation) + len(split.test) == 40
    shape, bad = (f for f in findings if f.check == "reading")
    assert (shape.severity, bad.severity) == ("note", "warn")
    assert "read as messages" in shape.what
    assert (bad.count, list(bad.rows)) == (2, [6, 42])
    assert shapes_of(task) == {"train": "messages"}
    with pytest.raises(DataError, match=r"rows\.jsonl:6"):
        load_split(chat_task(tmp_path, "", text))


def test_a_label_that_is_not_listed_is_a_bad_row_only_where_rows_are_checked(write, tmp_path):
    write("rows.csv", "text,label\nx,a\ny,c\nz,b\n")
    task = task_of(folder=tmp_path, extra="data: {train: rows.csv, skip_bad: true}")
    log = ReadLog(skip_bad=True)
    assert [e.answer for e in load_examples(task, "train", log=log)] == ["a", "b"]
    assert log.first_bad[0][1].where == "rows.csv:3, row 2"
    assert [e.answer for e in load_examples(task, "train", strict=False)] == ["a", "c", "b"]
