"""Mending rows that came as conversations: those without earlier turns are mended, the others refused, none is cut."""

import json

import pytest

from kasauti.core.errors import DataError
from kasauti.core.task import parse_task
from kasauti.data.conversation import load_examples
from kasauti.data.fix import fix

TASK = (
    "kind: classification\ninstructions: Sort.\ninput: '{prompt}'\ntarget: completion\n"
    "labels: [a, b]\ndata: {train: %s}\n"
)


def chat(*turns):
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]})


def test_conversations_of_one_question_are_mended(write, tmp_path):
    rows = [chat(("system", "Sort."), ("user", f"words {n} "), ("assistant", "ab"[n % 2])) for n in range(12)]
    write("rows.jsonl", "\n".join([*rows, rows[0], "{"]))
    done = fix(parse_task(TASK % "rows.jsonl, skip_bad: true", folder=tmp_path))
    mended = load_examples(parse_task(TASK % done.files["train"], folder=tmp_path), "train")
    assert [(e.text, e.answer, e.history) for e in mended] == [(f"words {n}", "ab"[n % 2], ()) for n in range(12)]


def test_earlier_turns_are_never_lost(write, tmp_path):
    write("rows.jsonl", chat(("user", "x"), ("assistant", "y"), ("user", "z "), ("assistant", "a")))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: the row has earlier turns"):
        fix(parse_task(TASK % "rows.jsonl", folder=tmp_path))
