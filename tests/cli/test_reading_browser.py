"""Fifty rows are read and decided with the keyboard alone, in a real browser, across a kill; nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.browser import open_browser, press, rows_of_page, wait_for
from tests.conftest import complaints, task_text, write_rows

from kasauti.core.files import read_json_lines
from kasauti.core.task import load_task
from kasauti.data.decisions import log_path, standing
from kasauti.data.split import divide, load_split, parts_of

ENTER = "\ue007"
LABELS = ("card", "parcel", "refund")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    driver = open_browser(tmp_path / "profile")
    yield driver
    driver.quit()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`kasauti audit --read` as a process of its own, and the address that it prints."""
    command = [sys.executable, "-m", "kasauti.cli.main", "audit", "--read", "--task", str(folder)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    try:
        line = process.stdout.readline()
        yield process, re.search(r"http://\S+", line)[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def decide(driver: Any, place: int, answer: str) -> None:
    """One row, by keys: every fifth is relabelled, every fifth dropped, the others accepted."""
    if place % 5 == 0:
        press(driver, "r", other(answer)[:3], ENTER)
    else:
        press(driver, "d" if place % 5 == 1 else "a")


def other(answer: str) -> str:
    return LABELS[(LABELS.index(answer) + 1) % len(LABELS)]


@pytest.mark.slow
def test_fifty_rows_decided_by_keys_across_a_kill_are_all_there_and_applied(tmp_path: Path, browser: Any) -> None:
    # without a model that can be used: to read rows needs none, and the libraries of one take seconds to import
    write_rows(tmp_path / "train.csv", complaints(260, 1))
    write_rows(tmp_path / "test.csv", complaints(30, 2))
    (tmp_path / "task.yaml").write_text(task_text("./nowhere"), "utf-8")
    folder, task = tmp_path, load_task(tmp_path)
    with serving(folder) as (process, address):
        browser.get(address)
        assert "token" not in browser.current_url
        rows = rows_of_page(browser)
        assert len(rows) == 50
        for place in range(25):
            decide(browser, place, rows[place]["answer"])
        wait_for(browser, "document.getElementById('status').textContent.includes('25 of 50')", "25 rows saved")
        press(browser, "a", "j", "a", "a")  # on their way, or not, when the process dies
        process.kill()
        process.wait()
        wait_for(browser, "!document.querySelector('.saving')", "no decision in the air")
        shown = {row["key"] for row in rows_of_page(browser) if row["choice"]}
    kept = {str(key) for key in standing(folder)}
    assert len(shown) >= 25
    assert shown <= kept, "the page called saved what is not on disk"

    with serving(folder) as (process, address):
        browser.get(address)
        again = rows_of_page(browser)
        assert [row["key"] for row in again] == [row["key"] for row in rows], "the same rows in the same order"
        assert {row["key"] for row in again if row["choice"]} == kept
        first = next(place for place, row in enumerate(again) if not row["choice"])
        assert again[first]["current"], "it goes on at the first row that is not decided"
        for place, row in enumerate(again):
            if not row["choice"]:
                decide(browser, place, row["answer"])
        wait_for(browser, "document.getElementById('status').textContent.includes('All 50 rows')", "all rows saved")
        made = read_json_lines(log_path(folder))
        assert len(made) == len({(line["row_id"], line["copy"]) for line in made}) == 50, "one line a row"

        last = rows_of_page(browser)
        press(browser, "u")
        wait_for(browser, "document.getElementById('done').textContent === '49'", "the last decision undone")
        (undone,) = (row for row in rows_of_page(browser) if not row["choice"])
        assert undone["current"]
        assert len(standing(folder)) == 49
        press(browser, "d")
        wait_for(browser, "document.getElementById('done').textContent === '50'", "decided again")
        assert read_json_lines(log_path(folder))[: len(made)] == made, "lines are only added"
        assert len(read_json_lines(log_path(folder))) == 52
        told = [line["message"] for line in browser.get_log("browser")]
        assert [text for text in told if "ERR_CONNECTION" not in text] == []  # of the server that was killed
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=30)[0]
        assert process.returncode == 1  # what it found at the start: the model cannot be used
        assert "0 of the random ones are left to read" in out

    applied(task, last, undone)


def applied(task: Any, last: Any, undone: Any) -> None:
    """Every decision that the page showed is in the rows that the next command loads."""
    filed = {row.id: row for row in divide(task).rows}
    after = {row.row: row for rows in (load_split(task)[0].train, load_split(task)[0].validation) for row in rows}
    for row in last:
        before = filed[row["key"].split(".")[0]]
        now = after.get(before.row)
        if row["choice"] == "drop" or row is undone or row["key"] == undone["key"]:
            assert now is None
        else:
            wanted = other(before.answer) if row["choice"] == "relabel" else before.answer
            assert (now.answer, now.reviewed) == (wanted, True)
            assert row["said"] == (f"Relabelled: {wanted}" if row["choice"] == "relabel" else "Accepted")
    assert sum(row.reviewed for rows in parts_of(load_split(task)[0]).values() for row in rows) == sum(
        row["choice"] != "drop" and row["key"] != undone["key"] for row in last
    )
