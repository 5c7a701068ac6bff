"""Small builders: predictions from plain strings, examples from pairs, a task with three labels."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kasauti.core.types import Business, DataFiles, Ended, Example, Prediction, Task

LABELS = {"a": "", "b": "", "c": ""}


@pytest.fixture(scope="session")
def answers() -> Callable[..., list[Prediction]]:
    """`answers("a", None, confidence=[…])`: None is an unparsable answer."""

    def build(*given: str | None, confidence: Sequence[float | None] | None = None, **every: Any) -> list[Prediction]:
        sure = confidence or [None] * len(given)
        return [
            Prediction(answer=g, ended=Ended.UNPARSABLE if g is None else Ended.ANSWERED, confidence=c, **every)
            for g, c in zip(given, sure, strict=True)
        ]

    return build


@pytest.fixture(scope="session")
def examples() -> Callable[..., list[Example]]:
    def build(*truth: str | None) -> list[Example]:
        return [
            Example(id=f"{i:016x}", fields={"x": f"text {i}"}, template="{x}", answer=t, source="t.csv", row=i + 1)
            for i, t in enumerate(truth)
        ]

    return build


@pytest.fixture(scope="session")
def task() -> Task:
    return Task(
        folder="/nowhere",
        name="letters",
        kind="classification",
        instructions="Say the letter.",
        input="{x}",
        target="y",
        labels=LABELS,
        fallback="c",
        data=DataFiles(train="t.csv"),
        group=None,
        model="kasauti/nano",
        chat_template=None,
        train={},
        business=Business(),
    )
