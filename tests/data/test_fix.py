"""Mending changes only what is certain, tells every change, keeps the user's files, and finds nothing left to do."""

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.conftest import rows_of, task_of

from kasauti.core.task import parse_task
from kasauti.data.checks.labels import near_miss, slips
from kasauti.data.checks.leakage import leaked_rows
from kasauti.data.checks.personal import personal_spans
from kasauti.data.fix import CHANGES, fix, masked, mend
from kasauti.data.read import read_rows

LABELS = ["refund_delayed", "refund_failed", "card", "other"]
TASK = task_of(LABELS)
GROUPED = task_of(LABELS, extra="group: who")


def numbered(*rows, columns=("text", "label", "who")):
    return [(n, dict(zip(columns, row, strict=False))) for n, row in enumerate(rows, start=1)]


def told(changes):
    return [(one.part, one.row, one.what, one.after) for one in changes]


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Refund Delayed", "refund_delayed"),
        ("refund-delayed ", "refund_delayed"),
        ("refund_dleayed", "refund_delayed"),
        ("crad", "card"),
        ("cart", "card"),
        ("refund", None),
        ("cat", None),
        ("unknown", None),
        ("__", None),
    ],
)
def test_a_label_is_mended_only_where_one_alone_can_be_meant(answer, label):
    assert near_miss(answer, LABELS) == label


