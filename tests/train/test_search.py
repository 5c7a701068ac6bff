"""A search over the recipe: what is tried, what is best, when it ends, and that nothing is trained twice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.approaches.tuned import Tuned
from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import TaskError
from kasauti.core.task import load_task
from kasauti.data.split import load_split
from kasauti.train.recipe import Recipe, recipe_for
from kasauti.train.run import Run
from kasauti.train.search import FOLDER, minutes_of, search, variants_of


def variants(train: dict[str, Any]):
    return variants_of(train, lambda settings: recipe_for(settings, 10**9, 42))


def run(recipe: Recipe, accuracy: float | None, loss: float, seconds: float) -> Run:
    best: dict[str, float] = {"epoch": 1.0, "validation_loss": loss}
    if accuracy is not None:
        best |= {"validation_accuracy": accuracy, "validation_log_loss": loss}
    id = f"{recipe.learning_rate:g}-{recipe.r}"
    return Run(id=id, folder=Path(id), adapter=Path(id), summary={"best": best, "seconds": seconds})


def test_without_a_search_the_tasks_recipe_is_all_there_is():
    (one,) = variants({"r": 4})
    assert one.varied == {}
    assert one.recipe == recipe_for({"r": 4}, 10**9, 42)


def test_the_tasks_recipe_comes_first_and_every_combination_once():
    made = variants({"r": 16, "search": {"learning_rate": [1e-4, 2e-4], "r": [8, 16], "minutes": 5}})
    assert [one.varied for one in made] == [
        {},
        {"learning_rate": 1e-4, "r": 8, "alpha": 16},
        {"learning_rate": 1e-4, "r": 16, "alpha": 32},
        {"learning_rate": 2e-4, "r": 8, "alpha": 16},
    ]
    assert [one.recipe.r for one in made] == [16, 8, 16, 8]


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from([1e-5, 1e-4, 1e-3]), min_size=1, max_size=3),
    st.lists(st.sampled_from([4, 8, 32]), min_size=1, max_size=3),
)
def test_no_recipe_is_tried_twice_and_all_keep_the_scale_of_the_adapter(rates, ranks):
    made = variants({"search": {"learning_rate": rates, "r": ranks}})
    recipes = [one.recipe for one in made]
    assert all(recipe not in recipes[:at] for at, recipe in enumerate(recipes))
    assert {recipe.alpha / recipe.r for recipe in recipes} == {2.0}
    assert len(made) == 1 + len(set(rates)) * len(set(ranks))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "lists"),
        ({}, "varies nothing"),
        ({"minutes": 5}, "varies nothing"),
        ({"learning_rates": [1e-4]}, "learning_rate"),
        ({"learning_rate": 1e-4}, "list of values"),
        ({"learning_rate": []}, "list of values"),
        ({"learning_rate": [-1.0]}, "above 0"),
        ({"r": [2.5]}, "int"),
        ({"r": [8], "minutes": 0}, "above 0"),
        ({"r": [8], "minutes": "soon"}, "above 0"),
        ({"method": ["lora"]}, "unknown field 'method'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(given, said):
    with pytest.raises(TaskError) as caught:
        variants({"search": given})
    assert said in caught.value.line()
    assert "\n" not in caught.value.line()


def test_the_highest_accuracy_is_best_then_the_lowest_loss(tmp_path):
    made = variants({"search": {"learning_rate": [1e-5, 1e-4, 1e-3]}})
    figures = {2e-4: (0.8, 0.5), 1e-5: (0.7, 0.1), 1e-4: (0.9, 0.4), 1e-3: (0.9, 0.3)}
    found = search(tmp_path, made, lambda recipe: run(recipe, *figures[recipe.learning_rate], 1.0))
    assert found.chosen == {"learning_rate": 1e-3}
    assert [one["validation_accuracy"] for one in found.tried] == [0.8, 0.7, 0.9, 0.9]
    assert found.about()["search"]["not_tried_for_time"] == 0
    by_loss = search(tmp_path, made, lambda recipe: run(recipe, None, figures[recipe.learning_rate][1], 1.0))
    assert by_loss.chosen == {"learning_rate": 1e-5}
    alike = search(tmp_path, made, lambda recipe: run(recipe, 0.5, 0.5, 1.0))
    assert alike.chosen == {}


@pytest.mark.parametrize(("minutes", "tried"), [(0.01, 1), (2.9, 2), (3.0, 3), (math.inf, 4)])
def test_a_run_is_begun_only_where_the_longest_so_far_would_fit(tmp_path, minutes, tried):
    made = variants({"search": {"learning_rate": [1e-5, 1e-4, 1e-3]}})
    found = search(tmp_path, made, lambda recipe: run(recipe, 0.5, 0.5, 60.0), minutes)
    assert (len(found.tried), found.untried) == (tried, 4 - tried)


def test_minutes_are_none_where_none_are_given():
    assert minutes_of({}) == math.inf
    assert minutes_of({"search": {"r": [4], "minutes": 3}}) == 3


@pytest.fixture
def searched(make_task) -> Path:
    folder: Path = make_task(rows=60, test=9)
    text = (folder / "task.yaml").read_text("utf-8")
    line = next(line for line in text.splitlines() if line.startswith("train:"))
    wanted = "train: {epochs: 1, batch: 16, r: 4, search: {learning_rate: [0.01, 0.0001], minutes: 60}}"
    (folder / "task.yaml").write_text(text.replace(line, wanted), encoding="utf-8")
    return folder


def test_a_search_leaves_a_run_folder_a_variant_and_trains_none_of_them_twice(searched):
    task = load_task(searched)
    split, _ = load_split(task)
    told: list[str] = []
    first = Tuned(Workbench(task)).searched(split.train, split.validation_choose)
    runs = {path.name: path for path in (searched / ".kasauti" / "runs").iterdir()}
    assert {one["run"] for one in first.tried} == set(runs)
    assert len(runs) == 3
    made = {name: (path / "run.json").stat().st_mtime_ns for name, path in runs.items()}
    bench = Workbench(task, lambda stage, *rest: told.append(stage))
    again = Tuned(bench).searched(split.train, split.validation_choose)
    assert (again.run.id, again.tried) == (first.run.id, first.tried)
    assert {name: (path / "run.json").stat().st_mtime_ns for name, path in runs.items()} == made
    assert set(told) == {"search"}
    (log,) = (searched / ".kasauti" / FOLDER).glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert lines == [dict(one) for one in first.tried]
