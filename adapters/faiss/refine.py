"""Two indexes of the same rows: one finds candidates, the other has the last word."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from inlay.contents import FormatError, Sections

from .arrays import F32, I64, U8, as_matrix
from .base import Index
from .errors import DimensionError, IndexOperationError
from .flat import IndexFlat
from .kind import Ranges, Values
from .names import Names
from .shards import best

# Numbers of candidates that are held beside each other.
TOGETHER = 1 << 24


class IndexRefine(Index):
    """Candidates of one index, scored again by the rows of another.

    Parameters
    ----------
    base_index, refine_index : Index
        Both empty, or with the same rows in the same order.

    Attributes
    ----------
    k_factor : float
        Candidates for each result.
    """

    EFFORT: ClassVar[Mapping[str, str]] = {"k_factor": "k_factor", "k_factor_rf": "k_factor"}

    SAVED: ClassVar[tuple[str, ...]] = ("k_factor",)
    PARTS: ClassVar[tuple[str, ...]] = ("base_index", "refine_index")

    base_index: Index
    refine_index: Index
    k_factor: float = 1.0

    def __init__(self, base_index: Index, refine_index: Index) -> None:
        if not (isinstance(base_index, Index) and isinstance(refine_index, Index)):
            raise TypeError("a refinement goes over two indexes")
        if base_index.d != refine_index.d:
            raise DimensionError(f"base_index has d = {base_index.d}, refine_index {refine_index.d}")
        if base_index.metric_type != refine_index.metric_type:
            raise IndexOperationError("base_index and refine_index have different metrics")
        if base_index.ntotal != refine_index.ntotal:
            raise IndexOperationError(
                f"base_index has {base_index.ntotal} rows, refine_index {refine_index.ntotal}"
            )
        super().__init__(base_index.d, base_index.metric_type)
        self.base_index, self.refine_index = base_index, refine_index

    @property
    def is_trained(self) -> bool:
        """Whether both take rows."""
        return self.base_index.is_trained and self.refine_index.is_trained

    @property
    def factory_string(self) -> str:
        """That of the base, and "Refine(...)"."""
        return f"{self.base_index.factory_string},Refine({self.refine_index.factory_string})"

    def parts(self) -> Sequence[Index]:
        """Return both indexes."""
        return self.base_index, self.refine_index

    @property
    def _names(self) -> Names:
        return self.base_index._names

    @property
    def _takes_labels(self) -> bool:
        return self.base_index._takes_labels

    def _learn(self, x: F32) -> None:
        for index in self.parts():
            with index._lock.exclusive():
                index._learn(x)

    def _append(self, x: F32, labels: I64 | None) -> I64:
        with self.base_index._lock.exclusive(), self.refine_index._lock.exclusive():
            keys = self.base_index._append(x, labels)
            try:
                self.refine_index._append(x, None)
            except BaseException:
                self.base_index._discard(keys)
                raise
        return keys

    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        k_factor = float(effort.get("k_factor", self.k_factor))
        if not k_factor >= 1:
            raise IndexOperationError(f"k_factor must be at least 1, not {k_factor}")
        with self.base_index._lock.shared():
            _, keys = self.base_index._find(x, min(int(k * k_factor), max(k, self.ntotal)), allowed, effort)
        values = np.empty(keys.shape, np.float32)
        step = max(1, TOGETHER // (keys.shape[1] * self.d))
        for first in range(0, len(x), step):
            some = slice(first, first + step)
            values[some] = self._scores(x[some], keys[some])
        return best(values, keys, k, self._is_l2)

    def _scores(self, x: F32, keys: I64) -> F32:
        there = keys >= 0
        rows = np.zeros((*keys.shape, self.d), np.float32)
        rows[there] = self._last_rows(keys[there])
        if self._is_l2:
            rows -= x[:, None]
            return np.asarray(np.einsum("ijk,ijk->ij", rows, rows), np.float32)
        return np.asarray(np.einsum("ijk,ik->ij", rows, x), np.float32)

    def _within(self, x: F32, radius: float, allowed: I64 | None, effort: Mapping[str, Any]) -> Ranges:
        with self.refine_index._lock.shared():
            of_refine = None if allowed is None else self._partners(allowed)
            limits, distances, keys = self.refine_index._within(x, radius, of_refine, effort)
            places = self.refine_index._names.places(keys)
        return limits, distances, self._names.keys[places]

    def _partners(self, keys: I64) -> I64:
        """Return the keys that rows have in the refine_index: both got the same rows in the same order."""
        return self.refine_index._names.keys[self._names.places(keys)]

    def _last_rows(self, keys: I64) -> F32:
        with self.refine_index._lock.shared():
            return self.refine_index._rows(self._partners(keys))

    def _rows(self, keys: I64) -> F32:
        return self._last_rows(keys)

    def _discard(self, keys: I64) -> None:
        with self.base_index._lock.exclusive(), self.refine_index._lock.exclusive():
            partners = self._partners(keys)
            self.base_index._discard(keys)
            self.refine_index._discard(partners)

    def _empty(self) -> None:
        for index in self.parts():
            with index._lock.exclusive():
                index._empty()

    def _restore(self, fields: Mapping[str, Any], sections: Sections) -> None:
        if self.base_index.ntotal != self.refine_index.ntotal:
            raise FormatError("refines other rows than there are", file=sections.file)

    def sa_code_size(self) -> int:
        """Return the bytes of a code: those of both indexes."""
        return self.base_index.sa_code_size() + self.refine_index.sa_code_size()

    def _encode(self, x: F32) -> U8:
        return np.concatenate([self.base_index._encode(x), self.refine_index._encode(x)], axis=1)

    def _decode(self, codes: U8) -> F32:
        return self.refine_index._decode(np.ascontiguousarray(codes[:, self.base_index.sa_code_size() :]))


class IndexRefineFlat(IndexRefine):
    """Candidates of an index, scored again exactly.

    Parameters
    ----------
    base_index : Index
    xb : array_like, (n, d), optional
        The rows that base_index holds already.
    """

    def __init__(self, base_index: Index, xb: npt.ArrayLike | None = None) -> None:
        flat = IndexFlat(base_index.d, base_index.metric_type)
        if xb is not None:
            flat.add(as_matrix(xb, base_index.d, "xb"))
        super().__init__(base_index, flat)

    @classmethod
    def over(cls, base_index: Index, refine_index: Index) -> Self:
        """Return one over both indexes, of the same rows."""
        if not isinstance(refine_index, IndexFlat):
            raise TypeError(f"refine_index must be an IndexFlat, not {type(refine_index).__name__}")
        index = cls.__new__(cls)
        IndexRefine.__init__(index, base_index, refine_index)
        return index

    @property
    def factory_string(self) -> str:
        """That of the base, and "RFlat"."""
        return f"{self.base_index.factory_string},RFlat"
