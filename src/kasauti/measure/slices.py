"""Where the errors are: confused pairs, weak labels, wrong rows to read, and what to label next.

Walks in: truth, examples and `Prediction`s of one approach. Walks out: dictionaries that go into the report as they
are, and sentences. It does not know how the approach works.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kasauti.core.types import Ended, Example, Prediction
from kasauti.measure.metrics import check_lengths, given_answers, per_class, truth_of
from kasauti.measure.statistics import wilson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEW_TRAINING_ROWS = 20
"""Under this many training rows a label is called thin."""


def confused_pairs(truth: Sequence[str], predictions: Sequence[Prediction], top: int = 10) -> list[dict[str, object]]:
    """The most frequent (truth, predicted) of the wrong rows with `count` and `share_of_errors` (0 to 1), most first.

    A row without a valid answer is shown with its ending in brackets, for example `(unparsable)`.
    """
    check_lengths(truth, predictions)
    pairs = Counter((t, said) for t, said in zip(truth, _said(predictions), strict=True) if t != said)
    errors = pairs.total()
    return [
        {"truth": t, "predicted": said, "count": count, "share_of_errors": count / errors}
        for (t, said), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:top]
    ]


def wrong_examples(
    examples: Sequence[Example], predictions: Sequence[Prediction], top: int = 30, per_pair: int = 3
) -> list[dict[str, object]]:
    """The wrong rows most worth reading: surest first, at most `per_pair` of each confused pair.

    An answer that is wrong and sure is either a gap in the training data or a wrong label. Each has `id`, `row`,
    `text`, `truth`, `predicted`, `confidence` (None where the approach gives none).
    """
    truth = truth_of(examples)
    check_lengths(truth, predictions)
    said = _said(predictions)
    wrong = [i for i in range(len(truth)) if said[i] != truth[i]]
    wrong.sort(key=lambda i: -(predictions[i].confidence or 0.0))
    taken: Counter[tuple[str, str]] = Counter()
    chosen: list[int] = []
    for i in wrong:
        pair = (truth[i], said[i])
        if taken[pair] < per_pair and len(chosen) < top:
            taken[pair] += 1
            chosen.append(i)
    return [
        {
            "id": examples[i].id,
            "row": examples[i].row,
            "text": examples[i].text,
            "truth": truth[i],
            "predicted": said[i],
            "confidence": predictions[i].confidence,
        }
        for i in chosen
    ]


def low_examples(
    examples: Sequence[Example], predictions: Sequence[Prediction], scores: NDArray[np.float64], top: int = 30
) -> list[dict[str, object]]:
    """The rows of lowest score [n] that are not right, lowest first, as `wrong_examples` shows them, with `score`."""
    truth, said = truth_of(examples), _said(predictions)
    check_lengths(truth, predictions)
    order = sorted((i for i in range(len(truth)) if scores[i] < 1), key=lambda i: float(scores[i]))
    return [
        {
            "id": examples[i].id,
            "row": examples[i].row,
            "text": examples[i].text,
            "truth": truth[i],
            "predicted": said[i],
            "confidence": predictions[i].confidence,
            "score": float(scores[i]),
        }
        for i in order[:top]
    ]


def weak_labels(truth: Sequence[str], predictions: Sequence[Prediction], top: int = 5) -> list[dict[str, object]]:
    """The labels with the lowest F1 that are not perfect, lowest first.

    Each has `label`, `f1`, `recall` with Wilson's 95% `low` and `high`, `support`, and `lost_to`: what its wrong rows
    were answered with most often. A label that never occurs in the truth is not weak but untested, and is left out.
    """
    check_lengths(truth, predictions)
    table = per_class(truth, given_answers(predictions))
    lost: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for t, said in zip(truth, _said(predictions), strict=True):
        if t != said:
            lost[t][said] += 1
    weakest = sorted(
        ((row["f1"], name) for name, row in table.items() if row["support"] and row["f1"] < 1.0),
    )
    rows = []
    for f1, name in weakest[:top]:
        support = int(table[name]["support"])
        low, high = wilson(support - lost[name].total(), support)
        most = lost[name].most_common(1)
        rows.append(
            {
                "label": name,
                "f1": f1,
                "recall": table[name]["recall"],
                "low": low,
                "high": high,
                "support": support,
                "lost_to": most[0][0] if most else None,
            }
        )
    return rows


def label_next(
    truth: Sequence[str],
    predictions: Sequence[Prediction],
    training_rows: Mapping[str, int] | None = None,
    top: int = 3,
) -> list[str]:
    """What to label next, in sentences with figures, most errors first.

    Args:
        training_rows: label to number of training rows; thin labels among the weak ones are then named.
        top: confused pairs and labels that are named, each.
    """
    pairs = confused_pairs(truth, predictions, top=len(truth))
    errors = sum(_count(pair) for pair in pairs)
    if not errors:
        return ["Every row is answered right: only harder or newer rows can show what to label next."]
    sentences = []
    for pair in [p for p in pairs if not str(p["predicted"]).startswith("(") and _count(p) > 1][:top]:
        back = sum(_count(p) for p in pairs if (p["truth"], p["predicted"]) == (pair["predicted"], pair["truth"]))
        turned = f", and {back} the other way round" if back else ""
        sentences.append(
            f"{pair['count']} of {errors} errors ({_count(pair) / errors:.0%}) are {pair['truth']} answered as "
            f"{pair['predicted']}{turned}: label more rows that tell these two apart."
        )
    for row in weak_labels(truth, predictions, top=len(set(truth))):
        have = None if training_rows is None else training_rows.get(str(row["label"]), 0)
        if have is not None and have < FEW_TRAINING_ROWS and len(sentences) < 2 * top:
            sentences.append(
                f"{row['label']} has only {have} training rows and F1 {row['f1']:.2f}: "
                f"label at least {FEW_TRAINING_ROWS - have} more."
            )
    unanswered = sum(_count(p) for p in pairs if str(p["predicted"]).startswith("("))
    if unanswered:
        sentences.append(
            f"{unanswered} of {errors} errors ({unanswered / errors:.0%}) are rows without a valid answer: "
            "that is mended by constraining the answer to the labels, not by more rows."
        )
    return sentences or [
        f"The {errors} errors are spread thinly, no pair occurs twice: read the wrong rows before labelling more."
    ]


def _said(predictions: Sequence[Prediction]) -> list[str]:
    """The given answer, or the ending in brackets."""
    return [
        p.answer if p.ended is Ended.ANSWERED and p.answer is not None else f"({p.ended.value})" for p in predictions
    ]


def _count(pair: Mapping[str, object]) -> int:
    return int(str(pair["count"]))
