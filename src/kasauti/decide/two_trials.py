"""Two trials side by side: paired where they answered the same test rows, each with its own interval elsewhere.

Walks in: the folders of two finished trials. Walks out: a document, sentences, a page. It fits and asks nothing: what
is compared is what the two left on disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kasauti.core.errors import KasautiError, UsageError
from kasauti.core.files import RunFolder, atomic_write, read_json
from kasauti.core.names import suggestion
from kasauti.core.paper import words
from kasauti.decide.predictions import read_scores
from kasauti.measure.compare import compare_scores
from kasauti.measure.statistics import holm

TRIAL = "trial.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A finished trial on disk."""

    id: str
    folder: Path
    document: Mapping[str, Any]


def find_trial(task_folder: str | Path, name: str | None = None) -> Found:
    """A trial by its id, the beginning of one, or the path of its folder or file; without a name the newest.

    Raises:
        UsageError: there is none, or several begin so.
        DataError: its file cannot be read.
    """
    if name is not None and (path := Path(name)).exists():
        return _read(path if path.is_file() else path / TRIAL)
    there = [one for one in RunFolder.all(task_folder, "trials", mark=TRIAL) if one.finished]
    if not there:
        mend = "Run `kasauti trial` first, or name the file."
        raise UsageError("there is no finished trial", where=str(task_folder), mend=mend)
    if name is None:
        found = [_read(one.mark) for one in there]
        return max(found, key=lambda one: (str(one.document.get("created", "")), one.id))
    fits = [one for one in there if one.id.startswith(name)]
    if len(fits) != 1:
        what = f"{len(fits)} trials begin with {name!r}" if fits else f"there is no trial {name!r}"
        raise UsageError(what, where="report", mend=suggestion(name, [one.id for one in fits or there]))
    return _read(fits[0].mark)


def _read(path: Path) -> Found:
    document = read_json(path)
    if not isinstance(document, Mapping) or not isinstance(document.get("approaches"), list):
        raise UsageError("is no trial: it has no approaches", where=str(path), mend="Name a trial.json.")
    return Found(id=path.absolute().parent.name, folder=path.absolute().parent, document=document)


def compare_trials(a: Found, b: Found) -> dict[str, Any]:
    """What differs between two trials, b minus a.

    Returns:
        `paired` and `why` (in words); `approaches`: of each that both judged, both figures with intervals, and where
        they are paired `difference`, `low`, `high`, `p_value`, `p_adjusted` (Holm over these approaches); `only_a` and
        `only_b`; `ship`; `changed`: what else is not the same in both.

    Raises:
        UsageError: they have no approach in common, or another metric.
    """
    if a.folder == b.folder:
        raise UsageError("is the same trial twice", where=a.id, mend="Name two trials.")
    one, two = _by_name(a), _by_name(b)
    both = [name for name in one if name in two]
    if not both:
        raise UsageError(
            f"{a.id} judged {', '.join(one)} and {b.id} {', '.join(two)}: none is in both",
            where="report",
            mend="Compare two trials that share an approach.",
        )
    metrics = [str(found.document.get("metric", "exact_match")) for found in (a, b)]
    if metrics[0] != metrics[1]:
        raise UsageError(
            f"{a.id} is judged by {metrics[0]} and {b.id} by {metrics[1]}", where="report",
            mend="Compare trials of one metric.",
        )  # fmt: skip
    pairs, why = _paired(a, b, both)
    return {
        "a": a.id,
        "b": b.id,
        "task": b.document.get("task"),
        "metric": metrics[0],
        "paired": pairs is not None,
        "why": why,
        "rows": {"a": _of(a.document, "data", "rows", "test"), "b": _of(b.document, "data", "rows", "test")},
        "ship": {"a": _of(a.document, "verdict", "ship"), "b": _of(b.document, "verdict", "ship")},
        "approaches": [
            {
                "name": name,
                "label": two[name].get("label") or name,
                "a": one[name]["accuracy"],
                "b": two[name]["accuracy"],
                **(pairs or {}).get(name, {}),
            }
            for name in both
        ],
        "only_a": [name for name in one if name not in two],
        "only_b": [name for name in two if name not in one],
        "changed": _changed(a.document, b.document),
    }


def _by_name(found: Found) -> dict[str, Mapping[str, Any]]:
    return {str(one["name"]): one for one in found.document["approaches"]}


