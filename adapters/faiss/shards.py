"""Several indexes asked as one: each with a part of the rows (`IndexShards`), or all with the same.

Searches go to all of them at once. Rows of shards are known by the number of the shard and their key there.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, TypeVar

import numpy as np

from .arrays import F32, I64, as_int
from .base import Index
from .errors import DimensionError, IndexOperationError
from .kind import Ranges, Values
from .names import Names

# Where the number of the shard begins in a key.
SHIFT = 40

T = TypeVar("T")


class ShardNames(Names):
    """Labels of rows in shards: those of the shard, or counted on from shard to shard."""

    __slots__ = ("shards", "successive")

    def __init__(self, shards: list[Index], successive: bool) -> None:
        super().__init__(shifts=successive)
        self.shards, self.successive = shards, successive

    def __len__(self) -> int:
        return sum(shard.ntotal for shard in self.shards)

    def first(self) -> I64:
        """Return what each shard's labels begin with."""
        counts = [shard.ntotal if self.successive else 0 for shard in self.shards]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @property
    def keys(self) -> I64:
        """The keys of all rows, shard after shard."""
        parts = [shard._names.keys + (number << SHIFT) for number, shard in enumerate(self.shards)]
        return np.concatenate([np.empty(0, np.int64), *parts])

    @property
    def labels(self) -> I64:
        """The labels of all rows, shard after shard."""
        parts = [shard._names.labels + first for shard, first in zip(self.shards, self.first(), strict=False)]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def of(self, keys: I64) -> I64:
        """Return the labels of keys; -1 for -1."""
        labels = np.full(keys.shape, -1, np.int64)
        for number, (shard, first) in enumerate(zip(self.shards, self.first(), strict=False)):
            here = (keys >= 0) & (keys >> SHIFT == number)
            own = shard._names.of(keys[here] & ((1 << SHIFT) - 1))
            labels[here] = np.where(own >= 0, own + first, -1) if self.successive else own
        return labels

    def find(self, labels: I64) -> I64:
        """Return the keys of labels, -1 where there is none."""
        found = np.full(labels.shape, -1, np.int64)
        for number, (shard, first) in enumerate(zip(self.shards, self.first(), strict=False)):
            own = shard._names.find(labels - first)
            found = np.where(own >= 0, own + (number << SHIFT), found)
        return found

    def all_of(self, labels: I64) -> I64:
        """Return the keys of all rows that have one of these labels."""
        parts = [
            shard._names.all_of(labels - first) + (number << SHIFT)
            for number, (shard, first) in enumerate(zip(self.shards, self.first(), strict=False))
        ]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def places(self, keys: I64) -> I64:
        """Return which row from the first each key is."""
        held = self.keys
        at = np.minimum(np.searchsorted(held, keys), max(len(held) - 1, 0))
        return np.where(held[at] == keys, at, -1) if len(held) else np.full(keys.shape, -1, np.int64)


class _Together(Index):
    """Indexes of one kind of rows that are asked together."""

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "threaded")

    threaded: bool

    def __init__(self, d: int, threaded: bool) -> None:
        super().__init__(as_int(d, "d", 0) or 1)
        self.d, self.threaded = as_int(d, "d"), bool(threaded)
        self._members: list[Index] = []

    def _join(self, index: Index) -> None:
        if not isinstance(index, Index) or isinstance(index, _Together):
            raise TypeError(f"such an index is made of indexes of rows, not of a {type(index).__name__}")
        if self.d not in (0, index.d):
            raise DimensionError(f"the index has d = {index.d}, the others {self.d}")
        if self._members and index.metric_type != self._members[0].metric_type:
            raise IndexOperationError("the indexes have different metrics")
        with self._lock.exclusive():
            self.d, self.metric_type = index.d, index.metric_type
            self._members.append(index)

    def _each(self, ask: Callable[[int, Index], T]) -> list[T]:
        """Return what each member answers under its lock."""

        def asked(number: int) -> T:
            index = self._members[number]
            with index._lock.shared():
                return ask(number, index)

        numbers = range(len(self._members))
        if not self.threaded or len(self._members) < 2:
            return [asked(number) for number in numbers]
        with ThreadPoolExecutor(len(self._members)) as pool:
            return list(pool.map(asked, numbers))

    def _leave(self, index: Index) -> None:
        with self._lock.exclusive():
            if not any(member is index for member in self._members):
                raise IndexOperationError(f"{index!r} is none of the indexes")
            self._members = [member for member in self._members if member is not index]

    @property
    def is_trained(self) -> bool:
        """Whether there are indexes, and all take rows."""
        return bool(self._members) and all(index.is_trained for index in self._members)

    def parts(self) -> Sequence[Index]:
        """Return the indexes."""
        return tuple(self._members)

    def _learn(self, x: F32) -> None:
        for index in self._members:
            with index._lock.exclusive():
                index._learn(x)

    def _empty(self) -> None:
        for index in self._members:
            with index._lock.exclusive():
                index._empty()

    def count(self) -> int:
        """Return how many indexes there are."""
        return len(self._members)

    def at(self, i: int) -> Index:
        """Return one of the indexes."""
        return self._members[as_int(i, "i")]


