"""A run that is killed at any moment goes on with the same command, and ends with the same bytes as an unkilled one."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tests import killing

from kasauti.approaches.workbench import Workbench
from kasauti.chat.frozen import FrozenTemplate
from kasauti.core.errors import SupervisionError
from kasauti.core.task import load_task
from kasauti.data.split import load_split
from kasauti.train.run import proved_rows, run_id, train_adapter

WEIGHTS = "adapter/adapter_model.safetensors"
CHECKPOINTS = ".kasauti/runs/*/checkpoints/checkpoint-*"
# What is about to be written when the kill comes; which time it is.
MOMENTS = {
    "before anything": (".kasauti", 1),
    "before the first checkpoint": (CHECKPOINTS, 1),
    "a checkpoint that has weights and no state": (f"{CHECKPOINTS}/trainer_state.json", 1),
    "a later one of the same": (f"{CHECKPOINTS}/trainer_state.json", 3),
    "an old checkpoint half removed": (f"{CHECKPOINTS}/optimizer.pt", 1),
    "the adapter half saved": (".kasauti/runs/*/adapter.part/.template.json.*", 1),
    "the adapter not yet named": (".kasauti/runs/*/adapter.part", 2),
    "all but the mark": (".kasauti/runs/*/.run.json.*", 1),
}


def only(folder: Path) -> Path:
    """The folder of the only run."""
    (found,) = (folder / ".kasauti" / "runs").iterdir()
    return found


@pytest.fixture(scope="module")
def copy(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`copy(train="{…}")`: a task folder that can be trained on."""
    from tests.conftest import complaints, task_text, write_rows

    def make(train: str = "{epochs: 3, batch: 16, r: 4, learning_rate: 0.01}") -> Path:
        folder = tmp_path_factory.mktemp("task")
        write_rows(folder / "train.csv", complaints(60, 1))
        write_rows(folder / "test.csv", complaints(12, 2))
        lines = [line for line in task_text(tiny_model).splitlines() if not line.startswith("train:")]
        (folder / "task.yaml").write_text("\n".join([*lines, f"train: {train}", ""]), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="module")
def uninterrupted(copy: Callable[..., Path]) -> tuple[Path, int, float]:
    """The folder of a finished run, the changes of the disk that it made, its seconds."""
    folder = copy()
    code, changes, seconds = killing.run(killing.train, folder)
    assert code == 0
    return folder, changes, seconds


