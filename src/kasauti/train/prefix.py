"""Shared-prefix packing: many rows, what they begin with once.

Walks in: rows of token ids and labels. Walks out: one packed row that holds every distinct beginning once, as tensors.
It knows no text and no network.

Rows that begin alike form a tree: what all of them begin with, then what some of them go on with, then what is a row's
own. The tree is written down depth first, so that a node's descendants stand right behind it, and

    token q sees token k   if and only if   k <= q < ends[k]

where `ends[k]` is where the descendants of k's node end. Position ids count along the path from the root: every token
has the position that it would have had alone. A label belongs to a pair of positions: the token is predicted from the
one before it on its row's path, which for the first token of an answer may be the last one of a shared prefix. So one
position can have many targets, and all of them are taught.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from kasauti.train.rows import BLANK, IGNORED, Checked, Row, blank

LEAST_SAVED = 16
"""Tokens that a node below the first must save: attention takes one pass more for each, and two texts that happen to
begin with the same word are not worth it."""


@dataclass(kw_only=True, slots=True)
class Pack:
    """A micro-batch as one sequence of T tokens. Lists, in the order of the sequence."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    nodes: list[tuple[int, int, int]] = field(default_factory=list)
    """Of every node: its first token, the one behind its last, and the one behind its last descendant's."""
    targets: list[tuple[int, int]] = field(default_factory=list)
    """Of every supervised token: the position that it is predicted from, and its id."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the network and the loss need.

        Returns:
            `input_ids`, `position_ids` [1, T]; `nodes` [N, 3]; `places` [K], the positions whose logits are needed;
            `place_of` [S], for every target its index in `places`; `labels` [S], their ids. `shift_labels` says the
            same to whom counts labels that are not to be shifted.
        """
        places = sorted({place for place, _ in self.targets}) or [0]
        at = {place: index for index, place in enumerate(places)}
        labels = torch.tensor([label for _, label in self.targets], dtype=torch.long)
        return {
            "input_ids": torch.tensor([self.ids]),
            "position_ids": torch.tensor([self.positions]),
            "nodes": torch.tensor(self.nodes),
            "places": torch.tensor(places),
            "place_of": torch.tensor([at[place] for place, _ in self.targets], dtype=torch.long),
            "labels": labels,
            "shift_labels": labels,
        }


def pack(rows: Sequence[Row], least: int = LEAST_SAVED) -> Pack:
    """The rows as one sequence; equal beginnings once.

    Args:
        rows: `input_ids` and `labels` of equal length.
        least: tokens that a node below the first must save.
    """
    made = Pack()
    ordered = sorted(rows, key=lambda row: list(row["input_ids"]))
    _write(made, ordered, [], least)
    return made


def _write(made: Pack, rows: Sequence[Row], path: list[int], least: int) -> None:
    """One node for what these rows go on with behind `path`, the positions of all that is before, and its children."""
    depth = len(path)
    first, last = rows[0]["input_ids"], rows[-1]["input_ids"]  # in order, so these two differ first
    size = len(first) - depth if len(rows) == 1 else common(first, last) - depth
    start = len(made.ids)
    path = [*path, *range(start, start + size)]
    made.ids += first[depth : depth + size]
    made.positions += range(depth, depth + size)
    number = len(made.nodes)
    made.nodes.append((start, start + size, 0))
    for row in rows if len(rows) == 1 else ():
        _teach(made, row, path)
    if len(rows) > 1:
        for group in _groups(rows, depth + size, least):
            _write(made, group, path, least)
    made.nodes[number] = (start, start + size, len(made.ids))
    if not size:
        del made.nodes[number]


def _teach(made: Pack, row: Row, path: Sequence[int]) -> None:
    """The targets of a row whose tokens stand at these positions; its first token is predicted from nothing."""
    made.targets += [(path[at - 1], label) for at, label in enumerate(row["labels"]) if label != IGNORED and at > 0]


def _groups(rows: Sequence[Row], depth: int, least: int) -> list[Sequence[Row]]:
    """Rows in order, divided where sharing what they go on with behind `depth` would save too little."""
    groups: list[Sequence[Row]] = []
    start = 0
    while start < len(rows):
        stop, ids = start + 1, rows[start]["input_ids"]
        while stop < len(rows) and rows[stop]["input_ids"][depth : depth + 1] == ids[depth : depth + 1]:
            stop += 1
        group = rows[start:stop]
        groups += _worthwhile(group, depth, least)
        start = stop
    return groups


def _worthwhile(group: Sequence[Row], depth: int, least: int) -> list[Sequence[Row]]:
    """The group whole, where that saves enough; else its parts that do, and single rows."""
    if len(group) == 1:
        return [group]
    shared = common(group[0]["input_ids"], group[-1]["input_ids"])
    if (len(group) - 1) * (shared - depth) >= least:
        return [group]
    parts: list[Sequence[Row]] = []
    start = 0
    while start < len(group):
        stop, ids = start + 1, group[start]["input_ids"]
        while stop < len(group) and common(ids, group[stop]["input_ids"]) > shared:
            stop += 1
        parts += _worthwhile(group[start:stop], depth, least)
        start = stop
    return parts


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids both begin with."""
    if list(a[: len(b)]) == list(b[: len(a)]):
        return min(len(a), len(b))
    low, high = 0, min(len(a), len(b)) - 1  # they differ at or before `high`
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if a[low : middle + 1] == b[low : middle + 1] else (low, middle)
    return low


class PackingCollator(Checked):
    """Packs a micro-batch into one row, after the last look at each of its rows; blank ones, which fill up the last
    micro-batches of several processes, are left out.

    Args:
        skip: tokens that every row begins with and the packed row does without; positions count them.
    """

    def __init__(self, end_ids: Sequence[int], skip: int = 0) -> None:
        super().__init__(end_ids)
        self.skip = skip

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        skip = self.skip
        taken = [self.taken(row) for row in rows if not blank(row)]
        own = [{name: row[name][skip:] for name in ("input_ids", "labels")} for row in taken] if skip else taken
        made = pack(own or [BLANK]).tensors()
        made["position_ids"] += skip
        return made


def rows_per_pass(lengths: Sequence[int], shared: int, batch: int, micro_batch: int, *, most: int) -> int:
    """How many rows of a batch to put into one pass: as many as take no more tokens than `micro_batch` plain ones.

    Args:
        lengths: tokens of every training row.
        shared: tokens that all of them begin with.
        batch: rows of an optimizer step; the result divides it.
        micro_batch: rows of one pass where nothing is shared; the least that is given.
        most: rows beyond which something else would not fit.
    """
    longest = max(lengths)
    fits = (micro_batch * longest - shared) // max(1, longest - shared)
    return next(n for n in range(min(batch, most, max(fits, micro_batch)), 0, -1) if batch % n == 0)
