"""Every format gives the same rows, and a fault is an error with its line."""

import contextlib
import csv
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.errors import DataError
from kasauti.data.read import READERS, read_rows

VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
ROWS = [{"text": 'He said "no",\ntwice', "label": "1.10"}, {"text": "क्या हुआ; भाई|जी", "label": "b"}]


def as_csv(rows, delimiter=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


FORMATS = {
    "a.csv": as_csv(ROWS),
    "semicolon.csv": as_csv(ROWS, ";"),
    "tab.csv": as_csv(ROWS, "\t"),
    "pipe.csv": as_csv(ROWS, "|"),
    "bom.csv": "\ufeff" + as_csv(ROWS),
    "unix.csv": as_csv(ROWS).replace("\r\n", "\n") + "\n\n",
    "a.tsv": as_csv(ROWS, "\t"),
    "a.jsonl": "\n".join(map(json.dumps, ROWS)) + "\n\n",
    "a.ndjson": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "a.json": json.dumps(ROWS, indent=2),
    "lines.json": "\n".join(map(json.dumps, ROWS)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(write, name):
    assert list(read_rows(write(name, FORMATS[name]))) == [(1, ROWS[0]), (2, ROWS[1])]
    packed = write(name + ".gz", gzip.compress(FORMATS[name].encode()))
    assert list(read_rows(packed, ["text", "label"])) == [(1, ROWS[0]), (2, ROWS[1])]


@given(
    rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
)
def test_any_quoted_text_survives_csv(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    path.write_bytes(out.getvalue().encode())
    assert [(row["text"], row["label"]) for _, row in read_rows(path)] == rows


def test_json_values_become_text_as_they_were_written(write):
    path = write("a.jsonl", '{"a": 1.10, "b": 1e3, "c": 007e0, "d": 1}\n'.replace("007e0", "true"))
    assert next(read_rows(path)) == (1, {"a": "1.10", "b": "1e3", "c": "true", "d": "1"})
    path = write("b.jsonl", '{"a": null, "b": [1, {"c": 2.5}], "d": -0}')
    assert next(read_rows(path)) == (1, {"a": None, "b": '[1, {"c": 2.5}]', "d": "0"})


def test_rows_stream(write):
    path = write("a.csv", "text\n" + "x\n" * 5 + "a,b\n")
    rows = read_rows(path)
    assert [next(rows)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(DataError, match=r"a\.csv:7"):
        next(rows)


def test_a_bare_delimiter_in_one_column_of_text_is_told_with_its_line(write):
    with pytest.raises(DataError, match=r":3: the row has 2 values, the header has 1\. Put quotes"):
        list(read_rows(write("a.csv", "text\nfine\nnot, fine\n")))


def test_a_column_without_a_name_is_allowed_once(write):
    assert next(read_rows(write("a.csv", ",text\n0,x\n"))) == (1, {"": "0", "text": "x"})


BROKEN = {
    "ragged": ("a.csv", "t,l\na,b\n\nc\n", r":4: the row has 1 values, the header has 2"),
    "ragged after quoted lines": ("a.csv", 't,l\n"a\n\n",b\nc,d,e\n', r":5: the row has 3 values"),
    "duplicate header": ("a.csv", "t,l, t\na,b,c\n", r":1: two columns are named 't'"),
    "open quote": ("a.csv", 't,l\na,b\n"c,d\ne,f\n', r":3: a quote is opened and never closed"),
    "text after a quote": ("a.csv", 't,l\n"a"b,c\n', r":2: .*expected after"),
    "carriage returns": ("a.csv", "t,l\ra,b\rc,d", r"carriage return.*line ends"),
    "huge field": ("a.csv", "t,l\n" + "x" * (2**24 + 1) + ",b\n", r":2: a value is longer than"),
    "NUL": ("a.csv", b"t,l\na,b\nc\0,d\n", r":3: there is a NUL byte"),
    "half Hindi": ("a.csv", "t,l\nकार्ड,b\nकार्".encode()[:-1], r":3: is not UTF-8 near"),
    "two encodings": ("a.csv", b"t,l\ncaf\xe9,b\ncaf\xe9,d\n\xc3\xa9,d\n", r":4: is UTF-8, and line 2 is not"),
    "no encoding": ("a.csv", b"t,l\ncaf\xe9\x8d,b\n", r":2: byte 0x8d near 'caf.* is no letter"),
    "cut UTF-16": ("a.csv", "t,l\na,b\nc,d".encode("utf-16")[:-1], r":3: is not UTF-16 near"),
    "unmarked UTF-16": ("a.csv", "t,l\na,b\n".encode("utf-16-le"), r":1: there is a NUL byte.*iconv -f UTF-16LE"),
    "empty": ("a.csv", "", r"is empty"),
    "blank": ("a.csv", "\n\n", r"is empty"),
    "header only": ("a.csv", "t,l\n", r"has no rows"),
    "empty gzip": ("a.jsonl.gz", gzip.compress(b""), r"has no rows"),
    "cut gzip": ("a.csv.gz", gzip.compress(b"t,l\n" + bytes(range(97, 120)) * 50)[:-20], r"gzip data is cut off"),
    "no gzip": ("a.csv.gz", "t,l\n", r"is not gzip data"),
    "broken line": ("a.jsonl", '{"t": 1}\n{"t": \n', r":2: is not valid JSON"),
    "not an object": ("a.jsonl", '{"t": 1}\n[1]\n', r":2: a row is a list"),
    "duplicate key": ("a.jsonl", '{"t": 1, "t": 2}\n', r":1: two values are named 't'"),
    "nested": ("a.jsonl", '{"t": ' + "[" * 100_000 + "\n", r":1: "),
    "surrogate": ("a.jsonl", '{"t": "\\ud800"}\n', r":1: a character is broken"),
    "long number": ("a.jsonl", '{"t": ' + "1" * 5000 + "}\n", r":1: "),
    "empty lines": ("a.jsonl", "\n\n", r"has no rows"),
    "empty json": ("a.json", "", r"has no rows"),
    "empty list": ("a.json", "[]", r"has no rows"),
    "a number": ("a.json", "3", r"holds a int, not a list"),
    "two lists": ("a.json", '{"a": [{"t": 1}], "b": [{"t": 1}]}', r"holds two lists of objects, 'a' and 'b'"),
    "no list": ("a.json", '{\n"a": [1],\n"b": {}}', r"holds one object and no list of rows"),
    "turns": ("a.json", '{\n"messages": [{"role": "user"}]}', r"holds one object and no list of rows"),
    "behind": ("a.json", '[{"t": 1}]\n[{"t": 2}]', r":2: .* more behind the end"),
    "cut list": ("a.json", '[{"t": 1},\n', r":2: is cut off: the list is never closed"),
    "cut object": ("a.json", '[{"t": 1},\n{"t": "x', r":2: is not valid JSON: Unterminated string"),
    "bad bytes": ("a.json", '[{"t": "é"},\n{"t": "'.encode() + b'\xff"}]', r":2: is not UTF-8"),
    "no Parquet": ("a.parquet", "PAR1 and no more", r"is no whole Parquet file"),
    "packed Parquet": ("a.parquet.gz", gzip.compress(b"x"), r"a \.parquet file is not gzipped from outside"),
    "item": ("a.json", '[{"t": 1}, 2]', r"item 2: a row is a int"),
    "broken list": ("a.json", '[\n{"t": 1},\n]', r":3: is not valid JSON"),
    "suffix": ("a.xlsx", "x", r"'\.xlsx' is not known\. Use one of \.csv"),
    "no suffix": ("rows", "x", r"no suffix"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line_with_its_place(write, name):
    file, content, says = BROKEN[name]
    with pytest.raises(DataError, match=says) as caught:
        list(read_rows(write(file, content)))
    assert caught.value.exit_code == 2
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.mend


def test_a_missing_file_and_a_folder_are_told(write, tmp_path):
    write("complaints.csv", "t\nx\n")
    with pytest.raises(DataError, match=r"no such file\. Did you mean 'complaints.csv'"):
        list(read_rows(tmp_path / "complaint.csv"))
    (tmp_path / "sub.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        list(read_rows(tmp_path / "sub.csv"))
    with pytest.raises(DataError, match="no such file"):
        list(read_rows(tmp_path / "none" / "a.csv"))


def test_a_missing_column_names_the_nearest_and_the_others(write):
    says = r"no column 'complaint'\. Did you mean 'Complaints'\? Known: 'Complaints', 'c'"
    with pytest.raises(DataError, match=says):
        list(read_rows(write("a.csv", "Complaints,c\nx,y\n"), ["c", "complaint"]))
    with pytest.raises(DataError, match=r"a\.jsonl:3: there is no column 't'"):
        list(read_rows(write("a.jsonl", '{"t": 1}\n\n{"u": 1}\n'), ["t"]))


@given(content=st.binary(max_size=80), suffix=st.sampled_from([*READERS, ".csv.gz", ".json.gz"]))
def test_no_bytes_bring_a_traceback(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("fuzz") / f"a{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        assert list(read_rows(path))
