"""The recipe: defaults that suit the model's size, and every wrong setting refused in one line before anything is
trained."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math
from types import UnionType
from typing import get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import TaskError
from kasauti.train import recipe as module
from kasauti.train.recipe import FIELDS, FULL_LEARNING_RATE, SMALL, SMALL_MODEL, Recipe, recipe_for

BILLIONS = 8_000_000_000
WRONG_TYPES = {
    str: [1, None, ["lora"], True],
    int: ["16", 16.0, 1.5, True, None, [1]],
    float: ["0.1", True, None, [0.1], math.nan, math.inf, -0.1],
    bool: [1, 0, "yes", None],
    UnionType: [1, 0, "yes", None, ["auto"]],
    tuple: [1, None, [1], [["a"]], {"a": 1}],
}
WRONG_VALUES = [
    ("method", "lorra", "lora"),
    ("method", "qlorax", "qlora"),
    ("schedule", "cosin", "cosine"),
    ("trackers", ["wandbb"], "wandb"),
    ("trackers", "tensorbord", "tensorboard"),
    ("targets", [], "targets"),
    ("r", 0, "above 0"),
    ("r", -4, "above 0"),
    ("alpha", 0, "above 0"),
    ("epochs", 0, "above 0"),
    ("batch", 0, "above 0"),
    ("micro_batch", 0, "above 0"),
    ("learning_rate", 0.0, "above 0"),
    ("length", 0, "above 0"),
    ("keep", 0, "above 0"),
    ("dropout", 1.0, "below 1"),
    ("warmup", 1, "below 1"),
    ("label_smoothing", 1.5, "below 1"),
    ("weight_decay", -0.1, "from 0 up"),
    ("max_grad_norm", -1.0, "from 0 up"),
    ("patience", -1, "from 0 up"),
    ("seed", -1, "from 0 up"),
    ("seed", 2**32, "4294967296"),
]


def refusal(settings: dict) -> TaskError:
    with pytest.raises(TaskError) as caught:
        recipe_for(settings, BILLIONS, 42)
    assert "\n" not in str(caught.value)
    assert caught.value.where == "task.yaml: train"
    assert caught.value.mend
    assert caught.value.exit_code == 2
    return caught.value


def kind_of(name: str) -> type:
    hint = get_type_hints(Recipe)[name]
    return get_origin(hint) or hint


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_of_the_wrong_type_is_refused_by_field_and_value(name):
    for value in WRONG_TYPES[kind_of(name)]:
        line = str(refusal({name: value}))
        assert name in line
        assert repr(value) in line or str(value) in line


@pytest.mark.parametrize(("name", "value", "mend"), WRONG_VALUES)
def test_a_value_that_cannot_be_is_refused_with_what_can(name, value, mend):
    error = refusal({name: value})
    assert name.removesuffix("s") in error.what
    assert mend in str(error)


@settings(max_examples=30)
@given(st.text(max_size=12).filter(lambda name: name not in FIELDS))
def test_an_unknown_field_is_refused(name):
    with pytest.raises(TaskError, match="unknown field"):
        recipe_for({name: 1}, BILLIONS, 42)


@pytest.mark.parametrize(
    ("name", "meant"), [("zzz", "Known"), ("learning-rate", "learning_rate"), ("epoch", "epochs"), ("R", "r")]
)
def test_an_unknown_field_is_answered_with_the_nearest(name, meant):
    assert meant in refusal({name: 1}).mend


@pytest.mark.parametrize("name", FIELDS)
def test_every_default_may_be_written_into_the_task_file(name):
    value = getattr(Recipe(), name)
    written = list(value) if isinstance(value, tuple) else value
    assert getattr(recipe_for({name: written}, BILLIONS, 42), name) == value


def test_a_list_of_one_name_may_be_written_as_the_name():
    assert recipe_for({"targets": "q_proj"}, BILLIONS, 42).targets == ("q_proj",)


def test_whole_numbers_may_stand_for_numbers():
    assert recipe_for({"epochs": 2, "warmup": 0}, BILLIONS, 42).epochs == 2


def test_a_large_model_takes_the_defaults_and_a_small_one_those_for_small_ones():
    assert recipe_for({}, BILLIONS, 7) == Recipe(seed=7)
    assert recipe_for({}, SMALL_MODEL, 7) == Recipe(seed=7)
    assert recipe_for({}, SMALL_MODEL - 1, 7) == dataclasses.replace(Recipe(seed=7), **SMALL)


def test_what_the_task_sets_goes_before_the_defaults_for_small_models():
    made = recipe_for({"epochs": 1, "seed": 3}, 1000, 7)
    assert (made.epochs, made.seed, made.learning_rate) == (1, 3, SMALL["learning_rate"])


@pytest.mark.parametrize("parameters", [1000, BILLIONS])
def test_full_fine_tuning_takes_a_tenth_of_the_learning_rate_unless_one_is_set(parameters):
    lora = recipe_for({}, parameters, 42).learning_rate
    assert recipe_for({"method": "full"}, parameters, 42).learning_rate == pytest.approx(FULL_LEARNING_RATE * lora)
    assert recipe_for({"method": "full", "learning_rate": 5e-5}, parameters, 42).learning_rate == 5e-5


@settings(max_examples=30)
@given(st.integers(1, 200), st.sampled_from([1000, BILLIONS]))
def test_a_batch_alone_finds_a_micro_batch_that_divides_it(batch, parameters):
    made = recipe_for({"batch": batch}, parameters, 42)
    assert made.batch == batch
    assert batch % made.micro_batch == 0
    assert made.micro_batch <= recipe_for({}, parameters, 42).micro_batch


def test_a_micro_batch_that_does_not_divide_the_batch_is_refused_with_both():
    assert "batch 10 is no multiple of micro_batch 4" in refusal({"batch": 10, "micro_batch": 4}).what


def test_every_field_says_what_it_is():
    body = ast.parse(inspect.getsource(module)).body
    fields = next(node for node in body if isinstance(node, ast.ClassDef) and node.name == "Recipe").body
    said = {
        one.target.id: ast.literal_eval(after.value)
        for one, after in itertools.pairwise(fields)
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and isinstance(after, ast.Expr)
    }
    assert set(said) == set(FIELDS)
