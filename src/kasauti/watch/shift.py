"""Whether what is asked now is unlike what was learnt or judged, with the inputs that show it.

Walks in: two lists of texts. Walks out: a `Shift`: five figures, how probable they are where nothing differs, and what
tells the lists apart. It does not know calls or tasks.

Five things are looked at: words that the reference lacks; scripts, Hindi in Latin letters and length; the distance of
the two distributions of words; the word that has moved most; and how well a classifier tells the lists apart on texts
that it was not fitted on. How
large each would be by chance alone is not calculated but tried: the texts are dealt to the two lists at random, many
times, and all five are computed again, the classifier fitted anew. The most unusual of the five is compared with the
most unusual of the five in each dealing (Westfall and Young 1993), so that one level holds for all of them together,
exactly (Phipson and Smyth 2010).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kasauti.data.checks.shift import CLEAR, LEAST, SEEN, is_mixed, scripts
from kasauti.data.duplicates import normalise, words
from kasauti.watch.seen import Texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SAMPLED = 1500
"""Texts of each list that are compared."""
DEALINGS = 1999
"""Then p can be as small as 0.0005."""
_FIRST = 199
_HOPELESS = 0.02
"""A p over this after the first dealings is not pursued."""
_FOLDS, _OFTEN = 5, 3
LEVEL = 0.001
TELLING = 10
"""Words that are shown."""
SHOWN = 5
"""Inputs that are shown."""
MOVED = 0.1
"""Difference of a share (a script, Hindi in Latin letters) that counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """Two lists of texts, compared."""

    p_value: float
    """Of nothing being different, for all figures together."""
    auc: float
    """How well a classifier tells an input of calls from one of the reference, out of fold: 0.5 is chance."""
    unseen: float
    """Share of the words of calls that no text of the reference holds, 0 to 1."""
    unseen_usual: float
    """The same where the texts are dealt at random."""
    distance: float
    """Jensen-Shannon divergence of the two distributions of words, nats, 0 to 0.69."""
    distance_usual: float
    mix: Sequence[tuple[str, float, float]]
    """(what, share in the reference, share in calls); of texts with it, 0 to 1."""
    telling: Sequence[str]
    """Words that are more common in calls, the most telling first."""
    new: Sequence[str]
    """Words that the reference lacks, the most common first."""
    inputs: Sequence[tuple[str, str]]
    """(id, text) of the inputs that are least like the reference."""
    rows: tuple[int, int]
    """Texts compared: reference, calls."""

    @property
    def moved(self) -> list[tuple[str, float, float]]:
        """Of `mix`, what differs by `MOVED` or more."""
        return [one for one in self.mix if abs(one[2] - one[1]) >= MOVED]

    @property
    def large(self) -> bool:
        """Whether it is large enough to matter, sure or not."""
        wordy = self.unseen >= 2 * self.unseen_usual and self.unseen - self.unseen_usual >= 0.05
        return self.auc >= SEEN or wordy or bool(self.moved)

    @property
    def stands(self) -> bool:
        """Whether it is sure at `LEVEL`, and large enough to matter."""
        return self.p_value <= LEVEL and self.large

    @property
    def clear(self) -> bool:
        """Whether a classifier tells the two apart at a glance."""
        return self.stands and self.auc >= CLEAR


