"""What tests of the hosted model share: rows, what the endpoint answers to them, and what it charged."""

from __future__ import annotations

from tests.conftest import complaints
from tests.endpoint import Endpoint, scores_of

from kasauti.approaches.hosted.approach import Hosted
from kasauti.approaches.hosted.ledger import Ledger
from kasauti.core.types import Example

PRICES = {"input": 2.5, "output": 10.0}


def rows(number: int, seed: int = 5) -> list[Example]:
    return [
        Example(id=str(at), fields={"text": text}, template="{text}", answer=label)
        for at, (text, label) in enumerate(complaints(number, seed))
    ]


def best(row: Example) -> str:
    scores = scores_of(row.text)
    return max(scores, key=scores.__getitem__)


def assert_paid_once(server: Endpoint, asked: list[Example]) -> None:
    assert dict(server.charged) == dict.fromkeys((row.text for row in asked), 1)


def spent(approach: Hosted) -> float:
    """As a process that begins now reads it."""
    again = Ledger(approach.caller.ledger.path)
    again.refresh()
    return again.committed
