"""Versions: sealed, numbered, found again, refused when changed; on a disk and in an object store alike."""

import dataclasses
import json
import threading
import uuid
from pathlib import Path

import pytest
import yaml

from kasauti.core.errors import KasautiError, ModelError, UsageError
from kasauti.core.files import folder_hash
from kasauti.data.conversation import load_examples
from kasauti.registry.register import register
from kasauti.registry.release import promote
from kasauti.registry.versions import Registry, task_of


def renamed(trial, id):
    """The same trial under another id: other content, another version."""
    return dataclasses.replace(trial, id=id)


@pytest.fixture(params=["default", "file://", "memory://"])
def anywhere(tried, request, tmp_path):
    """(task, trial) with a registry in each kind of place."""
    task, trial = tried
    place = {"default": None, "file://": f"file://{tmp_path}/shared/registry", "memory://": f"memory://{uuid.uuid4()}"}
    return dataclasses.replace(task, registry=place[request.param]), trial


def test_a_version_holds_everything_that_it_was_judged_by(anywhere):
    task, trial = anywhere
    register(task, trial)
    version = Registry(task).check(1)
    assert version.number == 1
    names = {path.name for path in version.folder.iterdir()}
    saved = {path.name for path in trial.shipped.iterdir()}
    assert names == {*saved, "task.yaml", "verdict.json", "trial.json", "card.json", "README.md"}
    assert version.sha256 == folder_hash(version.folder)
    assert json.loads((version.folder / "verdict.json").read_text()) == trial.document["verdict"]
    assert version.card["data"]["version"] == trial.document["data"]["version"]
    shipped = next(one for one in trial.document["approaches"] if one["name"] == "classical")
    assert version.card["evaluation"]["accuracy"] == shipped["accuracy"]
    assert all((version.folder / name).read_bytes() == (trial.shipped / name).read_bytes() for name in saved)


def test_the_card_says_in_words_when_from_what_and_how_good(tried):
    task, trial = tried
    card = (register(task, trial).folder / "README.md").read_text()
    accuracy = next(one for one in trial.document["approaches"] if one["name"] == "classical")["accuracy"]
    for words in (
        "# complaints, version 1", trial.document["data"]["version"], trial.document["created"],
        f"{100 * accuracy['low']:.1f}% to {100 * accuracy['high']:.1f}%", trial.document["model"]["template_sha256"],
        trial.document["verdict"]["because"][0],
    ):  # fmt: skip
        assert words in card
    head = yaml.safe_load(card.split("---")[1])
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(accuracy["value"], abs=1e-6)
    assert "base_model" not in head


def test_the_same_content_is_registered_once(tried):
    task, trial = tried
    assert register(task, trial) == register(task, trial)
    assert len(Registry(task).versions()) == 1


def test_the_first_version_becomes_the_champion_and_later_ones_wait(anywhere):
    task, trial = anywhere
    assert Registry(task).champion() is None
    first = register(task, trial)
    second = register(task, renamed(trial, "another"))
    assert (first.number, second.number, second.card["parent"]) == (1, 2, 1)
    assert Registry(task).champion().number == 1
    promote(Registry(task), 2)
    assert Registry(task).champion().number == 2
    assert [v.number for v in Registry(task).versions()] == [1, 2]


@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_a_version_that_was_changed_is_refused(tried, change):
    task, trial = tried
    version = register(task, trial)
    path = version.folder / "classical.json"
    path.chmod(0o644)
    if change == "edit":
        path.write_text(path.read_text().replace("temperature", "temperatura"))
    elif change == "add":
        (version.folder / "more").write_text("x")
    else:
        path.unlink()
    with pytest.raises(KasautiError, match="version 1 was changed after it was registered"):
        Registry(task).open(1)
    with pytest.raises(KasautiError, match="was changed"):
        promote(Registry(task), 1)


def test_a_champion_that_is_gone_is_told(tried):
    task, trial = tried
    version = register(task, trial)
    version.folder.rename(version.folder.with_name("7"))
    with pytest.raises(KasautiError, match="the card of version 1 is not one"):
        Registry(task).champion()


def test_a_version_that_is_not_there_names_those_that_are(tried):
    task, trial = tried
    with pytest.raises(UsageError, match="Versions: none yet"):
        Registry(task).check(1)
    register(task, trial)
    with pytest.raises(UsageError, match=r"there is no version 9\. Versions: 1"):
        Registry(task).check(9)


