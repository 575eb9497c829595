"""Ids of one's own over any index.

Ids stand beside the keys of the index inside, which stay whatever is removed and however that index labels
its rows: so an id means its row for ever, over codes, inverted lists and graphs alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from inlay.contents import FormatError, Sections

from .arrays import F32, I64, U8
from .base import Index
from .errors import IndexOperationError
from .kind import Ranges, State, Values
from .names import Names
from .selectors import IDSelector, IDSelectorTranslated
from .shards import IndexShards


class IndexIDMap(Index):
    """Ids given by `add_with_ids`, any int64 but -1; several rows may have the same.

    Parameters
    ----------
    index : Index
        Holds the rows; must be empty.
    """

    PREFIX: ClassVar[str] = "IDMap"
    PARTS: ClassVar[tuple[str, ...]] = ("index",)

    index: Index

    def __init__(self, index: Index) -> None:
        if not isinstance(index, Index) or isinstance(index, IndexShards):
            raise TypeError(f"an IDMap goes over an index of rows, not over a {type(index).__name__}")
        if index.ntotal:
            raise IndexOperationError(f"index must be empty, it holds {index.ntotal} rows without ids")
        self._cover(index)

    @classmethod
    def over(cls, index: Index) -> Self:
        """Return one over an index whose rows have got their ids elsewhere, such as in a file."""
        idmap = cls.__new__(cls)
        idmap._cover(index)
        return idmap

    def _cover(self, index: Index) -> None:
        super().__init__(index.d, index.metric_type)
        self.index = index
        self._named = Names(shifts=False)

    @property
    def is_trained(self) -> bool:
        """Whether the index inside takes rows."""
        return self.index.is_trained

    @property
    def factory_string(self) -> str:
        """The index inside, after "IDMap,"."""
        return f"{self.PREFIX},{self.index.factory_string}"

    @property
    def id_map(self) -> I64:
        """The ids of all rows, in the order in which they were added."""
        return self.ids

    def add(self, x: npt.ArrayLike) -> None:
        """Raise a RuntimeError: rows come with ids, by `add_with_ids`."""
        raise IndexOperationError("rows of an IDMap have ids: call add_with_ids(x, ids)")

    def parts(self) -> Sequence[Index]:
        """Return the index inside."""
        return (self.index,)

    @property
    def _names(self) -> Names:
        return self._named

    def _learn(self, x: F32) -> None:
        with self.index._lock.exclusive():
            self.index._learn(x)

    def _append(self, x: F32, labels: I64 | None) -> I64:
        with self.index._lock.exclusive():
            keys = self.index._append(x, None)
        self._named.append(keys, labels)
        return keys

    def _find(self, x: F32, k: int, allowed: I64 | None, effort: Mapping[str, Any]) -> Values:
        with self.index._lock.shared():
            return self.index._find(x, k, self._known(allowed), effort)

    def _within(self, x: F32, radius: float, allowed: I64 | None, effort: Mapping[str, Any]) -> Ranges:
        with self.index._lock.shared():
            return self.index._within(x, radius, self._known(allowed), effort)

    def _known(self, allowed: I64 | None) -> I64 | None:
        """Return which keys may be found: those with ids, where rows were added behind this one's back."""
        return self._named.keys if allowed is None and self.index.ntotal != self.ntotal else allowed

    def _selected(self, sel: IDSelector) -> I64:
        if isinstance(sel, IDSelectorTranslated):  # has done what is done here: asks of places, not of ids
            return self._named.keys[sel.mask(np.arange(self.ntotal))]
        return super()._selected(sel)

    def _rows(self, keys: I64) -> F32:
        with self.index._lock.shared():
            return self.index._rows(keys)

    def _discard(self, keys: I64) -> None:
        with self.index._lock.exclusive():
            self.index._discard(keys)
        self._named.remove(keys)

    def _empty(self) -> None:
        with self.index._lock.exclusive():
            self.index._empty()
        self._named.clear()

    def _state(self) -> State:
        return self._named.state()

    def _restore(self, fields: Mapping[str, Any], sections: Sections) -> None:
        self._named.restore(fields, sections)
        if not np.array_equal(self._named.keys, self.index._names.keys):
            raise FormatError("gives ids to other rows than there are", file=sections.file)

    def sa_code_size(self) -> int:
        """Return the bytes of a code."""
        return self.index.sa_code_size()

    def _encode(self, x: F32) -> U8:
        return self.index._encode(x)

    def _decode(self, codes: U8) -> F32:
        return self.index._decode(codes)


class IndexIDMap2(IndexIDMap):
    """The same: FAISS needs two classes because only one of its own finds rows by ids.

    Parameters
    ----------
    index : Index
        Holds the rows; must be empty.
    """

    PREFIX: ClassVar[str] = "IDMap2"

    def construct_rev_map(self) -> None:
        """Do nothing: rows can always be found by their ids."""

    def check_consistency(self) -> None:
        """Raise a RuntimeError unless ids are those of the rows inside."""
        if not np.array_equal(self._named.keys, self.index._names.keys):
            raise IndexOperationError("the index inside has other rows than those that have ids")
