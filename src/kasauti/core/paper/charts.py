"""Charts with axes: a dot plot with intervals, a scatter with a logarithmic axis, lines, lines over two of those.

Walks in: labelled values in the data's unit and a function that writes a value out. Walks out: an `Svg` of the asked
width. It does not know what was measured. Marks are told apart by shape and by a label beside them, never by colour
alone: class `chosen` is a filled dot, `plain` a hollow one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kasauti.core.paper.scale import Linear, Log, domain, log_domain
from kasauti.core.paper.svg import Canvas, Svg, fit, text_width

Says = Callable[[float], str]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
MANY = 10
"""Points of a line up to which each has its own tick; up to twice as many, each is a dot."""


DECADES = 1e7
"""A logarithmic upright axis spans no more than this: what costs less is drawn at its foot."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One row of a dot plot."""

    label: str
    value: float
    low: float | None = None
    """Lower end of its interval; None where there is none."""
    high: float | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Spot:
    """One mark of a scatter."""

    label: str
    x: float
    """On the logarithmic axis; zero is drawn at its left edge."""
    y: float
    low: float | None = None
    high: float | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its points by ascending x, each with an interval where there is one."""

    name: str
    points: Sequence[tuple[float, float]]
    bounds: Sequence[tuple[float, float]] = ()
    """Low and high of each point, or nothing."""
    chosen: bool = False


def dot_plot(
    dots: Sequence[Dot],
    width: int,
    *,
    title: str,
    says: Says,
    span: tuple[float, float] | None = None,
    band: tuple[float, float] | None = None,
    unit: str = "",
) -> Svg:
    """Values with their intervals, one row each, on a shared axis.

    Args:
        dots: rows from the top.
        says: writes a value out, for axis and figures.
        span: the domain of the axis; over all ends where None.
        band: a shaded stretch of the axis, such as "within the margin of the best".
        unit: what the axis counts, under it.
    """
    stacked = width < 480
    row, top = (44, 8) if stacked else (36, 12)
    left = 14.0 if stacked else min(260.0, max((text_width(dot.label, 13) for dot in dots), default=0) + 16)
    right, bottom = width - (64.0 if stacked else 74.0), top + row * len(dots) + 8
    if span is None:
        ends = [end for dot in dots for end in (dot.low, dot.value, dot.high) if end is not None]
        span = domain(ends)
    x = Linear(*span, left, right)
    desc = "; ".join(f"{dot.label}: {_with_interval(dot.value, dot.low, dot.high, says)}" for dot in dots)
    canvas = Canvas(width, bottom + 38, title=title, desc=desc)
    if band:
        canvas.rect(x(band[0]), top, x(band[1]) - x(band[0]), bottom - top, "band")
    for tick in x.ticks(4 if stacked else 6):
        canvas.line(x(tick), top, x(tick), bottom, "grid")
        canvas.text(x(tick), bottom + 16, says(tick), "small muted mid")
    canvas.text((left + right) / 2, bottom + 33, unit, "small muted mid")
    for index, dot in enumerate(dots):
        y = top + row * index + (30 if stacked else row / 2)
        weight = "strong" if dot.chosen else ""
        if stacked:
            canvas.text(0, y - 12, fit(dot.label, width - 30, 12), weight)
        else:
            canvas.text(0, y + 4.5, fit(dot.label, left - 12, 13), f"{weight} name".strip())
        _interval(canvas, dot, x, y, says)
        canvas.text(width - 4, y + 4.5, says(dot.value), f"{weight} end figure".strip())
    return canvas.done()


def _interval(canvas: Canvas, dot: Dot, x: Linear, y: float, says: Says) -> None:
    css = "chosen" if dot.chosen else "plain"
    if dot.low is not None and dot.high is not None:
        canvas.line(x(dot.low), y, x(dot.high), y, f"whisker {css}")
    tip = f"{dot.label}: {_with_interval(dot.value, dot.low, dot.high, says)}"
    canvas.circle(x(dot.value), y, 6 if dot.chosen else 5, f"dot {css}", tip=tip)


def scatter(
    spots: Sequence[Spot],
    width: int,
    *,
    title: str,
    says_x: Says,
    says_y: Says,
    x_name: str,
    y_name: str,
    span: tuple[float, float] | None = None,
    frontier: Sequence[tuple[float, float]] = (),
) -> Svg:
    """Values against a logarithmic axis, each mark labelled where there is room.

    Args:
        span: the domain of the upright axis; over all ends where None.
        frontier: (x, y) of the marks that nothing beats on both axes, by ascending x; joined by a stepped line.
    """
    small = width < 480
    height, left, right, top = (300, 40.0, width - 14.0, 24) if small else (340, 50.0, width - 24.0, 26)
    base = height - 46
    paid = log_domain(spot.x for spot in spots)
    free = any(spot.x <= 0 for spot in spots)
    x = Log(*paid, left + (58 if free else 6), right)
    ends = [end for spot in spots for end in (spot.low, spot.y, spot.high) if end is not None]
    y = Linear(*(span or domain(ends)), base, top)
    desc = "; ".join(f"{s.label}: {says_x(s.x)}, {_with_interval(s.y, s.low, s.high, says_y)}" for s in spots)
    canvas = Canvas(width, height, title=title, desc=desc)
    _frame(canvas, y, says_y, left, right)
    for tick in x.ticks(4 if small else 6):
        canvas.line(x(tick), base, x(tick), base + 4)
        canvas.text(x(tick), base + 18, says_x(tick), "small muted mid")
    if free:
        canvas.text(left + 6, base + 18, says_x(0.0), "small muted mid")
    canvas.text((left + right) / 2, base + 38, x_name, "small muted mid")
    canvas.text(0, 12, y_name, "small muted")

    def across(value: float) -> float:
        return x(value) if value > 0 else left + 6

    corners = [(across(a), y(b)) for a, b in _steps(frontier)]
    places = _places(
        [(across(s.x), y(s.y)) for s in spots], [s.label for s in spots], (left, top, right, base), corners
    )
    canvas.path(corners, "frontier")
    for spot, (at_x, at_y, anchor) in zip(spots, places, strict=True):
        css = "chosen" if spot.chosen else "plain"
        if spot.low is not None and spot.high is not None:
            canvas.line(across(spot.x), y(spot.low), across(spot.x), y(spot.high), f"whisker {css}")
        tip = f"{spot.label}: {says_x(spot.x)}, {_with_interval(spot.y, spot.low, spot.high, says_y)}"
        canvas.circle(across(spot.x), y(spot.y), 6 if spot.chosen else 5, f"dot {css}", tip=tip)
        canvas.text(at_x, at_y, fit(spot.label, right - left - 20), f"{'strong' if spot.chosen else ''} halo {anchor}")
    return canvas.done()


def lines(
    series: Sequence[Series],
    width: int,
    *,
    title: str,
    says_x: Says,
    says_y: Says,
    x_name: str,
    y_name: str,
    span: tuple[float, float] | None = None,
    marker: tuple[float, str] | None = None,
    height: int = 270,
) -> Svg:
    """Lines over a shared axis, named at their ends; x ticks stand at the measured points where those are few.

    Args:
        marker: an upright line at an x with a word beside it, such as the epoch that was kept.
    """
    small = width < 480
    longest = max((text_width(one.name, 11) for one in series), default=0)
    left, top, base = (40.0 if small else 50.0), 28, height - 46
    right = width - min(width * 0.3, longest + 16)
    xs = sorted({point[0] for one in series for point in one.points})
    x = Linear(*domain(xs), left + 8, right)
    ends = [value for one in series for pair in [*one.bounds, *((y, y) for _, y in one.points)] for value in pair]
    y = Linear(*(span or domain(ends, zero=True)), base, top)
    desc = "; ".join(f"{s.name}: " + ", ".join(f"{says_y(b)} at {says_x(a)}" for a, b in s.points) for s in series)
    canvas = Canvas(width, height, title=title, desc=desc)
    _frame(canvas, y, says_y, left, right)
    last_end = -1e9
    for value in xs if len(xs) <= MANY else x.ticks(5):
        words = says_x(value)
        if x(value) - text_width(words, 11) / 2 > last_end:
            canvas.text(x(value), base + 18, words, "small muted mid")
            last_end = x(value) + text_width(words, 11) / 2 + 4
    canvas.text((left + right) / 2, base + 38, x_name, "small muted mid")
    canvas.text(0, 12, y_name, "small muted")
    if marker:
        canvas.line(x(marker[0]), top, x(marker[0]), base, "mark")
        canvas.text(x(marker[0]), top - 6, marker[1], "small muted mid")
    for one, name_y in zip(series, _apart([y(one.points[-1][1]) for one in series], 15), strict=True):
        css = "chosen" if one.chosen else "plain"
        if one.bounds:
            canvas.path(
                [(x(a), y(low)) for (a, _), (low, _) in zip(one.points, one.bounds, strict=True)]
                + [(x(a), y(high)) for (a, _), (_, high) in zip(one.points, one.bounds, strict=True)][::-1],
                f"area {css}",
                close=True,
            )
        canvas.path([(x(a), y(b)) for a, b in one.points], f"curve {css}")
        for a, b in one.points if len(one.points) <= 2 * MANY else ():
            canvas.circle(x(a), y(b), 3.5, f"dot {css}", tip=f"{one.name}, {says_x(a)}: {says_y(b)}")
        canvas.text(
            right + 8, name_y + 4, fit(one.name, width - right - 8, 11), "small strong" if one.chosen else "small"
        )
    return canvas.done()


def log_lines(
    series: Sequence[Series],
    width: int,
    *,
    title: str,
    says_x: Says,
    says_y: Says,
    x_name: str,
    y_name: str,
    crossings: Sequence[tuple[float, float, str]] = (),
    marker: tuple[float, str] | None = None,
    height: int = 330,
) -> Svg:
    """Lines over two logarithmic axes, named at their ends.

    Args:
        crossings: (x, y, what it says on hovering) of places where two lines meet, each a hollow dot.
        marker: as in `lines`.
    """
    small = width < 480
    longest = max((text_width(one.name, 11) for one in series), default=0)
    left, top, base = (48.0 if small else 58.0), 30, height - 46
    right = width - min(width * (0.34 if small else 0.3), longest + 16)
    xs = [a for one in series for a, _ in one.points if a > 0]
    low, high = log_domain(b for one in series for _, b in one.points)
    x, y = Log(min(xs), max(xs), left, right), Log(max(low, high / DECADES), high, base, top)
    told = "; ".join(f"{s.name}: " + ", ".join(f"{says_y(b)} at {says_x(a)}" for a, b in s.points[::8]) for s in series)
    canvas = Canvas(width, height, title=title, desc="; ".join([told, *(tip for _, _, tip in crossings)]))
    for tick in y.ticks(5):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 8, y(tick) + 4, says_y(tick), "small muted end")
    for tick in x.ticks(2 if small else 6):
        canvas.line(x(tick), base, x(tick), base + 4)
        canvas.text(x(tick), base + 18, says_x(tick), "small muted mid")
    canvas.text((left + right) / 2, base + 38, x_name, "small muted mid")
    canvas.text(0, 12, y_name, "small muted")
    if marker:
        at = x(marker[0])
        anchor = "end" if at > (left + right) / 2 else ""
        canvas.line(at, top - 6, at, base, "mark")
        canvas.text(at + (-6 if anchor else 6), top - 4, marker[1], f"small muted halo {anchor}".strip())
    for one in sorted(series, key=lambda s: s.chosen):
        canvas.path([(x(a), y(b)) for a, b in one.points], f"curve {'chosen' if one.chosen else 'plain'}")
    for a, b, tip in crossings:
        canvas.circle(x(a), y(b), 4.5, "dot plain", tip=tip)
    for one, name_y in zip(series, _apart([y(one.points[-1][1]) for one in series], 15), strict=True):
        css = "small strong" if one.chosen else "small"
        canvas.text(right + 8, name_y + 4, fit(one.name, width - right - 8, 11), css)
    return canvas.done()


def _frame(canvas: Canvas, y: Linear, says: Says, left: float, right: float) -> None:
    """Horizontal grid lines with their values."""
    for tick in y.ticks(5):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 8, y(tick) + 4, says(tick), "small muted end")


def _with_interval(value: float, low: float | None, high: float | None, says: Says) -> str:
    return says(value) if low is None or high is None else f"{says(value)} ({says(low)} to {says(high)})"


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of a staircase: the best figure for at most this cost."""
    corners: list[tuple[float, float]] = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions as near the wanted ones as a gap between neighbours allows; order is kept."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    found = list(wanted)
    for before, after in pairwise(order):
        found[after] = max(found[after], found[before] + gap)
    return found


