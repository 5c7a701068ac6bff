"""The canvas that every chart is drawn on.

Walks in: shapes in pixels, texts, class names of the stylesheet. Walks out: an `Svg`, a string that a template inserts
as it is, with a title and a description for those who cannot see it. It does not know data or scales. Colours are
never written here: classes point at the stylesheet, so one chart serves light, dark and print.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDE, NARROW = 776, 346
"""Widths in pixels that a chart is drawn for: a page's column, and a phone of 390 px less its margins."""


class Svg(str):
    """Markup that is already safe; templates insert it unescaped."""

    __slots__ = ()

    def __html__(self) -> str:
        """What a template engine asks for before it escapes a value."""
        return str(self)


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of a page: its conclusion, the drawing in one or two widths, and how to read it."""

    title: str
    """The conclusion in one sentence; the heading above the drawing."""
    wide: Svg
    narrow: Svg | None = None
    """A drawing for small screens; None where `wide` fits them."""
    note: str = ""
    """How to read the drawing, below it."""
    key: Sequence[str] = ()
    """Names behind the numbers that the narrow drawing uses in place of long labels."""


def chart(title: str, draw: Callable[[int], Svg], *, note: str = "", key: Sequence[str] = ()) -> Chart:
    """Draw a figure for a page and for a phone. `draw` takes the width in pixels."""
    return Chart(title, draw(WIDE), draw(NARROW), note, key)


class Canvas:
    """Shapes in order, later ones on top. Every text is escaped; every number rounded to a tenth of a pixel.

    Args:
        width, height: in pixels; the drawing shrinks with its column and never grows beyond `width`.
        title: what the chart shows, read out first.
        desc: what it says, for those who cannot see it.
    """

    def __init__(self, width: float, height: float, *, title: str, desc: str) -> None:
        self.width, self.height = width, height
        self._title, self._desc = title, desc
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str = "axis") -> None:
        """A straight stroke."""
        self._parts.append(f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{escape(css)}"/>')

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        css: str,
        *,
        tip: str = "",
        opacity: float | None = None,
        radius: float = 0,
    ) -> None:
        """A box; `tip` shows on hovering, `opacity` (0 to 1) shades its fill."""
        more = f' fill-opacity="{opacity:.2f}"' if opacity is not None else ""
        more += f' rx="{_n(radius)}"' if radius else ""
        shape = f'x="{_n(x)}" y="{_n(y)}" width="{_n(max(0, width))}" height="{_n(max(0, height))}"'
        self._parts.append(f'<rect {shape} class="{escape(css)}"{more}{_tip("rect", tip)}')

    def circle(self, x: float, y: float, radius: float, css: str, *, tip: str = "") -> None:
        """A dot; `tip` shows on hovering."""
        shape = f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"'
        self._parts.append(f'<circle {shape} class="{escape(css)}"{_tip("circle", tip)}')

    def path(self, points: Sequence[tuple[float, float]], css: str, *, close: bool = False) -> None:
        """A line through points, closed into an area where asked; nothing under two points."""
        if len(points) > 1:
            steps = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
            self._parts.append(f'<path d="M{steps}{"Z" if close else ""}" class="{escape(css)}"/>')

    def text(self, x: float, y: float, words: str, css: str = "", *, turn: float = 0) -> None:
        """A line of text on its baseline; `turn` in degrees, clockwise around its anchor."""
        more = f' class="{escape(css)}"' if css else ""
        more += f' transform="rotate({_n(turn)} {_n(x)} {_n(y)})"' if turn else ""
        self._parts.append(f'<text x="{_n(x)}" y="{_n(y)}"{more}>{escape(words)}</text>')

    def done(self) -> Svg:
        """The finished drawing. Ids are a hash of what is drawn, so a page is the same each time it is made."""
        body = "".join(self._parts)
        mark = hashlib.sha256(f"{self._title}|{self.width}|{body}".encode()).hexdigest()[:10]
        return Svg(
            f'<svg viewBox="0 0 {_n(self.width)} {_n(self.height)}" width="{_n(self.width)}" '
            f'height="{_n(self.height)}" role="img" aria-labelledby="t{mark} d{mark}">'
            f'<title id="t{mark}">{escape(self._title)}</title><desc id="d{mark}">{escape(self._desc)}</desc>'
            f"{body}</svg>"
        )


def text_width(words: str, size: float = 12) -> float:
    """A safe guess of the width of a text in pixels: fonts differ, so it errs on the wide side."""
    total = 0.0
    for letter in words:
        if unicodedata.combining(letter):
            continue
        total += 1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.56 + 0.12 * letter.isupper()
    return total * size


def fit(words: str, width: float, size: float = 12) -> str:
    """The text, shortened in its middle until it fits: label names often differ only at their ends."""
    if text_width(words, size) <= width:
        return words
    for kept in range(len(words) - 1, 1, -1):
        head = kept // 2
        short = f"{words[:head]}…{words[len(words) - (kept - head) :]}"
        if text_width(short, size) <= width:
            return short
    return "…"


def _n(value: float) -> str:
    text = f"{value:.1f}"
    return "0" if text == "-0.0" else text.removesuffix(".0")


def _tip(tag: str, words: str) -> str:
    return f"><title>{escape(words)}</title></{tag}>" if words else "/>"
