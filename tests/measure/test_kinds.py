"""Claims about what counts as right for each kind, and about the fields of trial.json."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.measure.test_sandbox import FAULT

from kasauti.core.errors import DataError, TaskError
from kasauti.core.types import Ended, Prediction, Scoring
from kasauti.measure.kinds import KINDS, judge, load_kind
from kasauti.measure.kinds.generation import correct, normalise

CONTRACT = {
    "accuracy",
    "accuracy_with_fallback",
    "invalid_rate",
    "macro_f1",
    "log_loss",
    "ece",
    "per_class",
    "latency_ms",
}


def noisy(rows: int = 240):
    """Truth, and predictions that are right with the probability that they claim."""
    generator = np.random.default_rng(0)
    truth, predictions = [], []
    for _ in range(rows):
        shares = dict(zip("abc", map(float, generator.dirichlet([0.4] * 3)), strict=True))
        truth.append(str(generator.choice(list("abc"), p=list(shares.values()))))
        best = max(shares, key=lambda name: shares[name])
        predictions.append(Prediction(answer=best, confidence=shares[best], probabilities=shares, seconds=0.002))
    return truth, predictions


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_fills_the_contract_and_can_be_written_as_json(kind, task, examples):
    if kind == "code" and FAULT:
        pytest.skip(FAULT)
    truth, predictions = noisy()
    program = Scoring(program="assert '{answer}' == '{expected}'") if kind == "code" else Scoring()
    rows = [replace(row, judging={"expected": row.answer}) for row in examples(*truth)]
    task = replace(task, kind=kind, scoring=program)
    grades = load_kind(kind).grade(task, rows, predictions)
    judged = judge(task, rows, predictions, grades=grades)
    assert set(judged) >= CONTRACT
    assert judged["metric"] == load_kind(kind).METRIC
    assert json.loads(json.dumps(judged, allow_nan=False)) == judged
    assert judged["accuracy"]["low"] < judged["accuracy"]["value"] < judged["accuracy"]["high"]
    assert judged["accuracy"]["value"] == grades.scores.mean()
    assert judged["latency_ms"] == pytest.approx({"p50": 2.0, "p95": 2.0, "p99": 2.0})


def test_classification_measures_calibration_loss_and_every_label(task, examples):
    truth, predictions = noisy()
    judged = judge(task, examples(*truth), predictions, seed=1)
    assert set(judged["per_class"]) == {"a", "b", "c"}
    assert judged["ece"]["low"] == 0.0, "answers that are right as often as they claim are calibrated"
    assert judged["ece"]["value"] <= judged["ece_plain"]
    assert 0 < judged["log_loss"] < 1.1
    assert judged["macro_f1_interval"]["value"] == judged["macro_f1"]
    assert judged == judge(task, examples(*truth), predictions, seed=1)
    assert sum(map(sum, judged["confusion"]["counts"])) == len(truth)


def test_without_confidences_and_probabilities_those_figures_are_null(task, examples, answers):
    judged = judge(task, examples("a", "b"), answers("a", "b"))
    assert judged["ece"] is judged["log_loss"] is judged["brier"] is judged["reliability"] is None


def test_an_unlisted_answer_is_invalid_and_the_caller_gets_the_fallback(task, examples, answers):
    judged = judge(task, examples("a", "c"), answers("a", "c is the answer"))
    assert judged["accuracy"]["value"] == 0.5
    assert judged["accuracy_with_fallback"] == 1.0
    assert judged["invalid_rate"] == 0.5
    assert "c is the answer" not in judged["per_class"]


def test_a_test_set_on_which_everything_failed_is_judged_as_all_wrong(task, examples):
    judged = judge(task, examples("a", "c"), [Prediction(answer=None, ended=Ended.FAILED)] * 2)
    assert judged["accuracy"]["value"] == judged["accuracy_with_fallback"] == judged["macro_f1"] == 0.0
    assert judged["endings"]["failed"] == 1.0
    assert judged["ece"] is None


def test_no_rows_and_rows_without_a_target_are_refused(task, examples, answers):
    with pytest.raises(DataError):
        judge(task, [], [])
    with pytest.raises(DataError, match="no target"):
        judge(task, examples(None), answers("a"))


def test_an_unknown_kind_names_the_known_ones(task):
    with pytest.raises(TaskError, match=r"kind 'poetry' cannot be judged\. Use one of: classification"):
        load_kind("poetry")


def test_generation_compares_normalised_text_and_keeps_punctuation(answers):
    truth = ["₹500 refunded", "Straße", "yes", "yes", "हाँ"]
    said = answers("  ₹\uff15\uff10\uff10\n Refunded ", "STRASSE", "yes.", None, "हाँ")
    assert correct(truth, said).tolist() == [True, True, False, False, True]


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


def test_generation_tells_strict_from_normalised(task, examples, answers):
    judged = judge(
        replace(task, kind="generation", labels={}, fallback=None), examples("yes", "no"), answers("Yes", "no")
    )
    assert judged["accuracy"]["value"] == 1.0
    assert judged["accuracy_strict"] == 0.5
    assert judged["accuracy_with_fallback"] == 1.0
    assert judged["macro_f1"] is None
    assert judged["per_class"] == {}


def test_importing_the_room_loads_no_heavy_library():
    code = (
        "import sys, kasauti.measure.kinds.classification, kasauti.measure.kinds.generation\n"
        "import kasauti.measure.kinds.summarization, kasauti.measure.kinds.code\n"
        "import kasauti.measure.calibrate, kasauti.measure.compare, kasauti.measure.slices, kasauti.decide.verdict\n"
        "print({'torch', 'numpy', 'scipy', 'sklearn', 'pandas', 'nltk', 'jsonschema'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
