"""The proof and the checks side by side: both to the end, and an error of one ends the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from kasauti.cli.taught import _beside
from kasauti.core.errors import DataError
from kasauti.core.progress import silent

Told = Callable[[str, int, int], None]


def test_both_run_at_the_same_time_and_to_the_end() -> None:
    met, done = threading.Barrier(2, timeout=20), []

    def here() -> None:
        met.wait()
        done.append("here")

    def there(told: Any) -> None:
        met.wait()
        told("prove", 1, 2)
        done.append("there")

    _beside(here, there, silent)
    assert sorted(done) == ["here", "there"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError("no")])
def test_an_error_here_ends_the_work_there(error: Any) -> None:
    begun, ended = threading.Event(), threading.Event()

    def here() -> None:
        assert begun.wait(20)
        raise error

    def there(told: Any) -> None:
        begun.set()
        try:
            while True:
                told("prove", 1, 2)
        finally:
            ended.set()

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        _beside(here, there, silent)
    assert ended.is_set()


def test_an_error_there_is_raised_here() -> None:
    def there(told: Any) -> None:
        raise DataError("the rows are at fault")

    with pytest.raises(DataError, match="at fault"):
        _beside(lambda: None, there, silent)
