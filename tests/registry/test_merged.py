"""A merged model is proved from disk, and one that was tampered with is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.errors import KasautiError, UsageError
from kasauti.measure.compare import Agreement, agreement
from kasauti.registry.merged import TOLERANCES, merge_version, prove_folder
from kasauti.registry.register import register
from kasauti.registry.versions import Registry


@pytest.fixture
def tuned(shipping):
    """A registry whose version 1 is an adapter."""
    task, trial = shipping("tuned")
    register(task, trial)
    return Registry(task)


def tamper(folder, change):
    """Change the saved weights."""
    from safetensors.torch import load_file, save_file

    path = Path(folder) / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def scaled(weights):
    name = next(name for name in weights if "down_proj" in name)
    weights[name] = weights[name] * 1.5


def without_adapter(base):
    def change(weights):
        from safetensors.torch import load_file

        original = load_file(base / "model.safetensors")
        for name in weights:
            if "q_proj" in name or "v_proj" in name or "gate_proj" in name:
                weights[name] = original[name]

    return change


def test_a_merged_model_answers_as_the_adapter_did(tuned):
    made = merge_version(tuned, 1)
    proof = json.loads((made.folder / "proof.json").read_text())
    assert proof == made.proof
    assert proof["passed"]
    assert proof["label_agreement"] == 1.0
    assert proof["largest_probability_drift"] < 1e-5
    assert abs(proof["log_loss"]["difference"]) < 1e-6
    assert proof["rows"] > 0
    assert {"config.json", "model.safetensors", "tokenizer.json", "template.json", "README.md"} <= {
        path.name for path in made.folder.iterdir()
    }
    assert not list(made.folder.glob("adapter*"))
    assert "library_name: transformers" in (made.folder / "README.md").read_text()


def test_a_merged_model_is_made_once_and_again_where_it_was_changed(tuned):
    first = merge_version(tuned, 1)
    when = (first.folder / "model.safetensors").stat().st_mtime_ns
    assert merge_version(tuned, 1).proof == first.proof
    assert (first.folder / "model.safetensors").stat().st_mtime_ns == when
    tamper(first.folder, scaled)
    assert merge_version(tuned, 1).proof["passed"]
    assert prove_folder(tuned, 1, str(first.folder)).proof["label_agreement"] == 1.0


@pytest.mark.parametrize("which", ["scaled", "without the adapter"])
def test_a_merge_that_was_tampered_with_is_refused(tuned, tiny_model, which):
    made = merge_version(tuned, 1)
    tamper(made.folder, scaled if which == "scaled" else without_adapter(tiny_model))
    with pytest.raises(KasautiError, match="the merged model does not answer as version 1 does"):
        prove_folder(tuned, 1, str(made.folder))


def test_a_refused_merge_leaves_only_its_proof(tuned, monkeypatch):
    from kasauti.model import merge

    honest = merge.merge_adapter

    def corrupt(base, adapter, folder):
        honest(base, adapter, folder)
        tamper(folder, scaled)

    monkeypatch.setattr(merge, "merge_adapter", corrupt)
    with pytest.raises(KasautiError, match="does not answer as version 1 does"):
        merge_version(tuned, 1)
    (folder,) = (Path(tuned.task.folder) / ".kasauti/merged").iterdir()
    assert [path.name for path in folder.iterdir()] == ["proof.json"]
    assert json.loads((folder / "proof.json").read_text())["because"]


def test_a_version_without_an_adapter_is_not_merged(tried):
    task, trial = tried
    register(task, trial)
    with pytest.raises(UsageError, match=r"version 1 \(classical\) has no adapter"):
        merge_version(Registry(task), 1)


def test_a_folder_that_is_something_else_is_not_touched(tuned, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("my own")
    with pytest.raises(UsageError, match="is no merged model"):
        merge_version(tuned, 1, str(tmp_path / "mine"))
    assert (tmp_path / "mine/notes").read_text() == "my own"


def test_an_adapter_of_a_4_bit_base_is_merged_into_the_weights_it_was_trained_on(tiny_model, tmp_path):
    """Dequantised, the network is the 4-bit one; the 16-bit weights that this was made from are another."""
    pytest.importorskip("bitsandbytes")
    import torch

    from kasauti.model.adapters import LoraSettings, attach, load_adapter
    from kasauti.model.load import load
    from kasauti.model.merge import merge_adapter

    base = load(str(tiny_model), str(tmp_path), four_bit=True)
    adapted = attach(base.model, LoraSettings(r=4), 1)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    adapted.save_pretrained(tmp_path / "adapter")
    ids = torch.arange(3, 40)[None]
    four = load_adapter(load(str(tiny_model), str(tmp_path), four_bit=True).model, str(tmp_path / "adapter"))
    (tmp_path / "merged").mkdir()
    merge_adapter(load(str(tiny_model), str(tmp_path), four_bit=True), str(tmp_path / "adapter"), tmp_path / "merged")
    wrong = load_adapter(load(str(tiny_model), str(tmp_path)).model, str(tmp_path / "adapter"))
    assert "quantization_config" not in json.loads((tmp_path / "merged/config.json").read_text())
    with torch.inference_mode():
        want, got, other = (
            model(input_ids=ids).logits.float().softmax(-1)
            for model in (four, load(str(tmp_path / "merged"), str(tmp_path)).model, wrong)
        )
    assert (want - got).abs().max() < 0.2 * (want - other).abs().max()


@pytest.fixture
def four_bit(shipping, tiny_model):
    """A registry whose version 1 is an adapter of a 4-bit base."""
    pytest.importorskip("bitsandbytes")
    import torch

    from kasauti.core.task import load_task
    from kasauti.model.adapters import LoraSettings, attach
    from kasauti.model.load import load

    task, trial = shipping("tuned")
    path = Path(task.folder) / "task.yaml"
    path.write_text(path.read_text("utf-8").replace("r: 4}", "r: 4, method: qlora}"), encoding="utf-8")
    task = load_task(task.folder)
    adapted = attach(load(str(tiny_model), task.folder, four_bit=True).model, LoraSettings(r=4), 1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    inner = Path(trial.shipped) / "adapter"
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (inner / name).unlink()
    adapted.save_pretrained(inner)
    register(task, trial)
    return Registry(task)


def test_an_adapter_of_a_4_bit_base_is_proved_against_that_base(four_bit):
    proof = merge_version(four_bit, 1).proof
    assert proof["passed"]
    assert proof["base"]["weights"] == "nf4"
    assert proof["merged"]["weights"] in ("float32", "bfloat16")
    assert proof["tolerance"]["label_agreement"] == 0.99
    assert proof["label_agreement"] >= 0.99


def test_a_tampered_merge_of_a_4_bit_base_is_refused(four_bit):
    made = merge_version(four_bit, 1)

    def moved(weights):
        name = next(name for name in weights if "embed_tokens" in name)
        weights[name] = weights[name].roll(1, 0).contiguous() * 8

    tamper(made.folder, moved)
    with pytest.raises(KasautiError, match="the merged model does not answer as version 1 does"):
        prove_folder(four_bit, 1, str(made.folder))


def test_an_adapter_that_is_off_on_a_prefix_is_refused_in_words_of_our_own(tuned, tiny_model, tmp_path):
    from kasauti.core.errors import ModelError
    from kasauti.model.load import load
    from kasauti.model.merge import merge_adapter

    adapter = tmp_path / "adapter"
    shutil.copytree(tuned.check(1).folder, adapter)
    path = adapter / "adapter_config.json"
    path.chmod(0o644)
    path.write_text(json.dumps({**json.loads(path.read_text()), "alora_invocation_tokens": [5, 6]}))
    (tmp_path / "merged").mkdir()
    with pytest.raises(ModelError, match="is off on what every prompt begins with"):
        merge_adapter(load(str(tiny_model), str(tmp_path)), str(adapter), tmp_path / "merged")
    assert not any((tmp_path / "merged").iterdir())


def test_trained_embeddings_are_merged_with_the_adapter(tiny_model, tmp_path):
    import torch

    from kasauti.model.adapters import LoraSettings, attach, load_adapter
    from kasauti.model.load import load
    from kasauti.model.merge import merge_adapter

    def fresh():
        return load(str(tiny_model), str(tmp_path))

    adapted = attach(fresh().model, LoraSettings(r=4, embeddings=True), 1)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.05)
    adapted.save_pretrained(tmp_path / "adapter")
    want = load_adapter(fresh().model, str(tmp_path / "adapter"))
    (tmp_path / "merged").mkdir()
    merge_adapter(fresh(), str(tmp_path / "adapter"), tmp_path / "merged")
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        told, base, before = (
            model(input_ids=ids).logits.softmax(-1)
            for model in (load(str(tmp_path / "merged"), str(tmp_path)).model, fresh().model, want)
        )
    assert (told - before).abs().max() < 1e-5
    assert (told - base).abs().max() > 1e-3


@given(st.integers(1, 30), st.integers(2, 5), st.integers(0, 9))
def test_a_model_agrees_with_itself(rows, labels, seed):
    draw = np.random.default_rng(seed)
    logs = draw.normal(size=(rows, labels))
    logs -= np.logaddexp.reduce(logs, axis=1, keepdims=True)
    found = agreement(logs, logs, draw.integers(0, labels, rows))
    assert (found.label_agreement, found.largest_drift, found.log_loss_difference) == (1.0, 0.0, 0.0)
    assert TOLERANCES["float32"].refuses(found) == []


@pytest.mark.parametrize(
    "wrong", [{"label_agreement": 0.98}, {"largest_drift": 0.2}, {"log_loss_b": 1.2}, {"largest_drift": float("nan")}]
)
def test_each_figure_alone_refuses(wrong):
    good = {"rows": 9, "label_agreement": 1.0, "largest_drift": 0.0, "mean_drift": 0.0, "log_loss_a": 1.0}
    assert len(TOLERANCES["half"].refuses(Agreement(**{**good, "log_loss_b": 1.0, **wrong}))) == 1


@pytest.mark.slow
def test_the_bundled_model_tuned_and_merged_answers_as_before(tmp_path):
    from tests.conftest import complaints, task_text, write_rows

    from kasauti.approaches.catalogue import CATALOGUE
    from kasauti.core.task import load_task
    from kasauti.decide.trial import run_trial

    assert "tuned" in CATALOGUE
    write_rows(tmp_path / "train.csv", complaints(90, 1))
    write_rows(tmp_path / "test.csv", complaints(30, 2))
    (tmp_path / "task.yaml").write_text(task_text("kasauti/nano"), encoding="utf-8")
    task = load_task(tmp_path)
    register(task, run_trial(task, ["tuned"]))
    proof = merge_version(Registry(task), 1).proof
    assert proof["label_agreement"] == 1.0
    assert proof["largest_probability_drift"] < 1e-4
    shutil.rmtree(tmp_path / ".kasauti")
