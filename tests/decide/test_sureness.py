"""What is said of a confidence is chosen on calibration rows and measured on test rows."""

import dataclasses
import json

import numpy as np
import pytest

from kasauti.core.types import Acceptance, Ended, Example, Prediction
from kasauti.decide.sureness import POINTS, served, sureness

LABELS = ("yes", "no", "maybe")


def made(rows, seed, mass=0.0):
    """Rows, and answers that are right with the probability that they state."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 2, (rows, 3))
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    examples, given = [], []
    for at, row in enumerate(share):
        truth = LABELS[int(draw.choice(3, p=row))]
        examples.append(Example(id=f"{seed}-{at}", fields={}, template="", answer=truth))
        table = dict(zip(LABELS, row.tolist(), strict=True))
        best = max(table, key=table.__getitem__)
        given.append(
            Prediction(answer=best, confidence=table[best], probabilities=table, log_mass=mass + draw.normal())
        )
    return examples, given


@pytest.fixture
def three(task):
    return dataclasses.replace(task, labels=dict.fromkeys(LABELS, ""))


def test_every_figure_is_there_with_its_interval_and_can_be_written(three):
    strange = [dataclasses.replace(p, confidence=0.4, log_mass=-9.0) for p in made(40, 9)[1]]
    found = sureness(three, *made(400, 1), *made(300, 2), strange)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [(one["goal"], one["rule"], one["wanted"]) for one in found["acceptance"]] == [
        ("accuracy", "plain", 0.95), ("accuracy", "exact", 0.95), ("coverage", "plain", 0.8), ("coverage", "exact", 0.8)
    ]  # fmt: skip
    figures = [one["test"]["coverage"] for one in found["acceptance"]]
    figures += [one["test"]["against_plain"] for one in found["acceptance"] if one["rule"] == "exact"]
    figures += [
        found["aurc"],
        *(one[k] for one in found["conformal"] for k in ("coverage", "probable", "size", "lowest")),
    ]
    figures += [*found["out_of_scope"]["auroc"].values(), found["out_of_scope"]["accepted"], *found["risk_coverage"]]
    for one in figures:
        assert one["low"] <= one.get("value", one.get("accuracy")) <= one["high"]
    assert found["out_of_scope"]["auroc"]["log_mass"]["value"] == 1.0
    assert len(found["risk_coverage"]) <= POINTS + 1


def test_a_promise_costs_coverage_and_says_how_much(three):
    wish = dataclasses.replace(three, accept=Acceptance(wanted=0.9))
    plain, exact, wide, wider = sureness(wish, *made(1500, 1), *made(2000, 2), [])["acceptance"]
    kept = [one["test"]["coverage"]["value"] for one in (plain, exact, wide, wider)]
    assert exact["test"]["against_plain"]["value"] == pytest.approx(kept[1] - kept[0])
    assert kept[1] < kept[0]
    assert wider["test"]["against_plain"]["value"] == pytest.approx(kept[3] - kept[2])
    assert kept[3] > kept[2]
    assert exact["test"]["accuracy"]["high"] >= 0.9


@pytest.mark.parametrize(
    "wish", [Acceptance(), Acceptance(goal="coverage", wanted=0.6, rule="exact"), Acceptance(wanted=0.9, rule="exact")]
)
def test_the_one_that_the_task_asks_for_is_served(three, wish):
    found = sureness(dataclasses.replace(three, accept=wish), *made(300, 1), *made(50, 2), [])["acceptance"]
    one = served(found)
    assert (one["goal"], one["wanted"], one["rule"]) == (wish.goal, wish.wanted, wish.rule)
    assert sum(each["chosen"] for each in found) == 1


def test_the_test_rows_change_no_threshold_and_no_set(three):
    one, other = (sureness(three, *made(300, 1), *made(200, seed), []) for seed in (2, 3))
    assert [each["value"] for each in one["acceptance"]] == [each["value"] for each in other["acceptance"]]
    assert [each["least"] for each in one["conformal"]] == [each["least"] for each in other["conformal"]]


def test_what_states_no_confidence_has_none_of_it(three):
    rows, _ = made(20, 1)
    mute = [Prediction(answer="yes") for _ in rows]
    assert set(sureness(three, rows, mute, rows, mute, []).values()) == {None}


def test_without_calibration_rows_nothing_is_promised(three):
    found = sureness(three, [], [], *made(50, 2), [])
    assert found["acceptance"] is found["conformal"] is None
    assert found["aurc"]["low"] <= found["aurc"]["value"]


def test_an_answer_that_is_none_is_never_accepted(three):
    rows, given = made(100, 2)
    given[0] = Prediction(answer=None, ended=Ended.UNPARSABLE, confidence=1.0)
    found = sureness(three, *made(100, 1), rows, given, [])
    assert found["conformal"] is None
    assert max(one["test"]["rows"] for one in found["acceptance"]) <= 99
