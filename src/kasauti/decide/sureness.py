"""What an approach's confidence is worth: thresholds, risk against coverage, sets of labels, inputs out of scope.

Walks in: one approach's answers to calibration rows (each calibrated without that row), test rows, and out-of-scope
rows where there are some. Walks out: fields of its entry in `trial.json`. Every choice is made on calibration rows;
test rows only say what it came to. It does not know how an approach answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kasauti.core.types import Acceptance, Ended, Example, Prediction, Task
from kasauti.measure import conformal, selective
from kasauti.measure.grades import interval
from kasauti.measure.metrics import confidences, correct
from kasauti.measure.scope import auroc_measurement
from kasauti.measure.statistics import Interval, accuracy_measurement, wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WANTED = {"accuracy": Acceptance().wanted, "coverage": 0.8}
"""What each goal asks for where the task does not say."""
RULES = ("plain", "exact")
POINTS = 100
"""Points of a curve that are kept, at most."""


def sureness(
    task: Task,
    calibrate: Sequence[Example],
    held_out: Sequence[Prediction],
    test: Sequence[Example],
    given: Sequence[Prediction],
    strange: Sequence[Prediction],
) -> dict[str, Any]:
    """`acceptance`, `risk_coverage`, `aurc`, `conformal` and `out_of_scope` of one approach; each None where the
    approach has no confidence, or there are no rows for it.

    Args:
        task: its labels, and which answers the user wants to be accepted.
        calibrate: the rows that nothing but the calibration was fitted on.
        held_out: answers to them, each by a calibration that was not fitted on it.
        test, given: the test rows and the answers to them.
        strange: answers to inputs that belong to no label.
    """
    truth = [row.answer or "" for row in test]
    confidence, right = confidences(truth, given)
    if len(confidence) == 0:
        return dict.fromkeys(("acceptance", "risk_coverage", "aurc", "conformal", "out_of_scope"))
    accepted = acceptance(task.accept, calibrate, held_out, test, given)
    value = served(accepted)["value"] if accepted else None
    return {
        "acceptance": accepted,
        "risk_coverage": _thin(selective.risk_coverage(confidence, right)),
        "aurc": interval(selective.aurc_measurement(confidence, right, task.seed)),
        "conformal": label_sets(task, calibrate, held_out, test, given),
        "out_of_scope": out_of_scope(given, strange, value) if strange else None,
    }


def acceptance(
    wish: Acceptance,
    calibrate: Sequence[Example],
    held_out: Sequence[Prediction],
    test: Sequence[Example],
    given: Sequence[Prediction],
) -> list[dict[str, Any]] | None:
    """The thresholds of both goals by both rules, each with what it promises and what it came to on the test rows;
    the one that the task asks for is `chosen`. None without calibration rows that have a confidence.

    `against_plain` is the share of test rows that the exact rule accepts more (or, below 0, less) than the plain one.
    """
    import numpy as np

    if not held_out or all(p.confidence is None for p in held_out):
        return None
    sure = np.array([p.confidence or 0.0 for p in held_out])
    hits = correct([row.answer or "" for row in calibrate], held_out)
    right = correct([row.answer or "" for row in test], given)
    found = []
    for goal in WANTED:
        wanted = wish.wanted if wish.goal == goal else WANTED[goal]
        plain: NDArray[np.bool_] | None = None
        for rule in RULES:
            one = selective.choose(sure, hits, goal=goal, wanted=wanted, rule=rule, error=wish.error)
            kept = np.array([selective.is_accepted(p, one.value) for p in given], dtype=bool)
            plain = kept if plain is None else plain
            low, high = wilson(int(kept.sum()), len(kept))
            found.append(
                {
                    **asdict(one),
                    "promise": one.promise,
                    "chosen": (goal, rule) == (wish.goal, wish.rule),
                    "test": {
                        "rows": int(kept.sum()),
                        "coverage": {"value": float(kept.mean()), "low": low, "high": high},
                        "accuracy": interval(accuracy_measurement(right[kept])) if kept.any() else None,
                        "against_plain": None if rule == "plain" else _share_more(plain, kept),
                    },
                }
            )
    return found


def served(found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The threshold that the task asks for."""
    return next(one for one in found if one["chosen"])


