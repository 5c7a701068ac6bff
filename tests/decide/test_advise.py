"""The decision framework: the order is from simple to complex, every rule of the table holds, evidence replaces it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.errors import UsageError
from kasauti.decide.advise import Advice, Situation, Step, advise

SAMPLE = json.loads(Path(__file__).with_name("sample_trial.json").read_text("utf-8"))
ORDER = ["classical", "prompt", "retrieval", "hosted", "lora", "full"]
GOOD = {"labelled_rows": 3000, "gpu": True, "calls_per_month": 300_000.0}


def step(found: Advice, name: str) -> Step:
    return next(one for one in found.steps if one.name == name)


def said(found: Advice, name: str) -> str:
    return " ".join(step(found, name).reasons)


situations = st.builds(
    Situation,
    calls_per_month=st.floats(0, 1e8),
    labelled_rows=st.integers(0, 10**6),
    facts_change=st.booleans(),
    cite_sources=st.booleans(),
    problem=st.sampled_from(["format", "knowledge", "both"]),
    private=st.booleans(),
    latency_ms=st.none() | st.floats(1, 10_000),
    gpu=st.booleans(),
    task_changes=st.booleans(),
    classification=st.booleans(),
    small_model=st.booleans(),
    day_cost=st.floats(0, 5000),
)


@given(situations)
def test_whatever_the_situation_simple_comes_before_complex_and_every_step_says_why(situation):
    found = advise(situation)
    wanted = [one.name for one in found.steps if one.advice.startswith("try")]
    assert wanted == [name for name in ORDER if name in wanted]
    assert wanted
    assert [one.advice.startswith("try") for one in found.steps] == [True] * len(wanted) + [False] * (
        len(found.steps) - len(wanted)
    )
    assert {one.name for one in found.steps} == set(ORDER) - (set() if situation.classification else {"classical"})
    for one in found.steps:
        assert one.reasons
        assert one.use_when
        assert one.not_when
        assert "rule of thumb" in one.time
        assert "nan" not in one.cost
    assert found.headline.startswith("Try in this order: ")


@given(situations)
def test_the_tables_prohibitions_hold(situation):
    found = advise(situation)
    assert step(found, "prompt").advice == "try"
    assert step(found, "full").advice == "do not"
    if situation.labelled_rows < 500 or situation.task_changes or situation.problem == "knowledge":
        assert not step(found, "lora").advice.startswith("try")
    if not situation.gpu and not situation.small_model:
        assert step(found, "lora").advice == "do not"
    if situation.private:
        assert step(found, "hosted").advice == "do not"
    if situation.facts_change or situation.cite_sources or situation.problem != "format":
        assert step(found, "retrieval").advice == "try"


def test_the_motivating_example_is_worth_tuning_and_the_payback_is_said():
    found = advise(Situation(**GOOD))
    assert step(found, "lora").advice == "try"
    assert "3,000 labelled rows are enough." in said(found, "lora")
    # (10 - 0.10) a thousand calls, 300 thousand calls: 2,970 a month against 10 to 20 days at 400
    assert "saves about 2,970 a month at 300,000 calls, which pays its 10–20 days of work in 1.3 to 2.7 months" in said(
        found, "lora"
    )
    assert "about 30.00 a month at 0.1 per 1,000 calls" in step(found, "lora").cost
    assert step(found, "hosted").advice == "try as reference"


def test_at_low_volume_a_prompt_is_the_answer():
    found = advise(Situation(**{**GOOD, "calls_per_month": 2000.0}))
    assert step(found, "lora").advice == "not yet"
    assert step(found, "hosted").advice == "try"
    assert "404 months" in said(found, "lora")


def test_rows_that_are_too_few_say_how_many_are_wanted():
    assert "120 labelled rows: it would memorise them" in said(
        advise(Situation(**{**GOOD, "labelled_rows": 120})), "lora"
    )
    assert "300 labelled rows: 500 are the least" in said(advise(Situation(**{**GOOD, "labelled_rows": 300})), "lora")
    assert "2,000 are ideal" in said(advise(Situation(**{**GOOD, "labelled_rows": 800})), "lora")
    none = advise(Situation())
    assert step(none, "classical").advice == "not yet"
    assert "Label 200 test rows first" in said(none, "prompt")


def test_a_low_latency_speaks_for_a_small_model_of_ones_own():
    found = advise(Situation(**{**GOOD, "calls_per_month": 2000.0, "latency_ms": 80.0}))
    assert step(found, "lora").advice == "try"
    assert step(found, "hosted").advice == "try as reference"
    assert "80 ms" in said(found, "hosted")


def test_a_trial_replaces_the_rule_of_thumb():
    found = advise(Situation(**GOOD), {**SAMPLE, "id": "abc"})
    ship = SAMPLE["verdict"]["ship"]
    family = next(a["family"] for a in SAMPLE["approaches"] if a["name"] == ship)
    assert found.trial == "abc"
    assert found.headline.startswith(f"Ship {ship}: so says the trial on ")
    shipped = next(one for one in found.steps if one.advice == "ship")
    assert {"tuned": "lora"}.get(family, family) == shipped.name
    assert shipped == found.steps[0]
    for one in SAMPLE["approaches"]:
        names = {"tuned": "lora", "majority": ""}
        name = names.get(one["family"], one["family"])
        if name in ORDER:
            assert f"{one['name']}: {100 * one['accuracy']['value']:.1f}%" in step(found, name).measured
            assert "measured" in step(found, name).cost
    untried = [one for one in found.steps if not one.measured]
    assert all(one.advice in ("try", "try as reference", "not yet", "do not") for one in untried)


def test_a_trial_in_which_nothing_beats_the_majority_ships_nothing():
    document = {**SAMPLE, "verdict": {**SAMPLE["verdict"], "ship": "majority"}}
    assert "is worth shipping yet" in advise(Situation(), document).headline


@pytest.mark.parametrize("wrong", [{"problem": "speed"}, {"calls_per_month": -1.0}, {"day_cost": float("nan")}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match=r"Write one of|at least 0"):
        advise(Situation(**wrong))
