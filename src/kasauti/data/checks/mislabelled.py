"""Rows whose label is probably wrong.

Walks in: the split. Walks out: a ranking with a suggested label, and a finding that tells it. It does not know which
rows are wrong: the ranking is for a human to read from the top. Test rows are left alone.

Confident learning (Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
2021): the probabilities of a classifier that has not seen the row, judged against how sure it is of each label on
average.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kasauti.core.types import Example, Finding, Severity, Split, Task
from kasauti.data.checks.evidence import SHOWN, quote, row_numbers, share
from kasauti.data.conversation import content
from kasauti.data.duplicates import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLED = 100_000
"""Rows above which a sample is judged."""
FOLDS = 5
LISTED = 2.5
"""The list is this many times as long as the estimated number of wrong labels. With 3% of labels made wrong at random
the estimate was 0.6 to 1.2 of their number, and 0.93 (complaints) to 0.98 (Banking77) of them stood in the first three
times as many rows; those who label by hand take alike labels for one another, which is harder to see. Of the bundled
task's 52 wrong labels of that sort the list has 47, 46 and 47 in 110, 102 and 108 rows (seeds 42, 1, 2). On the same
probabilities the filters of cleanlab 2.9 (by noise rate, by class) find 39 to 41 in 75 to 84; its rankings find 43 to
49 in the first 156, the normalised margin of adjusted probabilities most: that is the one used here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """A row whose label the classifier doubts."""

    example: Example
    suggested: str
    """The label that it finds most likely among the others."""
    margin: float
    """Probability of the row's label minus that of the suggested one, each less what is usual for its label, -1 to 1;
    the lower, the more suspect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """The rows that were judged and that nobody has reviewed, the most suspect first."""

    suspects: Sequence[Suspect]
    estimated: int
    """How many labels are probably wrong: rows that the classifier confidently counts under another label."""
    seconds: float
    """What the judgement took."""
    drawn_from: int = 0
    """Rows that could have been judged, where a sample of them was; 0 where all were."""

    @property
    def listed(self) -> Sequence[Suspect]:
        """The part of the ranking that is worth reading."""
        return self.suspects[: round(LISTED * self.estimated)]


def mislabelled(task: Task, split: Split) -> list[Finding]:
    """The training and validation rows whose labels are most in doubt."""
    if task.kind != "classification":
        return []
    return told(rank_mislabelled([*split.train, *split.validation], task.seed))


def told(ranking: Ranking) -> list[Finding]:
    """The finding of a ranking; none where nothing is suspect."""
    if not ranking.listed:
        return []
    rows = [suspect.example for suspect in ranking.listed]
    judged = len(ranking.suspects)
    sample = f", a sample of {ranking.drawn_from}" if ranking.drawn_from else ""
    return [
        Finding(
            check="mislabelled",
            severity=Severity.WARN,
            what=f"about {ranking.estimated} of {judged} rows{sample} ({share(ranking.estimated, judged)}) look "
            f"mislabelled; the {len(rows)} most suspect are ranked (judged in {ranking.seconds:.0f} s)",
            where="train and validation",
            count=len(rows),
            rows=row_numbers(rows),
            evidence=[_told(suspect) for suspect in ranking.listed[:SHOWN]],
            why="A model learns wrong labels as readily as right ones, and they hide its true accuracy.",
            mend="Read them from the top (all are in audit.json) and correct what is wrong; stop when most are right.",
            ranked=[_ranked(suspect) for suspect in ranking.listed],
        )
    ]


def _ranked(suspect: Suspect) -> dict[str, str | int | float]:
    example = suspect.example
    return {
        "source": example.source,
        "row": example.row,
        "answer": example.answer or "",
        "suggested": suspect.suggested,
        "margin": round(suspect.margin, 4),
        "text": quote(example),
    }


def _told(suspect: Suspect) -> str:
    example = suspect.example
    return f"{example.source}, row {example.row}: {example.answer} → {suspect.suggested}? {quote(example)}"


def rank_mislabelled(examples: Sequence[Example], seed: int) -> Ranking:
    """Judge every row by a classifier that was fitted on the others.

    Args:
        examples: labelled rows; blank ones and those of labels with fewer than 5 different texts are not judged, and
            above 100,000 a sample is.
        seed: of the folds and the sample.
    """
    started = time.perf_counter()
    draw = random.Random(seed)
    rows, drawn_from = _judgeable(examples), 0
    if len(rows) > SAMPLED:
        rows, drawn_from = _judgeable(draw.sample(rows, SAMPLED)), len(rows)
    labels = sorted({example.answer or "" for example in rows})
    if len(labels) < 2:
        return Ranking(suspects=(), estimated=0, seconds=time.perf_counter() - started)
    place = {label: number for number, label in enumerate(labels)}
    given = [place[example.answer or ""] for example in rows]
    texts = [content(example) for example in rows]
    probabilities = _out_of_fold(texts, given, len(labels), _folds(texts, given, draw))
    doubted, other, margins = _confident(probabilities, given)
    estimated = sum(bool(d) and not example.reviewed for d, example in zip(doubted, rows, strict=True))
    suspects = [
        Suspect(example=example, suggested=labels[o], margin=float(m))
        for example, o, m in zip(rows, other, margins, strict=True)
        if not example.reviewed  # a person stands by its label; it still speaks for and against the others
    ]
    suspects.sort(key=lambda suspect: (suspect.margin, suspect.example.id))
    seconds = time.perf_counter() - started
    return Ranking(suspects=tuple(suspects), estimated=estimated, seconds=seconds, drawn_from=drawn_from)


def _judgeable(examples: Sequence[Example]) -> list[Example]:
    """Rows of labels that every fold can have seen; of the others each row would look wrong."""
    texts: defaultdict[str, set[str]] = defaultdict(set)
    for example in examples:
        if example.answer and content(example).strip():
            texts[example.answer].add(normalise(content(example)))
    enough = {label for label, different in texts.items() if len(different) >= FOLDS}
    return [example for example in examples if example.answer in enough and content(example).strip()]


def _folds(texts: Sequence[str], given: Sequence[int], draw: random.Random) -> list[int]:
    """A fold for each row: even over labels; equal texts in one fold, or a wrong label would vouch for its twin."""
    label_of: dict[str, int] = {}
    for text, label in zip(texts, given, strict=True):
        label_of.setdefault(normalise(text), label)
    keys = sorted(label_of)
    draw.shuffle(keys)
    dealt: Counter[int] = Counter()
    fold: dict[str, int] = {}
    for key in keys:
        fold[key] = dealt[label_of[key]] % FOLDS
        dealt[label_of[key]] += 1
    return [fold[normalise(text)] for text in texts]


def _out_of_fold(
    texts: Sequence[str], given: Sequence[int], labels: int, folds: Sequence[int]
) -> NDArray[np.float64]:  # [row, label]
    """Probabilities from TF-IDF of words and characters and a logistic regression; each row by a fit without its fold.

    A tolerance of 1e-3: on Banking77 3e-4 took 36 s against 28 s and ranked as well; at 1e-2 the fit stops before it
    has begun.
    """
    import numpy as np
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    settings: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "preprocessor": normalise}
    by_word = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), min_df=2, max_features=50_000, **settings)
    by_letter = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=3, max_features=30_000, **settings)
    blocks = []
    for vectors in (by_word, by_letter):
        try:
            blocks.append(vectors.fit_transform(texts))
        except ValueError:  # nothing occurs often enough to be a feature
            continue
    y, fold = np.array(given), np.array(folds)
    probabilities = np.full((len(texts), labels), 1 / labels)
    if not blocks:
        return probabilities
    x = hstack(blocks).tocsr()
    for held_out in range(FOLDS):
        seen, unseen = fold != held_out, fold == held_out
        if unseen.any() and len(set(y[seen])) > 1:
            model = LogisticRegression(C=10.0, tol=1e-3, max_iter=200).fit(x[seen], y[seen])
            probabilities[unseen] = 0.0
            probabilities[np.ix_(unseen, model.classes_)] = model.predict_proba(x[unseen])
    return probabilities


def _confident(
    probabilities: NDArray[np.float64], given: Sequence[int]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
    """For each row: whether it counts off the diagonal of the confident joint; its best other label; the margin of its
    own over that."""
    import numpy as np

    rows, y = np.arange(len(given)), np.array(given)
    own = probabilities[rows, y]
    # a label's threshold: how probable it is on average to the rows that carry it (eq. 2 of the paper)
    labels = probabilities.shape[1]
    thresholds = np.bincount(y, own, labels) / np.maximum(np.bincount(y, None, labels), 1)
    over = np.where(probabilities >= thresholds, probabilities, -1.0)
    counted = over.argmax(1)
    doubted = (over.max(1) >= 0) & (counted != y)
    # a label that the classifier is rarely sure of is not suspect for that: each is compared with its own threshold
    fair = probabilities - thresholds + thresholds.max()
    fair /= fair.sum(1, keepdims=True)
    others = fair.copy()
    others[rows, y] = -1.0
    other = others.argmax(1)
    return doubted, other, fair[rows, y] - others[rows, other]
