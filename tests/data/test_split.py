"""Splits are seeded, stratified and free of leaks, whatever the rows."""

import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.conftest import rows_of, task_of

from kasauti.core.errors import DataError
from kasauti.core.task import parse_task
from kasauti.data.conversation import content
from kasauti.data.duplicates import near_duplicates_across, normalise
from kasauti.data.split import load_split, make_split, parts_of

TASK = task_of("abcd", extra="group: who")
TEXTS = st.sampled_from(["x", "X!", "y", "z", *"ghijklmnopqrs"])
GROUPS = st.sampled_from(["", *"12345"])
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from("abc"), GROUPS), min_size=10, max_size=60)


def distinct(count, labels="abcd", start=0):
    """`count` rows of different texts, labels in turn, no group."""
    return [(f"text number {start + n}", labels[n % len(labels)], "") for n in range(count)]


def all_parts(split):
    return [split.train, split.validation_choose, split.validation_calibrate, split.test]


def keys(examples):
    """What must not be in two parts."""
    texts = {("text", normalise(content(e))) for e in examples}
    return texts | {("group", e.group) for e in examples if e.group is not None}


def try_split(train, validation=None, test=None, seed=1):
    try:
        return make_split(TASK, train, validation, test, seed)
    except DataError:
        return None


@given(ROWS, st.integers(0, 5))
def test_duplicates_and_groups_never_straddle_a_split(rows, seed):
    examples = rows_of(TASK, rows)
    made = try_split(examples, seed=seed)
    if made is None:
        return
    parts = all_parts(made[0])
    assert sum(map(len, parts)) == len(examples)
    assert all(parts)
    for number, part in enumerate(parts):
        for other in parts[number + 1 :]:
            assert not keys(part) & keys(other)


@given(ROWS, ROWS, st.lists(st.sampled_from(["x", "q", "new"]), min_size=1, max_size=4))
def test_rows_of_a_later_part_are_taken_out_of_the_earlier_ones(train, validation, test):
    train, validation = rows_of(TASK, train), rows_of(TASK, validation)
    held = rows_of(TASK, [(text, "a", "9") for text in test])
    made = try_split(train, validation, held)
    if made is None:
        return
    split, findings = made
    assert list(split.test) == held
    assert not keys(split.test) & keys((*split.train, *split.validation))
    assert not keys(split.validation) & keys(split.train)
    gone = len(train) + len(validation) - len(split.train) - len(split.validation)
    assert sum(finding.count for finding in findings if finding.check == "split") == gone


def test_what_was_taken_out_is_told_with_its_counts():
    train = rows_of(TASK, [*distinct(30), ("same", "a", ""), ("Same!", "a", ""), ("x", "a", "me"), ("new", "a", "")])
    test = rows_of(TASK, [("same ", "a", ""), ("SAME", "b", ""), ("other", "b", "me")])
    split, (finding, straddling) = make_split(TASK, train, None, test, 1)
    assert finding.count == 3
    assert finding.rows == [31, 32, 33]
    assert finding.evidence == ["test: 1 rows repeat train exactly, 2 after normalisation; 1 share a group with it"]
    assert len(split.train) + len(split.validation) == 31
    assert (straddling.check, straddling.count, straddling.where) == ("groups", 2, "train and test")
    assert straddling.evidence == ["me: train, test"]


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, draw):
    examples = rows_of(TASK, rows)
    shuffled = list(examples)
    draw.shuffle(shuffled)
    one, other = try_split(examples), try_split(shuffled)
    assert (one is None) == (other is None)
    if one and other:
        assert one[0].fingerprint == other[0].fingerprint
        assert one[0].test_sha256 == other[0].test_sha256


def test_seeds_give_different_splits_of_the_same_data():
    examples = rows_of(TASK, distinct(100))
    one, same, other = (make_split(TASK, examples, None, None, seed)[0] for seed in (1, 1, 2))
    assert one == same
    assert one.data_version == other.data_version
    assert one.fingerprint != other.fingerprint
    assert one.test_sha256 != other.test_sha256
    changed = make_split(TASK, examples[:-1], None, None, 1)[0]
    assert changed.data_version != one.data_version


PRINT = """
import sys
sys.path.insert(0, ".")
from tests.data.test_split import TASK, distinct, rows_of
from kasauti.data.split import make_split
print(make_split(TASK, rows_of(TASK, distinct(60)), None, None, 3)[0].fingerprint)
"""


