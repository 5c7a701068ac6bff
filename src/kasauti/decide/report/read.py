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
WRONG = ("id", "row", "text", "truth", "predicted", "confidence")
"""Keys of the rows of two lists of trial.json."""
SHARES = {"exact_match", "accuracy", "pass@1"}
"""Metrics that are a share of the rows, and so are written as per cent."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its 95% interval; any part may be missing."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A threshold, and what it came to on the test rows."""

    goal: str
    wanted: float | None
    rule: str
    error: float | None
    """Probability that its promise does not hold; None for a plain one, which has none."""
    value: float | None
    chosen: bool
    coverage: Figure
    accuracy: Figure
    against_plain: Figure
    """Share of the answers that it accepts more, or below 0 less, than the plain rule."""


@dataclass(frozen=True, slots=True)
class Sets:
    """Sets of labels, and how often they held the true one on the test rows."""

    by_label: bool
    promised: float | None
    rows: int | None
    """Validation rows that they stand on."""
    coverage: Figure
    probable: Figure
    """The same without the answer, which is always put in: what the promise is about."""
    expected: Figure
    """Where that lies in 95 of 100 cases, by luck alone."""
    size: Figure
    one_label: Figure
    lowest: Figure
    """Coverage of the label whose rows are covered least."""
    lowest_label: str


@dataclass(frozen=True, slots=True)
class Strange:
    """Inputs that belong to no label, and how they are told from the others."""

    rows: int | None
    by_confidence: Figure
    by_mass: Figure
    accepted: Figure


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
    label_cost: float | None
    """Of the labels that it learns from."""
    fit_seconds: float | None
    fitted_on: tuple[str, ...]
    bins: tuple[Bin, ...]
    risk_coverage: tuple[tuple[float, float], ...]
    """(share of calls answered, accuracy on them), by ascending share."""
    risk_bounds: tuple[tuple[float, float], ...]
    """The 95% interval of each of those accuracies; empty where the trial has not all of them."""
    aurc: Figure
    """Area under risk over coverage."""
    acceptance: tuple[Accepted, ...]
    sets: tuple[Sets, ...]
    strange: Strange | None
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
    curve = tuple(_pairs(sequence(raw, "risk_coverage"), "coverage", "accuracy"))
    ends = [one for one in sequence(raw, "risk_coverage") if isinstance(one, Mapping)]
    ends.sort(key=lambda one: number(one.get("coverage")) or 0.0)
    bounds = [(low, high) for low, high in ((number(e.get("low")), number(e.get("high"))) for e in ends)
              if low is not None and high is not None]  # fmt: skip
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
        label_cost=number(raw.get("label_cost")),
        fit_seconds=number(raw.get("fit_seconds")),
        fitted_on=tuple(str(part) for part in sequence(raw, "fitted_on")),
        bins=tuple(_bin(one) for one in sequence(raw, "reliability") if _is_bin(one)),
        risk_coverage=curve,
        risk_bounds=tuple(bounds) if len(bounds) == len(curve) else (),
        aurc=_figure(raw.get("aurc")),
        acceptance=tuple(_accepted(one) for one in sequence(raw, "acceptance") if isinstance(one, Mapping)),
        sets=tuple(_sets(one) for one in sequence(raw, "conformal") if isinstance(one, Mapping)),
        strange=_strange(table(raw, "out_of_scope")),
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


def _accepted(raw: Mapping[str, Any]) -> Accepted:
    tested = table(raw, "test")
    return Accepted(
        goal=str(raw.get("goal") or ""),
        wanted=words.finite(raw.get("wanted")),
        rule=str(raw.get("rule") or ""),
        error=words.finite(raw.get("error")),
        value=words.finite(raw.get("value")),
        chosen=raw.get("chosen") is True,
        coverage=_figure(tested.get("coverage")),
        accuracy=_figure(tested.get("accuracy")),
        against_plain=_figure(tested.get("against_plain")),
    )


def _sets(raw: Mapping[str, Any]) -> Sets:
    rows = words.finite(raw.get("rows"))
    return Sets(
        by_label=raw.get("by_label") is True,
        promised=words.finite(raw.get("promised")),
        rows=None if rows is None else int(rows),
        coverage=_figure(raw.get("coverage")),
        probable=_figure(raw.get("probable")),
        expected=_figure(None, raw.get("expected")),
        size=_figure(raw.get("size")),
        one_label=_figure(raw.get("one_label")),
        lowest=_figure(raw.get("lowest")),
        lowest_label=str(table(raw, "lowest").get("label") or ""),
    )


def _strange(raw: Mapping[str, Any]) -> Strange | None:
    rows, areas = words.finite(raw.get("rows")), table(raw, "auroc")
    if not raw:
        return None
    return Strange(
        rows=None if rows is None else int(rows),
        by_confidence=_figure(areas.get("confidence")),
        by_mass=_figure(areas.get("log_mass")),
        accepted=_figure(raw.get("accepted")),
    )


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