def test_an_opened_version_answers_as_the_trial_did(tried):
    task, trial = tried
    register(task, trial)
    approach, version = Registry(task).open(1)
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
    approach, _ = Registry(task).open(version.number)
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
        Registry(task).open(moved.number)


def test_data_that_changed_since_the_trial_make_no_version(tried):
    task, trial = tried
    with (Path(task.folder) / "train.csv").open("a") as file:
        file.write("one more row about a card,card\n")
    with pytest.raises(UsageError, match="the data have changed since the trial"):
        register(task, trial)
    assert Registry(task).versions() == []


def test_what_was_never_noted_is_no_version_and_is_cleared(tried):
    task, trial = tried
    root = Path(task.folder) / ".kasauti/registry"
    for left in (".new-abc", "versions/1-0123456789ab"):
        (root / left).mkdir(parents=True)
    assert Registry(task).versions() == []
    version = register(task, trial)
    assert Registry(task).check(1) == version
    assert not (root / ".new-abc").exists()
    assert [path.name for path in (root / "versions").iterdir()] == [version.folder.name]


def test_a_version_is_a_model_folder_that_the_library_loads(shipping):
    from peft import AutoPeftModelForCausalLM

    task, trial = shipping("tuned")
    version = register(task, trial)
    assert (version.folder / "adapter_model.safetensors").is_file()
    assert AutoPeftModelForCausalLM.from_pretrained(version.folder).peft_config["default"].r == 4
    head = yaml.safe_load((version.folder / "README.md").read_text().split("---")[1])
    assert (head["library_name"], head["license"]) == ("peft", "unknown")


def test_the_newest_three_are_kept_and_the_champion(anywhere):
    task, trial = anywhere
    for number in range(1, 7):
        register(task, renamed(trial, str(number)))
    registry = Registry(task)
    assert [version.number for version in registry.versions()] == [1, 4, 5, 6]
    assert len(registry.store.names("versions")) == 4
    promote(registry, 5)
    promote(registry, 6)
    assert [version.number for version in registry.versions()] == [4, 5, 6]
    with pytest.raises(UsageError, match="there is no version 1"):
        promote(registry, 1)
    assert register(task, renamed(trial, "7")).number == 7


def test_a_version_elsewhere_that_was_changed_is_refused(tried):
    import fsspec

    task, trial = tried
    task = dataclasses.replace(task, registry=f"memory://{uuid.uuid4()}")
    version = register(task, trial)
    fsspec.filesystem("memory").pipe_file(f"{version.place.removeprefix('memory:/')}/more", b"x")
    with pytest.raises(KasautiError, match="version 1 is not as it was registered"):
        Registry(task).open(1)


def test_the_threshold_is_that_of_the_calibration_rows(tried):
    task, trial = tried
    threshold = register(task, trial).card["threshold"]
    assert (threshold["wanted"], threshold["rule"], threshold["goal"]) == (0.95, "plain", "accuracy")
    assert threshold["rows"] < 10
    assert threshold["value"] is None or threshold["accuracy"] >= 0.95


def test_what_a_version_promises_is_what_the_trial_chose_and_its_card_says_so(tried):
    task, trial = tried
    version = register(task, trial)
    entry = next(one for one in trial.document["approaches"] if one["name"] == version.card["approach"])
    assert version.card["threshold"] == next(one for one in entry["acceptance"] if one["chosen"])
    least = next(one["least"] for one in entry["conformal"] if not one["by_label"])
    assert version.card["conformal"]["least"] == least
    text = (version.folder / "README.md").read_text(encoding="utf-8")
    assert "## Sets of labels" in text
    assert version.card["threshold"]["promise"] in text


def test_an_approach_without_a_confidence_promises_nothing(tried):
    task, trial = tried
    silent = [{**one, "acceptance": None, "conformal": None} for one in trial.document["approaches"]]
    version = register(task, dataclasses.replace(trial, document={**trial.document, "approaches": silent}))
    assert (version.card["threshold"], version.card["conformal"]) == (None, None)
    assert "a person reads every answer" in (version.folder / "README.md").read_text(encoding="utf-8")


def test_a_version_of_another_format_is_not_opened(tried, monkeypatch):
    from kasauti.registry import register as making

    task, trial = tried
    monkeypatch.setattr(making, "FORMAT", 2)
    register(task, trial)
    with pytest.raises(UsageError, match="version 1 has the format 2, and this Kasauti"):
        Registry(task).open(1)


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
    for version in Registry(task).versions():
        Registry(task).check(version.number)
