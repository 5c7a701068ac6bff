"""`--seeds` and `train.search` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def set_train(folder: Path, train: str) -> None:
    path = folder / "task.yaml"
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("train:")]
    path.write_text("\n".join([*lines, f"train: {train}", ""]), encoding="utf-8")


@pytest.mark.parametrize("seeds", ["0", "-1", "21"])
def test_a_number_of_seeds_that_is_none_is_refused_before_anything_is_written(kasauti, make_task, tree, seeds):
    folder = make_task()
    before = tree(folder)
    ran = kasauti("trial", "--task", folder, f"--seeds={seeds}")
    assert ran.code == 2
    assert "--seeds" in ran.error_line
    assert tree(folder) == before


def test_a_search_that_varies_what_is_no_field_is_refused_with_the_nearest(kasauti, make_task, tree):
    folder = make_task()
    set_train(folder, "{search: {learning_rates: [0.1]}}")
    before = tree(folder)
    ran = kasauti("train", "--task", folder)
    assert ran.code == 2
    assert "learning_rate" in ran.error_line
    assert tree(folder) == before


def test_a_plan_says_how_many_recipes_a_search_tries(kasauti, make_task):
    folder = make_task(rows=40, test=6)
    set_train(folder, "{epochs: 1, batch: 16, r: 4, search: {r: [2, 4, 8], minutes: 5}}")
    ran = kasauti("plan", "--no-timing", "--task", folder)
    assert "train.search tries 3 recipes within 5 minutes" in ran.out
    assert json.loads(kasauti("plan", "--no-timing", "--json", "--task", folder).out)["runs"] == 3
