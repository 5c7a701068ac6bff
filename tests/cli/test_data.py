"""`kasauti data` and `kasauti audit --fix`."""

import json

import pytest


@pytest.fixture
def folder(make_task):
    return make_task(rows=240, test=30)


def test_a_changed_file_shows_as_a_difference_of_versions(kasauti, folder):
    assert kasauti("data", "log", "--task", folder).out.startswith("No version yet")
    kasauti("audit", "--task", folder, "--samples", 0)
    lines = (folder / "train.csv").read_text().splitlines()
    relabelled = lines[1].replace(",refund", ",card")
    (folder / "train.csv").write_text("\n".join([lines[0], relabelled, *lines[3:], "a new row,parcel"]) + "\n")
    kasauti("audit", "--task", folder, "--samples", 0)
    log = kasauti("data", "log", "--task", folder, "--json").document["versions"]
    assert [one["total"] for one in log] == [270, 270]
    found = kasauti("data", "diff", "--task", folder, "--json").document
    assert found["counts"] == {"added": 1, "removed": 1, "relabelled": 1}
    assert (found["relabelled"][0]["answer"], found["relabelled"][0]["to"]) == ("refund", "card")
    assert found["added"][0]["fields"] == {"text": "a new row"}
    # one refund became a card, one card went, one parcel came
    assert {name: one["change"] for name, one in found["labels"].items()} == {"card": 0, "parcel": 1, "refund": -1}
    ran = kasauti("data", "diff", log[1]["version"][:8], "latest", "--task", folder)
    assert "1 added, 1 removed, 1 relabelled" in ran.out
    assert "refund → card" in ran.out
    assert "They hold the same rows." in kasauti("data", "diff", "latest", "latest", "--task", folder).out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("diff", "latest"), "compares two versions"),
        (("log", "latest"), "takes no version"),
        (("diff", "--limit", "-1"), "--limit"),
        (("diff",), "no version of the data is recorded"),
        (("differ",), "invalid choice"),
    ],
)
def test_wrong_words_are_one_line(kasauti, folder, words, says):
    ran = kasauti("data", *words, "--task", folder)
    assert ran.code == 2
    assert says in ran.error_line


def test_fix_writes_new_files_that_the_printed_line_puts_to_use(kasauti, folder, tree):
    train = (folder / "train.csv").read_text().replace(",card\n", ",Card \n", 2).splitlines()
    (folder / "train.csv").write_text("\n".join([*train, train[-1], "write to a@b.com please,parcel"]) + "\n")
    users = {name: sha for name, sha in tree(folder).items() if not name.startswith(".kasauti")}
    ran = kasauti("audit", "--fix", "--mask", "--task", folder, "--samples", 0, "--json")
    assert ran.code == 1
    fix = ran.document["fix"]
    assert fix["counts"] == {"whitespace": 2, "label": 2, "personal": 1, "duplicate": 1}
    assert {name: sha for name, sha in tree(folder).items() if not name.startswith(".kasauti")} == users
    changes = (folder / fix["data"]["train"]).parent / "changes.jsonl"
    assert len(changes.read_text().splitlines()) == sum(fix["counts"].values())
    assert "a@b.com" not in changes.read_text()
    assert all({"part", "row", "what", "before", "after"} <= set(json.loads(x)) for x in changes.open())
    told = kasauti("audit", "--fix", "--mask", "--task", folder, "--samples", 0).out
    line = next(line for line in told.splitlines() if line.startswith("data: {"))
    text = (folder / "task.yaml").read_text()
    old = next(line for line in text.splitlines() if line.startswith("data:"))
    (folder / "task.yaml").write_text(text.replace(old, line))
    again = kasauti("audit", "--fix", "--mask", "--task", folder, "--samples", 0)
    assert again.code == 0
    assert "Nothing can be mended" in again.out


def test_mask_alone_is_refused_before_anything_is_done(kasauti, folder):
    ran = kasauti("audit", "--mask", "--task", folder)
    assert ran.code == 2
    assert "--fix --mask" in ran.error_line
    assert not (folder / ".kasauti").exists()
