"""Ids that are words: `StrIDMap` over any index."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inlay.parallel.lock import SharedLock

from .arrays import F32, I64, U8, as_int, as_matrix
from .base import Index
from .errors import DimensionError, UnknownIdError
from .idmap import IndexIDMap2
from .parameters import SearchParameters, unpacked

Word = str | bytes
Words = npt.NDArray[np.object_]


class StrIDMap:
    """Ids that are str or bytes, kept in the file of the index.

    Parameters
    ----------
    index : Index
        Holds the rows; must be empty.

    Attributes
    ----------
    index : IndexIDMap2
        The rows by numbers, which count up.
    d, ntotal, is_trained
        See `Index`.

    Notes
    -----
    Where `Index` has numbers this has words: `search` returns an object array, None where there is no row,
    and a filter is a list of words. Ids are unique. Searches run together, changes alone.
    """

    def __init__(self, index: Index) -> None:
        self.index = IndexIDMap2(index)
        self._numbers: dict[Word, int] = {}
        self._words: dict[int, Word] = {}
        self._next = 0
        self._lock = SharedLock()

    @property
    def d(self) -> int:
        """Dimensions."""
        return self.index.d

    @property
    def ntotal(self) -> int:
        """How many rows there are."""
        return self.index.ntotal

    @property
    def is_trained(self) -> bool:
        """Whether the index takes rows."""
        return self.index.is_trained

    @property
    def ids(self) -> list[Word]:
        """The ids of all rows, in the order in which they were added."""
        return list(self._numbers)

    def train(self, x: npt.ArrayLike) -> None:
        """Learn from rows what coding them needs."""
        self.index.train(x)

    def add_with_ids(self, x: npt.ArrayLike, ids: Iterable[Word]) -> None:
        """Add rows under new ids.

        Raises
        ------
        DimensionError
            For ids that are there, or not as many as rows; nothing has changed then.
        """
        rows, words = self._checked(x, ids)
        with self._lock.exclusive():
            self._add(rows, words)

    def _add(self, rows: F32, words: Sequence[Word]) -> None:
        known = next((word for word in words if word in self._numbers), None)
        if known is not None:
            raise DimensionError(f"id {known!r} is in the index already; use upsert to replace it")
        numbers = self._new(len(words))
        self.index.add_with_ids(rows, numbers)
        self._name(words, numbers)

    def upsert(self, x: npt.ArrayLike, ids: Iterable[Word]) -> None:
        """Add rows under ids, in place of the rows that have them."""
        rows, words = self._checked(x, ids)
        with self._lock.exclusive():
            numbers = self._new(len(words))
            self.index.add_with_ids(rows, numbers)
            self._remove(words)
            self._name(words, numbers)

    def remove_ids(self, ids: Iterable[Word]) -> int:
        """Remove rows, unknown ids ignored; return how many."""
        words = _listed(ids)
        with self._lock.exclusive():
            return self._remove(words)

    def _remove(self, ids: Sequence[Word]) -> int:
        words = {word for word in ids if word in self._numbers}
        count = self.index.remove_ids([self._numbers[word] for word in words])
        for word in words:
            del self._words[self._numbers.pop(word)]
        return count

    def reset(self) -> None:
        """Remove all rows; what was learned stays."""
        with self._lock.exclusive():
            self.index.reset()
            self._numbers.clear()
            self._words.clear()

    def contains(self, ids: Iterable[Word]) -> npt.NDArray[np.bool_]:
        """Return whether there is a row with each id, bool (n,)."""
        return np.array([word in self._numbers for word in _listed(ids)], np.bool_)

    def search(
        self, x: npt.ArrayLike, k: int, *, params: SearchParameters | None = None
    ) -> tuple[F32, Words]:
        """Find the k nearest rows of each query; see `Index.search`.

        Returns
        -------
        D : float32 (n, k)
            Distances.
        I : object (n, k)
            Ids; None where there is no row.
        """
        with self._lock.shared():
            distances, numbers = self.index.search(x, k, params=self._translated(params))
            return distances, self._named(numbers)

    def range_search(
        self, x: npt.ArrayLike, thresh: float, *, params: SearchParameters | None = None
    ) -> tuple[Any, F32, Words]:
        """Find all rows that are nearer than a threshold; see `Index.range_search`."""
        with self._lock.shared():
            limits, distances, numbers = self.index.range_search(x, thresh, params=self._translated(params))
            return limits, distances, self._named(numbers)

    def reconstruct(self, key: Word) -> F32:
        """Return the row of an id, float32 (d,)."""
        row: F32 = self.reconstruct_batch([key])[0]
        return row

    def reconstruct_batch(self, key: Iterable[Word]) -> F32:
        """Return the rows of ids, float32 (n, d)."""
        words = _listed(key)
        with self._lock.shared():
            unknown = next((word for word in words if word not in self._numbers), None)
            if unknown is not None:
                raise UnknownIdError(f"id {unknown!r} is not in the index")
            return self.index.reconstruct_batch([self._numbers[word] for word in words])

    def _checked(self, x: npt.ArrayLike, ids: Iterable[Word]) -> tuple[F32, list[Word]]:
        rows, words = as_matrix(x, self.d), _listed(ids)
        if len(words) != len(rows):
            raise DimensionError(f"{len(rows)} rows were given with {len(words)} ids")
        if len(set(words)) != len(words):
            raise DimensionError("an id is given twice; which of its rows should stay?")
        return rows, words

    def _new(self, n: int) -> I64:
        return np.arange(self._next, self._next + n, dtype=np.int64)

    def _name(self, words: Sequence[Word], numbers: I64) -> None:
        self._next += len(words)
        for word, number in zip(words, numbers.tolist(), strict=True):
            self._numbers[word], self._words[number] = number, word

    def _named(self, numbers: I64) -> Words:
        named = np.empty(numbers.shape, object)
        named.reshape(-1)[:] = [self._words.get(number) for number in numbers.reshape(-1).tolist()]
        return named

    def _translated(self, params: SearchParameters | None) -> SearchParameters | None:
        """Return parameters whose filter speaks of numbers."""
        sel, _ = unpacked(params)
        if params is None or sel is None:
            return params
        numbers = [self._numbers[word] for word in _listed(sel) if word in self._numbers]
        twin = type(params)(**vars(params))
        twin.sel = np.array(numbers, np.int64)
        return twin

    # Files

    @property
    def words(self) -> tuple[U8, I64, U8]:
        """What a file keeps: all ids one after the other, where each ends, and which are bytes."""
        ordered = [self._words[number] for number in self.index.ids.tolist()]
        parts = [word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word for word in ordered]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        binary = np.array([isinstance(word, bytes) for word in ordered], np.uint8)
        return np.frombuffer(b"".join(parts), np.uint8), ends, binary

    @classmethod
    def over(cls, index: IndexIDMap2, words: Sequence[Word]) -> "StrIDMap":
        """Return one over rows that have numbers already, in the order in which they were added."""
        numbers = index.ids
        if len(words) != len(numbers) or len(set(words)) != len(words):
            raise ValueError(f"{len(set(words))} different ids are given for {len(numbers)} rows")
        if len(numbers) and (len(np.unique(numbers)) != len(numbers) or numbers.min() < 0):
            raise ValueError("the numbers of ids are not unique")
        twin = cls.__new__(cls)
        twin._lock = SharedLock()
        twin.index, twin._numbers, twin._words, twin._next = index, {}, {}, 0
        twin._name(words, numbers)
        twin._next = as_int(int(numbers.max(initial=-1)) + 1, "number")
        return twin


def _listed(ids: Iterable[Word]) -> list[Word]:
    if isinstance(ids, (str, bytes)):
        raise TypeError(f"ids are a list of str or bytes, not one of them: {ids!r:.80}")
    words = [word.item() if isinstance(word, np.generic) else word for word in ids]
    for word in words:
        if not isinstance(word, (str, bytes)):
            raise TypeError(f"ids are str or bytes, not {type(word).__name__}")
    return words
