"""The parts of single approaches: temperatures, margins, prompts, names, and one model at a time."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.approaches.calibrated import accuracy_of, calibrate, predictions_from
from kasauti.approaches.catalogue import CATALOGUE, DEFAULT, check_names
from kasauti.approaches.classical import Classical
from kasauti.approaches.majority import Majority
from kasauti.approaches.prompt import PromptInstructions, PromptNone, listed_instructions
from kasauti.core.errors import TemplateError, UsageError
from kasauti.core.types import Example
from kasauti.measure.scaling import Calibration
from kasauti.train.recipe import SMALL


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [
        Example(id=str(at), fields={"text": text}, template="{text}", answer=label)
        for at, (text, label) in enumerate(pairs)
    ]


@given(st.lists(st.sampled_from(DEFAULT), min_size=1, max_size=8))
def test_names_are_taken_once_and_in_the_order_of_the_catalogue(names):
    found = check_names(names)
    assert set(found) == set(names)
    assert list(found) == sorted(found, key=list(CATALOGUE).index)


@pytest.mark.parametrize(("names", "said"), [(["tunde"], "'tuned'"), ([], "majority"), (["classical", ""], "Known")])
def test_a_wrong_name_is_refused_with_the_right_ones(names, said):
    with pytest.raises(UsageError, match=said) as caught:
        check_names(names)
    assert caught.value.where == "--approaches"
    assert "\n" not in str(caught.value)


def test_the_majority_is_of_the_training_rows_alone_and_no_label_is_impossible(place):
    here = place()
    train = rows(("a", "card"), ("b", "card"), ("c", "refund"))
    approach = Majority(here.bench).fit(train, rows(*[("x", "parcel")] * 9), rows(*[("y", "parcel")] * 9))
    assert approach.predict(train)[0].answer == "card"
    assert approach.shares == pytest.approx({"refund": 2 / 6, "card": 3 / 6, "parcel": 1 / 6})


def test_classical_takes_the_strongest_regularisation_of_equally_good_ones(place):
    here = place()
    train = [*here.split.train, *here.split.validation]
    approach = Classical(here.bench, strengths=(3.0, 0.3, 1.0)).fit(train, here.split.train[:6], here.split.train[6:9])
    assert set(approach.chosen["validation_accuracy"].values()) == {1.0}
    assert approach.chosen["C"] == 0.3


def test_classical_learns_from_the_chosen_rows_too_and_never_from_those_it_calibrates_on(place):
    here = place()
    train = rows(
        *[(f"my card is lost {n}", "card") for n in range(4)],
        *[(f"the parcel is late {n}", "parcel") for n in range(4)],
    )
    choose = rows(*[(f"zebra money back {n}", "refund") for n in range(4)])
    calibrate = rows(*[(f"quokka stripes {n}", "card") for n in range(3)])
    approach = Classical(here.bench).fit(train, choose, calibrate)
    assert approach.predict(rows(("zebra money", "")))[0].answer == "refund"
    words = approach.features.transformer_list[0][1].vocabulary_
    assert "zebra" in words
    assert "quokka" not in words


def test_classical_gives_a_label_that_no_row_had_the_least_probability(place):
    here = place()
    train = rows(
        *[(f"my card is lost {n}", "card") for n in range(4)],
        *[(f"the parcel is late {n}", "parcel") for n in range(4)],
    )
    one = Classical(here.bench).fit(train, (), ()).predict(rows(("my card", "")))[0]
    assert one.answer == "card"
    assert min(one.probabilities, key=one.probabilities.__getitem__) == "refund"


@given(st.lists(st.lists(st.integers(-200, 50), min_size=3, max_size=3), min_size=1, max_size=5), st.floats(0.05, 20))
def test_a_temperature_changes_confidence_and_never_the_answer(logs, temperature):
    made = np.array(logs) / 10
    plain, warm = (predictions_from(made, ("a", "b", "c"), Calibration(temperature=t)) for t in (1.0, temperature))
    assert [p.answer for p in plain] == [("a", "b", "c")[best] for best in made.argmax(axis=1)]
    for one, other in zip(plain, warm, strict=True):
        assert other.probabilities[one.answer] == pytest.approx(max(other.probabilities.values()))
        assert sum(other.probabilities.values()) == pytest.approx(1)


def test_a_model_that_is_too_sure_is_cooled_and_no_rows_leave_it_as_it_is():
    logs = np.log(np.array([[0.98, 0.02]] * 10))
    truth = rows(*[("x", "a")] * 6, *[("x", "b")] * 4)
    assert calibrate(logs, truth, ("a", "b"))[0].temperature > 2
    assert calibrate(np.zeros((0, 2)), [], ("a", "b")) == (Calibration(), [])
    assert accuracy_of(logs, truth, ("a", "b")) == pytest.approx(0.6)


def test_prompts_without_and_with_instructions(place):
    here = place()
    row = here.split.test[0]
    assert [m.role for m in PromptNone(here.bench).conversation(row)] == ["user"]
    system, user = PromptInstructions(here.bench).conversation(row)
    assert user.content == row.text
    assert system.content == listed_instructions(here.task)
    assert system.content.startswith("Name the category of the complaint.\n")
    assert all(f"\n- {label}: about a {label}" in system.content for label in here.task.labels)
    bare = dataclasses.replace(here.task, labels={"yes": "", "no": ""})
    assert listed_instructions(bare).endswith("\n- yes\n- no")


def test_a_bench_holds_one_network_at_a_time_and_gives_fresh_ones(place):
    bench = place().bench
    first = bench.loaded()
    assert bench.loaded() is first
    fresh = bench.fresh()
    assert fresh.model is not first.model
    assert bench.loaded() is not first


def test_the_recipe_needs_no_weights(place, tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "m")
    task = place().task
    bench = type(place().bench)(dataclasses.replace(task, model=str(tmp_path / "m")))
    (tmp_path / "m" / "model.safetensors").write_bytes(b"")
    assert bench.recipe.epochs == 1
    assert bench.recipe.learning_rate == SMALL["learning_rate"]


def test_an_adapter_that_was_trained_with_another_template_is_refused(place, tmp_path):
    bench = place().bench
    bench.frozen.save(tmp_path)
    document = json.loads((tmp_path / "template.json").read_text("utf-8"))
    changed = dataclasses.replace(bench.frozen, text=document["text"] + "{# other #}")
    changed.save(tmp_path)
    with pytest.raises(TemplateError, match="template") as caught:
        bench.loaded(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_of_a_fully_tuned_model_is_loaded_as_it_is(place, tmp_path):
    bench = place().bench
    base = bench.fresh()
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    bench.frozen.save(tmp_path)
    loaded = bench.loaded(str(tmp_path))
    assert loaded.parameters == base.parameters
    assert not loaded.model.training