def assert_same(folder: Path, wanted: Path) -> None:
    """The adapter is that of the other run, to the byte, and the summary but for its seconds."""
    found, other = only(folder), only(wanted)
    assert found.name == other.name
    assert (found / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    summary, wanted_summary = (json.loads((run / "run.json").read_text("utf-8")) for run in (found, other))
    assert summary.pop("seconds") > 0
    assert set(summary.pop("ran")) == {"command", "machine", "versions", "device", "processes"}
    assert summary == {name: value for name, value in wanted_summary.items() if name not in ("seconds", "ran")}
    assert {p.name for p in found.glob("[!.]*")} == {p.name for p in other.iterdir()}


@pytest.mark.parametrize(("at", "nth"), MOMENTS.values(), ids=MOMENTS)
def test_a_run_killed_while_it_writes_ends_as_if_it_had_not_been(copy, uninterrupted, at, nth):
    folder = copy()
    assert killing.run(killing.train, folder, at=at, nth=nth)[0] == -9
    assert killing.run(killing.train, folder)[0] == 0
    assert_same(folder, uninterrupted[0])


def test_a_run_killed_again_and_again_at_random_moments_ends_as_if_it_had_not_been(copy, uninterrupted):
    wanted, changes, seconds = uninterrupted
    folder, draw = copy(), random.Random(7)
    for _ in range(2):
        killing.run(killing.train, folder, at="*", nth=draw.randrange(2, changes))
        killing.run(killing.train, folder, after=seconds * draw.uniform(0.2, 0.9))
    assert killing.run(killing.train, folder)[0] == 0
    assert_same(folder, wanted)


@pytest.mark.parametrize("state", [None, "", '{"global_step": 9', '{"global_step": 3}'])
def test_a_checkpoint_without_a_whole_state_is_not_gone_on_from(copy, uninterrupted, state):
    folder = copy()
    assert killing.run(killing.train, folder, at=".kasauti/runs/*/adapter.part", nth=1)[0] == -9
    newest = max(only(folder).glob("checkpoints/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (newest / "trainer_state.json").unlink()
    (newest / "optimizer.pt").write_bytes(b"half")
    if state is not None:
        (newest / "trainer_state.json").write_text(state, encoding="utf-8")
    killing.train(str(folder))
    assert_same(folder, uninterrupted[0])


def test_a_stop_for_want_of_patience_survives_a_kill(copy):
    plain = "embeddings: 0, token_noise: 0, label_smoothing: 0"
    patient = f"{{epochs: 12, batch: 16, r: 4, learning_rate: 0.05, patience: 1, {plain}}}"
    wanted, folder = copy(patient), copy(patient)
    epochs = len(killing.train(str(wanted)).summary["curve"])
    assert 2 <= epochs < 12
    assert killing.run(killing.train, folder, at=".kasauti/runs/*/adapter.part", nth=1)[0] == -9
    killing.train(str(folder))
    assert_same(folder, wanted)


def test_full_fine_tuning_survives_a_kill(copy):
    full = "{method: full, epochs: 2, batch: 16, learning_rate: 0.001}"
    wanted, folder = copy(full), copy(full)
    killing.train(str(wanted))
    assert killing.run(killing.train, folder, at=f"{CHECKPOINTS}/trainer_state.json", nth=2)[0] == -9
    killing.train(str(folder))
    found, other = only(folder) / "adapter" / "model.safetensors", only(wanted) / "adapter" / "model.safetensors"
    assert found.read_bytes() == other.read_bytes()


def test_noise_and_trained_embeddings_survive_a_kill(copy):
    noisy = "{epochs: 3, batch: 16, r: 4, learning_rate: 0.01, token_noise: 0.4, embeddings: 5}"
    wanted, folder = copy(noisy), copy(noisy)
    killing.train(str(wanted))
    assert killing.run(killing.train, folder, at=f"{CHECKPOINTS}/trainer_state.json", nth=2)[0] == -9
    killing.train(str(folder))
    assert_same(folder, wanted)
    assert any("embed_tokens" in name for name in load_file(only(folder) / WEIGHTS))


def trained_parts(folder: Path) -> dict[str, Any]:
    """The arguments of `train_adapter` for a task folder, without the model."""
    task = load_task(folder)
    split, _ = load_split(task)
    bench = Workbench(task)
    return {
        "task": task,
        "train": split.train,
        "choose": split.validation_choose,
        "frozen": bench.frozen,
        "recipe": bench.recipe,
        "model_sha256": bench.model_sha256,
    }


def no_model() -> Any:
    raise RuntimeError("the model was loaded")


def test_a_finished_run_is_found_and_not_trained_again(uninterrupted):
    folder = uninterrupted[0]
    before = {path: path.stat().st_mtime_ns for path in only(folder).rglob("*")}
    run = train_adapter(**trained_parts(folder), load=no_model)
    assert run.folder == only(folder)
    assert run.summary["id"] == run.id
    assert {path: path.stat().st_mtime_ns for path in only(folder).rglob("*")} == before


def test_a_finished_run_holds_its_adapter_tokenizer_template_and_summary_and_no_checkpoints(uninterrupted):
    folder = only(uninterrupted[0])
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["adapter", "recipe.json", "run.json", "seconds.json", "tensorboard"]
    assert (
        FrozenTemplate.load(folder / "adapter").sha256
        == json.loads((folder / "run.json").read_text())["template_sha256"]
    )
    names = {path.name for path in (folder / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "template.json"} <= names
    summary = json.loads((folder / "run.json").read_text("utf-8"))
    assert len(summary["curve"]) == 3
    assert summary["best_validation_loss"] == min(epoch["validation_loss"] for epoch in summary["curve"])
    assert summary["proof"]["rows"] == summary["rows"]["train"]
    assert 0 < summary["parameters"]["trainable"] < summary["parameters"]["all"]
    assert summary["recipe"]["gradient_checkpointing"] == "auto"
    assert summary["checkpointing"].startswith("gradient checkpointing is off: activations of about ")
    assert summary["recipe"] == json.loads((folder / "recipe.json").read_text("utf-8"))


def test_checkpoints_that_a_kill_left_beside_a_finished_run_are_removed(copy, uninterrupted):
    folder = copy()
    shutil.copytree(uninterrupted[0] / ".kasauti", folder / ".kasauti")
    (only(folder) / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    train_adapter(**trained_parts(folder), load=no_model)
    assert not (only(folder) / "checkpoints").exists()


def test_the_id_follows_everything_that_the_adapter_depends_on_and_nothing_else(copy):
    given = trained_parts(copy())
    frozen = given.pop("frozen")
    given |= {"template": frozen.sha256}

    def id_with(**changed: Any) -> str:
        return run_id(**given | changed)

    task, recipe = given["task"], given["recipe"]
    others = [
        id_with(train=given["train"][1:]),
        id_with(choose=given["choose"][1:]),
        id_with(model_sha256="f" * 64),
        id_with(template="e" * 64),
        id_with(recipe=dataclasses.replace(recipe, seed=1)),
        id_with(recipe=dataclasses.replace(recipe, label_smoothing=0.2)),
        id_with(task=dataclasses.replace(task, instructions="Other.")),
        id_with(task=dataclasses.replace(task, input="{text}")),
    ]
    assert len({id_with(), *others}) == len(others) + 1
    business = dataclasses.replace(task.business, margin=0.1)
    assert id_with(task=dataclasses.replace(task, business=business, folder="/elsewhere", name="x")) == id_with()


def test_a_row_that_would_be_taught_wrongly_stops_the_run_before_a_step(copy, tmp_path):
    given = trained_parts(copy("{length: 24}"))
    with pytest.raises(SupervisionError, match="row 1") as caught:
        proved_rows(given["task"], given["train"], given["frozen"], Workbench(given["task"]).tokenizer, given["recipe"])
    assert "\n" not in str(caught.value)


def test_a_run_in_4_bit_is_judged_each_epoch_and_its_adapter_answers_on_the_same_weights(copy):
    pytest.importorskip("bitsandbytes")
    from kasauti.approaches.tuned import Tuned
    from kasauti.model import quantise

    folder = copy("{method: qlora, epochs: 2, batch: 16, r: 4, learning_rate: 0.01}")
    task = load_task(folder)
    split, _ = load_split(task)
    bench = Workbench(task)
    tuned = Tuned(bench).fit(split.train, split.validation_choose, split.validation_calibrate)
    summary = json.loads((only(folder) / "run.json").read_text("utf-8"))
    assert len(summary["curve"]) == 2
    judged = {"validation_accuracy", "validation_macro_f1", "validation_log_loss", "validation_ece"}
    assert all(judged <= set(epoch) for epoch in summary["curve"])
    assert quantise.layers(bench.loaded(tuned.adapter).model)
    again = tuned.evaluation(bench.loaded(tuned.adapter), split.validation_choose)(bench.loaded(tuned.adapter).model)
    assert again["validation_log_loss"] == pytest.approx(summary["best"]["validation_log_loss"], rel=0.02)
