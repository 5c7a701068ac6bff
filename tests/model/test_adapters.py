"""An adapter is all that is trained, starts by changing nothing, and comes back as it was saved."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import ARCHITECTURES, fresh_network, network

from kasauti.core.errors import ModelError
from kasauti.model.adapters import LoraSettings, attach, count, load_adapter

IDS = torch.tensor([[5, 9, 3, 7]])


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS).logits


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_only_the_adapter_is_trainable_and_a_fresh_one_changes_nothing(name):
    model = attach(fresh_network(name), LoraSettings(r=2, alpha=4), seed=0).eval()
    trainable, everything = count(model)
    assert everything == trainable + sum(p.numel() for p in network(name).parameters())
    assert 0 < trainable < everything
    assert all("lora" in parameter for parameter, weight in model.named_parameters() if weight.requires_grad)
    torch.testing.assert_close(logits(model), logits(network(name)))


def test_the_rank_gives_the_number_of_trained_parameters():
    settings = LoraSettings(r=3, targets=("q_proj", "v_proj"))
    trainable, _ = count(attach(fresh_network("llama"), settings, seed=0))
    assert trainable == 2 * (3 * (32 + 32) + 3 * (32 + 16))  # layers x (q: 32 -> 32, v: 32 -> 16)


def test_the_seed_decides_the_adapter():
    def first(seed):
        model = attach(fresh_network("llama"), LoraSettings(), seed=seed)
        return next(weight for name, weight in model.named_parameters() if "lora_A" in name)

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_a_saved_adapter_comes_back_in_eval_mode_with_the_same_answers(tmp_path):
    model = attach(fresh_network("llama"), LoraSettings(r=2), seed=0).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data)
    model.save_pretrained(tmp_path)
    again = load_adapter(fresh_network("llama"), str(tmp_path))
    assert not again.training
    assert torch.equal(logits(again), logits(model))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_embeddings_that_are_trained_come_back_and_stay_one_with_the_output_where_they_were(name, tmp_path):
    model = attach(fresh_network(name), LoraSettings(r=2, embeddings=True), seed=0).eval()
    torch.testing.assert_close(logits(model), logits(network(name)))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    size = model.config.hidden_size * model.config.vocab_size
    assert sum(weight.numel() == size for weight in trained) == 1
    with torch.no_grad():
        for weight in trained:
            weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    model.save_pretrained(tmp_path)
    again = load_adapter(fresh_network(name), str(tmp_path))
    torch.testing.assert_close(logits(again), logits(model))
    torch.testing.assert_close(logits(again.merge_and_unload()), logits(model))


def test_modules_that_are_not_there_are_refused_in_one_line():
    with pytest.raises(ModelError, match="query_key_value") as caught:
        attach(fresh_network("llama"), LoraSettings(targets=("query_key_value",)), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("saved_from", [None, "phi3"])
def test_a_folder_without_this_models_adapter_is_refused_in_one_line(tmp_path, saved_from):
    if saved_from:
        attach(fresh_network(saved_from), LoraSettings(r=2), seed=0).save_pretrained(tmp_path)
    with pytest.raises(ModelError) as caught:
        load_adapter(fresh_network("llama"), str(tmp_path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("name", "wanted"), [("llama", {"q_proj", "v_proj"}), ("phi3", {"qkv_proj"})])
def test_query_and_value_are_found_by_whatever_name_they_have(name, wanted):
    from kasauti.model.adapters import QUERY_VALUE

    adapted = attach(fresh_network(name), LoraSettings(r=2, targets=QUERY_VALUE), 0)
    found = {n.split(".lora_A")[0].rpartition(".")[2] for n, _ in adapted.named_parameters() if "lora_A" in n}
    assert found == wanted
