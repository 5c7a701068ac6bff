"""A trial as the page reads it.

Walks in: the dict of trial.json, of this version or another, with parts missing. Walks out: frozen values with None or
an empty tuple where a part is missing. It does not know HTML and computes no figure: what is not in the trial is not
on the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kasauti.core.paper import words
from kasauti.core.paper.grids import Bin

METRICS = {
    "exact_match": "exact match",
    "accuracy": "accuracy",
    "pass@1": "pass@1",
    "rougeL": "ROUGE-L",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
}
COMPARISON = ("a", "b", "difference", "low", "high", "p_value", "p_adjusted", "test")
PAIR = ("truth", "predicted", "count", "share_of_errors")
WRONG = ("id", "row", "text", "truth", "predicted", "confidence")
"""Keys of the rows of three lists of trial.json."""
SHARES = {"exact_match", "accuracy", "pass@1"}
"""Metrics that are a share of the rows, and so are written as per cent."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its 95% interval; any part may be missing."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """One approach as it was judged."""

    name: str
    label: str
    family: str
    score: Figure
    without_leaked: Figure
    """The score on the test rows that no training row nearly repeats."""
    with_fallback: float | None
    invalid: Figure
    macro_f1: Figure
    ece: Figure
    log_loss: float | None
    per_class: Mapping[str, Mapping[str, Any]]
    latency: Mapping[str, Any]
    cost: float | None
    """Per 1,000 calls, in the task's currency."""
    monthly: float | None
    fit_cost: float | None
    fit_seconds: float | None
    fitted_on: tuple[str, ...]
    bins: tuple[Bin, ...]
    risk_coverage: tuple[tuple[float, float], ...]
    """(share of calls answered, accuracy on them), by ascending share."""
    about: Mapping[str, Any]
    chosen: bool


@dataclass(frozen=True, slots=True)
class Metric:
    """The task's own figure: its name, and how its values are written."""

    name: str
    share: bool

    def says(self, value: Any) -> str:
        """A value of the metric."""
        return words.percent(value) if self.share else words.fraction(value)

    def tick(self, value: Any) -> str:
        """A value on an axis, with no digits that say nothing."""
        return words.percent(value, 0) if self.share else f"{value:g}"

    def interval(self, figure: Figure) -> str:
        """The 95% interval; empty where there is none."""
        return words.interval(figure.low, figure.high, share=self.share)

    def difference(self, value: Any) -> str:
        """A difference of two values with its sign; percentage points for shares."""
        if self.share:
            return words.points(value)
        number = words.finite(value)
        return words.MISSING if number is None else ("+" if number > 0 else "") + words.fraction(number)


@dataclass(frozen=True, slots=True)
class Trial:
    """Everything that the page shows, in order of reading."""

    raw: Mapping[str, Any]
    metric: Metric
    approaches: tuple[Judged, ...]
    """Highest score first."""
    ship: Judged | None
    verdict: Mapping[str, Any]
    comparisons: tuple[Mapping[str, Any], ...]
    margin: float | None
    test_rows: int | None
    test_looks: int | None
    leaked_rows: int | None
    """Test rows with a training row at word-Jaccard 0.8 or more."""
    currency: str

    def label(self, name: Any) -> str:
        """The label of an approach; the name itself for one that is not here."""
        if name is None:
            return words.MISSING
        return next((one.label for one in self.approaches if one.name == name), str(name))

    def tuned(self) -> Judged | None:
        """The best tuned approach."""
        return next((one for one in self.approaches if one.family == "tuned"), None)

    def against(self, a: str, b: str) -> Mapping[str, Any] | None:
        """The comparison of two approaches as it stands in the trial, whichever came first."""
        return next((one for one in self.comparisons if {one.get("a"), one.get("b")} == {a, b}), None)


