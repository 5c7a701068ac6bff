"""What a trial of a hosted model would send and cost, before anything is sent.

Walks in: the approach and the rows. Walks out: rows, tokens and prices. It sends nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kasauti.approaches.hosted.approach import BYTES_A_TOKEN, Hosted, endpoint_of
from kasauti.approaches.hosted.caller import Request
from kasauti.core.types import Example

TURN_TOKENS = 8
"""Tokens that a template puts around a turn, by and large."""
ENOUGH = 10
"""Answers of the endpoint itself from which its own tokens a byte are taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Rows, tokens and money; money in the task's currency."""

    endpoint: str
    model: str
    rows: int
    """Different questions."""
    answered: int
    """Of them answered already: they cost nothing."""
    input_tokens: int
    """That the missing ones would have, about."""
    output_tokens: int
    price: float
    """Of the missing ones, about."""
    most: float
    """What they can cost at the very most: the sum of what is set aside before each is sent."""
    spent: float
    """On hosted calls of this task so far, what was lost counted at its worst."""
    cap: float

    @property
    def fits(self) -> bool:
        """The cap leaves room for the estimate."""
        return self.spent + self.price <= self.cap


def estimate(approach: Hosted, rows: Sequence[Example]) -> Estimate:
    """What asking these rows would take.

    Raises:
        UsageError: the task has no `hosted` section.
    """
    endpoint, caller = endpoint_of(approach.bench.task), approach.caller
    caller.ledger.refresh()
    requests = {one.key: one for one in approach.requests(rows)}
    known = {key: caller.ledger.answers[key] for key in requests if key in caller.ledger.answers}
    missing = [one for key, one in requests.items() if key not in known]
    plain_in = {key: _plain_input(one) for key, one in requests.items()}
    each_out, ratio = float(endpoint.max_tokens or approach.usual_tokens), 1.0
    if len(known) >= ENOUGH:
        each_out = sum(one.output_tokens for one in known.values()) / len(known)
        ratio = sum(one.input_tokens for one in known.values()) / sum(plain_in[key] for key in known)
    tokens_in = ratio * sum(plain_in[one.key] for one in missing)
    tokens_out = each_out * len(missing)
    return Estimate(
        endpoint=endpoint.base_url,
        model=endpoint.model,
        rows=len(requests),
        answered=len(known),
        input_tokens=round(tokens_in),
        output_tokens=round(tokens_out),
        price=caller.cost(tokens_in, tokens_out),
        most=sum(caller.cost(one.input_tokens, one.output_tokens) for one in missing),
        spent=caller.ledger.committed,
        cap=endpoint.cap,
    )


def _plain_input(request: Request) -> float:
    turns = request.body["messages"]
    sent = sum(len(turn["content"].encode("utf-8")) for turn in turns)
    return sent / BYTES_A_TOKEN + TURN_TOKENS * len(turns)