class IndexShards(_Together):
    """Several indexes with a part of the rows each.

    Parameters
    ----------
    d : int
        Left out or 0, it is that of the first index; `IndexShards(threaded, successive_ids)` leaves it out.
    threaded : bool
        Search them at the same time.
    successive_ids : bool
        Labels count on from shard to shard; else they are the shards' own.
    """

    MADE_OF: ClassVar[tuple[str, ...]] = ("d", "threaded", "successive_ids")

    successive_ids: bool

    def __init__(self, d: int = 0, threaded: bool | None = None, successive_ids: bool | None = None) -> None:
        if isinstance(d, bool):
            successive_ids, threaded, d = threaded, bool(d), 0
        super().__init__(d, bool(threaded))
        self.successive_ids = successive_ids is None or bool(successive_ids)

    @property
    def _names(self) -> Names:
        return ShardNames(self._members, self.successive_ids)

    @property
    def factory_string(self) -> str:
        """None of its own: there is no string for shards."""
        return " | ".join(index.factory_string for index in self._members)

    def add_shard(self, index: Index) -> None:
        """Ask an index together with the others."""
        self._join(index)

    def remove_shard(self, index: Index) -> None:
        """Ask an index no longer."""
        self._leave(index)

    def shard_at(self, i: int) -> Index:
        """Return one of the indexes."""
        return self.at(i)

    def _append(self, x: F32, labels: I64 | None) -> I64:
        if self.successive_ids and labels is not None:
            raise IndexOperationError("labels count on from shard to shard and cannot be given")
        parts, before = [], self.ntotal
        for number, some in enumerate(np.array_split(np.arange(len(x)), len(self._members))):
            index = self._members[number]
            if len(some):
                with index._lock.exclusive():
                    keys = index._append(x[some], self._labels_for(index, labels, some, before))
                parts.append(keys + (number << SHIFT))
        return np.concatenate(parts)

    def _labels_for(self, index: Index, labels: I64 | None, some: I64, before: int) -> I64 | None:
        if self.successive_ids:
            return None
        if not index._takes_labels:
            raise IndexOperationError(
                "shards without successive_ids need indexes that take ids, such as IDMap"
            )
        # As FAISS: without ids they are counted on from how many rows there are.
        return some + before if labels is None else labels[some]

    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        def ask(number: int, index: Index) -> Values:
            some = None if allowed is None else _of_shard(allowed, number)
            if not index.ntotal or (some is not None and not len(some)):
                return np.empty((len(x), 0), np.float32), np.empty((len(x), 0), np.int64)
            distances, keys = index._find(x, k, some, effort)
            return distances, np.where(keys >= 0, keys + (number << SHIFT), -1)

        found = self._each(ask)
        distances = np.concatenate([d for d, _ in found], axis=1)
        keys = np.concatenate([keys for _, keys in found], axis=1)
        return best(distances, keys, k, self._is_l2)

    def _within(self, x: F32, radius: float, allowed: I64 | None, effort: Mapping[str, Any]) -> Ranges:
        def ask(number: int, index: Index) -> Ranges:
            some = None if allowed is None else _of_shard(allowed, number)
            if not index.ntotal:
                return np.zeros(len(x) + 1, np.int64), np.empty(0, np.float32), np.empty(0, np.int64)
            limits, distances, keys = index._within(x, radius, some, effort)
            return limits, distances, keys + (number << SHIFT)

        found = self._each(ask)
        query = np.concatenate([np.repeat(np.arange(len(x)), np.diff(limits)) for limits, _, _ in found])
        order = np.argsort(query, kind="stable")
        limits = np.concatenate([[0], np.cumsum(np.bincount(query, minlength=len(x)))])
        return (
            limits,
            np.concatenate([distances for _, distances, _ in found])[order],
            np.concatenate([keys for _, _, keys in found])[order],
        )

    def _rows(self, keys: I64) -> F32:
        rows = np.empty((len(keys), self.d), np.float32)
        for number, index in enumerate(self._members):
            here = keys >> SHIFT == number
            if here.any():
                with index._lock.shared():
                    rows[here] = index._rows(keys[here] & ((1 << SHIFT) - 1))
        return rows

    def _discard(self, keys: I64) -> None:
        for number, index in enumerate(self._members):
            some = _of_shard(keys, number)
            if len(some):
                with index._lock.exclusive():
                    index._discard(some)


