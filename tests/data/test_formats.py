"""Dialects and encodings are found out, what is guessed is said, what is left out is counted, and nothing is held."""

import csv
import gzip
import io
import json
import tracemalloc

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kasauti.core.errors import DataError
from kasauti.data.read import ReadLog, read_records, read_rows, source_hash


def texts(path, column="t", log=None):
    return [row[column] for _, row in read_rows(path, log=log)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_marked_encoding_is_read_and_needs_no_remark(write, encoding):
    text = 't,l\r\n"कार्ड\nनहीं",é\r\nx,y\r\n'
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    log = ReadLog()
    for name, data in (
        ("a.csv", mark + text.encode(encoding)),
        ("a.csv.gz", gzip.compress(mark + text.encode(encoding))),
    ):
        rows = list(read_records(write(name, data), log=log))
        assert [(r.row, r.line) for r in rows] == [({"t": "कार्ड\nनहीं", "l": "é"}, 2), ({"t": "x", "l": "y"}, 4)]
    assert not log.said


def test_windows_1252_is_read_and_said(write):
    log = ReadLog()
    path = write("a.csv", "t,l\nplain,a\n“café” – €5,b\n".encode("cp1252"))
    assert texts(path, log=log) == ["plain", "“café” – €5"]
    (finding,) = log.findings("train")
    assert finding.severity == "warn"
    assert "read as Windows-1252; the first such letters are '“café” –' in line 3" in finding.what


def test_one_broken_byte_does_not_turn_hindi_into_windows_1252(write):
    rows = ["t,l", *("कार्ड,a" for _ in range(5))]
    data = "\n".join(rows).encode().replace("क".encode(), b"\xe0\x24\x95", 1)
    log = ReadLog(skip_bad=True)
    assert texts(write("a.csv", data), log=log) == ["कार्ड"] * 4
    assert (log.bad, log.first_bad[0][0], log.said) == (1, 1, {})


def test_a_dialect_with_single_quotes_is_found_and_said(write):
    out = io.StringIO()
    writer = csv.writer(out, quotechar="'", delimiter=";")
    writer.writerows([("t", "l"), ("it's; so\nlong", "a"), ("plain", "b")])
    log = ReadLog()
    assert texts(write("a.csv", out.getvalue()), log=log) == ["it's; so\nlong", "plain"]
    assert "' as the quote" in next(iter(log.said))
    log = ReadLog()
    assert texts(write("b.csv", "t,l\n'tis fine,a\nit's,b\n"), log=log) == ["'tis fine", "it's"]
    assert not log.said


def test_a_quote_that_is_never_closed_costs_its_own_row_only(write):
    log = ReadLog(skip_bad=True)
    rows = list(read_rows(write("a.csv", 't,l\na,1\n"b,2\nc,3\n"d\nd",4\n'), log=log))
    assert [(number, row["t"]) for number, row in rows] == [(1, "a"), (3, "c"), (4, "d\nd")]
    assert [(number, error.where.rpartition(":")[2]) for number, error in log.first_bad] == [(2, "3")]


def test_every_bad_row_is_counted_and_the_first_ones_are_named(write):
    lines = [json.dumps({"t": str(n)}) for n in range(100)]
    lines[10:70] = ["{"] * 60
    log = ReadLog(skip_bad=True)
    rows = list(read_rows(write("a.jsonl", "\n".join(lines)), log=log))
    assert (len(rows), log.bad, rows[10][0]) == (40, 60, 71)
    (finding,) = log.findings("train")
    assert (finding.count, list(finding.rows)) == (60, list(range(11, 31)))
    assert finding.evidence[0].endswith(
        "a.jsonl:11: is not valid JSON: Expecting property name enclosed in double quotes"
    )
    with pytest.raises(DataError, match=r"a\.jsonl:11: .*--skip-bad"):
        list(read_rows(write("a.jsonl", "\n".join(lines))))


def test_a_file_of_bad_rows_alone_is_refused_even_where_they_may_be_left_out(write):
    with pytest.raises(DataError, match=":1: is not valid JSON"):
        list(read_rows(write("a.jsonl", "{\n{\n"), log=ReadLog(skip_bad=True)))
    with pytest.raises(DataError, match=r"no column 'q'\. Known: 't'"):
        list(read_rows(write("a.csv", "t\nx\n"), ["q"], log=ReadLog(skip_bad=True)))


@pytest.mark.parametrize(
    "text",
    [
        '{"version": "1", "meta": {"n": [1]}, "data": [{"t": "a"}, {"t": "b"}], "empty": []}',
        '{\n "data": [\n{"t": "a"},\n{"t": "b"}\n]\n}',
        '[{"t": "a"}, {"t": "b"}]',
        '{"t": "a"}\n{"t": "b"}',
        '{"t": "a", "tags": [{"x": 1}]}\n{"t": "b"}\n',
    ],
)
def test_a_list_a_wrapped_list_and_lines_are_told_apart(write, text):
    log = ReadLog()
    assert texts(write("a.json", text), log=log) == ["a", "b"]
    assert bool(log.said) == ("data" in text)


def test_what_stands_beside_the_rows_is_said(write):
    log = ReadLog()
    texts(write("a.json", '{"data": [{"t": "a"}], "source": "x"}'), log=log)
    assert "the rows are the list 'data'; beside it stand 'source', which are no rows" in next(iter(log.said))


def test_one_row_with_lists_of_turns_is_a_row(write):
    text = '{"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}'
    assert len(list(read_rows(write("a.json", text)))) == 1


def test_values_of_parquet_become_the_text_that_json_has(write, tmp_path):
    table = pa.table({"t": ["a", None], "n": [1, 2], "f": [1.5, None], "b": [True, False], "o": [{"x": [1]}, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    write("a.jsonl", "\n".join(map(json.dumps, table.to_pylist())))
    assert list(read_rows(tmp_path / "a.parquet")) == list(read_rows(tmp_path / "a.jsonl"))


def test_bytes_that_are_no_text_are_a_bad_row(tmp_path):
    pq.write_table(pa.table({"t": [b"fine", b"\xff\xfe", b"too"]}), tmp_path / "a.parquet")
    log = ReadLog(skip_bad=True)
    assert texts(tmp_path / "a.parquet", log=log) == ["fine", "too"]
    assert str(log.first_bad[0][1]).endswith("a.parquet, row 2: a value is bytes that are no text. "
                                             "Store text as text: an image or another file is no input.")  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """A data set with class labels, saved with two splits; its folder."""
    features = datasets.Features({"t": datasets.Value("string"), "l": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"t": ["a", "b", "c"], "l": [1, 0, -1]}, features=features)
    datasets.DatasetDict({"train": rows, "test": rows.select([1, 2])}).save_to_disk(str(tmp_path / "saved"))
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    return tmp_path / "saved"


def test_a_saved_data_set_gives_class_labels_by_name(saved):
    expected = [{"t": "a", "l": "yes"}, {"t": "b", "l": "no"}, {"t": "c", "l": None}]
    assert [row for _, row in read_rows(saved / "train")] == expected
    assert [row for _, row in read_rows(saved.parent / "rows.parquet")] == expected
    assert texts(saved / "test") == ["b", "c"]
    with pytest.raises(DataError, match=r"holds 2 splits\. Name one of them: .*saved/test, .*saved/train"):
        list(read_rows(saved))
    with pytest.raises(DataError, match="is a folder and no saved data set"):
        list(read_rows(saved.parent))


def test_a_damaged_data_set_is_one_line(saved):
    (saved / "train" / "state.json").write_text("{}")
    with pytest.raises(DataError, match="is no whole data set"):
        list(read_rows(saved / "train"))


def test_an_id_that_cannot_be_loaded_is_one_line(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match=r"hf://nobody/nothing:test: cannot be loaded from the Hub: .*Check the id"
    ) as e:
        list(read_rows("hf://nobody/nothing:test"))
    assert "\n" not in str(e.value)
    with pytest.raises(DataError, match="is no id of a data set"):
        list(read_rows("hf:///x"))


def test_an_id_of_local_files_loads_its_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "test.csv").write_text("t\na\nb\n")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert texts("hf://owner/name:test") == ["a", "b"]


def test_a_pattern_reads_its_files_in_order_and_rows_know_their_file(write, tmp_path):
    write("b.csv", "t\nthree\n")
    write("a.csv", "t\none\ntwo\n")
    records = list(read_records(tmp_path / "*.csv"))
    assert [(r.row["t"], r.number, r.file) for r in records] == [
        ("one", 1, str(tmp_path / "a.csv")), ("two", 2, str(tmp_path / "a.csv")), ("three", 1, str(tmp_path / "b.csv")),
    ]  # fmt: skip
    with pytest.raises(DataError, match="no file matches"):
        list(read_rows(tmp_path / "*.tsv"))
    before = source_hash(tmp_path / "*.csv")
    write("c.csv", "t\nfour\n")
    assert source_hash(tmp_path / "*.csv") != before
    assert texts(write("[x].csv", "t\nliteral\n")) == ["literal"]


def _write_many(path, rows):
    values = ({"t": f"{'word ' * 40}{n}", "l": str(n % 7)} for n in range(rows))
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(values)), path, row_group_size=1000)
    elif path.name.endswith("csv"):
        path.write_text("t,l\n" + "".join(f'"{v["t"]}",{v["l"]}\n' for v in values))
    elif path.suffix == ".json":
        path.write_text(json.dumps({"data": list(values)}))  # one line
    else:
        path.write_text("".join(json.dumps(v) + "\n" for v in values))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    path = tmp_path / name
    peaks = []
    for rows in (8000, 32000):
        _write_many(path, rows)
        assert sum(1 for _ in read_rows(path)) == rows  # imports are done
        tracemalloc.start()
        assert sum(1 for _ in read_rows(path)) == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000
    assert peaks[1] < 3_000_000


def test_a_line_without_an_end_is_a_bad_row_and_is_not_held(write, monkeypatch):
    monkeypatch.setattr("kasauti.data.formats.text.LINE_LIMIT", 1000)
    log = ReadLog(skip_bad=True)
    path = write("a.jsonl", '{"t": "a"}\n{"t": "' + "é" * 4000 + '"}\n{"t": "b"}\n')
    assert texts(path, log=log) == ["a", "b"]
    assert "a line is longer than 1,000 bytes" in str(log.first_bad[0][1])
