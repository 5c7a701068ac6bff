"""What the network is fed: proved rows of token ids, padded into batches that are checked once more.

Walks in: `Supervised` rows. Walks out: tensors. It knows no text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from kasauti.core.errors import SupervisionError
from kasauti.core.types import Supervised

IGNORED = -100
BLANK: Mapping[str, Sequence[int]] = {"input_ids": [0], "labels": [IGNORED]}
"""A row that teaches nothing; no proved row is so short, since its answer's end is predicted from something."""

Row = Mapping[str, Any]
Noise = Callable[[Sequence[int], Sequence[int]], tuple[list[int], list[int]]]


FLAG = "noisy"
"""The column of a data set that says which rows are trained on with noise."""


def dataset(rows: Sequence[Supervised], *, noisy: bool = False) -> Any:
    """A datasets.Dataset of `input_ids` and `labels`, and of `FLAG` where the rows are noisy."""
    from datasets import Dataset

    columns: dict[str, Any] = {"input_ids": [list(r.ids) for r in rows], "labels": [list(r.labels) for r in rows]}
    return Dataset.from_dict({**columns, FLAG: [True] * len(rows)} if noisy else columns)


def blank(row: Mapping[str, Sequence[int]]) -> bool:
    """Whether a row only fills up."""
    return len(row["input_ids"]) == 1 and list(row["labels"]) == [IGNORED]


class Checked:
    """Refuses a row that has nothing supervised or does not end as it must.

    This is the last look before the network: what passes here is what is trained on, its text with noise where that is
    wanted.
    """

    noise: Noise | None = None

    def __init__(self, end_ids: Sequence[int]) -> None:
        self.end_ids = frozenset(end_ids)

    def taken(self, row: Row) -> Row:
        """The row as it is trained on: looked at before and after noise."""
        self.check(row["input_ids"], row["labels"])
        if self.noise is None or not row.get(FLAG):
            return row
        ids, labels = self.noise(row["input_ids"], row["labels"])
        self.check(ids, labels)
        return {"input_ids": ids, "labels": labels}

    def check(self, ids: Sequence[int], labels: Sequence[int]) -> None:
        supervised = [at for at, label in enumerate(labels) if label != IGNORED]
        if not supervised:
            raise SupervisionError("a row without a supervised token reached the trainer", mend="run `kasauti audit`")
        if len(ids) != len(labels) or any(labels[at] != ids[at] for at in supervised):
            raise SupervisionError(
                "a row whose labels are not its own tokens reached the trainer", mend="run `kasauti audit`"
            )
        if len(supervised) != supervised[-1] - supervised[0] + 1:
            raise SupervisionError("a row with a hole in its answer reached the trainer", mend="run `kasauti audit`")
        if labels[supervised[-1]] not in self.end_ids:
            raise SupervisionError(
                "a row whose answer has no end of turn reached the trainer", mend="run `kasauti audit`"
            )


class Collator(Checked):
    """Pads rows on the right, after the last look at each of them; blank ones, which fill up the last micro-batches of
    several processes, stay."""

    def __init__(self, pad_id: int, end_ids: Sequence[int]) -> None:
        super().__init__(end_ids)
        self.pad_id = pad_id

    def __call__(self, given: Sequence[Row]) -> dict[str, torch.Tensor]:
        rows = [row if blank(row) else self.taken(row) for row in given]
        longest = max(len(row["input_ids"]) for row in rows)
        ids, labels, mask = [], [], []
        for row in rows:
            padding = longest - len(row["input_ids"])
            ids.append([*row["input_ids"], *[self.pad_id] * padding])
            labels.append([*row["labels"], *[IGNORED] * padding])
            mask.append([1] * len(row["input_ids"]) + [0] * padding)
        return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels), "attention_mask": torch.tensor(mask)}
