"""Several adapters on one base: each answers as if it were alone, and what was kept is used only while true."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.model.labelled import some_labels
from tests.tiny import END, adapted, fresh_network, network

from kasauti.core.errors import ModelError
from kasauti.model.adapters import LoraSettings, attach
from kasauti.model.engine import BASE, Engine
from kasauti.model.labels import build_trie
from kasauti.model.posterior import label_log_probabilities

TRIE = build_trie(some_labels(20))
PROMPTS = [[9, 8, 7, 6, 10, 11], [9, 8, 7, 6, 12], [9, 8, 7, 6, 13, 14, 15]]
BEGINNING = [9, 8, 7, 6]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name, seed in (("first", 1), ("second", 2)):
        made[name] = str(tmp_path_factory.mktemp(name))
        adapted(seed, alpha=64).save_pretrained(made[name])
    return made


@pytest.fixture
def engine(folders):
    made = Engine(fresh_network("llama"))
    for name, folder in folders.items():
        made.load(name, folder)
    return made


def alone() -> dict[str, np.ndarray]:
    models = {"first": adapted(1, alpha=64), "second": adapted(2, alpha=64), BASE: network("llama")}
    return {name: label_log_probabilities(model, PROMPTS, TRIE) for name, model in models.items()}


def test_each_adapter_answers_as_alone_whatever_was_asked_before(engine):
    wanted = alone()
    assert np.abs(np.exp(wanted["first"]) - np.exp(wanted["second"])).max() > 0.01
    for name in ("first", "second", BASE, "second", "first", BASE):
        for beginning in (None, BEGINNING):
            found = engine.log_probabilities(PROMPTS, TRIE, adapter=name, beginning=beginning)
            np.testing.assert_allclose(found, wanted[name], atol=1e-4)
        best = engine.best(PROMPTS, TRIE, adapter=name)
        assert [one.label for one in best] == wanted[name].argmax(axis=1).tolist()
    assert engine.adapters == ("first", "second")
    assert engine.active == "first"


def test_the_base_is_in_memory_once(engine):
    assert sum(p.numel() for n, p in engine.model.named_parameters() if "lora" not in n) == sum(
        p.numel() for p in network("llama").parameters()
    )


def test_a_beginning_is_computed_once_for_each_adapter(engine):
    first = engine.prefix(BEGINNING, adapter="first")
    second = engine.prefix(BEGINNING, adapter="second")
    assert not torch.equal(first.layers[1][0], second.layers[1][0])
    engine.log_probabilities(PROMPTS, TRIE, adapter="second", beginning=BEGINNING)
    assert engine.prefix(BEGINNING, adapter="first") is first
    assert engine.prefix(BEGINNING, adapter="second") is second
    assert engine.prefix([], adapter="first") is None


def test_a_single_prompt_takes_what_is_known_of_its_beginning(engine):
    engine.log_probabilities(PROMPTS, TRIE)
    kept = list(engine._prefixes)
    found = engine.log_probabilities(PROMPTS[:1], TRIE)
    assert list(engine._prefixes) == kept
    np.testing.assert_allclose(found, alone()["first"][:1], atol=1e-4)


@pytest.mark.parametrize("change", ["trained", "merged"])
def test_what_was_computed_with_other_weights_is_not_used(change):
    engine = Engine(adapted(1, alpha=64))
    engine.log_probabilities(PROMPTS, TRIE, beginning=BEGINNING)
    if change == "trained":
        weights = [p for p in engine.model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(weights, lr=0.5)
        ids = torch.tensor([PROMPTS[0]])
        engine.model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    else:
        before = engine.log_probabilities(PROMPTS, TRIE, beginning=BEGINNING)
        engine.model.merge_adapter()
        assert engine.prefix(BEGINNING) is not None
        np.testing.assert_allclose(engine.log_probabilities(PROMPTS, TRIE, beginning=BEGINNING), before, atol=1e-3)
    fresh = label_log_probabilities(engine.model, PROMPTS, TRIE)
    np.testing.assert_allclose(engine.log_probabilities(PROMPTS, TRIE, beginning=BEGINNING), fresh, atol=1e-4)


def test_beginnings_are_let_go_when_they_outgrow_the_memory():
    engine = Engine(network("llama"), memory=4000)  # of 2 layers x 2 x 2 heads x 8 x 4 bytes = 256 bytes a token
    for at in range(3, 9):
        engine.prefix([at] * 7)
    assert [key[1][0] for key in engine._prefixes] == [7, 8]


def test_names_that_are_not_there_or_taken_and_foreign_adapters_are_refused_in_one_line(engine, folders, tmp_path):
    attach(fresh_network("phi3"), LoraSettings(r=2), seed=0).save_pretrained(tmp_path)
    for act in (
        lambda: engine.log_probabilities(PROMPTS, TRIE, adapter="third"),
        lambda: engine.load("first", folders["first"]),
        lambda: engine.load("third", str(tmp_path)),
        lambda: engine.load("third", "/absent"),
    ):
        with pytest.raises(ModelError) as caught:
            act()
        assert "\n" not in str(caught.value)
    assert engine.adapters == ("first", "second")
    np.testing.assert_allclose(engine.log_probabilities(PROMPTS, TRIE), alone()["first"], atol=1e-4)


def test_a_model_without_adapters_is_asked_by_the_name_of_the_base():
    engine = Engine(network("llama"))
    assert engine.adapters == ()
    found = engine.log_probabilities([[9, END, 8]], TRIE, adapter=BASE)
    np.testing.assert_array_equal(found, engine.log_probabilities([[9, END, 8]], TRIE))
