"""Calls as a service keeps them, reviews of them, and versions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kasauti.calls.log import CallLog
from kasauti.calls.reviews import Reviews, Wish
from kasauti.core.call import Call
from kasauti.core.types import Ended, Prediction
from kasauti.watch.reviewed import RANDOM

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def call(number: int, at: datetime = NOW, category: str = "refund", **more: Any) -> Call:
    """One call; `ended`, `confidence`, `text` and any field of a call can be given."""
    ended = more.pop("ended", Ended.ANSWERED)
    confidence = more.pop("confidence", 0.9)
    answer = category if ended is Ended.ANSWERED else None
    given = {
        "id": f"c{number}",
        "at": at,
        "version": 1,
        "fields": {"text": more.pop("text", f"where is my money {number}")},
        "category": category,
        "accepted": True,
        "prediction": Prediction(answer=answer, ended=ended, confidence=confidence),
        "latency_ms": 100.0,
    }
    return Call(**{**given, **more})


@pytest.fixture
def log(tmp_path: Path) -> Iterator[CallLog]:
    opened = CallLog.open(str(tmp_path / "calls.db"))
    yield opened
    opened.close()


@pytest.fixture
def review(log: CallLog) -> Callable[..., None]:
    """`review({"c1": "card"})`: a person says so of these calls."""

    def decide(labels: dict[str, str], reason: str = RANDOM, round: int = 1) -> None:
        queue, who = Reviews(log), f"reviewer {round}"
        queue.offer([Wish(call_id=id, reason=reason, round=round) for id in labels])
        for loan in queue.lend(who, most=len(labels)):
            queue.decide(loan.review, who, labels[loan.call.id])

    return decide


@pytest.fixture
def quiet_month(log: CallLog) -> Callable[..., CallLog]:
    """`quiet_month(per_day=60)`: 35 days before `NOW` in which nothing happens."""

    def fill(per_day: int = 60, days: int = 35, texts: Callable[[random.Random], str] | None = None) -> CallLog:
        draw, made = random.Random(3), []
        for day in range(days, 0, -1):
            for number in range(per_day):
                at = NOW - timedelta(days=day) + timedelta(minutes=number * 1400 / per_day)
                category = draw.choices(["refund", "card", "parcel"], [0.5, 0.3, 0.2])[0]
                more = {} if texts is None else {"text": texts(draw)}
                made.append(call(len(made), at, category, **more))
        log.append(made)
        return log

    return fill
