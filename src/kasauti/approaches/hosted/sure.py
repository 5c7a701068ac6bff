"""From a hosted model's alternatives to a probability of every label.

Walks in: for each token of an answer its log-probability and those of its alternatives. Walks out: log-probabilities
over the labels. It does not know calibration, which comes after.

A server tells the likeliest few tokens at every place, not the probability of a label. Where the answer could have gone
another way, the alternative's probability goes in equal parts to the labels that it can still become; what reaches
the end belongs to the label that was written. A label that none of the alternatives leads to gets no more than the
least likely alternative of the first place: it is known to be below that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kasauti.approaches.hosted.ledger import Alternatives

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST = 1e-9
"""Probability under which no label is put."""


def label_logs(tops: Sequence[Alternatives], answer: str, labels: Sequence[str]) -> NDArray[np.float64]:
    """log P of every label, [labels]; they come to at most 1 together, and need not come to 1.

    Args:
        tops: one entry a token of the answer, the token that was written first; at least one.
        answer: the text that was written. Some servers name the end of the turn as a token after it.
    """
    import numpy as np

    mass = np.zeros(len(labels))
    named = [label.encode("utf-8") for label in labels]
    said, before, sure = answer.strip().encode("utf-8"), b"", 0.0
    for place in tops:
        (text, log), *others = place
        for other, likely in others:
            here = _after(before, other)
            open_to = [n for n, name in enumerate(named) if len(here) > len(before) and name.startswith(here)]
            for n in open_to:
                mass[n] += math.exp(sure + likely) / len(open_to)
        sure += log
        if before.rstrip() == said:
            break
        before = _after(before, text)
    for n, name in enumerate(named):
        if name == before.rstrip():
            mass[n] += math.exp(sure)
    rest = max(0.0, 1.0 - float(mass.sum()))
    unseen = int((mass == 0).sum())
    bound = min((math.exp(log) for _, log in tops[0]), default=0.0)
    floor = max(LEAST, min(bound, rest / max(1, unseen)))
    found: NDArray[np.float64] = np.log(np.where(mass > 0, np.maximum(mass, LEAST), floor))
    return found


def _after(before: bytes, token: str) -> bytes:
    """What an answer begins with, space in front of it left out."""
    return (before + token.encode("utf-8", "surrogateescape")).lstrip()
