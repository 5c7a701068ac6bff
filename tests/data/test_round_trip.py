"""The same conversations, written in every format and every shape, are the same examples."""

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kasauti.core.task import parse_task
from kasauti.data.conversation import load_examples, messages

TASK = "kind: generation\ninstructions: Answer.\ninput: '{prompt}'\ntarget: completion\ndata: {train: '%s'}\n"

TEXT = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30),
    st.sampled_from(['क्या "हुआ",\nभाई; जी|', "'tis\ttrue", '[{"role": "user"}]x', "line\r\nline", "'a','b'", "काट़ी 😀"]),
).filter(str.strip)
SYSTEM = st.one_of(st.just(""), TEXT)
CONVERSATIONS = st.lists(
    st.tuples(SYSTEM, st.lists(st.tuples(TEXT, TEXT), max_size=2), TEXT, TEXT), min_size=1, max_size=4
)
"""Per row: a system turn or none, earlier pairs of turns, what is asked, what is answered."""


def as_messages(row, user="user", assistant="assistant", system="system", role="role", content="content"):
    told, earlier, asked, answered = row
    turns = [(system, told)] if told else []
    for pair in [*earlier, (asked, answered)]:
        turns += zip((user, assistant), pair, strict=True)
    return [{role: name, content: text} for name, text in turns]


SHAPED = {
    "messages": lambda row: {"messages": as_messages(row)},
    "sharegpt": lambda row: {"conversations": as_messages(row, "human", "gpt", "system", "from", "value")},
    "prompt_completion": lambda row: {"prompt": as_messages(row)[:-1], "completion": as_messages(row)[-1:]},
    "prompt_text": lambda row: {"system": row[0], "prompt": row[2], "completion": row[3]},
    "alpaca": lambda row: {"system": row[0], "instruction": row[2], "input": "", "output": row[3],
                           "history": [list(pair) for pair in row[1]]},
}  # fmt: skip


def _delimited(rows, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in row.values()])
    return out.getvalue().encode()


def _json_lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def _parquet(rows):
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


WRITTEN = {
    "a.csv": lambda rows: _delimited(rows, ","),
    "semicolon.csv": lambda rows: _delimited(rows, ";"),
    "utf16.csv": lambda rows: _delimited(rows, ",").decode().encode("utf-16"),
    "mark.csv": lambda rows: b"\xef\xbb\xbf" + _delimited(rows, ","),
    "a.tsv": lambda rows: _delimited(rows, "\t"),
    "a.jsonl": _json_lines,
    "a.ndjson": lambda rows: "\n\n".join(map(json.dumps, rows)).encode("utf-16-le").join([b"\xff\xfe", b""]),
    "lines.json": _json_lines,
    "list.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "wrapped.json": lambda rows: json.dumps({"version": [1], "data": rows}, ensure_ascii=False).encode(),
    "packed.csv.gz": lambda rows: gzip.compress(_delimited(rows, ",")),
    "packed.json.gz": lambda rows: gzip.compress(json.dumps(rows).encode()),
    "a.parquet": _parquet,
}


def _loaded(folder, source):
    return load_examples(parse_task(TASK % source, folder=folder), "train")


def _normal(folder, examples):
    task = parse_task(TASK % "x.csv", folder=folder)
    return [(e.id, e.row, messages(task, e)) for e in examples]


@settings(max_examples=12, phases=[Phase.explicit, Phase.generate])  # a failing example is small as it is
@given(rows=CONVERSATIONS)
def test_every_format_and_shape_gives_the_same_examples(rows):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {}
        for shape, shaped in SHAPED.items():
            given_rows = [(r[0], [], *r[2:]) for r in rows] if shape == "prompt_text" else rows
            for file, written in WRITTEN.items():
                path = folder / f"{shape}-{file}"
                path.write_bytes(written([shaped(row) for row in given_rows]))
                made[shape, file] = _normal(folder, _loaded(folder, path.name))
        flat = made.pop(("prompt_text", "a.csv"))
        expected = made[("messages", "a.jsonl")]
        assert len(expected) == len(rows)
        for (shape, file), examples in made.items():
            assert examples == (flat if shape == "prompt_text" else expected), (shape, file)
        told, earlier, asked, answered = rows[0]
        turns = [(m.role, m.content) for m in expected[0][2]]
        middle = [turn for pair in earlier for turn in zip(("user", "assistant"), pair, strict=True)]
        system = told if told.strip() != "Answer." and told else "Answer."
        assert turns == [("system", system), *middle, ("user", asked), ("assistant", answered)]


@pytest.mark.parametrize("shape", SHAPED)
def test_a_saved_data_set_gives_the_same_examples(tmp_path, shape):
    rows = [("Be kind.", [("one", "two")], "क्या हुआ?", 'He said "no"'), ("", [("a", "b")], "x\ny", "z")]
    rows = [(r[0], [], *r[2:]) for r in rows] if shape == "prompt_text" else rows
    shaped = [SHAPED[shape](row) for row in rows]
    datasets.Dataset.from_list(shaped).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "a.jsonl").write_bytes(_json_lines(shaped))
    saved, lines = (_normal(tmp_path, _loaded(tmp_path, name)) for name in ("saved", "a.jsonl"))
    assert saved == lines
    assert len(lines) == 2
