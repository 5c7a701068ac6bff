"""Claims about code: it is right when it runs to its end with its tests, and reference solutions are."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.measure.test_sandbox import isolated

from kasauti.core.errors import DataError, KasautiError, TaskError
from kasauti.core.types import Ended, Example, Prediction, Scoring
from kasauti.measure.kinds import judge
from kasauti.measure.kinds.code import code_of, execute, grade, grade_samples, pass_at_k, program_of
from kasauti.measure.sandbox.outcome import Outcome

DATA = Path(__file__).parents[3] / "shared" / "data"
HUMANEVAL = DATA / "humaneval" / "data" / "HumanEval.jsonl.gz"
MBPP = DATA / "mbpp" / "data" / "mbpp.jsonl"
SAMPLE = 8
"""Every so many of the published tasks run by default; all of them with the slow tests."""


@pytest.fixture
def coding(task):
    scoring = Scoring(program="{answer}\n{tests}", columns=("tests",), seconds=5)
    return replace(task, kind="code", labels={}, fallback=None, scoring=scoring)


def rows(*tests: str) -> list[Example]:
    return [
        Example(
            id=f"{i:016x}",
            fields={"x": "?"},
            template="{x}",
            answer="pass",
            source="t",
            row=i + 1,
            judging={"tests": t},
        )
        for i, t in enumerate(tests)
    ]


def said(*answers: str | None) -> list[Prediction]:
    return [Prediction(answer=a, ended=Ended.FAILED if a is None else Ended.ANSWERED) for a in answers]


ADD = "def add(a, b):\n    return a + b\n"


@isolated
def test_only_what_passes_its_tests_is_right_and_every_ending_is_counted(coding):
    tests = ["assert add(1, 2) == 3"] * 6
    answers = said(ADD, ADD.replace("+", "-"), "def add(", "import sys; sys.exit()", None, "")
    judged = judge(coding, rows(*tests), answers)
    assert judged["metric"] == "pass@1"
    assert judged["accuracy"]["value"] == pytest.approx(1 / 6)
    assert judged["pass_at_k"]["1"] == judged["accuracy"]
    counted = {name: n for name, n in judged["outcomes"].items() if n}
    assert counted == {"passed": 1, "failed": 1, "raised": 1, "exited": 1, "no_answer": 2}
    assert [f["row"] for f in judged["failures"]] == [2, 3, 4, 5, 6]
    assert judged["failures"][1]["detail"].startswith("SyntaxError")


@isolated
def test_a_hostile_answer_is_a_failure_and_the_rows_beside_it_are_judged(coding):
    bomb, hog = "import os\nwhile True:\n    os.fork()", "x = bytearray(10 * 2**30)"
    grades = grade(
        replace(coding, scoring=replace(coding.scoring, seconds=1)), rows(*["pass"] * 4), said("", bomb, hog, "1")
    )
    assert grades.scores.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_the_code_of_an_answer_is_its_first_fenced_block_or_all_of_it():
    assert code_of(f"Here it is:\n```python\n{ADD}```\nand so on\n```\nx\n```") == ADD
    assert code_of(f"~~~\n{ADD}~~~") == ADD
    assert code_of(f"```py\n{ADD}") == ADD
    assert code_of("    return 1") == "    return 1", "the indentation of a completion is kept"


def test_a_program_is_made_of_the_answer_and_the_rows_columns(coding):
    task = replace(coding, scoring=Scoring(program="X = {{}}\n{answer}\n{tests}"))
    (row,) = rows(json.dumps(["assert 1", "assert '{x}'"]))
    assert program_of(task, row, "y = '{tests}'") == "X = {}\ny = '{tests}'\nassert 1\nassert '{x}'"
    (python,) = rows("[1, 2].sort()")
    assert program_of(task, python, "").endswith("\n[1, 2].sort()")


def test_a_task_without_a_program_and_a_row_without_its_column_are_refused(coding):
    with pytest.raises(TaskError, match=r"needs `code\.program`"):
        program_of(replace(coding, scoring=Scoring()), rows("")[0], "")
    with pytest.raises(DataError, match=r"there is no column 'test'.*Did you mean 'tests'"):
        program_of(replace(coding, scoring=Scoring(program="{answer}{test}")), rows("")[0], "")


@isolated
def test_several_answers_a_row_give_the_unbiased_estimate(coding):
    tests = rows("assert add(1, 2) == 3", "assert add(2, 2) == 4")
    wrong = ADD.replace("+", "-")
    grades = grade_samples(coding, tests, [said(ADD, wrong, wrong, wrong), said(ADD, ADD, ADD, ADD)], ks=(1, 2, 4))
    assert grades.scores.tolist() == [0.25, 1.0]
    assert {k: v["value"] for k, v in grades.about["pass_at_k"].items()} == {"1": 0.625, "2": 0.75, "4": 1.0}


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_that_hold_one_that_passes(case):
    samples, passed, k = case
    draws = list(combinations(range(samples), k))
    assert pass_at_k(samples, passed, k) == pytest.approx(sum(min(d) < passed for d in draws) / len(draws))


def test_pass_at_k_is_exact_for_many_samples_and_refuses_what_cannot_be():
    assert pass_at_k(1000, 10, 100) == pytest.approx(1 - math.comb(990, 100) / math.comb(1000, 100))
    with pytest.raises(KasautiError, match="pass@5 cannot be told from 1 of 4 answers"):
        pass_at_k(4, 1, 5)


def _humaneval(task) -> tuple:
    with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as file:
        read = [json.loads(line) for line in file]
    scoring = Scoring(program="{prompt}{answer}\n{test}\ncheck({entry_point})", columns=("test", "entry_point"))
    examples = [
        Example(
            id=row["task_id"], fields={"prompt": row["prompt"]}, template="{prompt}", answer=row["canonical_solution"],
            judging={"test": row["test"], "entry_point": row["entry_point"]},
        )
        for row in read
    ]  # fmt: skip
    return replace(task, scoring=scoring), examples


def _mbpp(task) -> tuple:
    read = [json.loads(line) for line in MBPP.read_text("utf-8").splitlines()]
    scoring = Scoring(program="{answer}\n{test_setup_code}\n{test_list}", columns=("test_setup_code", "test_list"))
    examples = [
        Example(
            id=str(row["task_id"]), fields={"text": row["text"]}, template="{text}", answer=row["code"],
            judging={"test_setup_code": row["test_setup_code"], "test_list": json.dumps(row["test_list"])},
        )
        for row in read
        if 11 <= row["task_id"] <= 510
    ]  # fmt: skip
    return replace(task, scoring=scoring), examples


def _failing(task, examples) -> dict[str, Outcome]:
    executions = execute(task, examples, [Prediction(answer=row.answer) for row in examples])
    return {row.id: e.outcome for row, e in zip(examples, executions, strict=True) if not e.passed}


@isolated
@pytest.mark.skipif(not HUMANEVAL.exists(), reason="the data is not there")
def test_reference_solutions_of_humaneval_pass_and_empty_ones_do_not(coding):
    task, examples = _humaneval(coding)
    some = examples[::SAMPLE]
    assert _failing(task, some) == {}
    assert len(_failing(task, [replace(row, answer="    pass\n") for row in some])) == len(some)


@isolated
@pytest.mark.skipif(not MBPP.exists(), reason="the data is not there")
def test_reference_solutions_of_mbpp_pass(coding):
    task, examples = _mbpp(coding)
    assert _failing(task, examples[:: 2 * SAMPLE]) == {}


@isolated
@pytest.mark.slow
@pytest.mark.skipif(not HUMANEVAL.exists() or not MBPP.exists(), reason="the data is not there")
def test_all_reference_solutions_pass(coding):
    assert _failing(*_humaneval(coding)) == {}
    task, examples = _mbpp(coding)
    assert len(examples) == 500
    assert len(_failing(task, examples)) <= 1
