"""Token noise changes the text and nothing else, the same way for the same seed, epoch and row; embeddings that are
trained come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kasauti.core.types import Supervised
from kasauti.train.noise import TokenNoise
from kasauti.train.rows import FLAG, IGNORED, Collator, dataset

BOS, END, ANSWER = 1, 2, 3
SPECIAL = (BOS, END, ANSWER)
WORDS = st.integers(10, 60)
TEXTS = st.lists(st.lists(WORDS, min_size=1, max_size=12), min_size=2, max_size=6)


def rows_of(texts: list[list[int]], answers: tuple[int, ...] = (70, 71)) -> list[Supervised]:
    """[BOS 5 6 | text | ANSWER | answer END], as a template would write it."""
    made = []
    for number, text in enumerate(texts):
        prompt, said = [BOS, 5, 6, *text, ANSWER], [answers[number % len(answers)], END]
        labels = [IGNORED] * len(prompt) + said
        made.append(Supervised(ids=(*prompt, *said), labels=tuple(labels), prefix_length=len(prompt)))
    return made


@given(TEXTS, st.floats(0, 0.99), st.integers(0, 5), st.integers(0, 9))
def test_only_the_text_changes_and_some_of_it_stays(texts, share, epoch, seed):
    rows = rows_of(texts)
    noise = TokenNoise(rows, share, seed, SPECIAL)
    noise.epoch = epoch
    own = {id for text in texts for id in text}
    for row, text in zip(rows, texts, strict=True):
        ids, labels = noise(row.ids, row.labels)
        assert ids[:3] == [BOS, 5, 6]
        assert ids[-3:] == list(row.ids[-3:])
        assert labels == [IGNORED] * (len(ids) - 2) + list(row.labels[-2:])
        changed = ids[3:-3]
        assert set(changed) <= own
        assert 1 <= len(changed) <= len(text) or not text
        if share == 0:
            assert (ids, labels) == (list(row.ids), list(row.labels))


@given(TEXTS, st.integers(0, 5), st.integers(0, 9))
def test_a_row_is_changed_alike_wherever_and_whenever_it_is_met(texts, epoch, seed):
    rows = rows_of(texts)
    one, other = (TokenNoise(rows, 0.5, seed, SPECIAL) for _ in range(2))
    one.epoch = other.epoch = epoch
    met = [one(row.ids, row.labels) for row in rows]
    assert met[::-1] == [other(row.ids, row.labels) for row in rows[::-1]]


def test_every_epoch_has_its_own_noise():
    rows = rows_of([list(range(10, 40)), list(range(40, 70))])
    noise = TokenNoise(rows, 0.5, 7, SPECIAL)
    seen = set()
    for epoch in range(4):
        noise.epoch = epoch
        seen.add(tuple(noise(rows[0].ids, rows[0].labels)[0]))
    assert len(seen) == 4


def test_the_share_is_the_share():
    draws = np.random.default_rng(3)
    texts = [draws.integers(100, 5000, 40).tolist() for _ in range(300)]
    noise = TokenNoise(rows_of(texts), 0.3, 1, SPECIAL)
    lengths, kept = 0, 0
    for text, row in zip(texts, rows_of(texts), strict=True):
        ids, _ = noise(row.ids, row.labels)
        lengths += len(ids) - 6
        kept += len(set(ids[3:-3]) & set(text))
    assert lengths / (300 * 40) == pytest.approx(0.85, abs=0.01)
    assert kept / (300 * 40) == pytest.approx(0.7, abs=0.02)


def test_validation_rows_are_asked_as_they_are():
    rows = rows_of([[11, 12, 13, 14]] * 2 + [[21, 22, 23, 24]])
    collator = Collator(0, [END])
    collator.noise = TokenNoise(rows, 0.9, 1, SPECIAL)
    clean = collator(list(dataset(rows)))["input_ids"]
    assert torch.equal(clean, torch.tensor([row.ids for row in rows]))
    noisy = collator(list(dataset(rows, noisy=True)))["input_ids"]
    assert FLAG in dataset(rows, noisy=True).column_names
    assert noisy.shape[1] < clean.shape[1] or not torch.equal(noisy, clean)
