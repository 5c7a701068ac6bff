"""Charts made of areas: heat map, reliability diagram, bars, histogram.

Walks in: counts and shares. Walks out: an `Svg` of the asked width. It does not know what was counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kasauti.core.paper.scale import Linear, domain
from kasauti.core.paper.svg import Canvas, Svg, fit, text_width

FEW = 10
"""Rows under which a bin of a reliability diagram is drawn faintly: its accuracy is mostly chance."""


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability diagram."""

    confidence: float
    """Mean stated confidence of its rows, 0 to 1."""
    accuracy: float
    """Share of them that are right, 0 to 1."""
    rows: int
    low: float | None = None
    """Lower end of the interval of `accuracy`."""
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, made of parts that lie end to end."""

    label: str
    parts: Sequence[int]


def heat_map(labels: Sequence[str], matrix: Sequence[Sequence[int]], width: int, *, title: str) -> Svg:
    """Truth in rows, answers in columns; shade is the share of the row, the figure in a cell its count.

    A narrow drawing numbers the labels instead of writing them; the page prints the key.

    Args:
        matrix: [labels, labels] counts, or [labels, labels + 1] with a last column for no valid answer.
    """
    small = width < 480
    size = len(labels)
    left = 26.0 if small else min(290.0, max((text_width(name, 12) for name in labels), default=0) + 34)
    top = 40.0
    columns = [*labels, *(["no valid answer"] if matrix and len(matrix[0]) > size else [])]
    cell = min(46.0, (width - left - 2) / max(1, len(columns)))
    height = top + cell * size + 6
    worst = [(matrix[i][j], i, j) for i in range(size) for j in range(len(columns)) if i != j and matrix[i][j]]
    desc = "Largest off the diagonal: " + "; ".join(
        f"{labels[i]} answered as {columns[j]}, {number}" for number, i, j in sorted(worst, reverse=True)[:5]
    )
    canvas = Canvas(width, height, title=title, desc=desc if worst else "No wrong answers.")
    canvas.text(left + cell * size / 2, 12, "answered", "small muted mid")
    canvas.text(left - 8, top - 10, "" if small else "truth", "small muted end")
    font = "tiny" if cell < 22 else "small"
    if len(columns) > size:
        canvas.text(left + cell * (size + 0.5), top - 10, "none", f"{font} muted mid")
    for i, name in enumerate(labels):
        middle = top + cell * (i + 0.5) + 4
        words = str(i + 1) if small else f"{fit(name, left - 40)}  {i + 1}"
        canvas.text(left - 7, middle, words, "end small" if small else "end")
        canvas.text(left + cell * (i + 0.5), top - 10, str(i + 1), "small muted mid")
        total = sum(matrix[i])
        for j in range(len(columns)):
            number = matrix[i][j]
            share = number / total if total else 0.0
            box = (left + cell * j + 0.75, top + cell * i + 0.75, cell - 1.5, cell - 1.5)
            if not number:
                canvas.rect(*box, "cell none")
                continue
            tip = f"{name} answered as {columns[j]}: {number}"
            canvas.rect(*box, "cell right" if i == j else "cell wrong", tip=tip, opacity=_shade(share, i == j))
            deep = "deep" if _shade(share, i == j) > 0.6 else ""
            canvas.text(left + cell * (j + 0.5), middle, str(number), f"{font} mid figure {deep}".strip())
    return canvas.done()


def _shade(share: float, right: bool) -> float:
    """How dark a cell is: a square root, so that a single confusion can be seen beside a full diagonal."""
    return 0.12 + 0.75 * share if right else min(1.0, 0.18 + 0.95 * share**0.5)


def reliability(bins: Sequence[Bin], width: int, *, title: str, says: Callable[[float], str]) -> Svg:
    """Stated confidence against the share that was right, over the rows that each bin holds."""
    small = width < 300
    left, right, top = 42.0, width - 10.0, 24.0
    side = right - left
    base = top + side
    foot = base + 26 + 48
    x, y = Linear(0, 1, left, right), Linear(0, 1, base, top)
    desc = "; ".join(f"stated {says(b.confidence)}, right {says(b.accuracy)} of {b.rows} rows" for b in bins)
    canvas = Canvas(width, foot + 36, title=title, desc=desc)
    canvas.text(0, 12, "share that was right", "small muted")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.line(x(tick), top, x(tick), base, "grid")
        canvas.text(left - 8, y(tick) + 4, says(tick), "small muted end")
        canvas.text(x(tick), foot + 16, says(tick), "small muted mid")
    canvas.line(x(0), y(0), x(1), y(1), "ideal")
    if not small:
        canvas.text(x(0.27), y(0.27) - 6, "as stated", "small muted halo", turn=-45)
    known = [b for b in bins if b.rows > 0]
    most = max((b.rows for b in known), default=1)
    canvas.path([(x(b.confidence), y(b.accuracy)) for b in known if b.rows >= FEW], "curve chosen")
    for b in known:
        css = "chosen" if b.rows >= FEW else "plain faint"
        if b.low is not None and b.high is not None:
            canvas.line(x(b.confidence), y(b.low), x(b.confidence), y(b.high), f"whisker {css}")
        canvas.circle(
            x(b.confidence),
            y(b.accuracy),
            2.5 + 4 * (b.rows / most) ** 0.5,
            f"dot {css}",
            tip=f"stated {says(b.confidence)}, right {says(b.accuracy)}: {b.rows} rows",
        )
        tall = 44 * b.rows / most
        canvas.rect(x(b.confidence) - side / 48, foot - tall, side / 24, tall, "bar quiet", tip=f"{b.rows} rows")
    canvas.line(left, foot, right, foot)
    canvas.text(left - 8, foot - 20, "rows", "small muted end")
    canvas.text((left + right) / 2, foot + 32, "stated confidence", "small muted mid")
    return canvas.done()


def bars(rows: Sequence[Bar], width: int, *, title: str, parts: Sequence[str]) -> Svg:
    """Horizontal bars from the top, each of one or more parts, with its counts written out.

    Args:
        parts: what the parts are called, for the description; the page prints the legend.
    """
    small = width < 480
    row = 38 if small else 26
    figures = [" + ".join(f"{number:,}" for number in bar.parts if number) or "0" for bar in rows]
    end = max((text_width(words, 12) for words in figures), default=0) + 8
    left = 2.0 if small else min(276.0, max((text_width(bar.label, 12) for bar in rows), default=0) + 14)
    scale = Linear(*domain((float(sum(bar.parts)) for bar in rows), zero=True), left, width - end)
    counted = [", ".join(f"{part} {number}" for part, number in zip(parts, bar.parts, strict=True)) for bar in rows]
    desc = "; ".join(f"{bar.label}: {numbers}" for bar, numbers in zip(rows, counted, strict=True))
    canvas = Canvas(width, row * len(rows) + 6, title=title, desc=desc)
    for index, (bar, words) in enumerate(zip(rows, figures, strict=True)):
        y = row * index + (20 if small else 4)
        if small:
            canvas.text(left, y - 5, fit(bar.label, width - 6))
        else:
            canvas.text(0, y + 13, fit(bar.label, left - 12))
        done = 0
        for kind, number in enumerate(bar.parts):
            start = scale(done)
            done += number
            if number:
                canvas.rect(
                    start,
                    y + (0 if small else 1),
                    scale(done) - start - 0.75,
                    12 if small else 16,
                    f"bar part{kind % 3}",
                    tip=f"{bar.label}, {parts[kind]}: {number:,}",
                )
        canvas.text(scale(done) + 7, y + (10.5 if small else 13.5), words, "figure")
    return canvas.done()


def histogram(
    edges: Sequence[float],
    counts: Sequence[int],
    width: int,
    *,
    title: str,
    x_name: str,
    y_name: str,
    cut: float | None = None,
    cut_name: str = "",
) -> Svg:
    """Counts between neighbouring edges, with a line where longer rows are cut.

    Raises:
        ValueError: there is not one edge more than there are counts.
    """
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{len(counts)} bins need {len(counts) + 1} edges, not {len(edges)}")
    left, right, top, height = 44.0, width - 12.0, 34.0, 250
    base = height - 44.0
    x = Linear(*domain([*edges, *([cut] if cut is not None else [])]), left, right)
    y = Linear(*domain((float(number) for number in counts), zero=True), base, top)
    over = sum(number for number, edge in zip(counts, edges, strict=False) if cut is not None and edge >= cut)
    desc = f"{sum(counts)} rows from {edges[0]:g} to {edges[-1]:g}" + (f"; {over} beyond {cut:g}" if cut else "")
    canvas = Canvas(width, height, title=title, desc=desc)
    canvas.text(0, 12, y_name, "small muted")
    for tick in (value for value in y.ticks(4) if value == int(value)):
        canvas.line(left, y(tick), right, y(tick), "grid")
        canvas.text(left - 8, y(tick) + 4, f"{tick:,.0f}", "small muted end")
    for low, high, number in zip(edges, edges[1:], counts, strict=False):
        beyond = cut is not None and low >= cut
        tip = f"{low:g} to {high:g}: {number:,}"
        canvas.rect(
            x(low) + 0.5,
            y(number),
            x(high) - x(low) - 1,
            base - y(number),
            "bar over" if beyond else "bar part0",
            tip=tip,
        )
    canvas.line(left, base, right, base)
    for tick in x.ticks(4 if width < 480 else 8):
        canvas.text(x(tick), base + 17, f"{tick:,.0f}", "small muted mid")
    canvas.text((left + right) / 2, base + 36, x_name, "small muted mid")
    if cut is not None:
        side = "end" if x(cut) > (left + right) / 2 else ""
        canvas.line(x(cut), top - 8, x(cut), base, "cut")
        canvas.text(x(cut) + (-6 if side else 6), top - 2, cut_name, f"small strong halo {side}".strip())
    return canvas.done()