def compare(texts: Texts, seed: int, dealings: int = DEALINGS) -> Shift | None:
    """Compare inputs of calls with the reference; a text that recurs counts once. None where either list is too short.

    Args:
        texts: both lists.
        seed: of the samples, folds and dealings.
        dealings: at most so many; fewer where the first show that nothing differs.
    """
    import numpy as np

    draw = random.Random(seed)
    reference = _distinct(list(enumerate(texts.reference)), draw)
    ids = texts.ids or [str(at) for at in range(len(texts.called))]
    called = _distinct(list(zip(ids, texts.called, strict=True)), draw)
    if min(len(reference), len(called)) < LEAST:
        return None
    rows = [text for _, text in [*reference, *called]]
    table = _Table(rows, seed)
    own = np.array([0.0] * len(reference) + [1.0] * len(called))
    found, scores = table.figures(own[:, None])
    generator = np.random.default_rng(seed)
    tried = [found]
    for size in _chunks(dealings):
        if len(tried) > 1 and _p(np.concatenate(tried)) > _HOPELESS:
            break
        dealt = np.stack([generator.permutation(own) for _ in range(size)], axis=1)
        tried.append(table.figures(dealt)[0])
    everything = np.concatenate(tried)  # [1 + dealings, figures], the real ones first
    usual = everything[1:].mean(axis=0)
    telling, new = table.words(own)
    order = np.argsort(-scores[len(reference) :, 0], kind="stable")[:SHOWN]
    return Shift(
        p_value=_p(everything),
        auc=float(found[0, 4]),
        unseen=float(found[0, 0]),
        unseen_usual=float(usual[0]),
        distance=float(found[0, 2]),
        distance_usual=float(usual[2]),
        mix=table.mix(own),
        telling=telling,
        new=new,
        inputs=[(str(called[at][0]), called[at][1]) for at in order],
        rows=(len(reference), len(called)),
    )


def _chunks(dealings: int) -> list[int]:
    sizes, left = [min(_FIRST, dealings)], dealings - _FIRST
    while left > 0:
        sizes.append(min(200, left))
        left -= 200
    return sizes


