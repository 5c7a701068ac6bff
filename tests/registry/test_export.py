"""An export is asked with training's ids, holds the merged model's numbers, and says what was looked at."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kasauti.core.errors import KasautiError, UsageError
from kasauti.model import llamacpp
from kasauti.registry import export, vllm
from kasauti.registry.export import TARGETS, export_version
from kasauti.registry.register import register
from kasauti.registry.versions import Registry


@pytest.fixture
def tuned(shipping):
    """A registry whose version 1 is an adapter."""
    task, trial = shipping("tuned")
    register(task, trial)
    return Registry(task)


@pytest.fixture
def low_rank(shipping, tiny_model):
    """A registry whose version 1 is an adapter of low-rank matrices alone, which small models are not given."""
    import torch

    from kasauti.model.adapters import LoraSettings, attach
    from kasauti.model.load import load

    task, trial = shipping("tuned")
    inner = Path(trial.shipped) / "adapter"
    base = load(str(tiny_model), task.folder)
    adapted = attach(base.model, LoraSettings(r=4), 1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (inner / name).unlink()
    adapted.save_pretrained(inner)
    register(task, trial)
    return Registry(task)


def names(folder):
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def test_vllm_gets_the_adapter_the_template_and_the_line(low_rank):
    made = export_version(low_rank, 1, "vllm")
    assert {"serve.sh", "chat_template.jinja", "proof.json", "adapter/adapter_model.safetensors"} <= names(made.folder)
    base = Path(low_rank.task.model).resolve()
    assert made.line.startswith(
        f"vllm serve {base} --enable-lora --max-lora-rank 8 --lora-modules complaints-1=./adapter"
    )
    assert made.line in (made.folder / "serve.sh").read_text("utf-8")
    proof = json.loads((made.folder / "proof.json").read_text("utf-8"))
    assert proof == made.proof
    assert proof["passed"]
    assert proof["template"]["same_ids"] == proof["template"]["rows"] > 0
    assert proof["proved"] == ["template"]


def test_trained_embeddings_go_to_vllm_as_the_merged_model(tuned):
    made = export_version(tuned, 1, "vllm")
    assert {"serve.sh", "chat_template.jinja", "proof.json", "model/model.safetensors"} <= names(made.folder)
    assert made.line.startswith("vllm serve ./model --served-model-name complaints-1 ")
    assert made.proof["merge"]["label_agreement"] == 1.0
    assert "token embeddings" in made.proof["merged_because"]


def test_what_vllm_was_given_asks_with_the_ids_of_the_version(tuned):
    """As a server does it: the tokenizer of the folder, the template of the folder, and nothing of ours."""
    from transformers import AutoTokenizer

    made = export_version(tuned, 1, "vllm")
    approach, _ = tuned.open(1)
    tokenizer = AutoTokenizer.from_pretrained(made.folder / "model")
    template = (made.folder / "chat_template.jinja").read_text("utf-8")
    rows = export.proof_rows(tuned, tuned.check(1))
    for row, want in zip(rows, approach.asker.prompts(rows), strict=True):
        turns = [{"role": turn.role, "content": turn.content} for turn in approach.conversation(row)]
        found = tokenizer.apply_chat_template(
            turns, chat_template=template, add_generation_prompt=True, return_dict=False
        )
        assert list(found) == list(want)


@pytest.mark.parametrize(
    ("settings", "four_bit", "why"),
    [
        ({"r": 16}, False, None),
        ({"r": 16}, True, "4-bit"),
        ({"r": 16, "modules_to_save": ["model.embed_tokens"]}, False, "whole matrices"),
        ({"r": 16, "use_dora": True}, False, "DoRA"),
        ({"r": 1024}, False, "ranks up to 512"),
    ],
)
def test_vllm_is_given_the_merged_model_where_it_cannot_load_the_adapter(settings, four_bit, why):
    said = vllm.why_merged(settings, four_bit=four_bit)
    assert said is None if why is None else why in said


def test_the_rank_is_one_that_vllm_takes():
    assert "--max-lora-rank 32 " in vllm.adapter_line("base", "name", 17, 512)


@pytest.mark.parametrize("weights", ["f32", "q8_0"])
def test_gguf_holds_the_merged_model(tuned, weights):
    made = export_version(tuned, 1, "gguf", weights=weights)
    assert names(made.folder) == {"model.gguf", "README.md", "proof.json"}
    assert made.proof["weights"]["stored"] == weights
    assert (made.proof["weights"]["largest_difference"] == 0.0) == (weights == "f32")
    assert made.proof["merge"]["label_agreement"] == 1.0
    assert {"template", "weights"} <= set(made.proof["proved"])


@pytest.mark.skipif(not llamacpp.installed(), reason="llama-cpp-python is not installed")
@pytest.mark.parametrize("weights", ["f32", "f16", "q8_0"])
def test_llama_cpp_answers_as_the_version_does(tuned, weights):
    proof = export_version(tuned, 1, "gguf", weights=weights).proof
    assert proof["tokens"]["same_ids"] == proof["tokens"]["rows"]
    assert proof["answers"]["label_agreement"] >= 0.99
    # llama.cpp keeps keys and values in float16, whatever the weights are in
    assert proof["answers"]["largest_probability_drift"] < {"f32": 1e-3, "f16": 1e-2}.get(weights, 0.05)


@pytest.mark.skipif(not llamacpp.installed(), reason="llama-cpp-python is not installed")
def test_a_file_that_answers_otherwise_is_refused(tuned, monkeypatch):
    from kasauti.model import gguf

    honest = gguf._Tensors.plain_contents

    def other(self):
        for name, full in honest(self):
            yield name, full * (3.0 if "ffn_down" in name or "attn_output" in name else 1.0)

    monkeypatch.setattr(gguf._Tensors, "plain_contents", other)
    with pytest.raises(KasautiError, match="the export does not answer as version 1 does"):
        export_version(tuned, 1, "gguf", weights="f32")
    (folder,) = (Path(tuned.task.folder) / ".kasauti/exports").iterdir()
    assert names(folder) == {"proof.json"}
    assert json.loads((folder / "proof.json").read_text("utf-8"))["because"]


def test_ollama_gets_a_modelfile_with_the_tasks_instructions(tuned):
    made = export_version(tuned, 1, "ollama")
    assert names(made.folder) == {"model.gguf", "Modelfile", "README.md", "proof.json"}
    text = (made.folder / "Modelfile").read_text("utf-8")
    assert f'SYSTEM """{tuned.task.instructions}"""' in text
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert made.proof["modelfile"]["same_text"] == made.proof["modelfile"]["rows"]


def test_an_export_says_how_it_is_served_and_asked(tuned):
    made = export_version(tuned, 1, "gguf")
    text = (made.folder / "README.md").read_text("utf-8")
    body = json.loads(text.partition("```json\n")[2].partition("```")[0])
    assert body["messages"] == [
        {"role": "system", "content": tuned.task.instructions},
        {"role": "user", "content": "Complaint: {text}"},
    ]
    assert made.line in text


def test_hf_is_the_merged_model_with_its_proof(tuned, tmp_path):
    made = export_version(tuned, 1, "hf", str(tmp_path / "out"))
    assert {"config.json", "model.safetensors", "tokenizer.json", "proof.json"} <= names(tmp_path / "out")
    assert made.proof["passed"]


def test_an_export_is_made_once_and_again_where_it_was_changed(tuned):
    first = export_version(tuned, 1, "gguf")
    when = (first.folder / "model.gguf").stat().st_mtime_ns
    assert export_version(tuned, 1, "gguf").proof == first.proof
    assert (first.folder / "model.gguf").stat().st_mtime_ns == when
    content = bytearray((first.folder / "model.gguf").read_bytes())
    content[-1] ^= 1
    (first.folder / "model.gguf").write_bytes(content)
    export_version(tuned, 1, "gguf")
    assert (first.folder / "model.gguf").read_bytes() != content


def test_a_template_that_asks_otherwise_is_refused_and_leaves_only_its_proof(tuned, monkeypatch):
    from kasauti.chat import served

    honest = served.served_ids
    monkeypatch.setattr(served, "served_ids", lambda *given: [*honest(*given), 7])
    monkeypatch.setattr(served, "check_served", lambda *given: None)
    with pytest.raises(KasautiError, match=r"does not answer as version 1 does: \d+ of \d+ prompts have other ids"):
        export_version(tuned, 1, "vllm")
    (folder,) = (Path(tuned.task.folder) / ".kasauti/exports").iterdir()
    assert names(folder) == {"proof.json"}


@pytest.mark.parametrize(
    ("given", "said"),
    [({"to": "tensorrt"}, "there is no export to 'tensorrt'"), ({"to": "gguf", "weights": "q2"}, "not stored as 'q2'")],
)
def test_an_unknown_engine_or_type_is_refused(tuned, given, said):
    with pytest.raises(UsageError, match=said):
        export_version(tuned, 1, **given)


@pytest.mark.parametrize("to", TARGETS)
def test_a_version_without_an_adapter_is_not_exported(tried, to):
    task, trial = tried
    register(task, trial)
    with pytest.raises(UsageError, match=r"version 1 \(classical\) has no adapter"):
        export_version(Registry(task), 1, to)


@pytest.mark.parametrize("to", TARGETS)
def test_an_adapter_that_is_off_on_a_prefix_is_neither_merged_nor_exported(shipping, to):
    task, trial = shipping("tuned")
    path = next(Path(trial.shipped).rglob("adapter_config.json"))
    settings = json.loads(path.read_text("utf-8"))
    path.chmod(0o644)
    path.write_text(json.dumps({**settings, "alora_invocation_tokens": [5, 6]}), encoding="utf-8")
    register(task, trial)
    with pytest.raises(UsageError, match="is off on what every prompt begins with"):
        export_version(Registry(task), 1, to)


def test_a_folder_that_is_something_else_is_not_touched(tuned, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("my own")
    with pytest.raises(UsageError, match="is no export"):
        export_version(tuned, 1, "gguf", str(tmp_path / "mine"))
    assert (tmp_path / "mine/notes").read_text() == "my own"
    shutil.rmtree(tmp_path / "mine")
