"""trial.json → report.html.

Walks in: the dict of a trial. Walks out: one page that needs nothing else, read by a manager from the top and by an
engineer to the bottom. It does not know how the trial was run. Parts that are missing leave their section out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kasauti.core.files import atomic_write
from kasauti.core.paper import words
from kasauti.core.paper.findings import tally, worst_first
from kasauti.core.paper.page import render
from kasauti.decide.report import claims, draw
from kasauti.decide.report.errors import errors_part
from kasauti.decide.report.read import Judged, Trial, complete, read_trial, sequence, table


def render_report(trial: Mapping[str, Any]) -> str:
    """The report of a trial as one HTML document.

    Args:
        trial: the contract's trial.json; every part may be missing except that nothing is shown of it then.
    """
    read = read_trial(trial)
    values = {
        "trial": read,
        "raw": {name: part for name, part in trial.items() if part is not None},
        "because": sequence(read.verdict, "because"),
        "needs": sequence(read.verdict, "needs"),
        "headlines": claims.headlines(read),
        "looked": claims.looked(read),
        "leaked": claims.leaked(read),
        "streaks": draw.streaks(read),
        "scores": draw.scores(read),
        "cost": draw.cost(read),
        "volume": draw.volume(read),
        "break_evens": [claims.break_even(read, row) for row in claims.break_evens(read)],
        "comparisons_claim": claims.comparisons(read),
        "calibration": _calibration(read),
        "coverage": draw.coverage(_sure(read)),
        "accepting": [one for one in _sure(read) if one.acceptance],
        "accepting_claim": claims.acceptance(_sure(read)),
        "in_sets": [one for one in _sure(read) if one.sets],
        "sets_claim": claims.sets(_sure(read)),
        "strange": [one for one in _sure(read) if one.strange],
        "strange_claim": claims.strange(_sure(read)),
        "errors": errors_part(read),
        "classes": _classes(read),
        "curves": [figure for figure in (draw.rows_curve(read), draw.epochs(read)) if figure],
        "findings": worst_first(sequence(table(trial, "data"), "findings")),
        "findings_claim": claims.findings(tally(worst_first(sequence(table(trial, "data"), "findings")))),
        "has_findings": "findings" in table(trial, "data"),
        "facts": _facts(read),
        "card": _card(table(trial, "task_card")),
        "failed": complete(trial, "failed", ("name", "why")),
        "ran": _ran(read),
    }
    return render(Path(__file__).parent, "report.html", sections=_sections(values), **values)


def write_report(trial: Mapping[str, Any], path: str | Path) -> Path:
    """Render a trial and write the page whole or not at all. Raises `StorageError`."""
    return atomic_write(path, render_report(trial))


def _sections(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(id, name) of the sections that the page has, in order."""
    read: Trial = values["trial"]
    there = {
        ("verdict", "Why"): bool(read.verdict),
        ("approaches", "Approaches"): bool(read.approaches or values["failed"]),
        ("cost", "Cost and speed"): bool(read.approaches),
        ("comparisons", "Comparisons"): bool(read.comparisons),
        ("confidence", "Confidence"): any(
            values[part] for part in ("calibration", "coverage", "accepting", "in_sets", "strange")
        ),
        ("errors", "Errors"): bool(values["errors"]),
        ("classes", "Labels"): bool(values["classes"]),
        ("learning", "Learning"): bool(values["curves"]),
        ("data", "Data"): values["has_findings"],
        ("run", "What was run"): True,
    }
    return [section for section, present in there.items() if present]


def _facts(trial: Trial) -> list[tuple[str, str]]:
    """(figure, what it is) of what is shipped: the few that a manager asks for."""
    one = trial.ship
    if one is None:
        return []
    invalid = words.interval(one.invalid.low, one.invalid.high)
    wins = words.finite(trial.verdict.get("break_even_calls_per_month"))
    wins = None if wins is None or wins < 1 else wins
    found = [
        (words.money(one.cost, trial.currency), "per 1,000 calls"),
        (words.money(one.monthly, trial.currency), "a month at your volume"),
        (words.milliseconds(one.latency.get("p95")), "95 of 100 answers are faster"),
        (words.percent(one.invalid.value), "of answers are not valid" + (f" ({invalid})" if invalid else "")),
        (words.count(wins), "calls a month pay back the training"),
    ]
    return [(figure, what) for figure, what in found if figure != words.MISSING]


def _calibration(trial: Trial) -> list[Any]:
    """Reliability of what is shipped, and of the tuned or the classical approach beside it."""
    return [figure for figure in map(draw.reliability, _sure(trial)[:2]) if figure]


def _sure(trial: Trial) -> list[Judged]:
    """The approaches whose confidence is shown: what is shipped, the tuned and the classical one; the best where none
    of them is there."""
    classical = next((one for one in trial.approaches if one.family == "classical"), None)
    return _distinct([trial.ship, trial.tuned(), classical]) or list(trial.approaches[:1])


def _distinct(found: list[Judged | None]) -> list[Judged]:
    there = [one for one in found if one is not None]
    return [one for index, one in enumerate(there) if one.name not in {other.name for other in there[:index]}]


def _classes(trial: Trial) -> dict[str, Any]:
    """Per-class figures of what is shipped, weakest label first, beside the runner-up or the best other approach."""
    one = trial.ship or next(iter(trial.approaches), None)
    if one is None or not one.per_class:
        return {}
    others = [a for a in trial.approaches if a.name != one.name and a.per_class]
    second = trial.verdict.get("runner_up")
    other = next((a for a in others if a.name == second), next(iter(others), None))
    rows = sorted(one.per_class.items(), key=lambda pair: words.finite(pair[1].get("f1")) or 0.0)
    return {"rows": rows, "one": one, "other": other, "claim": claims.weakest(one)}


def _card(card: Mapping[str, Any]) -> dict[str, Any]:
    """The task as it was asked, labels as (name, meaning); empty where the trial does not say."""
    labels = card.get("labels")
    named = list(labels.items()) if isinstance(labels, Mapping) else [(name, "") for name in sequence(card, "labels")]
    found = {key: card.get(key) for key in ("kind", "instructions", "input", "fallback")}
    return {**found, "labels": named} if named or any(found.values()) else {}


def _ran(trial: Trial) -> list[tuple[str, str]]:
    """(name, value) of everything that is needed to run the trial again."""
    raw, data, model, ran = trial.raw, table(trial.raw, "data"), table(trial.raw, "model"), table(trial.raw, "ran")
    rows = table(data, "rows")
    found: list[tuple[str, Any]] = [
        ("Task", raw.get("task")),
        ("Made", words.when(raw.get("created"))),
        ("Kasauti", raw.get("kasauti")),
        ("Seed", raw.get("seed")),
        ("Rows", ", ".join(f"{part} {words.count(number)}" for part, number in rows.items())),
        ("Test rows", claims.looked(trial)),
        ("Data version", data.get("version")),
        ("Test rows' hash", data.get("test_sha256")),
        ("Model", model.get("id")),
        ("Parameters", words.count(model.get("parameters"))),
        ("Template's hash", model.get("template_sha256")),
        ("Machine", words.ordinary(table(ran, "machine")) or None),
        ("Time", words.duration(ran.get("seconds", raw.get("seconds")))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in table(ran, "versions").items())),
    ]
    return [(name, text) for name, value in found if (text := words.ordinary(value)) not in ("", words.MISSING)]
