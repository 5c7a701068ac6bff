"""Data → position on paper, and the ticks beside it.

Walks in: a domain in the data's unit and a range in pixels. Walks out: positions and round tick values. It does not
know SVG. Every scale is monotone, keeps its domain inside its range, and survives a domain of one point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Linear:
    """A straight-line scale: `low` falls on `start` and `high` on `end`."""

    low: float
    high: float
    """In the data's unit, above `low`."""
    start: float
    """In pixels; may be above `end` (an upward axis)."""
    end: float

    def __post_init__(self) -> None:
        _check(self.low, self.high)

    def __call__(self, value: float) -> float:
        """The position of a value in pixels; a value outside the domain is drawn at its edge."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the domain, ascending, roughly `about` of them."""
        step = round_step((self.high - self.low) / max(1, about))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Log:
    """A logarithmic scale for values above zero; zero and less are drawn at its lower edge."""

    low: float
    high: float
    start: float
    end: float

    def __post_init__(self) -> None:
        if self.low <= 0:
            raise ValueError(f"a logarithmic scale cannot begin at {self.low!r}; begin above zero")
        _check(math.log(self.low), math.log(self.high))

    def __call__(self, value: float) -> float:
        """The position of a value in pixels."""
        inside = min(max(value, self.low), self.high)
        share = (math.log(inside) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Powers of ten inside the domain, thinned to about `about`; 1, 2 and 5 times them where those are too few."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, math.ceil((last - first) / max(1, about)))
        tens = [10.0**power for power in range(first, last + 1, every)]
        inside = [value for value in tens if self.low <= value <= self.high]
        if len(inside) >= 2:
            return inside
        finer = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
        return [value for value in finer if self.low <= value <= self.high]


def round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not under `rough`. Raises `ValueError` for rough <= 0."""
    if not rough > 0 or not math.isfinite(rough):
        raise ValueError(f"a step must be a positive number, not {rough!r}")
    power = 10.0 ** math.floor(math.log10(rough))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * (1 - 1e-9))


def domain(values: Iterable[float], *, zero: bool = False) -> tuple[float, float]:
    """The span of some values, widened where it is empty or a point; from zero where `zero` is set."""
    found = list(values)
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    if high - low <= abs(high) * 1e-9:
        room = abs(high) * 0.1 or 1.0
        low, high = (0.0, high + room) if zero and high >= 0 else (low - room, high + room)
    return low, high


def log_domain(values: Iterable[float]) -> tuple[float, float]:
    """Whole powers of ten or halves of them around the values above zero; (0.1, 10) where there are none."""
    found = [value for value in values if value > 0]
    if not found:
        return 0.1, 10.0
    low, high = _half_decade(min(found) / 1.4, math.floor), _half_decade(max(found) * 1.4, math.ceil)
    return low, max(high, low * 10)


def _half_decade(value: float, rounding: Callable[[float], int]) -> float:
    return float(10 ** (rounding(math.log10(value) * 2) / 2))


def _check(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise ValueError(f"a scale needs a finite domain with an end above its beginning, not {low!r} to {high!r}")
