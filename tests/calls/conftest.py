"""Calls, and the two databases: SQLite in a file, and a PostgreSQL cluster of our own, thrown away afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.postgres import cluster

from kasauti.calls.log import CallLog
from kasauti.core.call import Call
from kasauti.core.types import Ended, Prediction

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def call(id: str, **values: Any) -> Call:
    """A call with what matters to a test."""
    made: dict[str, Any] = {
        "at": NOON, "version": 1, "fields": {"text": "my card"}, "category": "card", "accepted": True,
        "latency_ms": 12.5, "prediction": Prediction(answer="card", confidence=0.75, ended=Ended.ANSWERED),
    }  # fmt: skip
    return Call(id=id, **{**made, **values})


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A running cluster; tests that stop it start it again."""
    with cluster() as one:
        yield one


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "calls.db")
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
def log(where: str) -> Iterator[CallLog]:
    """A log in it."""
    one = CallLog.open(where)
    yield one
    one.close()