def test_labels_that_differ_in_capitals_only_are_not_guessed_at():
    assert near_miss("CARD", ["card", "Card"]) is None
    assert near_miss("carx", ["card", "cart"]) is None


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_slips_are_a_distance(a, b):
    assert slips(a, b, 12) == slips(b, a, 12)
    assert (slips(a, b, 12) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= slips(a, b, 12) <= max(len(a), len(b))
    assert slips(a, b, 1) == min(slips(a, b, 12), 2)


def test_each_kind_of_fault_is_mended_and_told():
    train = numbered((" my card ", "card"), ("my card", "Card "), ("late", "refund delayed"), ("fine", "other"))
    test = numbered(("MY CARD!", "card"), ("fine", "other"), ("new", "crad"), ("odd", "something else"))
    parts, changes = mend(TASK, {"train": train, "test": test})
    assert told(changes) == [
        ("train", 1, "whitespace", "my card"),
        ("train", 2, "whitespace", "Card"),
        ("train", 2, "label", "card"),
        ("train", 2, "duplicate", "taken out: row 1 is the same"),
        ("train", 3, "label", "refund_delayed"),
        ("test", 1, "leaked", "to train"),
        ("test", 2, "leaked", "taken out: train has the text"),
        ("test", 3, "label", "card"),
    ]
    assert [row["text"] for _, row in parts["train"]] == ["my card", "late", "fine", "MY CARD!"]
    assert [(row["text"], row["label"]) for _, row in parts["test"]] == [("new", "card"), ("odd", "something else")]


def test_a_leaked_row_with_another_answer_is_moved_so_that_the_conflict_can_be_seen():
    parts, _ = mend(TASK, {"train": numbered(("x y", "card")), "test": numbered(("X Y", "other"), ("z", "card"))})
    assert [row["label"] for _, row in parts["train"]] == ["card", "other"]


def test_a_leaked_row_whose_group_stays_behind_is_taken_out_and_not_moved():
    test = numbered(("X Y", "other", "ann"), ("z", "card", "ann"))
    parts, changes = mend(GROUPED, {"train": numbered(("x y", "card", "bob")), "test": test})
    assert len(parts["train"]) == 1
    assert [row["text"] for _, row in parts["test"]] == ["z"]
    assert told(changes) == [("test", 1, "leaked", "taken out: train has the text")]


def test_a_test_file_of_nothing_but_leaked_rows_is_not_emptied():
    parts, changes = mend(TASK, {"train": numbered(("x", "card")), "test": numbered(("X", "card"))})
    assert changes == []
    assert len(parts["test"]) == 1


def test_masking_hides_personal_data_in_every_column_and_in_the_list_of_changes():
    rows = numbered(
        (" mail a@b.com ", "card", "9876543210", "call 9876543211"),
        ("x", "card", "9876543212", ""),
        ("y", "other", "shop", ""),
        columns=("text", "label", "who", "note"),
    )
    parts, changes = mend(GROUPED, {"train": rows}, mask=True)
    assert [list(row.values()) for _, row in parts["train"]] == [
        ["mail <e-mail>", "card", "group 1", "call <phone number>"],
        ["x", "card", "group 2", ""],
        ["y", "other", "shop", ""],
    ]
    assert not any(personal_spans(f"{one.before} {one.after}") for one in changes)
    assert mend(GROUPED, {"train": rows})[0]["train"][0][1]["note"] == "call 9876543211"


def test_answers_that_may_be_code_keep_their_space():
    task = parse_task("kind: generation\ninput: '{text}'\ntarget: label\ndata: {train: r.csv}", folder="/t")
    parts, _ = mend(task, {"train": numbered((" a ", "    return 1\n"))})
    assert parts["train"][0][1] == {"text": "a", "label": "    return 1\n"}


SIGNS = st.text(st.sampled_from('ab X!,;|\t"\r\n\u00a0ä9 @.'), max_size=8)
PERSONAL = st.sampled_from(["a@b.com", "9876543210@ybl", "x 9876543210", "4111 1111 1111 1111"])
ROWS = st.lists(
    st.tuples(SIGNS | PERSONAL, st.sampled_from([*LABELS, "Card", "refund delayed", "none", ""]), SIGNS | PERSONAL),
    min_size=1,
    max_size=12,
)


@given(ROWS, ROWS, ROWS, st.booleans())
def test_mending_what_is_mended_changes_nothing(train, validation, test, mask):
    given = {"train": numbered(*train), "validation": numbered(*validation), "test": numbered(*test)}
    before = json.dumps(given)
    once, changes = mend(GROUPED, given, mask=mask)
    assert json.dumps(given) == before
    twice, more = mend(GROUPED, once, mask=mask)
    assert more == []
    assert twice == once
    out = sum(one.after.startswith("taken out") for one in changes)
    assert sum(map(len, once.values())) == len(train) + len(validation) + len(test) - out
    if mask:
        assert not any(personal_spans(v) for rows in once.values() for _, row in rows for v in row.values())


@given(ROWS, ROWS)
def test_no_text_of_a_mended_train_stands_in_a_mended_test(train, test):
    parts, _ = mend(TASK, {"train": numbered(*train), "test": numbered(*test)})
    made = {part: rows_of(TASK, [(row["text"], row["label"]) for _, row in rows]) for part, rows in parts.items()}
    left = [leak for leak in leaked_rows(made["train"], made["test"]) if leak.normalised]
    assert not left or len(left) == len(made["test"])


@given(SIGNS | PERSONAL)
def test_masking_ends(text):
    assert personal_spans(masked(text)) == []


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@settings(max_examples=40)
@given(rows=ROWS)
def test_a_mended_file_reads_back_as_the_mended_rows_and_is_mended_no_further(tmp_path_factory, suffix, rows):
    folder = tmp_path_factory.mktemp("fix")
    path = folder / f"rows.{suffix}"
    if suffix == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label", "who"), *rows])
    else:
        path.write_text("".join(json.dumps(row) + "\n" for _, row in numbered(*rows)), "utf-8")
    original = path.read_bytes()
    task = task_of(LABELS, folder=folder, extra=f"group: who\ndata: {{train: rows.{suffix}}}")
    fixed = fix(task)
    assert path.read_bytes() == original
    wanted, changes = mend(task, {"train": list(read_rows(path))})
    if fixed.folder is None:
        assert changes == []
        return
    file = folder / fixed.files["train"]
    assert [row for _, row in read_rows(file)] == [row for _, row in wanted["train"]]
    assert len((fixed.folder / CHANGES).read_text("utf-8").splitlines()) == len(changes)
    again = fix(task_of(LABELS, folder=folder, extra=f"group: who\n{fixed.data_line}"))
    assert (again.folder, again.version) == (None, fixed.version)
