"""The errors of what is shipped, read closely: what they are, where they gather, which labels may be wrong, and what to
label next.

Walks in: the split, every approach's answers, the one that ships. Walks out: the `errors` part of `trial.json`. Nothing
of it is fitted, chosen or judged on.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kasauti.core.types import Ended, Example, Prediction, Split, Task
from kasauti.data.conversation import content
from kasauti.measure.metrics import accuracy
from kasauti.measure.slices import confused_pairs, label_next, low_examples, wrong_examples
from kasauti.measure.statistics import is_binary
from kasauti.measure.telling import counts, separating_words
from kasauti.measure.weak_slices import NEW, new_share, weak_slices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

READ = 20_000
"""Training rows whose words are counted: a sample of so many where there are more."""
WITNESSES = ("classical", "tuned", "retrieval", "cascade", "hosted")
"""Families that have learnt what labels mean from rows, or know it; only they may doubt one."""
DOUBT = 0.02
"""A label that every witness finds less probable than this may be wrong. Of 450 production complaints, 45 of them given
another label at random, 43 to 45 rows are under it and 40 to 43 of those are the 45 (three seeds; at 0.05, 42 to 44 of
48). Labels that people take for one another are harder to see."""
PAIRS, SHOWN = 40, 10
"""Confused pairs whose words are looked for, and those of them that are listed."""
NEXT = 8
"""Entries of the list of what to label next."""


def errors_of(
    task: Task,
    split: Split,
    ship: str,
    answers: Mapping[str, Sequence[Prediction]],
    families: Mapping[str, str],
    scores: NDArray[np.float64],
) -> dict[str, Any]:
    """The `errors` part; of answers that are no labels, the rows with the lowest scores and the weak slices.

    Args:
        ship: the approach whose errors are read.
        answers: approach → its answers to the test rows.
        families: approach → family.
        scores: how right each answer of what ships is, 0 to 1, [rows].
    """
    given = answers[ship]
    train = _sample(split.train, task.seed)
    background = counts(content(row) for row in train)
    slices = weak_slices(split.test, scores == 1, given, background) if is_binary(scores) else []
    if not task.labels:
        low = low_examples(split.test, given, scores)
        found = {"confused_pairs": [], "examples": [row["id"] for row in low], "rows": low, "label_next": []}
        return {"approach": ship, **found, "slices": slices}
    truth = [row.answer or "" for row in split.test]
    pairs = _with_words(confused_pairs(truth, given, top=PAIRS), train, background)
    training_rows = {label: sum(row.answer == label for row in split.train) for label in task.labels}
    doubted = likely_label_errors(split.test, given, _witnesses(truth, answers, families), background)
    return {
        "approach": ship,
        "confused_pairs": pairs[:SHOWN],
        "examples": [row["id"] for row in wrong_examples(split.test, given)],
        "rows": wrong_examples(split.test, given),
        "slices": slices,
        "likely_label_errors": doubted,
        "next_labels": next_labels(truth, given, training_rows, pairs, slices),
        "label_next": label_next(truth, given, training_rows),
    }


def _sample(rows: Sequence[Example], seed: int) -> Sequence[Example]:
    return rows if len(rows) <= READ else random.Random(seed).sample(list(rows), READ)


def _with_words(
    pairs: Sequence[Mapping[str, object]], train: Sequence[Example], background: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Each pair with the words that speak for the truth and for what was answered, from their training rows."""
    texts: dict[str, list[str]] = {}
    for row in train:
        texts.setdefault(row.answer or "", []).append(content(row))
    made = []
    for pair in pairs:
        truth, said = str(pair["truth"]), str(pair["predicted"])
        for_truth, for_said = separating_words(texts.get(truth, []), texts.get(said, []), background)
        made.append({**pair, "words_for_truth": for_truth, "words_for_predicted": for_said})
    return made


def _witnesses(
    truth: Sequence[str], answers: Mapping[str, Sequence[Prediction]], families: Mapping[str, str]
) -> dict[str, Sequence[Prediction]]:
    """Approaches with probabilities that are right in most of their answers; one that is not doubts everything."""
    return {
        name: given
        for name, given in answers.items()
        if families[name] in WITNESSES
        and all(p.probabilities is not None for p in given)
        and accuracy(truth, given) > 0.5
    }


def likely_label_errors(
    test: Sequence[Example],
    given: Sequence[Prediction],
    witnesses: Mapping[str, Sequence[Prediction]],
    known_words: Collection[str],
    top: int = 20,
) -> list[dict[str, Any]]:
    """Wrong rows whose label may be at fault and not the answer, the most doubtful first.

    None of the witnesses was fitted on a test row, so their probabilities are out of fold. A row is listed where each
    of them gives its label less than `DOUBT`, and all find the same other label most probable, which is what the
    shipped approach answered. A row of new words is left out: nobody can be sure of what they have not seen. To be read
    by a person: a hard row looks the same.
    """
    if not witnesses:
        return []
    found = []
    for at, (row, answer) in enumerate(zip(test, given, strict=True)):
        if answer.ended is not Ended.ANSWERED or answer.answer == row.answer or row.reviewed:
            continue
        said = [one[at] for one in witnesses.values()]
        own = max((one.probabilities or {}).get(row.answer or "", 0.0) for one in said)
        if new_share(content(row), known_words) >= NEW:
            continue
        if own >= DOUBT or any(one.answer != answer.answer for one in said):
            continue
        found.append(
            {
                "id": row.id,
                "row": row.row,
                "source": row.source,
                "text": row.text,
                "truth": row.answer,
                "suggested": answer.answer,
                "probability": own,
                "witnesses": list(witnesses),
            }
        )
    return sorted(found, key=lambda one: (one["probability"], one["row"]))[:top]


def next_labels(
    truth: Sequence[str],
    given: Sequence[Prediction],
    training_rows: Mapping[str, int],
    pairs: Sequence[Mapping[str, Any]],
    slices: Sequence[Mapping[str, Any]],
    top: int = NEXT,
) -> list[dict[str, Any]]:
    """What to label next, by how many errors it is about: two labels that are taken for one another (both ways
    together), or a slice of inputs that is surely weak.

    Each has `labels` or `slice`, `errors`, `share_of_errors`, `training_rows` of each label, and `look_for`: words by
    which such rows can be found among unlabelled ones.
    """
    wrong = Counter(
        frozenset((t, p.answer))
        for t, p in zip(truth, given, strict=True)
        if p.ended is Ended.ANSWERED and p.answer is not None and p.answer != t
    )
    errors = sum(p.answer != t or p.ended is not Ended.ANSWERED for t, p in zip(truth, given, strict=True))
    words = {frozenset((one["truth"], one["predicted"])): one for one in pairs}
    found: list[dict[str, Any]] = []
    for both, count in wrong.items():
        if count < 2:
            continue
        told = words.get(both, {})
        found.append(
            {
                "labels": sorted(both),
                "slice": None,
                "errors": count,
                "share_of_errors": count / errors,
                "training_rows": {label: training_rows.get(label, 0) for label in sorted(both)},
                "look_for": [*told.get("words_for_truth", ())][:4] + [*told.get("words_for_predicted", ())][:4],
            }
        )
    for one in slices:
        if one["weak"] and one["kind"] != "confidence":
            found.append(
                {
                    "labels": [],
                    "slice": one["slice"],
                    "errors": one["errors"],
                    "share_of_errors": one["errors"] / errors,
                    "training_rows": {},
                    "look_for": [],
                }
            )
    return sorted(found, key=lambda one: (-one["errors"], one["labels"]))[:top]
