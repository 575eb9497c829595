"""Transforms before an index: rows and queries go through all of them, rows come back through all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import F32, I64, U8, Vector
from .base import Index
from .errors import DimensionError
from .kind import Ranges, Values
from .names import Names
from .transforms import VectorTransform


class IndexPreTransform(Index):
    """An index behind transforms.

    Parameters
    ----------
    ltrans : VectorTransform, optional
        Applied first.
    index : Index
        Holds what comes out.
    """

    index: Index
    chain: Vector[VectorTransform]

    def __init__(self, *parts: VectorTransform | Index) -> None:
        *transforms, index = parts
        if not isinstance(index, Index) or not all(isinstance(part, VectorTransform) for part in transforms):
            raise TypeError("a PreTransform is made of transforms and then an index")
        super().__init__(index.d, index.metric_type)
        self.index, self.chain = index, Vector()
        for part in reversed(transforms):
            assert isinstance(part, VectorTransform)
            self.prepend_transform(part)

    def prepend_transform(self, ltrans: VectorTransform) -> None:
        """Apply another transform before all others."""
        if ltrans.d_out != self.d:
            raise DimensionError(
                f"the transform gives {ltrans.d_out} dimensions, what follows takes {self.d}"
            )
        self.chain.insert(0, ltrans)
        self.d = ltrans.d_in

    @property
    def is_trained(self) -> bool:
        """Whether transforms and the index are."""
        return self.index.is_trained and all(part.is_trained for part in self.chain)

    @property
    def factory_string(self) -> str:
        """Those of the transforms, then that of the index."""
        return ",".join([part.factory_string for part in self.chain] + [self.index.factory_string])

    def parts(self) -> Sequence[Index]:
        """Return the index inside."""
        return (self.index,)

    @property
    def _names(self) -> Names:
        return self.index._names

    @property
    def _takes_labels(self) -> bool:
        return self.index._takes_labels

    def _learn(self, x: F32) -> None:
        for part in self.chain:
            if not part.is_trained:
                part.train(x)
            x = part.apply(x)
        with self.index._lock.exclusive():
            self.index._learn(x)

    def apply_chain(self, x: F32) -> F32:
        """Return rows as the index gets them."""
        for part in self.chain:
            x = part.apply(x)
        return x

    def reverse_chain(self, x: F32) -> F32:
        """Return rows that would become these, as nearly as can be."""
        for part in reversed(self.chain):
            x = part.reverse_transform(x)
        return x

    def _append(self, x: F32, labels: I64 | None) -> I64:
        y = self.apply_chain(x)
        with self.index._lock.exclusive():
            return self.index._append(y, labels)

    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        y = self.apply_chain(x)
        with self.index._lock.shared():
            return self.index._find(y, k, allowed, effort)

    def _within(self, x: F32, radius: float, allowed: I64 | None, effort: Mapping[str, Any]) -> Ranges:
        y = self.apply_chain(x)
        with self.index._lock.shared():
            return self.index._within(y, radius, allowed, effort)

    def _rows(self, keys: I64) -> F32:
        with self.index._lock.shared():
            rows = self.index._rows(keys)
        return self.reverse_chain(rows)

    def _discard(self, keys: I64) -> None:
        with self.index._lock.exclusive():
            self.index._discard(keys)

    def _empty(self) -> None:
        with self.index._lock.exclusive():
            self.index._empty()

    def sa_code_size(self) -> int:
        """Return the bytes of a code."""
        return self.index.sa_code_size()

    def _encode(self, x: F32) -> U8:
        return self.index._encode(self.apply_chain(x))

    def _decode(self, codes: U8) -> F32:
        return self.reverse_chain(np.ascontiguousarray(self.index._decode(codes)))