def read_trial(raw: Mapping[str, Any]) -> Trial:
    """The values of a trial's dict; unknown keys are left alone."""
    verdict = table(raw, "verdict")
    ship = verdict.get("ship")
    metric_name = str(raw.get("metric") or "exact_match")
    found = [_judged(one, ship) for one in sequence(raw, "approaches") if isinstance(one, Mapping)]
    ranked = sorted(found, key=lambda one: -1.0 if one.score.value is None else one.score.value, reverse=True)
    data = table(raw, "data")
    test_rows = words.finite(table(data, "rows").get("test"))
    looks, leaked = words.finite(data.get("test_looks")), words.finite(data.get("leaked_rows"))
    return Trial(
        raw=raw,
        metric=Metric(METRICS.get(metric_name, metric_name), metric_name in SHARES),
        approaches=tuple(ranked),
        ship=next((one for one in ranked if one.chosen), None),
        verdict=verdict,
        comparisons=tuple(complete(raw, "comparisons", COMPARISON)),
        margin=words.finite(verdict.get("margin")),
        test_rows=None if test_rows is None else int(test_rows),
        test_looks=None if looks is None else int(looks),
        leaked_rows=None if leaked is None else int(leaked),
        currency=str(raw.get("currency") or ""),
    )


def _judged(raw: Mapping[str, Any], ship: Any) -> Judged:
    name = str(raw.get("name", "?"))
    number = words.finite
    return Judged(
        name=name,
        label=str(raw.get("label") or name),
        family=str(raw.get("family") or ""),
        score=_figure(raw.get("accuracy")),
        without_leaked=_figure(raw.get("accuracy_without_leaked")),
        with_fallback=_figure(raw.get("accuracy_with_fallback")).value,
        invalid=_figure(raw.get("invalid_rate"), raw.get("invalid_rate_interval")),
        macro_f1=_figure(raw.get("macro_f1"), raw.get("macro_f1_interval")),
        ece=_figure(raw.get("ece")),
        log_loss=number(raw.get("log_loss")),
        per_class={label: one for label, one in table(raw, "per_class").items() if isinstance(one, Mapping)},
        latency=table(raw, "latency_ms"),
        cost=number(raw.get("cost_per_1k_calls")),
        monthly=number(raw.get("monthly_cost")),
        fit_cost=number(raw.get("fit_cost")),
        fit_seconds=number(raw.get("fit_seconds")),
        fitted_on=tuple(str(part) for part in sequence(raw, "fitted_on")),
        bins=tuple(_bin(one) for one in sequence(raw, "reliability") if _is_bin(one)),
        risk_coverage=tuple(_pairs(sequence(raw, "risk_coverage"), "coverage", "accuracy")),
        # a list of rows, such as a loss curve, is drawn and not written out
        about={key: value for key, value in table(raw, "about").items() if not sequence_of_rows(value)},
        chosen=name == ship,
    )


def _figure(value: Any, ends: Any = None) -> Figure:
    """A bare number with its interval beside it, or the two together."""
    if isinstance(value, Mapping):
        return Figure(words.finite(value.get("value")), words.finite(value.get("low")), words.finite(value.get("high")))
    ends = ends if isinstance(ends, Mapping) else {}
    return Figure(words.finite(value), words.finite(ends.get("low")), words.finite(ends.get("high")))


def _is_bin(raw: Any) -> bool:
    return isinstance(raw, Mapping) and all(words.finite(raw.get(k)) is not None for k in ("confidence", "accuracy"))


def _bin(raw: Mapping[str, Any]) -> Bin:
    """`low` and `high` are the interval of the accuracy; an interval without it in it is left out."""
    rows = int(words.finite(raw.get("rows", raw.get("count"))) or 0)
    low, high, accuracy = words.finite(raw.get("low")), words.finite(raw.get("high")), float(raw["accuracy"])
    if low is None or high is None or not low <= accuracy <= high:
        low = high = None
    return Bin(float(raw["confidence"]), accuracy, rows, low, high)


def _pairs(rows: Sequence[Any], x: str, y: str) -> list[tuple[float, float]]:
    found = [(words.finite(one.get(x)), words.finite(one.get(y))) for one in rows if isinstance(one, Mapping)]
    return sorted((a, b) for a, b in found if a is not None and b is not None)


def table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part that is a mapping; an empty one where it is missing."""
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def complete(raw: Mapping[str, Any], name: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The mappings of a list, each with all of `keys`, None where one is missing."""
    return [{key: one.get(key) for key in keys} for one in sequence(raw, name) if isinstance(one, Mapping)]


def sequence_of_rows(value: Any) -> bool:
    """Whether a value is a list of mappings."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, Mapping) for one in value)


def sequence(raw: Mapping[str, Any], name: str) -> Sequence[Any]:
    """A part that is a list; an empty one where it is missing."""
    value = raw.get(name)
    return value if isinstance(value, list | tuple) else ()
