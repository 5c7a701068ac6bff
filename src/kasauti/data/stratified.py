"""A share of every label's rows, drawn so that what belongs together stays together.

Walks in: clusters of rows, a share, a random generator. Walks out: the clusters taken and those left. It does not know
texts, groups or files: what belongs together is decided before.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cluster:
    """Rows that must not be parted."""

    rows: tuple[int, ...]
    answers: Mapping[str, int]
    """Rows by answer; all under one empty answer where the task has no labels."""
    label: str
    """The most common answer of the rows; the first in the alphabet of equals."""
    key: str
    """Decides the cluster's place before shuffling, so that the order of the file does not."""


def take(
    pool: Sequence[Cluster], share: float, least: int, draw: random.Random, *, leave_one: bool
) -> tuple[list[Cluster], list[Cluster]]:
    """Clusters that make up about `share` of every label's rows, and the clusters that are left.

    Args:
        pool: clusters to choose from.
        share: 0 to 1.
        least: clusters to take at the least, where the share is less.
        draw: the shuffle.
        leave_one: never take a label's last cluster, so that train keeps every label.
    """
    sizes: Counter[str] = Counter()
    for cluster in pool:
        for answer, rows in cluster.answers.items():
            sizes[answer] += rows
    total = max(least, round(share * sizes.total()))
    wanted = _quotas(sizes, total, draw)
    spare = Counter(answer for cluster in pool for answer in cluster.answers)
    if leave_one:
        spare.subtract(dict.fromkeys(spare, 1))
    taken: dict[str, Cluster] = {}
    got: Counter[str] = Counter()
    rows_got = 0

    def free(cluster: Cluster) -> bool:
        return cluster.key not in taken and all(spare[answer] > 0 for answer in cluster.answers)

    def keep(cluster: Cluster) -> None:
        nonlocal rows_got
        rows_got += len(cluster.rows)
        taken[cluster.key] = cluster
        got.update(cluster.answers)
        spare.subtract(dict.fromkeys(cluster.answers, 1))

    def offer(cluster: Cluster, need: int) -> None:
        # a cluster that overshoots is taken only where that comes closer to the quota than stopping short
        fits = len(cluster.rows) < 2 * (total - rows_got) and cluster.answers[cluster.label] < 2 * need
        if fits and free(cluster):
            keep(cluster)

    # the rarest label first: what else its clusters hold is then counted for labels that have rows to spare
    shuffled = draw.sample(pool, len(pool))
    shuffled.sort(key=lambda cluster: (sizes[cluster.label], cluster.label))
    for cluster in shuffled:
        if rows_got >= total:
            break
        offer(cluster, wanted[cluster.label] - got[cluster.label])
    for cluster in draw.sample(pool, len(pool)):  # quotas that a label could not fill go to the others
        if rows_got >= total:
            break
        offer(cluster, total - rows_got)
    for cluster in sorted(pool, key=lambda cluster: (len(cluster.rows), cluster.key)):
        if len(taken) < least and free(cluster):  # too large for the share, but the part would be empty without it
            keep(cluster)
    return list(taken.values()), [cluster for cluster in pool if cluster.key not in taken]


def _quotas(sizes: Counter[str], total: int, draw: random.Random) -> dict[str, int]:
    """Whole numbers in proportion to `sizes` that sum to `total`, by the largest remainder; ties are drawn."""
    everything = sizes.total() or 1
    exact = {label: total * size / everything for label, size in sorted(sizes.items())}
    quotas = {label: math.floor(value) for label, value in exact.items()}
    order = draw.sample(list(exact), len(exact))
    order.sort(key=lambda label: quotas[label] - exact[label])
    for label in order[: total - sum(quotas.values())]:
        quotas[label] += 1
    return quotas
