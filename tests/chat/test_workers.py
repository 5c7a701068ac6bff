"""Several processes prove what one process proves, and find the fault that it finds."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from kasauti.chat import workers
from kasauti.chat.proof import prove
from kasauti.chat.template import freeze
from kasauti.core.errors import SupervisionError

ANSWERS = ["refund_delayed", "other", "fraud unauthorised"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Two processes for a few dozen rows, sent a few at a time."""
    monkeypatch.setattr(workers, "WORTH", 20)
    monkeypatch.setattr(workers, "SENT", 7)


@pytest.fixture
def frozen(family):
    return freeze(family("llama3"))


def rows_of(talk, count=60):
    return [(i + 1, talk(f"Complaint {i}: " + "paisa nahi aaya " * (i % 5)), ANSWERS[i % 3]) for i in range(count)]


def prove_by_two(frozen, tokenizer, rows):
    with workers.Provers(frozen, tokenizer, len(rows), processes=2) as provers:
        return provers.prove(rows)


def test_two_processes_count_what_one_counts(family, frozen, talk):
    told = []
    with workers.Provers(frozen, family("llama3"), 60, processes=2, max_length=60) as provers:
        many = provers.prove(rows_of(talk), told.append)
        assert provers.prove(rows_of(talk)) == many
    alone = prove(frozen, family("llama3"), rows_of(talk), max_length=60)
    assert many == replace(alone, samples=())
    assert many.shortened_rows > 0
    assert told == sorted(told)
    assert told[-1] == 60


def test_the_first_row_at_fault_is_named_whoever_finds_it(family, frozen, talk):
    rows = rows_of(talk)
    rows[33] = (34, rows[33][1], "")
    rows[47] = (48, rows[47][1], "")
    with pytest.raises(SupervisionError) as alone:
        prove(frozen, family("llama3"), rows)
    with pytest.raises(SupervisionError) as many:
        prove_by_two(frozen, family("llama3"), rows)
    assert str(many.value) == str(alone.value)
    assert "34" in str(many.value)


def test_a_killed_process_leaves_its_rows_to_the_others(family, frozen, talk, monkeypatch):
    ask, asked = workers._asked, []

    def kill_then_ask(pool, part):
        if len(asked) == 2:
            for process in list(pool._processes.values()):
                os.kill(process.pid, signal.SIGKILL)
        asked.append(part)
        return ask(pool, part)

    monkeypatch.setattr(workers, "_asked", kill_then_ask)
    many = prove_by_two(frozen, family("llama3"), rows_of(talk))
    assert many == replace(prove(frozen, family("llama3"), rows_of(talk)), samples=())


def test_few_rows_start_no_process(family, frozen, talk, monkeypatch):
    monkeypatch.setattr(workers, "ProcessPoolExecutor", None)
    with workers.Provers(frozen, family("llama3"), 19, processes=2) as provers:
        assert provers.prove(rows_of(talk, 19)).rows == 19
    with workers.Provers(frozen, family("llama3"), 60, processes=1) as provers:
        assert provers.prove(rows_of(talk)).rows == 60