def _of(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def _paired(a: Found, b: Found, names: Sequence[str]) -> tuple[dict[str, dict[str, Any]] | None, str]:
    """Approach → its paired comparison, or None; and why, in words."""
    hashes = [_of(found.document, "data", "test_sha256") for found in (a, b)]
    if hashes[0] is None or hashes[0] != hashes[1]:
        return None, "The two trials judged different test rows: intervals stand side by side, and nothing is tested."
    one, two = (read_scores(found.folder / "predictions.parquet") for found in (a, b))
    if any(one.get(name, {}).keys() != two.get(name, {}).keys() or name not in one for name in names):
        return None, (
            "The test rows are the same, but predictions.parquet with a score for every row is not beside both "
            "trials: intervals stand side by side, and nothing is tested."
        )
    import numpy as np

    compared = []
    for name in names:
        ids = list(two[name])
        scores = {side: np.array([table[name][id] for id in ids]) for side, table in (("b", two), ("a", one))}
        compared += compare_scores(scores)
    adjusted = holm([one.p_value for one in compared])
    tested = [asdict(replace(pair, p_adjusted=p)) for pair, p in zip(compared, adjusted, strict=True)]
    kept = ("difference", "low", "high", "p_value", "p_adjusted", "test", "only_a", "only_b")
    pairs = {name: {key: pair[key] for key in kept} for name, pair in zip(names, tested, strict=True)}
    for pair in pairs.values():  # compare_scores calls its first one a
        pair["only_b"], pair["only_a"] = pair["only_a"], pair["only_b"]
    rows = len(next(iter(two.values())))
    return pairs, f"Both trials judged the same {rows:,} test rows: each approach is compared with itself, row by row."


def _changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What else differs, in short sentences."""
    said = []
    for name, keys in {
        "data": ("data", "version"),
        "training rows": ("data", "rows", "train"),
        "model": ("model", "id"),
        "instructions": ("task_card", "instructions"),
        "labels": ("task_card", "labels"),
        "calls a month": ("task_card", "business", "calls_per_month"),
        "margin": ("verdict", "margin"),
        "Kasauti": ("kasauti",),
        "seed": ("seed",),
    }.items():
        before, after = _of(a, *keys), _of(b, *keys)
        if before != after:
            long = any(len(words.ordinary(value)) > 40 for value in (before, after))
            said.append(f"{name} changed" if long else f"{name}: {words.ordinary(before)} → {words.ordinary(after)}")
    return said


def sentences(compared: Mapping[str, Any]) -> list[str]:
    """The comparison in words: how it was made, and what each approach came to."""
    lines = [str(compared["why"])]
    for one in compared["approaches"]:
        before, after = (words.percent(one[side]["value"]) for side in ("a", "b"))
        if "difference" not in one:
            lines.append(f"{one['name']}: {before} and {after}.")
            continue
        if not one["only_a"] and not one["only_b"]:
            lines.append(f"{one['name']}: {after} in both, the same rows right.")
            continue
        sure = "outside the noise" if one["p_adjusted"] < 0.05 else "not outside the noise"
        interval = words.points_interval(one["low"], one["high"])
        lines.append(
            f"{one['name']}: {before} → {after}, {words.points(one['difference'])} points ({interval}; "
            f"p {words.p_value(one['p_adjusted'])}), {sure}."
        )
    before, after = (str(compared["ship"][side]) for side in ("a", "b"))
    lines.append(f"Both ship {after}." if before == after else f"The verdict changed: {before} → {after}.")
    return lines


def write_comparison(compared: Mapping[str, Any], path: Path) -> Path:
    """The page of a comparison, whole or not at all. Raises `StorageError`."""
    from kasauti.core.paper.page import render

    folder = Path(__file__).parent / "report"
    return atomic_write(path, render(folder, "two_trials.html", two=compared, said=sentences(compared)))


def redraw(found: Found, path: Path | None = None) -> Path:
    """The report of a trial, made anew from `trial.json` alone.

    Args:
        path: where it goes; beside `trial.json` where None.

    Raises:
        StorageError: it cannot be written there.
        KasautiError: the trial cannot be drawn.
    """
    from kasauti.decide.report import write_report

    try:
        return write_report(found.document, path or found.folder / "report.html")
    except (TypeError, ValueError, KeyError) as error:
        raise KasautiError(
            f"cannot be drawn: {error}", where=str(found.folder / TRIAL), mend="Run `kasauti trial` again."
        ) from error
