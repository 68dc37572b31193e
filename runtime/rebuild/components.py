"""Who belongs together: components of a graph of node keys, and the shards they are dealt to."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Numbers = NDArray[np.int64]

#: Nodes in one shard, about: as many people's state as one process holds at a time.
SHARD_NODES: Final = 20_000
#: Rows in one shard, about.
SHARD_ROWS: Final = 100_000
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


def components(nodes: Keys, edges: Keys) -> Numbers:
    """For each of the sorted nodes, the index of the smallest node that edges (pairs) connect it with."""
    labels = np.arange(len(nodes), dtype=np.int64)
    a, b = np.searchsorted(nodes, edges[:, 0]), np.searchsorted(nodes, edges[:, 1])
    while len(a):
        of_a, of_b = labels[a], labels[b]
        apart = of_a != of_b
        a, b, of_a, of_b = a[apart], b[apart], of_a[apart], of_b[apart]
        # The greater root of each pair goes under the smaller; at least half of the roots go, each round.
        np.minimum.at(labels, np.maximum(of_a, of_b), np.minimum(of_a, of_b))
        while not np.array_equal(above := labels[labels], labels):
            labels = above
    return labels


def united(some: Keys, more: Keys) -> Keys:
    """All of two sorted sets, in order: a stable sort merges them, in a tenth of the time of `np.union1d`."""
    both = np.sort(np.concatenate((some, more)), kind="stable")
    return np.concatenate((both[:1], both[1:][both[1:] != both[:-1]]))


def united_pairs(some: Keys, more: Keys) -> Keys:
    """All of two sets of pairs, in order: a quarter of the time of `np.unique`, which compares pairs as bytes."""
    both = np.concatenate((some, more))
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    return np.concatenate((both[:1], both[1:][(both[1:] != both[:-1]).any(axis=1)]))


def shard_count(nodes: int, rows: int, jobs: int) -> int:
    """As many shards as keep each small, and every process busy to the end."""
    least = min(8 * jobs, rows // 500)
    return max(1, least, -(-nodes // SHARD_NODES), -(-rows // SHARD_ROWS))


def dealt(labels: Numbers, shards: int) -> NDArray[np.uint32]:
    """The shard of each component, by its label."""
    mixed = (labels.astype(np.uint64) + np.uint64(1)) * _MIX
    return ((mixed >> np.uint64(33)) % np.uint64(shards)).astype(np.uint32)


class Shards:
    """Which shard a key belongs to. Keys that are no person's node are dealt by themselves."""

    def __init__(self, nodes: Keys, labels: Numbers, shards: int) -> None:
        self.nodes = nodes
        self.labels = labels
        self.count = shards

    def of(self, keys: Keys) -> NDArray[np.uint32]:
        """The shard of each key."""
        return self.of_labelled(keys, self.labels_of(keys))

    def of_labelled(self, keys: Keys, labels: Numbers) -> NDArray[np.uint32]:
        """The shard of each key, whose labels are known already."""
        return dealt(np.where(labels < 0, keys.astype(np.int64), labels), self.count)

    def of_label(self, label: int) -> int:
        """The shard of a component."""
        return int(dealt(np.array([label], dtype=np.int64), self.count)[0])

    def labels_of(self, keys: Keys) -> Numbers:
        """The label of each key's component, -1 for what is no node."""
        if not len(self.nodes):
            return np.full(len(keys), -1, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.nodes, keys), len(self.nodes) - 1)
        return np.where(self.nodes[places] == keys, self.labels[places], np.int64(-1))