def _places(
    spots: Sequence[tuple[float, float]], labels: Sequence[str], box: Box, corners: Sequence[tuple[float, float]]
) -> list[tuple[float, float, str]]:
    """Where each label goes: the first of right, left, above, below that meets no mark, label, line or border.

    Args:
        box: the inside of the drawing.
        corners: of a stepped line that labels keep off.
    """
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in spots]
    taken += [(min(a, c), min(b, d) - 1, max(a, c) + 1, max(b, d)) for (a, b), (c, d) in pairwise(corners)]
    found: list[tuple[float, float, str]] = []
    for (x, y), label in zip(spots, labels, strict=True):
        wide = min(text_width(label), box[2] - box[0] - 20)
        choices = [
            (x + 11, y + 4, ""),
            (x - 11, y + 4, "end"),
            (x, y - 12, "mid"),
            (x, y + 21, "mid"),
            (x + 11, y - 12, ""),
            (x - 11, y - 12, "end"),
            (x + 11, y + 21, ""),
            (x - 11, y + 21, "end"),
        ]
        best = min(choices, key=lambda choice: (_clashes(_around(choice, wide), taken, box), choices.index(choice)))
        taken.append(_around(best, wide))
        found.append(best)
    return found


def _around(place: tuple[float, float, str], wide: float) -> Box:
    x, y, anchor = place
    start = x - {"": 0.0, "mid": wide / 2, "end": wide}[anchor]
    return start, y - 11, start + wide, y + 4


def _clashes(mine: Box, taken: Sequence[Box], box: Box) -> int:
    out = mine[0] < box[0] or mine[2] > box[2] + 12 or mine[1] < box[1] - 12 or mine[3] > box[3]
    meets = sum(mine[0] < o[2] and o[0] < mine[2] and mine[1] < o[3] and o[1] < mine[3] for o in taken)
    return meets + 10 * out