class IndexReplicas(_Together):
    """Several indexes with the same rows; queries are shared out among them.

    Parameters
    ----------
    d : int
        Left out or 0, it is that of the first index; `IndexReplicas(threaded)` leaves it out.
    threaded : bool
        Search them at the same time.
    """

    def __init__(self, d: int = 0, threaded: bool | None = None) -> None:
        if isinstance(d, bool):
            threaded, d = bool(d), 0
        super().__init__(d, threaded is None or bool(threaded))

    @property
    def _names(self) -> Names:
        return self._members[0]._names if self._members else Names(shifts=True)

    @property
    def factory_string(self) -> str:
        """That of the first: there is no string for replicas."""
        return self._members[0].factory_string if self._members else ""

    def add_replica(self, index: Index) -> None:
        """Ask an index with the same rows together with the others."""
        if self._members and index.ntotal != self.ntotal:
            raise IndexOperationError(f"the index has {index.ntotal} rows, the others {self.ntotal}")
        self._join(index)

    def remove_replica(self, index: Index) -> None:
        """Ask an index no longer."""
        self._leave(index)

    def _append(self, x: F32, labels: I64 | None) -> I64:
        for index in self._members:
            with index._lock.exclusive():
                keys = index._append(x, labels)
        return keys

    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        shares = np.array_split(x, len(self._members))

        def ask(number: int, index: Index) -> Values:
            if not len(shares[number]):
                return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
            return index._find(shares[number], k, allowed, effort)

        found = self._each(ask)
        return np.concatenate([d for d, _ in found]), np.concatenate([keys for _, keys in found])

    def _within(self, x: F32, radius: float, allowed: I64 | None, effort: Mapping[str, Any]) -> Ranges:
        with self._members[0]._lock.shared():
            return self._members[0]._within(x, radius, allowed, effort)

    def _rows(self, keys: I64) -> F32:
        with self._members[0]._lock.shared():
            return self._members[0]._rows(keys)

    def _discard(self, keys: I64) -> None:
        for index in self._members:
            with index._lock.exclusive():
                index._discard(keys)


def _of_shard(keys: I64, number: int) -> I64:
    some: I64 = keys[keys >> SHIFT == number] & ((1 << SHIFT) - 1)
    return some


def best(distances: F32, keys: I64, k: int, is_l2: bool) -> Values:
    """Return the k best of candidates (n, m), equal ones by key, missing ones (key -1) at the end."""
    order = np.argsort(keys, axis=1, kind="stable")
    keys = np.take_along_axis(keys, order, axis=1)
    values = np.take_along_axis(distances, order, axis=1)
    values = np.where(keys >= 0, values if is_l2 else -values, np.float32(np.inf))
    order = np.argsort(values, axis=1, kind="stable")[:, :k]
    values, keys = np.take_along_axis(values, order, axis=1), np.take_along_axis(keys, order, axis=1)
    missing = k - values.shape[1]
    if missing > 0:
        values = np.pad(values, ((0, 0), (0, missing)), constant_values=np.inf)
        keys = np.pad(keys, ((0, 0), (0, missing)), constant_values=-1)
    return (values if is_l2 else np.negative(values)), keys