def label_sets(
    task: Task,
    calibrate: Sequence[Example],
    held_out: Sequence[Prediction],
    test: Sequence[Example],
    given: Sequence[Prediction],
) -> list[dict[str, Any]] | None:
    """Sets of labels with a promised coverage, for all rows together and by label, and their coverage of the test rows.
    None where a row has no probabilities."""
    labels = tuple(task.labels)
    stated, shown = _matrix(held_out, labels), _matrix(given, labels)
    if stated is None or shown is None:
        return None
    truth, wanted = _indices(calibrate, labels), _indices(test, labels)
    found = []
    for fit in (conformal.fit_conformal, conformal.fit_class_conformal):
        rule = fit(stated, truth)
        sets = rule.sets(shown)
        luck = None
        if not rule.by_label:  # by label every label rounds its promise up, and no one law holds for all rows
            low, high = conformal.expected_coverage(rule.rows, rule.promised, len(test))
            luck = {"low": low, "high": high}
        found.append(
            {
                "by_label": rule.by_label,
                "promised": rule.promised,
                "rows": rule.rows,
                "least": dict(zip(labels, rule.least, strict=True)),
                "own": [labels[at] for at in rule.own],
                "coverage": interval(conformal.coverage_measurement(sets, wanted)),
                "probable": interval(conformal.coverage_measurement(rule.probable(shown), wanted)),
                "expected": luck,
                "size": interval(conformal.size_measurement(sets, task.seed)),
                "one_label": interval(accuracy_measurement(sets.sum(axis=1) == 1)),
                "lowest": _lowest(sets, wanted, labels),
            }
        )
    return found


def out_of_scope(given: Sequence[Prediction], strange: Sequence[Prediction], threshold: float | None) -> dict[str, Any]:
    """How well answers to inputs of no label are told from those to test rows, and how many of them are accepted."""
    kept = sum(selective.is_accepted(p, threshold) for p in strange)
    low, high = wilson(kept, len(strange))
    scores = {name: _scores(given, strange, name) for name in ("confidence", "log_mass")}
    return {
        "rows": len(strange),
        "auroc": {name: interval(auroc_measurement(*two)) for name, two in scores.items() if two is not None},
        "accepted": {"value": kept / len(strange), "low": low, "high": high},
    }


def _scores(
    given: Sequence[Prediction], strange: Sequence[Prediction], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """One score of every test row and of every out-of-scope one; None where some row has none."""
    import numpy as np

    inside, outside = ([getattr(p, name) for p in part] for part in (given, strange))
    if any(value is None for value in (*inside, *outside)):
        return None
    return np.array(inside, dtype=float), np.array(outside, dtype=float)


def _matrix(predictions: Sequence[Prediction], labels: Sequence[str]) -> NDArray[np.float64] | None:
    """Probabilities [n, k]; None where there is no row, or one without them."""
    import numpy as np

    if not predictions or any(p.probabilities is None or p.ended is not Ended.ANSWERED for p in predictions):
        return None
    return np.array([[(p.probabilities or {}).get(label, 0.0) for label in labels] for p in predictions])


def _indices(rows: Sequence[Example], labels: Sequence[str]) -> NDArray[np.intp]:
    import numpy as np

    place = {label: at for at, label in enumerate(labels)}
    return np.array([place[row.answer or ""] for row in rows], dtype=np.intp)


def _lowest(sets: NDArray[np.bool_], truth: NDArray[np.intp], labels: Sequence[str]) -> dict[str, Any]:
    """The label whose rows are covered least; the least of many is low by luck as well, so its interval is for reading
    it, not for testing it."""
    import numpy as np

    inside = sets[np.arange(len(truth)), truth]
    at = min(np.unique(truth).tolist(), key=lambda label: float(inside[truth == label].mean()))
    low, high = wilson(int(inside[truth == at].sum()), int((truth == at).sum()))
    value = float(inside[truth == at].mean())
    return {"label": labels[at], "rows": int((truth == at).sum()), "value": value, "low": low, "high": high}


def _share_more(plain: NDArray[np.bool_], exact: NDArray[np.bool_]) -> dict[str, float]:
    """Of the two one accepts all that the other does, so their difference is one share, with Wilson's interval."""
    changed, sign = int((plain != exact).sum()), 1.0 if exact.sum() >= plain.sum() else -1.0
    low, high = (sign * end for end in wilson(changed, len(plain)))
    return _ordered(sign * changed / len(plain), (low, high))


def _ordered(value: float, ends: Interval) -> dict[str, float]:
    return {"value": value, "low": min(ends), "high": max(ends)}


def _thin(points: Sequence[dict[str, float]], most: int = POINTS) -> list[dict[str, float]]:
    """At most `most` points of a curve, the last one kept."""
    step = max(1, -(-len(points) // most))
    return [*points[::step], *([points[-1]] if (len(points) - 1) % step else [])]
