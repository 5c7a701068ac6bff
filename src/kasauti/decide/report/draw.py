"""The charts of the report.

Walks in: a trial as it was read. Walks out: `Chart` values with their conclusions, or None where the trial has not
what a chart needs. It does not know templates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kasauti.core.paper import charts, grids, words
from kasauti.core.paper.svg import Canvas, Chart, Svg, chart, fit
from kasauti.decide.report import claims
from kasauti.decide.report.read import Judged, Trial, sequence, table

FULL_MATRIX = 20
"""Labels up to which the whole confusion matrix is drawn."""
BLOCK = 15
"""Labels of the block that is drawn where there are more."""
CURVE = 50
"""Points of the curve of accuracy against coverage that are drawn; a trial has one for every test row."""
SCRATCHES = (
    (-2.9, 0.9, 1.0), (-2.0, 0.2, 0.1), (-1.1, 0.0, 0.45), (-0.2, 0.3, 0.0),
    (0.7, 0.1, 0.7), (1.6, 0.5, 0.2), (2.5, 0.35, 0.85),
)  # fmt: skip
"""A rub mark is made of these: pixels across it, and how ragged (0 to 1) each scratch begins and ends."""
PANEL = 368
"""Width in pixels of a chart that shares its row with another."""


def streaks(trial: Trial) -> Svg | None:
    """The rub marks on the stone: one streak an approach, as long as its score is high."""
    known = [one for one in trial.approaches if one.score.value is not None and 0 <= one.score.value <= 1][:6]
    if not known or not trial.metric.share:
        return None
    width, row, left = 372, 36, 2
    desc = "; ".join(f"{one.label}: {trial.metric.says(one.score.value)}" for one in known)
    canvas = Canvas(width, row * len(known) + 4, title="Scores of all approaches", desc=desc)
    for index, one in enumerate(known):
        y, end = row * index + 24, left + (width - left - 62) * (one.score.value or 0)
        weight, css = ("strong", "best") if one.chosen else ("", "rest")
        canvas.text(left, y - 9.5, fit(one.label, width - 70), weight)
        for across, begin, stop in SCRATCHES:
            # thin where the metal meets the stone, full in its middle, thin where it lifts off
            tip, tail, mid = left + 14 * begin, end - 16 * stop * (end / width), y + across
            canvas.path(
                [
                    (tip, mid),
                    (tip + (tail - tip) * 0.35, mid - 0.75),
                    (tail, mid),
                    (tip + (tail - tip) * 0.6, mid + 0.75),
                ],
                css,
                close=True,
            )
        canvas.text(width - 2, y + 4.5, trial.metric.says(one.score.value), f"{weight} end".strip())
    shades = _shade("gold", "stop1", "stop2", width - 60) + _shade("pale", "pale1", "pale2", width - 60)
    drawing = canvas.done().replace("<svg ", '<svg class="streaks" ', 1)
    return Svg(drawing.replace("</svg>", f"<defs>{shades}</defs></svg>"))


def _shade(name: str, dull: str, bright: str, width: float) -> str:
    """A gradient along the stone, so that a longer streak ends brighter."""
    stops = f'<stop offset="0" class="{dull}"/><stop offset="1" class="{bright}"/>'
    return f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" x2="{width}">{stops}</linearGradient>'


def scores(trial: Trial) -> Chart | None:
    """Every approach with its interval; the band is what lies within the margin of the best."""
    known = [one for one in trial.approaches if one.score.value is not None]
    if not known:
        return None
    title, metric, best = claims.scores(trial), trial.metric, known[0].score.value or 0.0
    dots = [charts.Dot(one.label, one.score.value or 0.0, one.score.low, one.score.high, one.chosen) for one in known]
    margin = trial.margin
    band = (best - margin, best) if margin else None
    note = "Dot: the figure on the test rows; bar: its 95% interval; filled: what is shipped."
    if margin:
        note += (
            f" Shaded: within the margin of the best, {words.points(margin).lstrip('+')} points."
            if metric.share
            else ""
        )
    rows = f" on {words.count(trial.test_rows)} test rows" if trial.test_rows else ""
    unit = f"{metric.name}{rows}"

    def draw(width: int) -> Svg:
        return charts.dot_plot(dots, width, title=title, says=_ticker(trial), span=_span(trial), band=band, unit=unit)

    return chart(title, draw, note=note)


def cost(trial: Trial) -> Chart | None:
    """Score against what 1,000 calls cost."""
    known = [one for one in trial.approaches if one.cost is not None and one.score.value is not None]
    if len(known) < 2 or not any(one.cost for one in known):
        return None
    spots = [
        charts.Spot(one.label, one.cost or 0.0, one.score.value or 0.0, one.score.low, one.score.high, one.chosen)
        for one in known
    ]
    edge = [(one.cost or 0.0, one.score.value or 0.0) for one in claims.frontier(known)]
    title = claims.cost(trial)

    def draw(width: int) -> Svg:
        return charts.scatter(
            spots,
            width,
            title=title,
            says_x=lambda v: words.price(v, trial.currency),
            says_y=_ticker(trial),
            x_name="cost per 1,000 calls, each step ten times the last",
            y_name=trial.metric.name,
            span=_span(trial),
            frontier=edge,
        )

    return chart(title, draw, note="Dashed: the best score to be had for that money. Bars: 95% intervals.")


def volume(trial: Trial) -> Chart | None:
    """What each approach costs a month against the calls a month, and where two of them cost the same."""
    money = table(trial.raw, "money")
    real = [one for one in trial.approaches if one.family != "majority"]
    lines = {str(row.get("approach")): _points(_rows(row, "points"), "calls", "cost") for row in _rows(money, "curve")}
    series = [
        charts.Series(one.label, lines[one.name], chosen=one.chosen) for one in real if len(lines.get(one.name, ())) > 1
    ]
    if len(series) < 2 or not any(cost > 0 for one in series for _, cost in one.points):
        return None
    crossings = [
        (calls, cost, claims.break_even(trial, row))
        for row in claims.break_evens(trial)
        for calls, cost in _points([row], "calls_per_month", "monthly_cost")
    ]
    title, own = claims.volume(trial), words.finite(money.get("calls_per_month"))
    marker = (own, f"your volume: {words.count(own)}") if own else None

    def draw(width: int) -> Svg:
        return charts.log_lines(
            series,
            width,
            title=title,
            says_x=words.count,
            says_y=lambda v: words.price(v, trial.currency),
            x_name="calls a month, each step ten times the last",
            y_name="cost a month",
            crossings=crossings,
            marker=marker,
        )

    months = words.count(money.get("months"))
    note = f"Dots: break-even, where two approaches cost the same. Fit and labels are spread over {months} months."
    return chart(title, draw, note=note if crossings else note.partition(". ")[2])


def reliability(one: Judged) -> Chart | None:
    """What an approach states against how often it is right."""
    if not one.bins:
        return None
    title = claims.reliability(one)
    drawing = grids.reliability(one.bins, PANEL, title=title, says=lambda v: words.percent(v, 0))
    interval = words.points_interval(one.ece.low, one.ece.high).replace("+", "")
    note = f"95% interval of the error: {interval} points." if interval else ""
    if any(b.rows < grids.FEW for b in one.bins):
        note += f" Faint: under {grids.FEW} rows."
    return Chart(title, drawing, note=note)


def coverage(shown: Sequence[Judged]) -> Chart | None:
    """Accuracy on the calls that are answered, when the least sure ones go to a person; the first approach with its
    interval, the others beside it."""
    known = [one for one in shown if len(one.risk_coverage) > 1]
    if not known:
        return None
    title = claims.coverage(known[0])
    series = [_curve(one, chosen=at == 0, named=len(known) > 1) for at, one in enumerate(known)]
    low = max(0.0, min(value for one in series for _, value in one.points) - 0.05)
    series = [dataclasses.replace(one, bounds=[(max(low, a), b) for a, b in one.bounds]) for one in series]

    def draw(width: int) -> Svg:
        return charts.lines(
            series,
            width,
            title=title,
            span=(low, 1.0),
            height=330,
            says_x=lambda v: words.percent(v, 0),
            says_y=lambda v: words.percent(v, 0),
            x_name="share of calls answered, surest first",
            y_name="share of them that is right",
        )

    note = "Shaded: 95% interval of each point by itself." if series[0].bounds else ""
    return chart(title, draw, note=note)


def _curve(one: Judged, *, chosen: bool, named: bool) -> charts.Series:
    """Some points of a curve, the last one among them."""
    every = max(1, len(one.risk_coverage) // CURVE)
    places = [*range(0, len(one.risk_coverage) - 1, every), len(one.risk_coverage) - 1]
    bounds = [one.risk_bounds[at] for at in places] if one.risk_bounds and chosen else []
    return charts.Series(one.label if named else "", [one.risk_coverage[at] for at in places], bounds, chosen)


def confusion(trial: Trial) -> Chart | None:
    """The confusion matrix, or the block of its most confused labels."""
    part = table(trial.raw, "confusion")
    labels, matrix = [str(name) for name in sequence(part, "labels")], sequence(part, "matrix")
    of = len(labels)
    if not labels or len(matrix) != of or any(len(row) not in (of, of + 1) for row in matrix):
        return None
    unanswered = [sum(row[of:]) for row in matrix]
    if of > FULL_MATRIX:
        kept = _most_confused(matrix)
        labels, matrix = [labels[i] for i in kept], [[matrix[i][j] for j in kept] for i in kept]
        unanswered = [unanswered[i] for i in kept]
    title = claims.confusion(labels, matrix, of)
    last = [[number] if any(unanswered) else [] for number in unanswered]
    shown = [[*row[: len(labels)], *none] for row, none in zip(matrix, last, strict=True)]
    note = (
        f"Answers of {trial.label(part.get('approach'))}. Rows: the truth; columns: what was answered, by the number "
    )
    note += "of its row. Blue: right; red: wrong; stronger: a larger share of the row."
    note += " Last column: no valid answer." if any(unanswered) else ""
    return chart(title, lambda width: grids.heat_map(labels, shown, width, title=title), note=note, key=labels)


def _most_confused(matrix: Sequence[Sequence[int]]) -> list[int]:
    """Labels of the largest cells off the diagonal, pair by pair, in the order of the matrix."""
    size = len(matrix)
    cells = sorted(((matrix[i][j], i, j) for i in range(size) for j in range(size) if i != j), reverse=True)
    kept: set[int] = set()
    for number, i, j in cells:
        if not number or len(kept | {i, j}) > BLOCK:
            break
        kept |= {i, j}
    return sorted(kept) or list(range(min(BLOCK, size)))


def epochs(trial: Trial) -> Chart | None:
    """Training and validation loss by epoch."""
    rows = _rows(table(trial.raw, "learning_curve"), "tuned")
    series = [
        charts.Series(name, _points(rows, "epoch", key), chosen=key == "validation_loss")
        for name, key in (("validation", "validation_loss"), ("training", "train_loss"))
    ]
    series = [one for one in series if len(one.points) > 1]
    if not series:
        return None
    title, best = claims.epochs(rows)
    marker = None if best is None else (best, "lowest")

    def draw(width: int) -> Svg:
        return charts.lines(
            series,
            width,
            title=title,
            says_x=lambda v: f"{v:g}",
            says_y=lambda v: f"{v:.3g}",
            x_name="epoch",
            y_name="loss per supervised token",
            marker=marker,
        )

    return chart(title, draw)


def rows_curve(trial: Trial) -> Chart | None:
    """Score by number of training rows, for each approach that was fitted on parts of them."""
    rows = _rows(table(trial.raw, "learning_curve"), "rows")
    names = [name for name in dict.fromkeys(row.get("approach") for row in rows) if isinstance(name, str)]
    ordered = sorted((row for row in rows if _known(row)), key=lambda row: float(row["rows"]))
    curves = {name: [row for row in ordered if row.get("approach") == name] for name in names}
    curves = {name: curve for name, curve in curves.items() if len(curve) > 1}
    if not curves:
        return None
    shipped = (trial.ship.name, trial.ship.label) if trial.ship else ()
    lead = next((name for name in curves if name in shipped), next(iter(curves)))
    series = [
        charts.Series(trial.label(name), _points(curve, "rows", "accuracy"), _ends(curve), chosen=name == lead)
        for name, curve in curves.items()
    ]
    title = claims.rows_curve(trial.label(lead), curves[lead], trial.metric)

    def draw(width: int) -> Svg:
        return charts.lines(
            series,
            width,
            title=title,
            says_x=words.count,
            says_y=_ticker(trial),
            x_name="training rows",
            y_name=trial.metric.name,
            span=_span(trial),
        )

    return chart(title, draw, note="Measured on validation rows. Shaded: 95% intervals.")


def _rows(part: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [row for row in sequence(part, name) if isinstance(row, Mapping)]


def _known(row: Mapping[str, Any]) -> bool:
    return words.finite(row.get("rows")) is not None and words.finite(row.get("accuracy")) is not None


def _points(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> list[tuple[float, float]]:
    found = [(words.finite(row.get(x)), words.finite(row.get(y))) for row in rows]
    return [(a, b) for a, b in found if a is not None and b is not None]


def _ends(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Interval ends of each row, or nothing where one row has none."""
    found = [(words.finite(row.get("low")), words.finite(row.get("high"))) for row in rows]
    ends = [(a, b) for a, b in found if a is not None and b is not None]
    return ends if len(ends) == len(rows) else []


def _span(trial: Trial) -> tuple[float, float] | None:
    return (0.0, 1.0) if trial.metric.share else None


def _ticker(trial: Trial) -> Any:
    """Writes values of the metric: whole per cent on an axis, one digit more elsewhere."""
    metric = trial.metric

    def says(value: float) -> str:
        round_value = metric.share and abs(value * 100 - round(value * 100)) < 1e-9
        return metric.tick(value) if round_value else metric.says(value)

    return says
