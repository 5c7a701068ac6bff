"""Random sets of labels as token ids, and what one plain pass per label gives."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from tests.tiny import END, VOCABULARY, plain_log_probability


def some_labels(count: int, seed: int = 0) -> dict[str, list[int]]:
    """So many labels: one token, several, with common beginnings, some that begin others; each with its end."""
    draw = random.Random(seed)
    made: dict[tuple[int, ...], None] = {(5, END): None, (5, 6, END): None}
    while len(made) < count:
        stem = draw.choice(list(made))[:-1][:3] if draw.random() < 0.5 else ()
        made[(*stem, *(draw.randrange(3, VOCABULARY) for _ in range(draw.choice([1, 1, 2, 3]))), END)] = None
    return {f"l{at}": list(ids) for at, ids in enumerate(list(made)[:count])}


def brute_force(model: Any, prompts: list[list[int]], labels: dict[str, list[int]]) -> np.ndarray:
    """Joint log-probabilities, [rows, labels]."""
    return np.array([[plain_log_probability(model, prompt, ids) for ids in labels.values()] for prompt in prompts])


def normalised(joint: np.ndarray) -> np.ndarray:
    top = joint.max(1, keepdims=True)
    return joint - top - np.log(np.exp(joint - top).sum(1, keepdims=True))
