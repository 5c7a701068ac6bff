"""Looks at a test set are counted, and data has a version that its order does not change."""

from tests.data.conftest import rows_of, task_of

from kasauti.data.versions import data_version, fingerprint, hash_test_rows, looks, record_look

ROWS = rows_of(task_of(), [("x", "a"), ("y", "b"), ("y", "b")])


def test_every_look_at_a_test_set_counts_for_that_test_set(tmp_path):
    assert looks(tmp_path, "one") == 0
    assert [record_look(tmp_path, "one", "trial 1"), record_look(tmp_path, "one", "trial 2")] == [1, 2]
    assert record_look(tmp_path, "two", "trial 3") == 1
    assert looks(tmp_path, "one") == 2
    assert len((tmp_path / ".kasauti" / "looks.jsonl").read_text().splitlines()) == 3


def test_a_look_that_was_cut_off_is_not_counted_twice(tmp_path):
    record_look(tmp_path, "one", "trial")
    with open(tmp_path / ".kasauti" / "looks.jsonl", "a") as file:
        file.write('{"at": "2026-01-01", "test_sha')
    assert record_look(tmp_path, "one", "trial again") == 2


def test_a_version_is_of_the_rows_and_how_often_each_is_there():
    assert data_version(ROWS) == data_version(reversed(ROWS))
    assert data_version(ROWS) != data_version(ROWS[:2])
    assert hash_test_rows(ROWS) == hash_test_rows(reversed(ROWS))


def test_a_fingerprint_is_of_data_seed_and_assignment():
    one = fingerprint("v", 1, {"train": ROWS[:1], "test": ROWS[1:]})
    assert one == fingerprint("v", 1, {"test": ROWS[1:], "train": ROWS[:1]})
    assert one != fingerprint("v", 2, {"train": ROWS[:1], "test": ROWS[1:]})
    assert one != fingerprint("v", 1, {"train": ROWS[:2], "test": ROWS[2:]})