def _p(figures: Array) -> float:
    """p of the first row among all rows, by each row's most unusual figure."""
    import numpy as np

    spread = figures.std(axis=0)
    far = (figures - figures.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
    most = far.max(axis=1)
    return float((most >= most[0] - 1e-9).mean())


def _distinct(rows: Sequence[tuple[Any, str]], draw: random.Random) -> list[tuple[Any, str]]:
    first: dict[str, tuple[Any, str]] = {}
    for one in rows:
        first.setdefault(normalise(one[1]), one)
    kept = [one for key, one in first.items() if key]
    return draw.sample(kept, SAMPLED) if len(kept) > SAMPLED else kept


class _Table:
    """Texts as numbers; every figure for any dealing of them to two lists."""

    def __init__(self, rows: Sequence[str], seed: int) -> None:
        import numpy as np
        from scipy import sparse

        place: dict[str, int] = {}
        inside, starts = [], [0]
        for text in rows:
            inside += [place.setdefault(word, len(place)) for word in sorted(words(text))]
            starts.append(len(inside))
        self.vocabulary = list(place)
        self.n = len(rows)
        shape = (self.n, max(1, len(place)))
        self.x = sparse.csr_matrix((np.ones(len(inside)), inside, starts), shape=shape)
        self.total = np.asarray(self.x.sum(axis=0)).ravel()
        self.names, self.features = _features(rows)
        self.folds = np.random.default_rng([seed, 1]).permutation(self.n) % _FOLDS

    def figures(self, dealt: Array) -> tuple[Array, Array]:
        """The five figures of each dealing [texts, dealings] of 0 and 1; [dealings, 5], and out-of-fold scores."""
        import numpy as np

        ones = dealt.sum(axis=0)
        called = self.x.T @ dealt  # [words, dealings]: texts of calls that hold a word
        mass = np.maximum(called.sum(axis=0), 1)
        unseen = np.where(called == self.total[:, None], called, 0).sum(axis=0) / mass
        p, q = called / mass, (self.total[:, None] - called) / np.maximum(self.total.sum() - mass, 1)
        distance = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
        a = self.features.T @ dealt / ones
        b = (self.features.sum(axis=0)[:, None] - self.features.T @ dealt) / (self.n - ones)
        spread = self.features.std(axis=0)[:, None] * np.sqrt(1 / ones + 1 / (self.n - ones))
        mix = np.abs(np.divide(a - b, spread, out=np.zeros_like(a), where=spread > 0)).max(axis=0)
        word = self._far(called, ones).max(axis=0)
        scores = self._scores(dealt, called)
        return np.stack([unseen, mix, distance, word, _auc(scores, dealt)], axis=1), scores

    def _far(self, called: Array, ones: Array) -> Array:
        """How much more common each word is in calls, in standard errors: [words, dealings]."""
        import numpy as np

        p = (self.total / self.n)[:, None]
        share = called / ones - (self.total[:, None] - called) / (self.n - ones)
        far: Array = share / np.sqrt(np.maximum(p * (1 - p), 1e-12) * (1 / ones + 1 / (self.n - ones)))
        return far

    def _scores(self, dealt: Array, called: Array) -> Array:
        """Naive Bayes on words, each fold by the others: [texts, dealings]."""
        import numpy as np

        scores = np.zeros_like(dealt)
        for fold in range(_FOLDS):
            held = self.folds == fold
            part, ones = self.x[held], dealt.sum(axis=0) - dealt[held].sum(axis=0)
            zeros = (~held).sum() - ones
            one = called - part.T @ dealt[held]
            zero = (self.total - np.asarray(part.sum(axis=0)).ravel())[:, None] - one
            whole = ones + zeros
            # half a text of smoothing, shared as the lists are, so that an unknown word says nothing
            weight = np.log((one + 0.5 * ones / whole) / ones) - np.log((zero + 0.5 * zeros / whole) / zeros)
            # a word of one or two texts says nothing of a third, and much that is wrong of a copy of it
            weight[self.total < _OFTEN] = 0
            length = np.maximum(np.asarray(part.sum(axis=1)), 1)
            scores[held] = (part @ weight) / np.sqrt(length)
        return scores

    def mix(self, own: Array) -> list[tuple[str, float, float]]:
        """Shares of texts in both lists: of what is counted so, and of the word that has moved most."""
        import numpy as np

        made = []
        for at, name in enumerate(self.names):
            if name != "length":
                column = self.features[:, at]
                made.append((name, float(column[own == 0].mean()), float(column[own == 1].mean())))
        called = self.x.T @ own
        at = int(np.argmax(self._far(called[:, None], np.array([own.sum()]))[:, 0]))
        shares = (self.total[at] - called[at]) / (self.n - own.sum()), called[at] / own.sum()
        return [*made, (f"the word {self.vocabulary[at]}", float(shares[0]), float(shares[1]))]

    def words(self, own: Array) -> tuple[list[str], list[str]]:
        """Words that are telling of calls, and words that only calls have; those that occur once are left out."""
        import numpy as np

        called = self.x.T @ own
        ones = own.sum()
        far = self._far(called[:, None], np.array([ones]))[:, 0]
        order = np.argsort(-far, kind="stable")[:TELLING]
        only = [at for at in np.argsort(-called, kind="stable") if called[at] == self.total[at] and called[at] > 1]
        telling = [self.vocabulary[at] for at in order if at < len(self.vocabulary) and far[at] > 2]
        return telling, [self.vocabulary[at] for at in only[:TELLING]]


def _features(rows: Sequence[str]) -> tuple[list[str], Array]:
    import numpy as np

    found = [scripts(text) for text in rows]
    names = [f"{name} script" for name in sorted({name for one in found for name in one})]
    columns = [[float(name.removesuffix(" script") in one) for one in found] for name in names]
    columns.append([float(is_mixed(text)) for text in rows])
    columns.append([math.log1p(len(text)) for text in rows])
    return [*names, "Hindi in Latin script", "length"], np.array(columns).T


def _entropy(p: Array) -> Array:
    from scipy.special import xlogy

    made: Array = -xlogy(p, p).sum(axis=0)
    return made


def _auc(scores: Array, dealt: Array) -> Array:
    """Area under the ROC curve of each column; ties count half."""
    from scipy.stats import rankdata

    ones = dealt.sum(axis=0)
    ranks = (rankdata(scores, axis=0) * dealt).sum(axis=0)
    area: Array = (ranks - ones * (ones + 1) / 2) / (ones * (dealt.shape[0] - ones))
    return area
