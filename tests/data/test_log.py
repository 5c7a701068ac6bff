"""Versions of the data are kept with their rows, once; two of them differ by what was added, removed and relabelled."""

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.conftest import rows_of, task_of

from kasauti.core.errors import DataError, UsageError
from kasauti.core.files import STATE
from kasauti.core.types import Message
from kasauti.data.log import compare_versions, find_version, history, record_version
from kasauti.data.split import load_split
from kasauti.data.versions import data_version

TASK = task_of("abc", extra="group: who")
ROWS = st.lists(st.tuples(st.sampled_from("xyzw"), st.sampled_from("abc"), st.sampled_from(["", "g"])), max_size=9)


def record(folder, rows, what="audit"):
    examples = rows_of(TASK, rows)
    version = data_version(examples)
    record_version(folder, version, {"train": examples, "test": []}, what)
    return version


@given(ROWS, ROWS)
def test_a_difference_leads_from_one_version_to_the_other(tmp_path_factory, before, after):
    folder = tmp_path_factory.mktemp("log")
    a, b = record(folder, before), record(folder, after)
    found = compare_versions(folder, a, b)
    ids = Counter(row.id for row in rows_of(TASK, before))
    ids -= Counter([row.id for row in found.removed] + [old.id for old, _ in found.relabelled])
    ids += Counter([row.id for row in found.added] + [new.id for _, new in found.relabelled])
    assert ids == Counter(row.id for row in rows_of(TASK, after))
    for old, new in found.relabelled:
        assert (old.fields, old.group) == (new.fields, new.group)
        assert old.answer != new.answer
    keys = [{(tuple(row.fields.items()), row.group) for row in rows} for rows in (found.added, found.removed)]
    assert not keys[0] & keys[1]
    counts = [Counter(label for _, label, _ in rows) for rows in (before, after)]
    assert found.answers == {name: (counts[0][name], counts[1][name]) for name in {*counts[0], *counts[1]}}
    assert (a == b) == (not found.added and not found.removed and not found.relabelled)


def test_conversations_that_share_only_their_last_question_are_two_rows(tmp_path):
    """Another answer to another conversation is no relabelling."""
    (row,) = rows_of(TASK, [("x", "a", "")])
    versions = []
    for answer, before in (("a", "Hello."), ("b", "Goodbye.")):
        turn = Message(role="user", content=before)
        examples = [dataclasses.replace(row, id=f"id of {answer}", answer=answer, history=(turn,))]
        versions.append(data_version(examples))
        record_version(tmp_path, versions[-1], {"train": examples}, "audit")
    found = compare_versions(tmp_path, *versions)
    assert found.relabelled == []
    assert [(row.answer, row.history) for row in found.removed] == [("a", '[["user", "Hello."]]')]
    assert [(row.answer, row.history) for row in found.added] == [("b", '[["user", "Goodbye."]]')]


def test_a_version_is_written_once_and_logged_where_it_changes(tmp_path):
    a = record(tmp_path, [("x", "a", "")])
    (kept,) = (tmp_path / STATE / "data").glob("*.parquet")
    stamp = kept.stat().st_mtime_ns
    assert record(tmp_path, [("x", "a", "")], "train") == a
    b = record(tmp_path, [("x", "b", "")])
    record(tmp_path, [("x", "a", "")], "trial")
    assert kept.stat().st_mtime_ns == stamp
    assert [(entry.version, entry.what) for entry in history(tmp_path)] == [(a, "audit"), (b, "audit"), (a, "trial")]
    assert history(tmp_path)[0].rows == {"train": 1}
    assert find_version(tmp_path, "latest") == a
    assert find_version(tmp_path, "previous") == b
    assert find_version(tmp_path, b[:6].upper()) == b


@pytest.mark.parametrize("name", ["", "zzzz", "abc"])
def test_a_name_that_is_no_version_is_one_line_with_those_there_are(tmp_path, name):
    with pytest.raises(UsageError, match="kasauti audit"):
        find_version(tmp_path, name)
    a = record(tmp_path, [("x", "a", "")])
    with pytest.raises(UsageError, match=a[:12]):
        find_version(tmp_path, name)
    with pytest.raises(UsageError, match="too short"):
        find_version(tmp_path, a[:2])
    with pytest.raises(UsageError, match="one version only"):
        find_version(tmp_path, "previous")


def test_rows_that_are_gone_or_damaged_are_one_line(tmp_path):
    a, b = record(tmp_path, [("x", "a", "")]), record(tmp_path, [("y", "a", "")])
    (tmp_path / STATE / "data" / f"{a}.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(DataError, match="damaged"):
        compare_versions(tmp_path, a, b)
    (tmp_path / STATE / "data" / f"{a}.parquet").unlink()
    with pytest.raises(DataError, match="are not there"):
        compare_versions(tmp_path, a, b)


def test_a_split_is_recorded_only_for_real_work_and_with_the_rows_that_were_taken_out(write, tmp_path):
    write("rows.csv", "text,label\n" + "\n".join(f"text {n} of {n},{'ab'[n % 2]}" for n in range(40)))
    write("test.csv", "text,label\n" + "\n".join(f"text {n} of {n},{'ab'[n % 2]}" for n in range(36, 60)))
    task = task_of(folder=tmp_path, extra="data: {train: rows.csv, test: test.csv}")
    load_split(task)
    assert history(tmp_path) == []
    split, _ = load_split(task, record="train")
    assert len(split.train) + len(split.validation) == 36
    (entry,) = history(tmp_path)
    assert (entry.version, entry.what, entry.rows) == (split.data_version, "train", {"train": 40, "test": 24})
    assert compare_versions(tmp_path, entry.version, entry.version).rows == (64, 64)
