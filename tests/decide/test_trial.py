"""A trial judges all approaches on the same rows once, survives any kill, and says what failed."""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests import killing
from tests.conftest import WORDS, write_rows

from kasauti.approaches.catalogue import CATALOGUE, DEFAULT
from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.files import read_json, read_json_lines
from kasauti.core.task import load_task
from kasauti.decide.trial import Trial, run_trial

SHARED = Path(__file__).parents[3] / "shared" / "models"
NUMBER = (int, float)
INTERVAL = {"value": NUMBER, "low": NUMBER, "high": NUMBER}
# The contract's fields: a tuple is a choice of types, a dictionary has these keys, a list has such elements.
CONTRACT: dict[str, Any] = {
    "task": str,
    "created": str,
    "kasauti": str,
    "seed": int,
    "data": {
        "version": str,
        "rows": {"train": int, "validation": int, "test": int},
        "test_sha256": str,
        "test_looks": int,
        "leaked_rows": int,
    },
    "model": {"id": str, "parameters": int, "template_sha256": str},
    "approaches": [
        {
            "name": str,
            "family": str,
            "fitted_on": [str],
            "accuracy": INTERVAL,
            "accuracy_without_leaked": {**INTERVAL, "rows": int},
            "accuracy_with_fallback": NUMBER,
            "invalid_rate": NUMBER,
            "macro_f1": NUMBER,
            "log_loss": (*NUMBER, type(None)),
            "ece": INTERVAL,
            "latency_ms": {"p50": NUMBER, "p95": NUMBER, "p99": NUMBER},
            "per_class": {
                label: {"precision": NUMBER, "recall": NUMBER, "f1": NUMBER, "support": int} for label in WORDS
            },
            "cost_per_1k_calls": NUMBER,
            "fit_cost": NUMBER,
            "fit_seconds": NUMBER,
        }
    ],
    "comparisons": [
        {
            "a": str,
            "b": str,
            "difference": NUMBER,
            "low": NUMBER,
            "high": NUMBER,
            "p_value": NUMBER,
            "p_adjusted": NUMBER,
            "test": str,
        }
    ],
    "verdict": {
        "ship": str,
        "because": [str],
        "tuning_wins": bool,
        "margin": NUMBER,
        "break_even_calls_per_month": (*NUMBER, type(None)),
        "needs": [str],
    },
    "errors": {
        "confused_pairs": [{"truth": str, "predicted": str, "count": int, "share_of_errors": NUMBER}],
        "examples": [str],
    },
    "metric": str,
    "failed": [{"name": str, "why": str}],
}
TIMES = (
    "created",
    "money",
    "fit_seconds",
    "latency_ms",
    "cost_per_1k_calls",
    "fit_cost",
    "monthly_cost",
    "seconds_per_1k_calls",
    "seconds",
    "break_even_calls_per_month",
    "p95_ms",
    "runner_up",
)


def missing(document: Any, wanted: Any, at: str = "trial") -> list[str]:
    """Where a document is not what the contract says."""
    if isinstance(wanted, dict):
        if not isinstance(document, dict):
            return [f"{at} is no object"]
        return [
            f
            for k, w in wanted.items()
            for f in (missing(document[k], w, f"{at}.{k}") if k in document else [f"{at}.{k} is not there"])
        ]
    if isinstance(wanted, list):
        if not isinstance(document, list):
            return [f"{at} is no list"]
        return [f for n, one in enumerate(document) for f in missing(one, wanted[0], f"{at}[{n}]")]
    wrong = not isinstance(document, wanted) or (isinstance(document, bool) and wanted is not bool)
    return [f"{at} is {document!r}"] if wrong or (isinstance(document, float) and not math.isfinite(document)) else []


