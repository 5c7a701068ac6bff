"""plan, train, trial, versions and demo on a small task, through the command line."""

import json
import shutil

import pytest

from kasauti.cli.demo import copy_task
from kasauti.core.task import load_task


def test_a_finished_trial_is_found_again_and_shown(kasauti, finished):
    ran = kasauti("trial", "--task", finished)
    assert ran.code == 0, ran
    assert ran.out.startswith("Ship: classical.")
    assert all(name in ran.out for name in ("majority", "prompt_none", "prompt_instructions", "tuned"))
    assert "report.html" in ran.out
    document = kasauti("trial", "--task", finished, "--json").document
    saved = json.loads(next((finished / ".kasauti/trials").glob("*/trial.json")).read_text())
    assert {key: document[key] for key in saved} == saved
    assert document["data"]["test_looks"] == 1


def test_train_finds_the_run_of_the_trial_and_the_trial_that_of_train(kasauti, finished):
    runs = sorted((finished / ".kasauti/runs").iterdir())
    ran = kasauti("train", "--task", finished, "--json")
    assert ran.code == 0, ran
    assert sorted((finished / ".kasauti/runs").iterdir()) == runs
    assert ran.document["id"] == runs[0].name
    told = kasauti("train", "--task", finished).out
    for epoch in ran.document["curve"]:
        assert f"{epoch['validation_loss']:.3f}" in told


def test_another_command_on_the_same_task_is_refused_while_one_works(kasauti, finished):
    from kasauti.cli.command import lock

    with lock(load_task(finished)):
        ran = kasauti("trial", "--task", finished)
    assert ran.code == 2
    assert "is in use by another command" in ran.error_line


def test_a_plan_counts_times_and_writes_nothing(kasauti, finished, tree):
    before = tree(finished)
    ran = kasauti("plan", "--task", finished, "--json")
    assert ran.code == 0, ran
    assert ran.document["fits"]
    assert ran.document["seconds"] > 0
    assert tree(finished) == before
    told = kasauti("plan", "--task", finished, "--no-timing").out
    assert "It fits this machine." in told
    assert "time" not in told


def test_a_model_that_is_too_large_is_told_with_exit_code_1(kasauti, make_task, tiny_model, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "huge")
    config = json.loads((model / "config.json").read_text())
    wide = {"hidden_size": 65536, "intermediate_size": 262144, "num_hidden_layers": 8, "num_attention_heads": 512}
    (model / "config.json").write_text(json.dumps({**config, **wide, "head_dim": 128}))
    ran = kasauti("plan", "--task", make_task(model=str(model)), "--json")
    assert ran.code == 1
    assert ran.document["parameters"] > 4e11
    assert (ran.document["fits"], ran.document["seconds"]) == (False, None)


def test_without_versions_the_list_is_empty(kasauti, make_task):
    ran = kasauti("versions", "--task", make_task(), "--json")
    assert (ran.code, ran.document["champion"], ran.document["versions"]) == (0, None, [])


def test_the_demo_ends_with_a_verdict_and_version_1_and_keeps_what_is_there(kasauti, finished, tree):
    task = (finished / "task.yaml").read_text()
    ran = kasauti("demo", finished, "--json")
    assert ran.code == 0, ran
    assert ran.document["verdict"]["ship"] == "classical"
    assert ran.document["version"] == 1
    assert (finished / "task.yaml").read_text() == task
    assert (finished / ".kasauti/audit/audit.html").exists()
    again = kasauti("demo", finished)
    assert "Version 1 (classical) answers now" in again.out
    listed = kasauti("versions", "--task", finished)
    assert [v["version"] for v in kasauti("versions", "--task", finished, "--json").document["versions"]] == [1]
    assert "1 *" in listed.out


def test_the_bundled_task_is_copied_and_a_changed_file_is_not_overwritten(tmp_path):
    copy_task(tmp_path / "demo")
    task = load_task(tmp_path / "demo")
    assert len(task.labels) == 12
    assert (tmp_path / "demo" / task.data.train).exists()
    (tmp_path / "demo/task.yaml").unlink()  # as after a copy that was cut off
    (tmp_path / "demo" / task.data.train).write_text("mine")
    copy_task(tmp_path / "demo")
    assert (tmp_path / "demo" / task.data.train).read_text() == "mine"
    assert (tmp_path / "demo/task.yaml").exists()


@pytest.mark.parametrize("kind", ["generation"])
def test_a_task_of_another_kind_can_be_trained(kasauti, make_task, kind):
    folder = make_task(rows=60, test=0)
    text = (folder / "task.yaml").read_text()
    head, _, tail = text.partition("labels:")
    (folder / "task.yaml").write_text(head.replace("classification", kind) + tail[tail.index("data:") :])
    ran = kasauti("train", "--task", folder)
    assert ran.code == 0, ran
    assert "Run: " in ran.out
    refused = kasauti("trial", "--task", folder, "--approaches", "classical")
    assert refused.code == 2
    assert f"classical does not answer tasks of kind {kind}" in refused.error_line