def test_the_hash_seed_of_the_process_does_not_matter():
    import os

    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    prints = {
        subprocess.run(
            [sys.executable, "-c", PRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


def test_shares_and_labels_come_out_even():
    examples = rows_of(TASK, distinct(1000, "aaaaaabbcd"))
    split, findings = make_split(TASK, examples, None, None, 7)
    assert findings == []
    assert [len(part) for part in all_parts(split)] == [720, 40, 40, 200]
    assert Counter(e.answer for e in split.test) == {"a": 120, "b": 40, "c": 20, "d": 20}
    for half in (split.validation_choose, split.validation_calibrate):
        assert Counter(e.answer for e in half) == {"a": 24, "b": 8, "c": 4, "d": 4}


def test_given_files_stay_as_they_are():
    train, validation, test = (rows_of(TASK, distinct(n, start=s)) for n, s in ((40, 0), (21, 100), (30, 200)))
    split, _ = make_split(TASK, train, validation, test, 1)
    assert list(split.train) == train
    assert list(split.test) == test
    assert sorted(e.row for e in split.validation) == list(range(1, 22))
    assert abs(len(split.validation_choose) - len(split.validation_calibrate)) == 1


@pytest.mark.parametrize("count", [10, 11, 13, 17, 30])
def test_every_part_has_rows_and_train_every_label_where_there_are_few(count):
    examples = rows_of(TASK, distinct(count))
    for seed in range(20):
        split, _ = make_split(TASK, examples, None, None, seed)
        assert all(all_parts(split))
        assert {e.answer for e in split.train} == set("abcd")


def test_a_rare_label_stays_in_train():
    examples = rows_of(TASK, [*distinct(200, "ab"), ("rare", "c", "")])
    split, _ = make_split(TASK, examples, None, None, 1)
    assert "c" in {e.answer for e in split.train}


def test_clusters_that_are_handed_in_stay_whole():
    examples = rows_of(TASK, distinct(80))
    clusters = [[e.id for e in examples[n : n + 4]] for n in range(0, 80, 4)]
    split, _ = make_split(TASK, examples, None, None, 1, clusters=clusters)
    for part in all_parts(split):
        assert all(count == 4 for count in Counter((e.row - 1) // 4 for e in part).values())


def test_other_kinds_need_no_labels():
    task = parse_task("kind: generation\ninput: '{text}'\ntarget: label\ndata: {train: r.csv}", folder="/t")
    split, _ = make_split(task, rows_of(task, [(f"t {n}", "same") for n in range(50)]), None, None, 1)
    assert [len(part) for part in all_parts(split)] == [36, 2, 2, 10]


@pytest.mark.parametrize(
    ("train", "validation", "test", "says"),
    [
        (distinct(2), [], [], "2 usable rows, at least 10"),
        (distinct(20, "a"), [], [], "every row has the label 'a'"),
        ([("", "a", "")] * 20, [], [], "0 usable rows"),
        ([(f"t{n}", "ab"[n % 2], "one") for n in range(20)], [], [], "same 'who' stay together"),
        (distinct(12), [], distinct(8), "after rows that also stand .* 4 usable rows"),
        (distinct(20), distinct(1, start=50), [], "two halves"),
    ],
)
def test_too_little_data_is_one_line(train, validation, test, says):
    with pytest.raises(DataError, match=says) as caught:
        make_split(TASK, rows_of(TASK, train), rows_of(TASK, validation), rows_of(TASK, test), 1)
    assert caught.value.exit_code == 2


def test_a_task_is_loaded_and_split_with_near_duplicates_together(write, tmp_path):
    draw = random.Random(0)
    words = [f"w{n}" for n in range(300)]
    texts = [draw.sample(words, 10) for _ in range(60)]
    lines = [f"{' '.join(text[: 10 - cut])},{'ab'[n % 2]}" for n, text in enumerate(texts) for cut in (0, 1)]
    write("rows.csv", "text,label\n" + "\n".join(lines))
    split, findings = load_split(task_of("ab", folder=tmp_path))
    assert findings == []
    assert sum(map(len, all_parts(split))) == 120
    train = [content(e) for e in split.train]
    for name, part in parts_of(split).items():
        if name != "train":
            assert near_duplicates_across([content(e) for e in part], train, 0.8) == []
    with pytest.raises(DataError, match="no row has the label 'c'"):
        load_split(task_of("abc", folder=tmp_path))
    assert load_split(task_of("abc", folder=tmp_path), strict=False)[0] == split


def test_banking77_loses_the_rows_that_its_test_repeats(banking):
    task, train, test = banking
    split, (finding,) = make_split(task, train, None, test, 42)
    assert "test: 6 rows repeat train exactly, 11 after normalisation" in finding.evidence
    assert len(split.test) == 3080
    assert len(split.train) + len(split.validation) == len(train) - finding.count
    assert {e.answer for e in split.train} == set(task.labels)
