"""`prompt_search` of the task file."""

from __future__ import annotations

import pytest

from kasauti.core.errors import TaskError
from kasauti.core.task import parse_task
from kasauti.core.types import PromptSearch

TASK = "kind: classification\ninput: '{x}'\ntarget: y\nlabels: [a, b]\ndata: {train: t.csv}\n"


def read(line: str = "") -> PromptSearch:
    return parse_task(TASK + line, folder="/nowhere").prompt_search


def test_what_is_not_there_is_the_default():
    assert read() == PromptSearch()
    assert read("prompt_search: {candidates: 4}") == PromptSearch(candidates=4)
    assert read("prompt_search: {rows: 50, seconds: 1.5}") == PromptSearch(rows=50, seconds=1.5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prompt_search: {candidate: 4}", "candidates"),
        ("prompt_search: {candidates: 0}", "above 0"),
        ("prompt_search: {candidates: 2.5}", "whole number"),
        ("prompt_search: {rows: true}", "whole number"),
        ("prompt_search: {seconds: soon}", "above 0"),
        ("prompt_search: 5", "mapping"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(line, said):
    with pytest.raises(TaskError) as caught:
        read(line)
    assert said in caught.value.line()
    assert "task.yaml:6" in caught.value.line()
    assert "\n" not in caught.value.line()
