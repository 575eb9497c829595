"""Labels of rows: what a search answers with, and how they follow removals.

Below an index its rows have *keys*: numbers that rise in order of adding, never change, and are given to one
row only. What a user sees are *labels*: the place of a row among those that are left, which is what arrays of
codes have; or a number that stays, counted up or given, perhaps to several rows. Since keys stay whatever
happens to labels, an index around another never has to follow what that one does with its own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from inlay.contents import FormatError, Sections, field
from inlay.ids import MAX_ROWS
from inlay.tables import Table

from .arrays import I64

# Labels up to so many are looked for one by one: more are worth a sort of all there are.
FEW = 16


class Names:
    """The labels of the rows of an index.

    Parameters
    ----------
    shifts : bool
        Whether a label is the row's place among the rows that are left; else it stays.

    Notes
    -----
    Nothing is stored while keys are 0, 1, 2, ... and labels are these. Labels that stay are never counted up
    to twice, so that none means another row than before.
    """

    __slots__ = ("_keys", "_labels", "_n", "_next", "shifts")

    def __init__(self, shifts: bool) -> None:
        self.shifts = shifts
        self.clear()

    def clear(self) -> None:
        """Forget all rows; labels begin again with 0."""
        self._n, self._next = 0, 0
        self._keys: Table | None = None
        self._labels: Table | None = None

    def __len__(self) -> int:
        return self._n

    @property
    def keys(self) -> I64:
        """The keys of all rows, rising."""
        return np.arange(self._n, dtype=np.int64) if self._keys is None else self._keys.rows

    @property
    def labels(self) -> I64:
        """The labels of all rows, in the order of their keys."""
        if self._labels is not None:
            return self._labels.rows
        return np.arange(self._n, dtype=np.int64) if self.shifts else self.keys

    def new_keys(self, n: int) -> I64:
        """Return n keys beyond all there are; changes nothing."""
        last = self._n - 1 if self._keys is None or not self._n else int(self._keys.rows[-1])
        first = last + 1 if self.shifts else max(last + 1, self._next)
        return np.arange(first, first + n, dtype=np.int64)

    def append(self, keys: I64, labels: I64 | None = None) -> None:
        """Name new rows; by default count labels up from the highest there ever was."""
        n = self._n
        if self._keys is None and len(keys) and keys[0] != n:
            self._keys = _table(np.arange(n, dtype=np.int64))
        if not self.shifts:
            if labels is None:
                labels = np.arange(self._next, self._next + len(keys), dtype=np.int64)
            if self._labels is None and not np.array_equal(labels, keys):
                self._labels = _table(np.array(self.keys))
            if len(labels):
                self._next = min(max(self._next, int(labels.max()) + 1), 2**63 - 1)
        if self._keys is not None:
            _extend(self._keys, keys)
        if self._labels is not None and labels is not None:
            _extend(self._labels, labels)
        self._n = n + len(keys)

    def remove(self, keys: I64) -> None:
        """Forget rows."""
        if not len(keys):
            return
        gone = self._places(keys)
        kept = np.ones(self._n, np.bool_)
        kept[gone[gone >= 0]] = False
        self._keys = _table(self.keys[kept])
        if self._labels is not None:
            self._labels = _table(self._labels.rows[kept])
        self._n = len(self._keys)

    def has_keys(self, keys: I64) -> bool:
        """Whether the keys of all rows are these, which rise."""
        return len(keys) == self._n and np.array_equal(self.keys, keys)

    # From one to the other

    def of(self, keys: I64) -> I64:
        """Return the labels of keys, of any shape; -1 for -1 and for keys that no row has."""
        if self._labels is None and (self._keys is None or not self.shifts):
            return keys
        places = self._places(keys)
        if self._labels is None:
            return places
        if not self._n:
            return np.full(keys.shape, -1, np.int64)
        return np.where(places >= 0, self._labels.rows[places], -1)

    def find(self, labels: I64) -> I64:
        """Return the key of the last row that has each label, -1 where there is none."""
        if self._labels is None:
            if not self.shifts:
                return np.where(self._places(labels) >= 0, labels, -1)
            there = (labels >= 0) & (labels < self._n)
            return np.where(there, self.keys[np.where(there, labels, 0)] if self._n else -1, -1)
        held = self._labels.rows
        if not self._n:
            return np.full(labels.shape, -1, np.int64)
        if len(labels) <= FEW:
            places = np.array([_last(held, label) for label in labels.tolist()], np.int64)
        else:
            order = np.argsort(held, kind="stable")
            at = np.searchsorted(held, labels, side="right", sorter=order) - 1
            places = np.where(at >= 0, order[at], 0)
            places = np.where(held[places] == labels, places, -1)
        return np.where(places >= 0, self.keys[places], -1)

    def all_of(self, labels: I64) -> I64:
        """Return the keys of all rows that have one of these labels."""
        if self._labels is None:
            keys = np.unique(self.find(labels))
            return keys[keys >= 0]
        return self.keys[np.isin(self._labels.rows, labels)]

    def places(self, keys: I64) -> I64:
        """Return which row from the first each key is, -1 where there is none."""
        return self._places(keys)

    def _places(self, keys: I64) -> I64:
        if self._keys is None:
            return np.where((keys >= 0) & (keys < self._n), keys, -1)
        held = self._keys.rows
        if not len(held):
            return np.full(keys.shape, -1, np.int64)
        at = np.minimum(np.searchsorted(held, keys), len(held) - 1)
        return np.where(held[at] == keys, at, -1)

    # Files

    def state(self) -> tuple[dict[str, Any], dict[str, I64]]:
        """Return header fields and sections for a file."""
        parts = {"keys": self._keys, "labels": self._labels}
        sections = {name: part.rows for name, part in parts.items() if part is not None}
        return {"rows": self._n, "next": self._next, "stored": sorted(sections)}, sections

    def restore(self, fields: Mapping[str, Any], sections: Sections) -> None:
        """Take what `state` gave, as read from a file; all of it is looked at, so all is verified."""
        sections.verify()
        self._n = field(fields, "rows", int, at_least=0, at_most=MAX_ROWS)
        self._next = field(fields, "next", int, at_least=0, at_most=2**63 - 1)
        stored = field(fields, "stored", list)
        self._keys = self._labels = None
        if "keys" in stored:
            keys = sections.take("keys", np.int64, (self._n,))
            if self._n and (keys[0] < 0 or not (np.diff(keys) > 0).all()):
                raise sections.fault("keys", "do not rise")
            self._keys = Table.over(keys)
        if "labels" in stored:
            if self.shifts:
                raise FormatError("holds labels of rows that have none", file=sections.file)
            labels = sections.take("labels", np.int64, (self._n,))
            if (labels == -1).any():
                raise sections.fault("labels", "hold -1, which stands for no row")
            self._labels = Table.over(labels)
        counted = self._keys is None and self._labels is None
        highest = self._n - 1 if counted or not self._n else int(self.labels.max())
        if not self.shifts and self._next <= min(highest, 2**63 - 2):
            raise FormatError("counts labels up from one that it has", file=sections.file)


def _last(held: I64, label: int) -> int:
    at = np.flatnonzero(held == label)
    return int(at[-1]) if len(at) else -1


def _table(rows: I64) -> Table:
    table = Table(np.int64)
    table.resize(len(rows))
    table.rows[:] = rows
    return table


def _extend(table: Table, rows: I64) -> None:
    n = len(table)
    table.own()
    table.resize(n + len(rows))
    table.rows[n:] = rows
