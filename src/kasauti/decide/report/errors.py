"""What the page says of the errors: the matrix, confused pairs with the words that separate them, slices, labels in
doubt, rows to read, what to label next.

Walks in: a trial as it was read. Walks out: the values of one section, or nothing where the trial has none of them. It
does not know HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kasauti.core.paper import words
from kasauti.decide.report import claims, draw
from kasauti.decide.report.read import WRONG, Trial, complete, sequence, table

PAIR = ("truth", "predicted", "count", "share_of_errors", "words_for_truth", "words_for_predicted")
SLICE = ("slice", "kind", "rows", "errors", "accuracy", "rest", "difference", "p_adjusted", "weak")
DOUBTED = ("id", "row", "text", "truth", "suggested", "probability")
NEXT = ("labels", "slice", "errors", "share_of_errors", "training_rows", "look_for")
READ_FIRST, READ_MORE = 12, 60
"""Wrong rows shown at once, and shown at all: the rest is in predictions.parquet."""
TEXT = 700
"""Characters of a wrong row that are shown."""


def errors_part(trial: Trial) -> dict[str, Any]:
    """The section's values; empty where the trial has nothing for it."""
    part = table(trial.raw, "errors")
    pairs, rows = complete(part, "confused_pairs", PAIR), complete(part, "rows", WRONG)
    slices, doubted = complete(part, "slices", SLICE), complete(part, "likely_label_errors", DOUBTED)
    # the surest mistakes first: there a label or its definition is most often at fault
    rows.sort(key=lambda one: -(words.finite(one.get("confidence")) or 0.0))
    matrix = draw.confusion(trial)
    if not (pairs or rows or matrix or slices or sequence(part, "examples")):
        return {}
    return {
        "matrix": matrix,
        "pairs": pairs[:12],
        "pairs_claim": claims.pairs(pairs) if pairs else "",
        "most": max((words.finite(one.get("share_of_errors")) or 0.0 for one in pairs), default=0.0),
        "slices": slices,
        "slices_claim": slices_claim(slices),
        "doubted": doubted,
        "first": rows[:READ_FIRST],
        "more": rows[READ_FIRST:READ_MORE],
        "shown": min(len(rows), READ_MORE),
        "label_next": [] if part.get("next_labels") else [str(one) for one in sequence(part, "label_next")],
        "next": [next_line(one) for one in complete(part, "next_labels", NEXT)],
        "ids": [] if rows else list(sequence(part, "examples"))[:READ_MORE],
        "text": TEXT,
    }


def slices_claim(slices: Sequence[Mapping[str, Any]]) -> str:
    """Over the table of slices: the worst one of those that inputs, and not confidences, make."""
    weak = [one for one in slices if one["weak"] and one["kind"] != "confidence"]
    if not weak:
        return "No kind of input does surely worse than the others"
    first = min(weak, key=lambda one: words.finite(one["difference"]) or 0.0)
    value = first["accuracy"].get("value") if isinstance(first["accuracy"], Mapping) else None
    return f"Weakest on inputs {first['slice']}: {words.percent(value)} right, {words.percent(first['rest'])} elsewhere"


def next_line(one: Mapping[str, Any]) -> dict[str, str]:
    """What to label, why, and how to find such rows."""
    errors = f"{words.plural(one['errors'], 'error')} ({words.percent(one['share_of_errors'], 0)})"
    have = one["training_rows"] if isinstance(one["training_rows"], Mapping) else {}
    rows = ", ".join(f"{label}: {words.count(number)}" for label, number in have.items())
    look = [str(word) for word in one["look_for"] or ()]
    if one["slice"]:
        what, why = f"Inputs {one['slice']}", f"{errors}, surely more than elsewhere"
    else:
        what, why = " or ".join(str(label) for label in one["labels"] or ()), f"{errors} take one for the other"
    return {"what": what, "why": why, "rows": rows, "look_for": ", ".join(look)}
