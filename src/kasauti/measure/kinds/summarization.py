"""Summarisation: how much of the expected summary's wording an answer has, by ROUGE (Lin 2004).

Walks in: the task, examples with summaries, one `Prediction` each. Walks out: the fields of one approach in
`trial.json`. The deciding figure is the F-measure of ROUGE-L (longest common subsequence of words), ROUGE-1 and ROUGE-2
beside it. It does not know what a text means: a true summary in other words scores low, so read some before believing
the figure.

The scores are the `rouge-score` package's, the words are ours: its own are runs of a-z and 0-9, so that two equal texts
in Hindi have none in common. No stemming, which would be right for English alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from kasauti.core.types import Example, Prediction, Task
from kasauti.measure import metrics
from kasauti.measure.grades import Grades, fields_of, interval
from kasauti.measure.own import load_own, own_scores
from kasauti.measure.statistics import score_measurement

METRIC = "rougeL"
TYPES = ("rouge1", "rouge2", "rougeL")
_JOINERS = "\u200c\u200d"
"""Change how letters are drawn, not which word it is."""


class Words:
    """The tokenizer that the ROUGE package is handed."""

    def tokenize(self, text: str) -> list[str]:
        """See `words`."""
        return words(text)


def words(text: str) -> list[str]:
    """The words of a text in any script: runs of letters, digits and the marks that belong to them, case folded.

    A vowel sign is a mark and no letter in Unicode; without marks `हिंदी` would be three words. Where words are written
    without space between them (Chinese, Japanese), every character is one. A text without any word is its characters.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    found, word = [], ""
    for sign in folded:
        place = _place(sign)
        if place == "inside":
            word += sign
        elif place != "joiner":
            found += [word, sign if place == "alone" else ""]
            word = ""
    kept = [w for w in (*found, word) if w]
    return kept or [sign for sign in folded if not sign.isspace() and sign not in _JOINERS]


@cache
def _place(sign: str) -> str:
    if sign in _JOINERS:
        return "joiner"
    if unicodedata.name(sign, "").startswith(("CJK UNIFIED", "CJK COMPAT", "HIRAGANA", "KATAKANA LETTER")):
        return "alone"
    return "inside" if unicodedata.category(sign)[0] in "LMN" else "between"


def grade(task: Task, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Grades:
    """ROUGE of every answered row; a row without an answer has 0. The user's own metric decides where there is one."""
    import numpy as np
    from rouge_score.rouge_scorer import RougeScorer

    truth = metrics.truth_of(examples)
    metrics.check_lengths(truth, predictions)
    answers = metrics.given_answers(predictions)
    scorer = RougeScorer(list(TYPES), tokenizer=Words())
    rows = [{} if a is None else scorer.score(t, a) for t, a in zip(truth, answers, strict=True)]
    rouge = {name: np.array([r[name].fmeasure if r else 0.0 for r in rows], dtype=float) for name in TYPES}
    about = {"rouge": {name: interval(score_measurement(rouge[name], name, task.seed)) for name in TYPES}}
    if task.scoring.metric is None:
        return Grades(scores=rouge[METRIC], metric=METRIC, about=about)
    own = np.array(own_scores(load_own(task), answers, examples))
    return Grades(scores=own, metric=task.scoring.metric, about=about)


def judge(
    task: Task,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    seed: int,
    grades: Grades | None = None,
) -> dict[str, Any]:
    """The contract's fields of one approach, and besides `rouge`: each of the three with its bootstrap interval."""
    grades = grades or grade(task, examples, predictions)
    return fields_of(task, examples, predictions, seed, grades, grade)
