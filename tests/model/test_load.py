"""A model that cannot be used is refused in one line, before anything is computed with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kasauti.core.errors import ModelError
from kasauti.model.load import BUNDLED, load, load_tokenizer, model_hash, resolve

WEIGHTS = "model.safetensors"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def refusal(name: str, folder: Path) -> str:
    """The line with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        load(name, str(folder))
    assert "\n" not in str(caught.value)
    assert caught.value.mend
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_folder_loads_in_eval_mode_with_its_tokenizer_and_size(copy, tmp_path):
    loaded = load("model", str(tmp_path))
    assert not loaded.model.training
    assert loaded.model.dtype == torch.float32
    assert loaded.parameters == sum(p.numel() for p in loaded.model.parameters())
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("my card")) == "my card"
    assert loaded.sha256 == model_hash("model", str(tmp_path))


def test_folders_are_relative_to_the_task_and_may_be_absolute(copy, tmp_path):
    assert (
        resolve("model", str(tmp_path))
        == resolve("./model", str(tmp_path))
        == resolve(str(copy), "/nowhere")
        == str(copy)
    )


def test_the_bundled_model_needs_no_folder():
    assert resolve("kasauti/nano", "/nowhere") == str(BUNDLED["kasauti/nano"])


@pytest.mark.parametrize(
    ("missing", "said"),
    [("config.json", "no config.json"), (WEIGHTS, "no weights"), ("tokenizer.json", "no tokenizer")],
)
def test_a_folder_that_lacks_a_part_is_refused_by_the_part(copy, tmp_path, missing, said):
    (copy / missing).unlink()
    line = refusal("model", tmp_path)
    assert said in line
    assert str(copy) in line


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model_type": "nonsense"}', "\ufeff{"])
def test_a_config_that_says_nothing_is_refused(copy, tmp_path, text):
    (copy / "config.json").write_text(text, encoding="utf-8")
    refusal("model", tmp_path)


@pytest.mark.parametrize("broken", [WEIGHTS, "tokenizer.json"])
def test_a_file_that_was_cut_off_is_refused(copy, tmp_path, broken):
    data = (copy / broken).read_bytes()
    (copy / broken).write_bytes(data[: len(data) // 2])
    assert "'model'" in refusal("model", tmp_path)


def test_weights_that_lack_a_layer_are_refused_and_not_made_up(copy, tmp_path):
    weights = load_file(copy / WEIGHTS)
    kept = {name: tensor for name, tensor in weights.items() if "layers.1.mlp" not in name}
    save_file(kept, copy / WEIGHTS, metadata={"format": "pt"})
    assert "layers.1.mlp" in refusal("model", tmp_path)


def test_weights_of_another_shape_are_refused(copy, tmp_path):
    config = json.loads((copy / "config.json").read_text("utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}), encoding="utf-8")
    refusal("model", tmp_path)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused_with_both_numbers(copy, tmp_path):
    tokenizer = load_tokenizer("model", str(tmp_path))
    size = len(tokenizer)
    tokenizer.add_tokens(["<new1>", "<new2>"])
    tokenizer.save_pretrained(copy)
    line = refusal("model", tmp_path)
    assert f"{size + 2} tokens" in line
    assert f"{size} embeddings" in line


def test_a_tokenizer_without_an_end_token_is_refused(copy, tmp_path):
    path = copy / "tokenizer_config.json"
    settings = json.loads(path.read_text("utf-8"))
    del settings["eos_token"]
    path.write_text(json.dumps(settings), encoding="utf-8")
    assert "eos_token" in refusal("model", tmp_path)


@pytest.mark.parametrize(
    "name", ["./models/mine", "/absent/model", "~/absent-model", "models/a/b", "mine", "kasauti/micro"]
)
def test_what_can_only_be_a_folder_is_refused_without_asking_the_hub(tmp_path, name):
    line = refusal(name, tmp_path)
    assert repr(name) in line
    assert "kasauti/nano" in line


def test_a_name_with_an_owner_is_a_hub_id(tmp_path, monkeypatch):
    assert resolve("someone/some-model", str(tmp_path)) == "someone/some-model"
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", True
    )  # as HF_HUB_OFFLINE=1, which is read at import
    line = refusal("someone/some-model", tmp_path)
    assert "'someone/some-model'" in line
    assert "network" in line


def test_a_folder_wins_over_a_hub_id_of_the_same_name(copy, tmp_path):
    (tmp_path / "owner").mkdir()
    copy.rename(tmp_path / "owner" / "name")
    assert resolve("owner/name", str(tmp_path)) == str(tmp_path / "owner" / "name")


def test_the_hash_follows_weights_config_and_tokenizer(copy, tmp_path, tiny_model):
    def hashed() -> str:
        model_hash.cache_clear()  # a process sees one state of a folder
        return model_hash("model", str(tmp_path))

    first = hashed()
    assert first == model_hash(str(tiny_model), "/elsewhere")
    (copy / "README.md").write_text("notes")
    assert hashed() == first
    for name in (WEIGHTS, "config.json", "tokenizer.json"):
        data = (copy / name).read_bytes()
        (copy / name).write_bytes(data + b" ")
        assert hashed() != first
        (copy / name).write_bytes(data)
    assert hashed() == first
