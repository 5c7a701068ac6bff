"""Whether held-out input is unlike the training input.

Walks in: the split. Walks out: a finding with how well a classifier tells test from train, the words that give it away,
and how vocabulary and script differ. It does not know labels: a shift of the labels alone is not seen here.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kasauti.core.types import Finding, Severity, Split, Task
from kasauti.data.checks.evidence import share
from kasauti.data.conversation import content
from kasauti.data.duplicates import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SEEN, CLEAR = 0.6, 0.7
"""AUC of the classifier from which a shift is told, and from which it is a warning; 0.5 is none at all."""
SAMPLED = 3000
"""Rows of each part that are compared."""
LEAST = 30
"""Rows below which nothing can be said."""
TELLING = 10
"""Words shown on either side."""

_HINDI = frozenset(
    re.findall(
        r"\w+",
        "hai hain nahi nahin nhi kya kyu kyun mera meri mere mujhe aap apka aapka bhai paisa paise rupaye karo kar "
        "diya gaya gayi hua hui raha rahi abhi kab kaise lekin aur koi bhi yeh woh ke ki ka ko se mein wapas wapis "
        "batao chahiye tha thi wala wali pehle dono bola liya dia kat kata mila kuch kaha gya ho pe baar kiya aaya",
    )
)
"""Common Hindi words as they are typed in Latin letters: auxiliaries, postpositions, pronouns, words of payment."""
_TELLS = 2
"""Hindi words in Latin script from which a row counts as mixed; one alone ("ka", "se") may be English or a name. In the
bundled task 19% of the training and 43% of the test rows are found (written were about 18% and 40%); in 33,703 English
rows of Banking77 and CLINC150 under 0.05%."""


def shift(task: Task, split: Split) -> list[Finding]:
    """Test against train: AUC of a domain classifier (5 folds), telling words, unseen vocabulary, script mix."""
    draw = random.Random(task.seed)
    train = _sample([content(e) for e in split.train], draw)
    test = _sample([content(e) for e in split.test], draw)
    if min(len(train), len(test)) < LEAST:
        return []
    (auc, low, high), of_test, of_train = domain_classifier(train, test, task.seed)
    vocabulary = set().union(*map(words, train))
    unseen = unseen_share(test, vocabulary)
    severity = Severity.WARN if auc >= CLEAR else Severity.NOTE
    telling = [f"words of test: {', '.join(of_test)}", f"words of train: {', '.join(of_train)}"] if auc >= SEEN else []
    here, there = script_mix(train), script_mix(test)
    scripts_told = [
        f"{name}: {here.get(name, '0%')} of train, {there.get(name, '0%')} of test"
        for name in dict.fromkeys([*here, *there])
        if here.get(name) != there.get(name)
    ]
    told = "unlike" if auc >= CLEAR else "somewhat unlike" if auc >= SEEN else "much like"
    return [
        Finding(
            check="shift",
            severity=severity,
            what=f"test rows are {told} training rows: a classifier tells them apart with AUC {auc:.2f} "
            f"({low:.2f} to {high:.2f}; 0.5 is chance); {unseen:.1%} of the words in test never occur in train",
            where="test",
            count=len(test),
            evidence=[*telling, *scripts_told],
            why="What is good on rows like those it learnt from can be bad on others.",
            mend="Add training rows like the test rows." if auc >= SEEN else "Nothing needs to be done.",
        )
    ]


def _sample(texts: Sequence[str], draw: random.Random) -> list[str]:
    return draw.sample(list(texts), SAMPLED) if len(texts) > SAMPLED else list(texts)


def domain_classifier(
    a: Sequence[str], b: Sequence[str], seed: int
) -> tuple[tuple[float, float, float], list[str], list[str]]:
    """How well a linear classifier on words tells texts of `b` from texts of `a`.

    Returns:
        The area under the ROC curve of out-of-fold scores, 5 folds, 0 to 1, with its 95% interval; the words that
        speak most for `b`; and those that speak most for `a`.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    vectors = TfidfVectorizer(analyzer=lambda text: sorted(words(text)), min_df=2, binary=True)
    y = np.array([0] * len(a) + [1] * len(b))
    try:
        x = vectors.fit_transform([*a, *b])
    except ValueError:  # no word occurs twice: there is nothing to tell apart by
        return (0.5, 0.0, 1.0), [], []
    model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=300)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, x, y, cv=folds, method="decision_function")
    weights = model.fit(x, y).coef_[0]
    names = vectors.get_feature_names_out()
    order = np.argsort(weights, kind="stable")
    for_b = [str(names[i]) for i in order[::-1][:TELLING] if weights[i] > 0]
    return (
        area_under_curve(scores[y == 0], scores[y == 1]),
        for_b,
        [str(names[i]) for i in order[:TELLING] if weights[i] < 0],
    )


def area_under_curve(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[float, float, float]:
    """The share of pairs in which the score of `high` is the larger (ties count half), with its 95% interval (DeLong,
    DeLong and Clarke-Pearson, Biometrics 1988, on the logit scale, which keeps it between 0 and 1).
    """
    import numpy as np
    from scipy.stats import rankdata

    m, n = len(low), len(high)
    ranks = rankdata(np.concatenate([low, high]))
    above = (ranks[m:] - rankdata(high)) / m  # of each score of `high`: the share of `low` under it
    below = 1 - (ranks[:m] - rankdata(low)) / n
    area = float(above.mean())
    error = float(np.sqrt(above.var(ddof=1) / n + below.var(ddof=1) / m))
    inside = min(max(area, 0.5 / (m * n)), 1 - 0.5 / (m * n))
    place, width = np.log(inside / (1 - inside)), 1.96 * error / (inside * (1 - inside))
    ends = [float(1 / (1 + np.exp(-(place + sign * width)))) for sign in (-1, 1)]
    return area, min(ends[0], area), max(ends[1], area)


def unseen_share(texts: Iterable[str], vocabulary: set[str]) -> float:
    """Of the words of texts (a word once a text), the share that `vocabulary` lacks, 0 to 1."""
    total = missing = 0
    for text in texts:
        found = words(text)
        total += len(found)
        missing += len(found - vocabulary)
    return missing / total if total else 0.0


def script_mix(texts: Sequence[str]) -> dict[str, str]:
    """The share of rows, as a percentage, with letters of each script that occurs, and with Hindi in Latin script."""
    counts = Counter({"Latin": 0, "Devanagari": 0})
    mixed = 0
    for text in texts:
        counts.update(scripts(text))
        mixed += is_mixed(text)
    rows = {f"{name} script": share(number, len(texts)) for name, number in counts.items()}
    return {**rows, "Hindi in Latin script": share(mixed, len(texts))}


def is_mixed(text: str) -> bool:
    """Whether a text holds Hindi in Latin script."""
    return len(_HINDI.intersection(re.findall(r"[a-z]+", text.lower()))) >= _TELLS


def scripts(text: str) -> set[str]:
    """The scripts of a text's letters, by the first word of the letters' Unicode names: Latin, Devanagari, …"""
    if text.isascii():
        return {"Latin"} if any(map(str.isalpha, text)) else set()
    return {unicodedata.name(sign, "?").split()[0].capitalize() for sign in set(text) if sign.isalpha()}
