"""An adapter that is off on what prompts begin with answers, beside others on one base, as PEFT alone answers; and what
is kept of a beginning is the base's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.model.labelled import some_labels
from tests.tiny import adapted, fresh_network, plain_log_probability

from kasauti.core.errors import ModelError
from kasauti.model.activated import MARK, invocation_of, mark
from kasauti.model.adapters import load_adapter
from kasauti.model.engine import BASE, Engine
from kasauti.model.generate import generate
from kasauti.model.labels import build_trie
from kasauti.model.posterior import label_log_probabilities

LABELS = some_labels(20)
TRIE = build_trie(LABELS)
OFF, INVOCATION = [9, 8, 7, 6], [3, 5]
BEGINNING = [*OFF, *INVOCATION, 11]
PROMPTS = [[*BEGINNING, *rest] for rest in ([10, 13], [12], [13, 14, 15, 16])]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Adapters on disk: two ordinary ones, and the second once more as an activated one."""
    made = {}
    for name, seed in (("first", 1), ("second", 2), ("off", 2)):
        made[name] = str(tmp_path_factory.mktemp(name))
        model = adapted(seed, alpha=16)
        model.peft_config["default"].alora_invocation_tokens = INVOCATION if name == "off" else None
        model.save_pretrained(made[name])
    return made


@pytest.fixture
def engine(folders):
    made = Engine(fresh_network("llama"))
    for name, folder in folders.items():
        made.load(name, folder)
    return made


@pytest.fixture(scope="module")
def alone(folders):
    """What one plain pass per label gives, each adapter by itself."""
    models = {name: load_adapter(fresh_network("llama"), folder) for name, folder in folders.items()}
    models[BASE] = fresh_network("llama")
    found = {}
    for name, model in models.items():
        joint = [[plain_log_probability(model, p, list(ids)) for ids in LABELS.values()] for p in PROMPTS]
        found[name] = np.array(joint) - np.logaddexp.reduce(joint, axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("packed", [True, False])
def test_it_answers_as_peft_alone_whatever_was_asked_before(engine, alone, packed, monkeypatch):
    if not packed:
        monkeypatch.setattr("kasauti.model.posterior.packs", lambda model: False)
        monkeypatch.setattr("kasauti.model.engine.packs", lambda model: False)
    assert np.abs(np.exp(alone["off"]) - np.exp(alone["second"])).max() > 0.01
    for name in ("off", "second", BASE, "off", BASE, "first", "off"):
        for beginning in (None, BEGINNING):
            for size in (None, 8):  # a trie in pieces behind texts that were run before
                found = engine.log_probabilities(
                    PROMPTS, TRIE, adapter=name, beginning=beginning, batch_tokens=size
                )  # fmt: skip
                np.testing.assert_allclose(found, alone[name], atol=1e-4)
        best = engine.best(PROMPTS, TRIE, adapter=name, beginning=beginning)
        assert [one.label for one in best] == alone[name].argmax(axis=1).tolist()
        one = engine.log_probabilities(PROMPTS[:1], TRIE, adapter=name)
        np.testing.assert_allclose(one, alone[name][:1], atol=1e-4)


def test_what_it_is_off_on_is_kept_as_the_base_s_and_never_as_an_ordinary_adapter_s(engine):
    found = {name: engine.prefix(BEGINNING, adapter=name) for name in ("off", "second", BASE)}
    assert found["off"].ids == tuple(OFF)
    assert found["off"] is engine.prefix(OFF, adapter=BASE)
    assert found["second"].ids == found[BASE].ids == tuple(BEGINNING)
    last = found["off"].layers[-1][0]
    torch.testing.assert_close(last, found[BASE].first(len(OFF)).layers[-1][0])
    assert not torch.allclose(last, found["second"].first(len(OFF)).layers[-1][0], atol=1e-3)
    engine.log_probabilities(PROMPTS, TRIE, adapter="off")
    assert engine.prefix(BEGINNING, adapter="off") is found["off"]


def test_a_network_that_is_told_in_training_that_its_adapter_is_off_is_asked_with_the_base_s_beginning(alone):
    engine = Engine(adapted(2, alpha=16))
    for activated in (False, True, False, True):
        setattr(engine.model, MARK, None)
        if activated:
            mark(engine.model, INVOCATION)
        found = engine.log_probabilities(PROMPTS, TRIE, beginning=OFF)
        np.testing.assert_allclose(found, alone["off" if activated else "second"], atol=1e-4)


def test_which_one_is_on_says_where_it_is_off(engine):
    engine.model.set_adapter("off")
    assert invocation_of(engine.model) == invocation_of(engine.model, "off") == tuple(INVOCATION)
    assert invocation_of(engine.model, "second") == ()
    with engine.under(BASE):
        assert invocation_of(engine.model) == ()
    engine.model.set_adapter("second")
    assert invocation_of(engine.model) == ()


def test_free_text_begins_with_the_base_s_keys_too(engine):
    asked = {"end_ids": [2], "max_new_tokens": 6}
    with engine.under("off"):
        alone = [
            generate(engine.model, [prompt], **asked, prefix=engine.prefix(BEGINNING, adapter=name))
            for name in ("off", "second")  # what was computed with another adapter is not taken
            for prompt in PROMPTS
        ]
        plain = [
            engine.model.generate(torch.tensor([p]), max_new_tokens=6, do_sample=False, eos_token_id=2, pad_token_id=2)
            for p in PROMPTS
        ]
    wanted = [tuple(t for t in one[0, len(p) :].tolist() if t != 2) for one, p in zip(plain, PROMPTS, strict=True)]
    assert [made.ids for one in alone for made in one] == wanted * 2


def test_prompts_that_do_not_begin_alike_are_refused_under_it_alone(engine):
    strange = [PROMPTS[0], [9, 9, *INVOCATION, 4]]
    for ask in (engine.log_probabilities, engine.best):
        with pytest.raises(ModelError, match="prompt 2"):
            ask(strange, TRIE, adapter="off")
        ask(strange, TRIE, adapter="second")
    fresh = label_log_probabilities(fresh_network("llama"), strange, TRIE)
    np.testing.assert_allclose(engine.log_probabilities(strange, TRIE, adapter=BASE), fresh, atol=1e-4)
