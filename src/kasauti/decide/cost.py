"""What an approach costs: per 1,000 calls, to fit, a month, and the volume at which another becomes cheaper.

Walks in: measured seconds, tokens and the prices of the task's `business` section. Walks out: figures in the currency
in which those prices are written. It does not know accuracy.

Own machines are priced as seconds of one call x price of an hour, as if the machine did nothing but these calls one
after the other: idle time makes a call dearer, batching cheaper. What is paid once, the fit and the labels, is spread
over `MONTHS` months.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kasauti.core.errors import UsageError
from kasauti.core.types import Business, Prediction

MONTHS = 12.0
"""Months over which one fit is paid off: a year, after which the base model or the labels have moved on."""

DEVICES = ("cpu", "gpu", "hosted")
LEARNING = ("classical", "retrieval", "tuned", "cascade", "prompt_optimised")
"""Families, and single approaches of others, that learn from the labels of training rows."""
UNTAUGHT = ("grounded",)
"""Approaches of those families that do not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What one approach costs."""

    per_1k_calls: float
    """Price of 1,000 calls."""
    fit: float = 0.0
    """Price of fitting it once."""
    labels: float = 0.0
    """Price of the labels that it learns from, paid once."""

    @property
    def once(self) -> float:
        """What is paid whatever the volume: the fit and the labels."""
        return self.fit + self.labels

    def monthly(self, calls_per_month: float, months: float = MONTHS) -> float:
        """Price of a month at this volume, fit and labels spread over `months` months."""
        return self.once / months + self.per_1k_calls * calls_per_month / 1000


def per_hour(business: Business, device: str) -> float:
    """Price of an hour of `cpu` or `gpu`; a hosted model has none.

    Raises:
        UsageError: another device.
    """
    if device not in DEVICES:
        raise UsageError(f"no price is known for device {device!r}", mend=f"Use one of: {', '.join(DEVICES)}.")
    return {"cpu": business.cpu_per_hour, "gpu": business.gpu_per_hour, "hosted": 0.0}[device]


def per_1k_from_seconds(seconds_per_call: float, price_per_hour: float) -> float:
    """Price of 1,000 calls on an own machine: seconds / 3600 x price of an hour x 1000."""
    return _not_negative("seconds per call", seconds_per_call) / 3.6 * _not_negative("price per hour", price_per_hour)


def per_1k_from_tokens(input_tokens: float, output_tokens: float, per_1m_tokens: Mapping[str, float]) -> float:
    """Price of 1,000 calls of a hosted model from the mean tokens of a call and the prices of 1,000,000 tokens.

    Raises:
        UsageError: `per_1m_tokens` lacks `input` or `output`, or a figure is negative.
    """
    for name in ("input", "output"):
        if name not in per_1m_tokens:
            raise UsageError(
                f"the price of {name} tokens is missing",
                where="business.hosted_per_1m_tokens",
                mend="Write both: {input: 2.5, output: 10}.",
            )
    paid_in = _not_negative("input tokens", input_tokens) * _not_negative("input price", per_1m_tokens["input"])
    paid_out = _not_negative("output tokens", output_tokens) * _not_negative("output price", per_1m_tokens["output"])
    return (paid_in + paid_out) / 1000


def per_1k_calls(predictions: Sequence[Prediction], business: Business, device: str) -> float:
    """Price of 1,000 calls like these.

    On `cpu` and `gpu` from the mean seconds of an answer; for `hosted` from the cost that the answers carry, or where
    they carry none, from their tokens at the task's prices.

    Raises:
        UsageError: no predictions, or a device without a price.
    """
    if not predictions:
        raise UsageError("there are no answers to price", where="cost", mend="Judge at least one row.")
    calls = len(predictions)
    if device != "hosted":
        return per_1k_from_seconds(sum(p.seconds for p in predictions) / calls, per_hour(business, device))
    paid = sum(p.cost for p in predictions)
    if paid > 0:
        return 1000 * paid / calls
    return per_1k_from_tokens(
        sum(p.input_tokens for p in predictions) / calls,
        sum(p.output_tokens for p in predictions) / calls,
        business.hosted_per_1m_tokens,
    )


def fit_cost(seconds: float, business: Business, device: str) -> float:
    """Price of a fit that took so many seconds on that device."""
    return _not_negative("fit seconds", seconds) / 3600 * per_hour(business, device)


def label_cost(name: str, family: str, rows: Mapping[str, int], business: Business) -> float:
    """Price of the labels that an approach learns from.

    Nothing for one that does not: a handful of rows to try a prompt on, and the test rows, are labelled whatever ships,
    and the most common label is known without labelling them all.

    Args:
        name, family: of the approach.
        rows: part to number of rows.
    """
    if name not in LEARNING and (family not in LEARNING or name in UNTAUGHT):
        return 0.0
    own = rows.get("train", 0) + rows.get("validation", 0)
    return business.price_per_label * (own if business.labelled_rows is None else business.labelled_rows)


def break_even(a: Price, b: Price, months: float = MONTHS) -> float | None:
    """Calls a month at which `a` and `b` cost the same, or None when one is cheaper at every volume.

    Solves once_a / months + n x a = once_b / months + n x b for n > 0, where `once` is the fit and the labels: above n
    the one with the cheaper call is cheaper.
    """
    if months <= 0:
        raise UsageError(f"{months} months is no time to pay off a fit", where="cost", mend="Give 1 month or more.")
    up_front = (a.once - b.once) / months
    saved_per_call = (b.per_1k_calls - a.per_1k_calls) / 1000
    if up_front == 0 or saved_per_call == 0:
        return None
    calls = up_front / saved_per_call
    return calls if calls > 0 else None


def _not_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise UsageError(f"{name} of {value} cannot be", where="cost", mend="Give a number of at least 0.")
    return value
