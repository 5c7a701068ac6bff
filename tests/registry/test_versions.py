"""Versions: sealed, numbered, found again, refused when changed."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from kasauti.core.errors import KasautiError, ModelError, UsageError
from kasauti.core.files import folder_hash
from kasauti.data.conversation import load_examples
from kasauti.registry.versions import (
    champion,
    check_version,
    list_versions,
    open_version,
    register,
    set_champion,
    task_of,
)


def renamed(trial, id):
    """The same trial under another id: other content, another version."""
    return dataclasses.replace(trial, id=id)


def test_a_version_holds_everything_that_it_was_judged_by(tried):
    task, trial = tried
    version = register(task, trial)
    assert version.number == 1
    names = {path.name for path in version.folder.iterdir()}
    assert names == {"approach", "task.yaml", "verdict.json", "trial.json", "card.json", "card.md"}
    assert version.sha256 == folder_hash(version.folder)
    assert json.loads((version.folder / "verdict.json").read_text()) == trial.document["verdict"]
    assert version.card["data"]["version"] == trial.document["data"]["version"]
    shipped = next(one for one in trial.document["approaches"] if one["name"] == "classical")
    assert version.card["evaluation"]["accuracy"] == shipped["accuracy"]
    assert folder_hash(version.folder / "approach") == folder_hash(trial.shipped)


def test_the_card_says_in_words_when_from_what_and_how_good(tried):
    task, trial = tried
    card = (register(task, trial).folder / "card.md").read_text()
    accuracy = next(one for one in trial.document["approaches"] if one["name"] == "classical")["accuracy"]
    for words in (
        "# complaints, version 1", trial.document["data"]["version"], trial.document["created"],
        f"{100 * accuracy['low']:.1f}% to {100 * accuracy['high']:.1f}%", trial.document["model"]["template_sha256"],
        trial.document["verdict"]["because"][0],
    ):  # fmt: skip
        assert words in card


def test_the_same_content_is_registered_once(tried):
    task, trial = tried
    assert register(task, trial) == register(task, trial)
    assert len(list_versions(task)) == 1


def test_the_first_version_becomes_the_champion_and_later_ones_wait(tried):
    task, trial = tried
    assert champion(task) is None
    first = register(task, trial)
    second = register(task, renamed(trial, "another"))
    assert (first.number, second.number, second.card["parent"]) == (1, 2, 1)
    assert champion(task).number == 1
    set_champion(task, 2)
    assert champion(task).number == 2
    assert [v.number for v in list_versions(task)] == [1, 2]


@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_a_version_that_was_changed_is_refused(tried, change):
    task, trial = tried
    version = register(task, trial)
    path = version.folder / "approach" / "classical.json"
    path.chmod(0o644)
    if change == "edit":
        path.write_text(path.read_text().replace("temperature", "temperatura"))
    elif change == "add":
        (version.folder / "more").write_text("x")
    else:
        path.unlink()
    with pytest.raises(KasautiError, match="version 1 was changed after it was registered"):
        open_version(task, 1)
    with pytest.raises(KasautiError, match="was changed"):
        set_champion(task, 1)


def test_a_champion_that_is_gone_is_told(tried):
    task, trial = tried
    version = register(task, trial)
    version.folder.rename(version.folder.with_name("7"))
    with pytest.raises(KasautiError, match="the champion is version 1, which is not there as it was"):
        champion(task)


def test_a_version_that_is_not_there_names_those_that_are(tried):
    task, trial = tried
    with pytest.raises(UsageError, match="Versions: none yet"):
        check_version(task, 1)
    register(task, trial)
    with pytest.raises(UsageError, match=r"there is no version 9\. Versions: 1"):
        check_version(task, 9)


def test_an_opened_version_answers_as_the_trial_did(tried):
    task, trial = tried
    register(task, trial)
    approach, version = open_version(task, 1)
    given = approach.predict(load_examples(task, "test"))
    right = sum(p.answer == row.answer for p, row in zip(given, load_examples(task, "test"), strict=True))
    assert right / len(given) == pytest.approx(version.card["evaluation"]["accuracy"]["value"])


def test_a_version_answers_with_the_task_as_it_was(tried):
    task, trial = tried
    version = register(task, trial)
    path = Path(task.folder) / "task.yaml"
    path.write_text(path.read_text().replace("Name the category", "Now say something else"))
    assert task_of(task, version).instructions == "Name the category of the complaint."
    assert task_of(task, version).folder == task.folder


def test_a_tuned_version_answers_and_refuses_another_base_model(shipping, tiny_model, tmp_path):
    import shutil

    task, trial = shipping("tuned")
    version = register(task, trial)
    approach, _ = open_version(task, version.number)
    (answer,) = approach.predict(load_examples(task, "test")[:1])
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    model = shutil.copytree(tiny_model, tmp_path / "other-model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    text = (version.folder / "task.yaml").read_text()
    elsewhere = dataclasses.replace(trial, id="elsewhere")
    (Path(task.folder) / "task.yaml").write_text(text.replace(str(tiny_model), str(model)))
    moved = register(task, elsewhere)
    with pytest.raises(ModelError, match="the base model of version 2 has the hash"):
        open_version(task, moved.number)


def test_data_that_changed_since_the_trial_make_no_version(tried):
    task, trial = tried
    with (Path(task.folder) / "train.csv").open("a") as file:
        file.write("one more row about a card,card\n")
    with pytest.raises(UsageError, match="the data have changed since the trial"):
        register(task, trial)
    assert list_versions(task) == []


def test_what_a_kill_left_half_made_is_no_version_and_is_cleared(tried):
    task, trial = tried
    root = Path(task.folder) / ".kasauti/versions"
    (root / ".new-abc").mkdir(parents=True)
    (root / "log.jsonl").write_text('{"did": "register", "version": 1, "sha256": "never renamed"}\n{"did": "regis')
    assert list_versions(task) == []
    version = register(task, trial)
    assert check_version(task, 1) == version
    assert not (root / ".new-abc").exists()


def test_the_threshold_is_that_of_the_calibration_rows(tried):
    task, trial = tried
    threshold = register(task, trial).card["threshold"]
    assert threshold["wanted"] == 0.95
    assert threshold["rows"] < 10
    assert threshold["accuracy"] >= 0.95


def test_two_registrations_at_once_do_not_mix(tried):
    task, trial = tried
    made, refused = [], []

    def go(id):
        try:
            made.append(register(task, renamed(trial, id)).number)
        except UsageError as error:
            refused.append(error)

    threads = [threading.Thread(target=go, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == list(range(1, len(made) + 1))
    assert len(made) + len(refused) == 3
    for version in list_versions(task):
        check_version(task, version.number)
