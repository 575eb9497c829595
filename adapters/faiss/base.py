"""What every index does: FAISS's `Index`, over what a kind of index says of rows by their keys (`kind`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import F32, FLT_MAX, I64, U8, U64, as_ids, as_int, as_matrix, output, worst
from .errors import DimensionError, IndexOperationError, UnknownIdError
from .kind import Kind, Values
from .parameters import SearchParameters, unpacked
from .selectors import IDSelector, IDSelectorBatch, as_selector

# Rows that are moved from one index to another at a time.
MOVED = 65_536


class Index(Kind):
    """An index of vectors, as FAISS has it.

    Attributes
    ----------
    d : int
        Dimensions.
    ntotal : int
        Rows.
    is_trained : bool
        Whether it takes rows.
    metric_type : int
        `METRIC_L2`, whose distances are squared and rise, or `METRIC_INNER_PRODUCT`, whose values fall.
    verbose : bool
        Whether long work draws a progress bar.

    Notes
    -----
    Searches of many threads run together; a change waits for them and excludes them. A call that fails leaves
    the index as it was. A query's results depend neither on its batch nor on the number of threads, and equal
    distances come in the order in which rows were added.
    """

    # What it holds

    def parts(self) -> Sequence["Index"]:
        """Return the indexes inside this one."""
        return ()

    @property
    def ntotal(self) -> int:
        """How many rows there are."""
        return len(self._names)

    @property
    def ids(self) -> I64:
        """The labels of all rows, in the order in which they were added."""
        with self._lock.shared():
            return np.array(self._names.labels)

    def contains(self, ids: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return whether there is a row with each label, bool (n,)."""
        wanted = as_ids(ids)
        with self._lock.shared():
            return self._names.find(wanted) >= 0

    def __len__(self) -> int:
        return self.ntotal

    def __bool__(self) -> bool:
        return True  # `if index:` asks whether there is one, as with FAISS

    def __repr__(self) -> str:
        metric = "L2" if self._is_l2 else "IP"
        trained = "" if self.is_trained else ", untrained"
        return (
            f"{type(self).__name__}({self.factory_string!r}, d={self.d}, {metric}{trained}: "
            f"{self.ntotal:,} rows)"
        )

    # Changing it

    def train(self, x: npt.ArrayLike) -> None:
        """Learn from rows what coding them needs.

        Raises
        ------
        RuntimeError
            For rows with NaN or infinite values, or too few; the index stays as it was.
        """
        rows = as_matrix(x, self.d)
        if not np.isfinite(rows).all():
            raise IndexOperationError("training data hold NaN or infinite values")
        with self._lock.exclusive():
            self._check_writable()
            self._learn(rows)

    def add(self, x: npt.ArrayLike) -> None:
        """Add rows (n, d), copied; see the index for how they are labelled."""
        rows = as_matrix(x, self.d)
        with self._lock.exclusive():
            self._check_trained("add rows")
            self._check_writable()
            if len(rows):
                self._append(rows, None)

    def add_with_ids(self, x: npt.ArrayLike, ids: npt.ArrayLike) -> None:
        """Add rows under labels; a label may stand for several rows. -1 is none: it means no result."""
        rows = as_matrix(x, self.d)
        labels = self._as_labels(ids, len(rows))
        with self._lock.exclusive():
            self._check_trained("add rows")
            self._check_writable()
            if len(rows):
                self._append(rows, labels)

    def upsert(self, x: npt.ArrayLike, ids: npt.ArrayLike) -> None:
        """Add rows under labels, which are unique, in place of all rows that have these labels."""
        rows = as_matrix(x, self.d)
        labels = self._as_labels(ids, len(rows))
        if len(np.unique(labels)) != len(labels):
            raise DimensionError("a label is given twice; which of its rows should stay?")
        with self._lock.exclusive():
            self._check_trained("add rows")
            self._check_writable()
            old = self._names.all_of(labels)
            if len(rows):
                self._append(rows, labels)
                self._discard(old)

    def remove_ids(self, x: npt.ArrayLike | IDSelector) -> int:
        """Remove the rows of these labels, unknown ones ignored, or those in a selector; return how many."""
        sel = x if isinstance(x, IDSelector) else IDSelectorBatch(x)
        with self._lock.exclusive():
            self._check_writable()
            keys = self._selected(sel)
            if len(keys):
                self._discard(keys)
        return len(keys)

    def reset(self) -> None:
        """Remove all rows; what was learned stays."""
        with self._lock.exclusive():
            self._check_writable()
            self._empty()

    def compact(self) -> None:
        """Give back the memory of rows that were removed; labels stay as they are."""
        with self._lock.exclusive():
            self._check_writable()
            self._shrink()

    def merge_from(self, otherIndex: "Index", add_id: int = 0) -> None:
        """Move all rows of another index of the same kind here; `add_id` is added to labels that stay.

        Coded rows are coded again from what is known of them, which costs codes of 4 bits a little (recall of
        0.943 in place of 0.945) and longer ones nothing.
        """
        other, shift = otherIndex, as_int(add_id, "add_id")
        self.check_compatible_for_merge(other)
        if shift and not self._takes_labels:
            raise IndexOperationError("the labels of these rows are their places; nothing can be added")
        with self._lock.exclusive(), other._lock.exclusive():
            self._check_trained("add rows")
            self._check_writable()
            other._check_writable()
            keys = np.array(other._names.keys)
            for first in range(0, len(keys), MOVED):
                some = keys[first : first + MOVED]
                labels = other._names.of(some) + shift if self._takes_labels else None
                self._append(other._rows(some), labels)
            other._empty()

    def check_compatible_for_merge(self, otherIndex: "Index") -> None:
        """Raise a RuntimeError for an index whose rows this one cannot take over."""
        if otherIndex is self:
            raise IndexOperationError("an index cannot be merged with itself")
        kinds = [
            (type(index), index.d, index.metric_type, index.factory_string) for index in (self, otherIndex)
        ]
        if kinds[0] != kinds[1]:
            raise IndexOperationError(f"{self!r} cannot take the rows of {otherIndex!r}: they are unlike")

    # Asking it

    def search(
        self,
        x: npt.ArrayLike,
        k: int,
        *,
        params: SearchParameters | None = None,
        D: F32 | None = None,
        I: I64 | None = None,  # noqa: E741
    ) -> Values:
        """Find the k nearest rows of each query.

        Parameters
        ----------
        x : array_like, (n, d)
        k : int, >= 1
        params : SearchParameters, optional
            A filter, and effort for this call.
        D, I : ndarray, (n, k), optional
            Where results go.

        Returns
        -------
        D : float32 (n, k)
            Distances, best first; 3.4e38 (or its negative) where there is no row.
        I : int64 (n, k)
            Labels; -1 where there is no row.
        """
        queries, k = as_matrix(x, self.d), as_int(k, "k", 1)
        shape = (len(queries), k)
        out_d, out_i = output(D, shape, np.float32, "D"), output(I, shape, np.int64, "I")
        sel, effort = unpacked(params)
        with self._lock.shared():
            self._check_trained("search")
            out_d[:], keys = self._asked(queries, k, sel, effort)
            out_i[:] = self._names.of(keys)
        return out_d, out_i

    def range_search(
        self, x: npt.ArrayLike, thresh: float, *, params: SearchParameters | None = None
    ) -> tuple[U64, F32, I64]:
        """Find all rows with a squared distance below `thresh`, or an inner product above it.

        Returns
        -------
        lims : uint64 (n + 1,)
            The results of query i are at lims[i] .. lims[i + 1] of the other two.
        D : float32, I : int64
            Distances and labels, each query's in the order in which rows were added. Graphs may miss some, as
            their searches may.
        """
        queries = as_matrix(x, self.d)
        sel, effort = unpacked(params)
        if isinstance(sel, (list, tuple)) and _per_query(sel):
            raise TypeError("range_search takes one filter for all queries")
        with self._lock.shared():
            self._check_trained("search")
            limits, distances, keys = np.zeros(len(queries) + 1, np.int64), np.empty(0, np.float32), None
            if self.ntotal and len(queries):
                allowed = None if sel is None else self._selected(as_selector(sel))
                clean, bad = _finite(queries)
                limits, distances, keys = self._within(clean, float(thresh), allowed, effort)
                counts = np.diff(limits)
                query = np.repeat(np.arange(len(counts)), counts)
                order = np.lexsort((keys, query))
                if bad.any():
                    order = order[~bad[query[order]]]
                    limits = np.concatenate([[0], np.cumsum(np.where(bad, 0, counts))])
                distances, keys = distances[order], keys[order]
            labels = np.empty(0, np.int64) if keys is None else self._names.of(keys)
        return limits.astype(np.uint64), distances, labels

    def assign(self, x: npt.ArrayLike, k: int, labels: I64 | None = None) -> I64:
        """Return the labels that `search` finds, int64 (n, k)."""
        return self.search(x, k, I=labels)[1]

    def search_and_reconstruct(
        self,
        x: npt.ArrayLike,
        k: int,
        *,
        params: SearchParameters | None = None,
        D: F32 | None = None,
        I: I64 | None = None,  # noqa: E741
        R: F32 | None = None,
    ) -> tuple[F32, I64, F32]:
        """Return what `search` does, and the rows found, float32 (n, k, d); NaN where there is none."""
        queries, k = as_matrix(x, self.d), as_int(k, "k", 1)
        shape = (len(queries), k)
        out_d, out_i = output(D, shape, np.float32, "D"), output(I, shape, np.int64, "I")
        out_r = output(R, (*shape, self.d), np.float32, "R")
        sel, effort = unpacked(params)
        with self._lock.shared():
            self._check_trained("search")
            out_d[:], keys = self._asked(queries, k, sel, effort)
            out_i[:] = self._names.of(keys)
            out_r[:] = np.nan
            there = keys >= 0
            out_r[there] = self._rows(keys[there])
        return out_d, out_i, out_r

    def reconstruct(self, key: int, x: F32 | None = None) -> F32:
        """Return the row of a label, float32 (d,), as well as it is known.

        Raises
        ------
        UnknownIdError
            A RuntimeError and a KeyError, for a label that no row has.
        """
        row = self.reconstruct_batch([as_int(key, "key")])[0]
        out: F32 = output(x, (self.d,), np.float32, "x")
        out[:] = row
        return out

    def reconstruct_batch(self, key: npt.ArrayLike, x: F32 | None = None) -> F32:
        """Return the rows of labels, float32 (n, d)."""
        labels = as_ids(key, name="key")
        out: F32 = output(x, (len(labels), self.d), np.float32, "x")
        with self._lock.shared():
            keys = self._names.find(labels)
            if (keys < 0).any():
                raise UnknownIdError(f"id {labels[(keys < 0).argmax()]} is not in the index")
            if len(keys):
                out[:] = self._rows(keys)
        return out

    def reconstruct_n(self, n0: int = 0, ni: int = -1, x: F32 | None = None) -> F32:
        """Return the rows of labels n0 .. n0 + ni, float32 (ni, d); -1 is all that are left."""
        n0, ni = as_int(n0, "n0", 0), as_int(ni, "ni", -1)
        return self.reconstruct_batch(np.arange(n0, n0 + (self.ntotal - n0 if ni == -1 else ni)), x)

    # Codes by themselves

    def sa_code_size(self) -> int:
        """Return the bytes of a code."""
        raise IndexOperationError(f"{type(self).__name__} has no codes of rows by themselves")

    def sa_encode(self, x: npt.ArrayLike, codes: U8 | None = None) -> U8:
        """Return rows as codes, uint8 (n, sa_code_size()), without adding them."""
        rows = as_matrix(x, self.d)
        if not np.isfinite(rows).all():
            raise IndexOperationError("rows with NaN or infinite values have no codes")
        with self._lock.shared():
            self._check_trained("encode")
            out: U8 = output(codes, (len(rows), self.sa_code_size()), np.uint8, "codes")
            out[:] = self._encode(rows)
        return out

    def sa_decode(self, codes: U8, x: F32 | None = None) -> F32:
        """Return the rows that codes stand for, float32 (n, d)."""
        with self._lock.shared():
            self._check_trained("decode")
            given = np.asarray(codes)
            if given.dtype != np.uint8:
                raise TypeError(f"codes must be uint8, not {given.dtype}")
            if given.ndim != 2 or given.shape[1] != self.sa_code_size():
                raise DimensionError(f"codes have shape {given.shape}, expected (n, {self.sa_code_size()})")
            out: F32 = output(x, (len(given), self.d), np.float32, "x")
            out[:] = self._decode(np.ascontiguousarray(given))
        return out

    # Parts

    def _shrink(self) -> None:
        for part in self.parts():
            with part._lock.exclusive():
                part._shrink()

    def _asked(self, x: F32, k: int, sel: Any, effort: Mapping[str, Any]) -> Values:
        """Search under a filter, or one a query; NaN finds nothing, and harms no other query."""
        if isinstance(sel, (list, tuple)) and _per_query(sel):
            if len(sel) != len(x):
                raise DimensionError(f"{len(sel)} selectors were given for {len(x)} queries")
            found = [self._asked(x[i : i + 1], k, one, effort) for i, one in enumerate(sel)]
            return np.concatenate([d for d, _ in found]), np.concatenate([keys for _, keys in found])
        allowed = None if sel is None else self._selected(as_selector(sel))
        missing = worst(self._is_l2)
        if not len(x) or not self.ntotal or (allowed is not None and not len(allowed)):
            return np.full((len(x), k), missing, np.float32), np.full((len(x), k), -1, np.int64)
        clean, bad = _finite(x)
        distances, keys = self._find(clean, k, allowed, effort)
        keys[bad] = -1
        distances[keys < 0] = missing
        return distances, keys

    def _selected(self, sel: IDSelector) -> I64:
        """Return the keys of the rows whose labels a selector has."""
        names = self._names
        if isinstance(sel, IDSelectorBatch):
            return names.all_of(sel.ids)
        return names.keys[sel.mask(names.labels)]

    def _as_labels(self, ids: npt.ArrayLike, n: int) -> I64:
        labels = as_ids(ids, n)
        if not self._takes_labels:
            raise IndexOperationError(
                f"{type(self).__name__} counts its rows and takes no ids; put it in an IndexIDMap"
            )
        if (labels == -1).any():
            raise DimensionError("id -1 stands for a missing result; give another")
        return labels


def _per_query(sel: Sequence[Any]) -> bool:
    """Tell a list with a filter for each query from a list of labels."""
    return any(one is None or isinstance(one, IDSelector) or np.ndim(one) for one in sel)


def _finite(x: F32) -> tuple[F32, npt.NDArray[np.bool_]]:
    """Return queries that can be searched, and which of them hold NaN; infinite values become large ones."""
    if np.isfinite(x).all():
        return x, np.zeros(len(x), np.bool_)
    bad = np.asarray(np.isnan(x).any(axis=1))
    large = np.float32(np.sqrt(FLT_MAX / x.shape[1]) / 4)
    clean = np.clip(np.where(bad[:, None], np.float32(0), x), -large, large)
    return clean, bad
