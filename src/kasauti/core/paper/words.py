"""Numbers as a reader sees them.

Walks in: numbers, some of them missing. Walks out: short texts with a fixed number of digits. It does not know HTML,
nor what a number stands for. What is missing, NaN or infinite becomes `MISSING`, never a made-up zero.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

MISSING = "\u2013"
MINUS = "\u2212"  # a hyphen is too short beside tabular figures, and wraps


def finite(value: Any) -> float | None:
    """The value as a float, or None where it is missing, no number, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def percent(value: Any, digits: int = 1) -> str:
    """A share of one as per cent: 0.9154 → `91.5%`."""
    number = finite(value)
    return MISSING if number is None else f"{_signed(number * 100, digits)}%"


def fraction(value: Any, digits: int = 3) -> str:
    """A figure that is no share: 0.41234 → `0.412`."""
    number = finite(value)
    return MISSING if number is None else _signed(number, digits)


def points(value: Any, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign: 0.021 → `+2.1`."""
    number = finite(value)
    if number is None:
        return MISSING
    text = _signed(number * 100, digits)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def count(value: Any) -> str:
    """A whole number with thousands separators: 12345 → `12,345`."""
    number = finite(value)
    return MISSING if number is None else f"{round(number):,}".replace("-", MINUS)


def money(value: Any, currency: str = "") -> str:
    """An amount: two digits after the point from 1 upwards, two significant ones below: 0.01234 → `0.012`."""
    number = finite(value)
    if number is None:
        return MISSING
    size = abs(number)
    if size < 1e-12:
        return f"{currency}0"
    if size >= 1:
        text = f"{size:,.0f}" if size >= 1000 else f"{size:.2f}"
    else:
        text = f"{size:.{1 - math.floor(math.log10(size))}f}"
    return f"{MINUS if number < 0 else ''}{currency}{text}"


def price(value: Any, currency: str = "") -> str:
    """An amount on an axis or beside a mark, with no zeros that say nothing: 0.0010 → `0.001`."""
    text = money(value, currency)
    return text.rstrip("0").rstrip(".") if "." in text else text


def milliseconds(value: Any) -> str:
    """A latency in milliseconds: 0.84 → `0.8 ms`, 1234 → `1.23 s`."""
    number = finite(value)
    if number is None:
        return MISSING
    if number >= 1000:
        return f"{number / 1000:.2f} s"
    return f"{number:.0f} ms" if number >= 10 else f"{number:.1f} ms"


def duration(value: Any) -> str:
    """Seconds as a reader says them: 0.42 → `0.4 s`, 200 → `3 min 20 s`, 4320 → `1 h 12 min`."""
    number = finite(value)
    if number is None or number < 0:
        return MISSING
    if number < 10:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(number / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def p_value(value: Any) -> str:
    """A probability of a test: 0.0123 → `0.012`; under a thousandth, `< 0.001`."""
    number = finite(value)
    if number is None:
        return MISSING
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


def interval(low: Any, high: Any, *, share: bool = True) -> str:
    """An interval, its ends joined by a dash (by `to` where one is negative); empty where an end is missing."""
    bottom, top = finite(low), finite(high)
    if bottom is None or top is None:
        return ""
    joint = " to " if bottom < 0 else MISSING
    if share:
        return f"{_signed(bottom * 100, 1)}{joint}{_signed(top * 100, 1)}%"
    return f"{_signed(bottom, 3)}{joint}{_signed(top, 3)}"


def points_interval(low: Any, high: Any) -> str:
    """An interval of a difference in percentage points: `+0.4 to +6.2`."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"{points(low)} to {points(high)}"


def times(value: Any) -> str:
    """How often: 1 → `once`, 2 → `twice`, 7 → `7 times`."""
    number = finite(value)
    if number is None:
        return MISSING
    return {1: "once", 2: "twice"}.get(round(number), f"{round(number):,} times")


def when(value: Any) -> str:
    """An ISO 8601 moment as `23 November 2026, 14:05`; a text that is none stays as it is."""
    text = str(value or "")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = " UTC" if moment.utcoffset() is not None and not moment.utcoffset() else ""
    return f"{moment.day} {moment:%B %Y, %H:%M}{zone}"


def plural(number: Any, noun: str, many: str = "") -> str:
    """A count with its noun: `1 row`, `412 rows`, `2 classes` where `many` says so."""
    whole = finite(number)
    return f"{count(number)} {noun if whole == 1 else many or noun + 's'}"


def ordinary(value: Any) -> str:
    """Any setting as a short text: numbers without noise, lists joined, nested ones as pairs."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else MISSING
    if isinstance(value, dict):
        return ", ".join(f"{key}: {ordinary(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(ordinary(inner) for inner in value)
    return str(value)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, cut at the end with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _signed(number: float, digits: int) -> str:
    """Fixed digits with a true minus sign, and no minus before a zero."""
    text = f"{abs(number):,.{digits}f}"
    return f"{MINUS}{text}" if number < 0 and text.strip("0.,") else text
