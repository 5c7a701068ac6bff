"""Other seeds of a tuned approach: the spread is that of their answers, and the verdict tells what it is worth."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.approaches.workbench import Workbench
from kasauti.core.errors import TrainingError
from kasauti.core.files import read_json
from kasauti.core.task import load_task
from kasauti.data.split import load_split
from kasauti.data.versions import looks
from kasauti.decide.fitted import fit_and_answer
from kasauti.decide.seeds import range_of, reseeded, seeds_of, sentences, spread_of, summary
from kasauti.decide.trial import run_trial

SHARE = st.floats(0, 1)


def entry(name: str, value: float, low: float, high: float, values=()) -> dict:
    made = {"name": name, "accuracy": {"value": value, "low": low, "high": high}}
    return {**made, "seeds": summary(range(len(values)), values)} if values else made


def test_seeds_follow_the_recipes_own():
    assert seeds_of(42, 3) == [42, 43, 44]
    assert seeds_of(2**32 - 1, 2) == [2**32 - 1, 0]


def test_another_seed_trains_what_the_search_chose_and_searches_no_more(make_task):
    task = load_task(make_task())
    about = {"search": {"chosen": {"r": 8, "alpha": 16}}}
    train = dict(task.train)
    searched = type(task)(**{**{f: getattr(task, f) for f in task.__slots__}, "train": {**train, "search": {"r": [8]}}})
    other = reseeded(searched, about, 7)
    assert other.train == {**train, "r": 8, "alpha": 16, "seed": 7}
    assert other.seed == task.seed


@given(st.lists(SHARE, min_size=2, max_size=6), SHARE, SHARE)
def test_seeds_never_make_an_interval_narrower(values, one, other):
    low, high = sorted((one, other))
    spread = summary(range(len(values)), values)
    made = range_of(spread, low, high)
    half = (high - low) / 2
    assert made[0] <= max(0.0, spread["mean"] - half) + 1e-12
    assert made[1] >= min(1.0, spread["mean"] + half) - 1e-12
    assert range_of(summary([1], values[:1]), low, high) == (low, high)


def test_the_sentence_has_the_spread_the_wider_interval_and_how_many_seeds_would_win():
    entries = [entry("classical", 0.80, 0.77, 0.83), entry("tuned", 0.86, 0.83, 0.89, (0.86, 0.81, 0.85))]
    (told,) = sentences(entries, margin=0.02)
    assert "tuned was trained with 3 seeds: 84.0% on average, standard deviation 2.6 points (86.0, 81.0, 85.0;" in told
    assert "95% interval is 70.5\u201397.5, not 83.0\u201389.0" in told
    assert "over classical by more than the margin in 2 of 3 seeds" in told
    assert sentences(entries[:1], margin=0.02) == []
    assert sentences([entry("tuned", 0.86, 0.83, 0.89, (0.86,))], margin=0.02) == []


@pytest.fixture(scope="module")
def seeded(tmp_path_factory, tiny_model) -> Path:
    from tests.conftest import complaints, task_text, write_rows

    folder = tmp_path_factory.mktemp("seeded")
    write_rows(folder / "train.csv", complaints(48, 1))
    write_rows(folder / "test.csv", complaints(12, 2))
    (folder / "task.yaml").write_text(task_text(tiny_model), encoding="utf-8")
    run_trial(load_task(folder), ["majority", "tuned"], seeds=2)
    return folder


def test_a_trial_with_seeds_trains_each_and_judges_the_first(seeded):
    task = load_task(seeded)
    split, _ = load_split(task)
    (path,) = (seeded / ".kasauti" / "trials").glob("*/trial.json")
    document = read_json(path)
    one = next(one for one in document["approaches"] if one["name"] == "tuned")
    spread = one["seeds"]
    assert spread["seeds"] == [42, 43]
    assert spread["values"][0] == one["accuracy"]["value"]
    assert spread["mean"] == pytest.approx(statistics.fmean(spread["values"]))
    assert spread["failed"] == []
    assert len(list((seeded / ".kasauti" / "runs").iterdir())) == 2
    assert any("trained with 2 seeds" in sentence for sentence in document["verdict"]["because"])
    assert "seeds" not in next(one for one in document["approaches"] if one["name"] == "majority")
    assert looks(seeded, split.test_sha256) == 1


def test_the_same_trial_is_found_and_one_without_seeds_is_another_that_trains_nothing(seeded):
    told: list[str] = []
    again = run_trial(load_task(seeded), ["majority", "tuned"], lambda *given: told.append(given[0]), seeds=2)
    assert told == []
    plain = run_trial(load_task(seeded), ["majority", "tuned"])
    assert plain.id != again.id
    assert len(list((seeded / ".kasauti" / "runs").iterdir())) == 2
    assert plain.shipped == again.shipped
    assert all("seeds" not in one for one in plain.document["approaches"])


def test_seeds_that_fail_are_told_and_the_others_count(seeded, monkeypatch):
    """A library's fault cannot be had on order: it is raised in its place."""
    task = load_task(seeded)
    split, _ = load_split(task)
    one = fit_and_answer(Workbench(task), split, "tuned")

    def fails(bench, *rest):
        if bench.task.train["seed"] == 43:
            return fit_and_answer(bench, *rest)
        raise RuntimeError("no room\nat all") if bench.task.train["seed"] == 44 else TrainingError("it diverged")

    monkeypatch.setattr("kasauti.decide.seeds.fit_and_answer", fails)
    spread = spread_of(Workbench(task), split, one, 4)
    assert spread["seeds"] == [42, 43]
    assert [row["seed"] for row in spread["failed"]] == [44, 45]
    assert [row["why"] for row in spread["failed"]] == ["RuntimeError: no room", "it diverged"]
    (told,) = sentences([{**entry("tuned", 0.5, 0.4, 0.6), "seeds": spread}], margin=0.02)
    assert "2 more could not be trained: RuntimeError: no room" in told
