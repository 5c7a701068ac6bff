"""register, promote, rollback, merge, export, push and keys through the command line."""

import json

import pytest


@pytest.fixture
def two(kasauti, finished):
    """A task folder with two versions: the task file changed between them."""
    assert kasauti("register", "--task", finished).code == 0
    path = finished / "task.yaml"
    path.write_text(path.read_text() + "# a remark\n")
    assert kasauti("register", "--task", finished, "--why", "a remark").code == 0
    return finished


def test_register_promote_and_roll_back_with_who_and_why(kasauti, two):
    document = kasauti("promote", 2, "--task", two, "--who", "me", "--why", "better", "--json").document
    assert (document["champion"], document["previous"], document["versions"]) == (2, [1], [1, 2])
    assert kasauti("versions", "--task", two).out.count(" 2 *") == 1
    ran = kasauti("rollback", "--task", two, "--why", "worse after all")
    assert ran.out == "Version 1 answers.\n"
    log = kasauti("versions", "--log", "--task", two, "--json").document["log"]
    assert [event["did"] for event in log] == ["register", "register", "promote", "rollback"]
    assert (log[2]["who"], log[2]["why"], log[3]["why"]) == ("me", "better", "worse after all")
    assert log[1]["why"] == "a remark"


def test_a_canary_is_named_and_withdrawn(kasauti, two):
    document = kasauti("promote", 2, "--canary", 5, "--task", two, "--json").document
    assert (document["champion"], document["candidate"], document["share"]) == (1, 2, 5)
    assert kasauti("rollback", "--task", two, "--json").document["candidate"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["promote", "9"], "there is no version 9. Versions: none yet"),
        (["promote", "x"], "'x'"),
        (["rollback"], "there is no earlier champion to go back to"),
        (["merge", "1"], "there is no version 1"),
        (["export", "1", "--to", "gguf"], "there is no version 1"),
        (["export", "1", "--to", "onnx"], "there is no export to 'onnx'"),
        (["push", "1"], "where to is not said"),
        (["push", "1", "--hub", "a", "--mlflow", "b"], "where to is not said"),
        (["serve"], "there is no version to serve"),
        (["serve", "--host", "0.0.0.0"], "there are no keys, and 0.0.0.0 can be reached from elsewhere"),
        (["serve", "--queue", "0"], "--queue 0"),
        (["keys", "add"], "add needs a name"),
        (["keys", "ad", "x"], "Did you mean 'add'?"),
        (["keys", "add", "x", "--role", "caler"], "Did you mean 'caller'?"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(kasauti, make_task, words, said, tree):
    folder = make_task(rows=30, test=6)
    before = tree(folder)
    ran = kasauti(*words, "--task", folder)
    assert ran.code == 2
    assert said in ran.error_line
    assert tree(folder) == before


def test_keys_are_made_listed_and_taken_away(kasauti, make_task):
    folder = make_task(rows=30, test=6)
    made = kasauti("keys", "add", "shop", "--rate", 60, "--task", folder, "--json").document
    assert made["key"].startswith("kst_")
    (listed,) = kasauti("keys", "--task", folder, "--json").document["keys"]
    assert (listed["name"], listed["role"]) == ("shop", "caller")
    assert made["key"] not in json.dumps(listed) + (folder / ".kasauti/keys.json").read_text()
    assert kasauti("keys", "remove", "shop", "--task", folder).code == 0
    assert kasauti("keys", "--task", folder).out == "No keys yet.\n"