def timeless(value: Any) -> Any:
    """A document without what depends on the clock: seconds, money, and the sentences that tell of them."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    if isinstance(value, list):
        told = ("cost", "month", "saves")
        return [timeless(v) for v in value if not (isinstance(v, str) and any(word in v for word in told))]
    return value


def answered(folder: Path) -> dict[str, Any]:
    """The document of the only trial of a task folder."""
    (found,) = (folder / ".kasauti" / "trials").glob("*/trial.json")
    return dict(read_json(found))


@pytest.fixture(scope="module")
def judged(finished_task: Any) -> Trial:
    return finished_task[2]


@pytest.fixture
def copy(finished_task: Any, tmp_path: Path) -> Path:
    """A copy of the finished task folder that a test may change."""
    return Path(shutil.copytree(finished_task[0], tmp_path / "copy"))


@pytest.fixture
def bare(copy: Path) -> Path:
    """The same task, never judged."""
    shutil.rmtree(copy / ".kasauti")
    return copy


def change(folder: Path, old: str, new: str) -> None:
    path = folder / "task.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_every_field_of_the_contract_is_there_with_its_type(judged):
    assert missing(judged.document, CONTRACT) == []
    assert missing(read_json(judged.folder / "trial.json"), CONTRACT) == []
    document = judged.document
    assert datetime.fromisoformat(document["created"]).tzinfo is not None
    assert len(document["data"]["version"]) == len(document["data"]["test_sha256"]) == 64
    assert document["metric"] == "exact_match"
    assert document["failed"] == []
    assert {c["test"] for c in document["comparisons"]} == {"mcnemar_exact"}


def test_all_approaches_are_judged_on_the_same_rows_and_every_pair_compared(judged):
    document = judged.document
    names = [one["name"] for one in document["approaches"]]
    assert names == list(DEFAULT)
    assert {one["rows"] for one in document["approaches"]} == {document["data"]["rows"]["test"]} == {30}
    assert [(c["a"], c["b"]) for c in document["comparisons"]] == [
        (a, b) for n, a in enumerate(names) for b in names[n + 1 :]
    ]
    for one in document["approaches"]:
        assert one["family"] == CATALOGUE[one["name"]].family
        assert one["accuracy"]["low"] <= one["accuracy"]["value"] <= one["accuracy"]["high"]
        assert sum(of["support"] for of in one["per_class"].values()) == 30


def test_the_verdict_names_an_approach_that_is_saved(judged):
    assert judged.document["verdict"]["ship"] in DEFAULT
    assert judged.shipped.is_dir()
    assert any(judged.shipped.iterdir())
    assert (judged.folder / "report.html").read_text("utf-8").count("<html") == 1


def test_predictions_hold_every_answer_to_every_test_row(judged):
    import pyarrow.parquet as pq

    table = pq.read_table(judged.folder / "predictions.parquet").to_pylist()
    assert len(table) == len(DEFAULT) * 30
    columns = {"approach", "id", "row", "truth", "answer", "ended", "confidence", "generated", "score"}
    assert set(table[0]) == columns
    for name in DEFAULT:
        rows = [row for row in table if row["approach"] == name]
        entry = next(one for one in judged.document["approaches"] if one["name"] == name)
        assert [row["row"] for row in rows] == list(range(1, 31))
        assert sum(row["truth"] == row["answer"] for row in rows) / 30 == pytest.approx(entry["accuracy"]["value"])
        assert all(0 <= row["confidence"] <= 1 for row in rows)
        assert all(row["score"] == (row["truth"] == row["answer"]) for row in rows)
        writes = CATALOGUE[name].family in ("prompt", "retrieval", "tuned")
        assert all((row["generated"] is not None) == writes for row in rows)


def test_the_invalid_rate_is_that_of_free_generation(judged):
    import pyarrow.parquet as pq

    table = pq.read_table(judged.folder / "predictions.parquet").to_pylist()
    for one in judged.document["approaches"]:
        written = [row["generated"] for row in table if row["approach"] == one["name"]]
        if written[0] is None:
            assert one["invalid_rate"] == 0
        else:
            assert one["invalid_rate"] >= sum(text not in WORDS for text in written) / len(written)


def test_the_same_trial_is_found_at_once_without_a_look_or_a_touch_of_the_disk(finished_task, judged):
    folder, task, _ = finished_task
    before = {path: path.stat().st_mtime_ns for path in (folder / ".kasauti").rglob("*")}
    told: list[str] = []
    began = time.process_time()
    again = run_trial(task, DEFAULT, lambda stage, done, total, remark="": told.append(stage))
    assert time.process_time() - began < 1.5
    assert again.document == judged.document
    assert again.shipped == judged.shipped
    assert told == []
    assert {path: path.stat().st_mtime_ns for path in (folder / ".kasauti").rglob("*")} == before


def test_a_trial_whose_report_was_deleted_draws_it_again(copy, judged):
    (copy / ".kasauti" / "trials" / judged.id / "report.html").unlink()
    again = run_trial(load_task(copy), DEFAULT)
    assert (again.folder / "report.html").stat().st_size > 1000


def test_another_margin_takes_the_answers_there_are_and_counts_no_look(copy, judged):
    approaches = copy / ".kasauti" / "approaches"
    before = {path: path.stat().st_mtime_ns for path in approaches.rglob("*")}
    (copy / "task.yaml").write_text(
        (copy / "task.yaml").read_text("utf-8") + "business: {margin: 0.5}\n", encoding="utf-8"
    )
    again = run_trial(load_task(copy), [name for name in DEFAULT if name != "cascade"])
    assert again.id != judged.id
    assert again.document["verdict"]["margin"] == 0.5
    assert again.document["data"]["test_looks"] == judged.document["data"]["test_looks"] == 1
    assert len(read_json_lines(copy / ".kasauti" / "looks.jsonl")) == 1
    assert {path: path.stat().st_mtime_ns for path in approaches.rglob("*")} == before


def test_another_margin_asks_for_another_cascade_of_the_members_there_are(copy, judged):
    approaches = copy / ".kasauti" / "approaches"
    before = {path: path.stat().st_mtime_ns for path in approaches.glob("*/**/*")}
    text = (copy / "task.yaml").read_text("utf-8") + "business: {margin: 0.5}\n"
    (copy / "task.yaml").write_text(text, encoding="utf-8")
    document = run_trial(load_task(copy), DEFAULT).document
    assert document["data"]["test_looks"] == judged.document["data"]["test_looks"] + 1
    cascade = next(one for one in document["approaches"] if one["name"] == "cascade")
    assert cascade["about"]["margin"] == 0.5
    now = {path: path.stat().st_mtime_ns for path in approaches.glob("*/**/*")}
    assert {path: at for path, at in now.items() if path in before} == before
    new = {path.relative_to(approaches).parts[0].partition("-")[0] for path in now if path not in before}
    assert new == {"cascade"}


def test_every_new_question_to_the_same_test_rows_is_a_look_and_past_five_the_verdict_tells(copy):
    text = (copy / "task.yaml").read_text("utf-8")
    for look in range(2, 7):
        (copy / "task.yaml").write_text(text.replace("Complaint:", f"Complaint {look}:"), encoding="utf-8")
        document = run_trial(load_task(copy), ["majority"]).document
        assert document["data"]["test_looks"] == look
        told = [sentence for sentence in document["verdict"]["needs"] if "looked at" in sentence]
        assert len(told) == (look > 5)
    assert "6 times" in told[0]


MOMENTS = {
    "the look counted and nothing answered": (".kasauti/approaches", 1),
    "an approach half saved": (".kasauti/approaches/tuned-*/model/*", 2),
    "fitted and not asked": (".kasauti/approaches/tuned-*/.test-*", 1),
    "all but the mark": (".kasauti/trials/*/.trial.json.*", 1),
}


@pytest.mark.parametrize(("at", "nth"), MOMENTS.values(), ids=MOMENTS)
def test_a_trial_killed_while_it_writes_ends_as_if_it_had_not_been(bare, judged, at, nth):
    assert killing.run(killing.judge, bare, at=at, nth=nth)[0] == -9
    assert killing.run(killing.judge, bare)[0] == 0
    assert timeless(answered(bare)) == timeless(judged.document)


def test_a_trial_killed_three_times_at_random_moments_ends_as_if_it_had_not_been(bare, judged):
    draw = random.Random(11)
    for nth in sorted(draw.sample(range(5, 110), 2)):
        assert killing.run(killing.judge, bare, at="*", nth=nth)[0] == -9
    killing.run(killing.judge, bare, after=draw.uniform(0.3, 1.5))
    assert killing.run(killing.judge, bare)[0] == 0
    assert timeless(answered(bare)) == timeless(judged.document)


def test_a_model_that_cannot_be_loaded_fails_its_approaches_and_not_the_others(bare, finished_task):
    model = finished_task[1].model
    change(bare, f"model: {model}", "model: ./absent")
    document = run_trial(load_task(bare), DEFAULT).document
    assert missing(document, CONTRACT) == []
    assert [one["name"] for one in document["approaches"]] == ["majority", "classical"]
    assert [one["name"] for one in document["failed"]] == [
        name for name in DEFAULT if name not in ("majority", "classical")
    ]
    for one in document["failed"]:
        assert "absent" in one["why"]
        assert "\n" not in one["why"]
        assert any(one["name"] in sentence and "failed" in sentence for sentence in document["verdict"]["needs"])


def test_a_failure_of_a_library_is_a_row_with_its_own_words(bare):
    """Texts without a single word leave the vocabulary of the classical approach empty."""
    signs = "!?.,;:-+*/=#$%&@^~|<>()[]{}"
    draw = random.Random(1)
    for name, rows in (("train.csv", 40), ("test.csv", 9)):
        made = [("".join(draw.choices(signs, k=9)), list(WORDS)[n % 3]) for n in range(rows)]
        write_rows(bare / name, made)
    document = run_trial(load_task(bare), ["majority", "classical"]).document
    (failed,) = document["failed"]
    assert failed["name"] == "classical"
    assert failed["why"].startswith("ValueError: empty vocabulary")
    assert "[" not in failed["why"]


def test_a_failure_that_was_mended_is_tried_again(bare, finished_task, tmp_path, tiny_model):
    model = finished_task[1].model
    change(bare, f"model: {model}", "model: ./mine")
    assert len(run_trial(load_task(bare), ["majority", "prompt_none"]).document["failed"]) == 1
    shutil.copytree(tiny_model, bare / "mine")
    assert run_trial(load_task(bare), ["majority", "prompt_none"]).document["failed"] == []


def test_a_trial_in_which_everything_fails_says_why_in_one_line(bare, finished_task):
    change(bare, f"model: {finished_task[1].model}", "model: ./absent")
    with pytest.raises(KasautiError, match=r"every approach failed.*absent") as caught:
        run_trial(load_task(bare), ["prompt_none", "tuned"])
    assert "\n" not in str(caught.value)


def test_a_cascade_of_unknown_approaches_is_refused_before_anything_is_written(bare):
    with (bare / "task.yaml").open("a", encoding="utf-8") as file:
        file.write("cascade: [classical, tunde]\n")
    with pytest.raises(UsageError, match="'tuned'"):
        run_trial(load_task(bare), ["cascade"])
    assert not (bare / ".kasauti").exists()


def test_unknown_approaches_are_refused_before_anything_is_written(bare):
    with pytest.raises(UsageError, match="tuned"):
        run_trial(load_task(bare), ["tunde"])
    assert not (bare / ".kasauti").exists()


@pytest.mark.parametrize("name", ["stories260K", "babyllama105"])
def test_real_base_models_train_and_answer_with_a_template_that_the_task_names(make_task: Callable[..., Path], name):
    model = SHARED / name
    if not model.is_dir():
        pytest.skip(f"{model} is absent")
    folder = make_task(rows=24, test=6, model=str(model), extra="chat_template: plain\n")
    document = run_trial(load_task(folder), ["prompt_none", "prompt_instructions", "tuned"]).document
    assert missing(document, CONTRACT) == []
    assert document["failed"] == []
    tuned = document["approaches"][-1]
    assert len(tuned["about"]["curve"]) == 1
    assert document["model"]["parameters"] == {"stories260K": 260_032, "babyllama105": 936_448}[name]
