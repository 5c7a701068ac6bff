"""The last look before the network: padding adds nothing, and a corrupted row stops the run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kasauti.core.errors import SupervisionError
from kasauti.core.types import Supervised
from kasauti.train.rows import BLANK, IGNORED, Collator, dataset

PAD, END = 0, 2
TOKENS = st.integers(3, 50)


def row(prompt: list[int], answer: list[int], tail: tuple[int, ...] = ()) -> dict[str, list[int]]:
    ids = [*prompt, *answer, END, *tail]
    return {"input_ids": ids, "labels": [IGNORED] * len(prompt) + [*answer, END] + [IGNORED] * len(tail)}


ROWS = st.lists(
    st.builds(row, st.lists(TOKENS, max_size=5), st.lists(TOKENS, max_size=4), st.lists(TOKENS, max_size=2).map(tuple)),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=40)
@given(ROWS)
def test_a_batch_holds_every_row_and_padding_that_is_neither_seen_nor_taught(rows):
    batch = Collator(PAD, (END,))(rows)
    longest = max(len(one["input_ids"]) for one in rows)
    for name in ("input_ids", "labels", "attention_mask"):
        assert batch[name].shape == (len(rows), longest)
    for at, one in enumerate(rows):
        size = len(one["input_ids"])
        assert batch["input_ids"][at, :size].tolist() == one["input_ids"]
        assert batch["labels"][at, :size].tolist() == one["labels"]
        assert batch["input_ids"][at, size:].tolist() == [PAD] * (longest - size)
        assert batch["labels"][at, size:].tolist() == [IGNORED] * (longest - size)
        assert batch["attention_mask"][at].tolist() == [1] * size + [0] * (longest - size)


@settings(max_examples=40)
@given(ROWS, st.data())
def test_a_changed_label_is_refused_wherever_it_stands(rows, data):
    at = data.draw(st.integers(0, len(rows) - 1))
    place = data.draw(st.integers(0, len(rows[at]["labels"]) - 1))
    other = data.draw(st.integers(3, 50).filter(lambda token: token != rows[at]["input_ids"][place]))
    rows[at]["labels"][place] = other
    with pytest.raises(SupervisionError, match="not its own tokens"):
        Collator(PAD, (END,))(rows)


@pytest.mark.parametrize(
    ("corrupted", "said"),
    [
        ({"input_ids": [5, 6, END], "labels": [IGNORED] * 3}, "without a supervised token"),
        ({"input_ids": [], "labels": []}, "without a supervised token"),
        ({"input_ids": [5, 6, END], "labels": [IGNORED, 6, IGNORED]}, "no end of turn"),
        ({"input_ids": [5, 6, 7], "labels": [IGNORED, 6, 7]}, "no end of turn"),
        ({"input_ids": [5, 6, END], "labels": [5, 6, END, 7]}, "not its own tokens"),
        ({"input_ids": [5, 6, END], "labels": [6, END]}, "not its own tokens"),
        ({"input_ids": [5, 6, END, 7], "labels": [IGNORED, 6, END]}, "not its own tokens"),
        ({"input_ids": [5, 6, 7, END], "labels": [5, IGNORED, 7, END]}, "hole"),
    ],
)
def test_a_corrupted_row_among_good_ones_is_refused_in_one_line(corrupted, said):
    with pytest.raises(SupervisionError, match=said) as caught:
        Collator(PAD, (END,))([row([5], [6]), corrupted])
    assert "\n" not in str(caught.value)
    assert caught.value.mend
    assert caught.value.exit_code == 1


def test_the_dataset_holds_ids_and_labels_as_they_were_proved():
    made = dataset([Supervised(ids=(5, 6, END), labels=(IGNORED, 6, END), prefix_length=1)])
    assert made.column_names == ["input_ids", "labels"]
    assert made[0] == {"input_ids": [5, 6, END], "labels": [IGNORED, 6, END]}
    assert Collator(PAD, (END,))([made[0]])["labels"].dtype == torch.int64


def test_a_row_that_fills_up_is_padded_like_any_other_and_teaches_nothing():
    batch = Collator(PAD, (END,))([row([5, 6], [7]), BLANK])
    assert batch["labels"][1].tolist() == [IGNORED] * 4
    assert batch["attention_mask"][1].tolist() == [1, 0, 0, 0]
