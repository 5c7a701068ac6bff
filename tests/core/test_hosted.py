"""`hosted` of the task file: every key is read and checked, and no key of an account ever stands in it."""

from __future__ import annotations

import pytest
from tests.core.test_task import LEAST

from kasauti.core.errors import TaskError
from kasauti.core.hosted import Endpoint
from kasauti.core.task import parse_task
from kasauti.core.types import Task

WHOLE = """\
hosted:
  base_url: https://api.example.com/v1/
  model: big-1
  key_env: MY_KEY
  concurrency: 3
  requests_per_minute: 500
  timeout: 20
  total_timeout: 90
  retries: 2
  cap: 1.5
  max_tokens: 2000
  limit_field: max_completion_tokens
  temperature: null
  top_logprobs: 0
  parameters: {reasoning_effort: low, seed: 7}
"""


def parse(hosted: str) -> Task:
    return parse_task(LEAST + hosted, folder="/task", where="task.yaml")


def test_every_key_is_read():
    assert parse(WHOLE).hosted == Endpoint(
        base_url="https://api.example.com/v1",
        model="big-1",
        key_env="MY_KEY",
        concurrency=3,
        requests_per_minute=500.0,
        timeout=20.0,
        total_timeout=90.0,
        retries=2,
        cap=1.5,
        max_tokens=2000,
        limit_field="max_completion_tokens",
        temperature=None,
        top_logprobs=0,
        parameters={"reasoning_effort": "low", "seed": 7},
    )


def test_the_least_and_nothing():
    assert parse("").hosted is None
    assert parse("hosted: null\n").hosted is None
    found = parse("hosted: {base_url: 'http://localhost:8000/v1/chat/completions', model: m}\n").hosted
    assert found == Endpoint(base_url="http://localhost:8000/v1", model="m")
    assert found.url == "http://localhost:8000/v1/chat/completions"
    assert parse("hosted: {base_url: 'http://x/v1', model: m, key_env: null}\n").hosted.key_env is None


GOOD = "base_url: 'https://x/v1', model: m"


@pytest.mark.parametrize(
    ("hosted", "said"),
    [
        ("{model: m}", "`hosted.base_url` is missing"),
        ("{base_url: 'https://x/v1'}", "`hosted.model` is missing"),
        (f"{{{GOOD}, timeot: 3}}", "unknown key `hosted.timeot`. Did you mean 'timeout'?"),
        ("{base_url: 'api.x.com/v1', model: m}", "`hosted.base_url` is 'api.x.com/v1'. Write it with http"),
        ("{base_url: 'ftp://x/v1', model: m}", "`hosted.base_url` is 'ftp://x/v1'"),
        (f"{{{GOOD}, concurrency: 0}}", "`hosted.concurrency` is '0'. Write a whole number from 1 to 256"),
        (f"{{{GOOD}, concurrency: 1.5}}", "`hosted.concurrency` is '1.5'"),
        (f"{{{GOOD}, cap: -1}}", "`hosted.cap` is '-1'. Write a number of at least 0"),
        (f"{{{GOOD}, cap: .inf}}", "`hosted.cap` is '.inf'"),
        (f"{{{GOOD}, cap: no}}", "`hosted.cap` is 'no'"),
        (f"{{{GOOD}, top_logprobs: 21}}", "Write a whole number from 0 to 20"),
        (f"{{{GOOD}, limit_field: tokens}}", "Write max_tokens or max_completion_tokens"),
        (
            f"{{{GOOD}, parameters: {{max_tokens: 3}}}}",
            "`hosted.parameters.max_tokens` is not for here. Set `hosted.max",
        ),
        (f"{{{GOOD}, parameters: {{stream: true}}}}", "`hosted.parameters.stream` is not for here. Remove it"),
        (f"{{{GOOD}, parameters: [1]}}", "`hosted.parameters` is a sequence"),
        ("[1]", "`hosted` is a sequence"),
    ],
)
def test_a_fault_is_one_line_with_file_and_line(hosted, said):
    with pytest.raises(TaskError) as caught:
        parse(f"hosted: {hosted}\n")
    assert said in caught.value.line()
    assert caught.value.where == "task.yaml:6"


@pytest.mark.parametrize(
    "hosted",
    [
        f"{{{GOOD}, key_env: sk-proj-abc123secret}}",
        f"{{{GOOD}, key_env: sk_live_9secret9}}",
        f"{{{GOOD}, key: sk-9secret9}}",
        "{base_url: 'https://me:secret@x/v1', model: m}",
        "{base_url: 'https://x/v1?key=secret', model: m}",
    ],
)
def test_a_key_in_the_file_is_refused_and_not_repeated(hosted):
    with pytest.raises(TaskError) as caught:
        parse(f"hosted: {hosted}\n")
    assert "secret" not in caught.value.line()
