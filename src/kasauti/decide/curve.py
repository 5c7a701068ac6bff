"""How accuracy grows with training rows, and loss with epochs: what more data would be worth.

Walks in: a split and the judged approaches. Walks out: points for the report. Measured on validation rows, never on
test rows.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kasauti.approaches.catalogue import CATALOGUE
from kasauti.approaches.workbench import Workbench
from kasauti.core.files import STATE, read_json, write_json
from kasauti.core.types import Split
from kasauti.decide.fitted import fitted_key
from kasauti.measure.statistics import wilson

SHARES = (0.125, 0.25, 0.5, 1.0)
"""Of the training rows; each doubles the one before."""


def learning_curve(bench: Workbench, split: Split, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`tuned`: one entry an epoch; `rows`: the classical approach on growing shares of the training rows."""
    by_name = {entry["name"]: entry for entry in entries}
    curve: dict[str, Any] = {}
    if "tuned" in by_name:
        curve["tuned"] = by_name["tuned"]["about"].get("curve", [])
    if "classical" in by_name and split.validation:
        curve["rows"] = _kept(bench, split, float(by_name["classical"]["about"]["C"]))
    return curve


def _kept(bench: Workbench, split: Split, strength: float) -> list[dict[str, Any]]:
    """The points, found beside the fitted approach or measured; empty where a small share cannot be fitted."""
    folder = Path(bench.task.folder, STATE, "approaches", f"classical-{fitted_key(bench, split, 'classical')}")
    path = folder / "curve.json"
    if not path.exists():
        try:
            write_json(path, _rows(bench, split, strength))
        except ValueError:  # scikit-learn: an empty vocabulary, a single class
            return []
    return list(read_json(path))


def _rows(bench: Workbench, split: Split, strength: float) -> list[dict[str, Any]]:
    from kasauti.approaches.classical import Classical

    train = list(split.train)
    random.Random(bench.task.seed).shuffle(train)
    points = []
    for at, share in enumerate(SHARES):
        bench.progress("learning curve", at, len(SHARES))
        rows = train[: max(len(bench.task.labels), round(share * len(train)))]
        if len({row.answer for row in rows}) < 2:
            continue
        # Without choose rows nothing is chosen and nothing is added to the training rows.
        model = Classical(bench, strengths=(strength,)).fit(rows, (), ())
        answers = model.predict(split.validation)
        right = sum(p.answer == row.answer for p, row in zip(answers, split.validation, strict=True))
        low, high = wilson(right, len(split.validation))
        points.append(
            {
                "approach": CATALOGUE["classical"].title,
                "rows": len(rows),
                "accuracy": right / len(split.validation),
                "low": low,
                "high": high,
            }
        )
    bench.progress("learning curve", len(SHARES), len(SHARES))
    return points
