"""Token noise: in training some tokens of a row's own text are left out or replaced, so that none is learnt by heart.

Walks in: proved rows of token ids. Walks out: the same rows with other text and the same answers. It knows no network.

Word dropout (Iyyer et al. 2015) and replacement (Wang et al. 2018, SwitchOut) in equal parts. What all prompts begin
and end with, the template and the instructions, is never touched, nor is the answer. What happens to a row follows
from the seed, the epoch and the row alone: a run that goes on after a kill, and one of several processes, sees the
same.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import TrainerCallback

from kasauti.core.types import Supervised
from kasauti.train.prefix import common
from kasauti.train.rows import IGNORED


class TokenNoise:
    """Changes the rows of a training run.

    Args:
        rows: all training rows; replacements are drawn from their own tokens.
        share: of a text's tokens that are changed, 0 to 1.
        seed: of the run.
        kept: ids that are never touched or drawn, such as special tokens.
    """

    def __init__(self, rows: Sequence[Supervised], share: float, seed: int, kept: Sequence[int] = ()) -> None:
        prompts = [tuple(row.ids[: _answer(row.labels)]) for row in rows]
        self.share, self.seed, self.kept = share, seed, frozenset(kept)
        self.before = _common(prompts)
        self.behind = min(_common([prompt[::-1] for prompt in prompts]), min(map(len, prompts)) - self.before)
        own = [id for prompt in prompts for id in prompt[self.before : len(prompt) - self.behind]]
        self.pool = np.array([id for id in own if id not in self.kept], dtype=np.int64)
        self.epoch = 0
        """Set before every epoch."""

    def __call__(self, ids: Sequence[int], labels: Sequence[int]) -> tuple[list[int], list[int]]:
        """The row with another text: ids and labels of equal length.

        At least one token of the text is left.
        """
        start, stop = self.before, _answer(labels) - self.behind
        size = stop - start
        if size < 1 or not len(self.pool):
            return list(ids), list(labels)
        draws = np.random.default_rng([self.seed, self.epoch, zlib.crc32(np.array(ids, dtype=np.int64).tobytes())])
        chance, others = draws.random(size), draws.choice(self.pool, size)
        held = int(draws.integers(size))
        own: list[int] = []
        for at, id in enumerate(ids[start:stop]):
            if at == held or id in self.kept or chance[at] >= self.share:
                own.append(id)
            elif chance[at] < self.share / 2:
                own.append(int(others[at]))
        return [*ids[:start], *own, *ids[stop:]], [IGNORED] * (start + len(own)) + list(labels[stop:])


class Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells the noise which epoch it is."""

    def __init__(self, noise: TokenNoise) -> None:
        self.noise = noise

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.noise.epoch = int(state.epoch or 0)


def _answer(labels: Sequence[int]) -> int:
    """Where the answer begins."""
    return next(at for at, label in enumerate(labels) if label != IGNORED)


def _common(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many ids all of them begin with."""
    return common(min(prompts), max(prompts))
