"""Sets of labels, for filtered searches and for removal.

A selector says of an array of labels which are in the set; indexes ask it once a call, for all their rows, so
that no search ever comes back to Python.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .arrays import I64, Mask, as_ids, as_int
from .errors import DimensionError


class IDSelector:
    """A set of labels."""

    def mask(self, labels: I64) -> Mask:
        """Return which of these labels are in the set, bool (n,)."""
        raise TypeError(f"{type(self).__name__} does not say which labels are in it")

    def is_member(self, id: int) -> bool:
        """Return whether a label is in the set."""
        return bool(self.mask(np.array([as_int(id, "id")], np.int64))[0])


class IDSelectorRange(IDSelector):
    """Labels from `imin`, included, to `imax`, excluded."""

    def __init__(self, imin: int, imax: int, assume_sorted: bool = False) -> None:
        self.imin, self.imax = as_int(imin, "imin"), as_int(imax, "imax")
        self.assume_sorted = bool(assume_sorted)

    def mask(self, labels: I64) -> Mask:
        """Return which labels lie in the range."""
        return np.asarray((labels >= self.imin) & (labels < self.imax), np.bool_)


class IDSelectorBatch(IDSelector):
    """Listed labels: `IDSelectorBatch(ids)`, or `(n, swig_ptr(ids))`."""

    def __init__(self, ids: Any, pointer: Any = None) -> None:
        if pointer is not None:
            ids = np.asarray(pointer).reshape(-1)[: as_int(ids, "n", 0)]
        self.ids: I64 = as_ids(ids)

    @property
    def n(self) -> int:
        """How many labels were listed."""
        return len(self.ids)

    def mask(self, labels: I64) -> Mask:
        """Return which labels are listed."""
        return np.isin(labels, self.ids)


class IDSelectorArray(IDSelectorBatch):
    """Listed labels; FAISS searches them one after the other, here they are the same as a batch."""


class IDSelectorBitmap(IDSelector):
    """Labels by bits: `np.packbits(mask, bitorder="little")`, or `(n, swig_ptr(bits))` with n bytes."""

    def __init__(self, bitmap: Any, pointer: Any = None) -> None:
        if pointer is not None:
            bitmap = np.asarray(pointer).reshape(-1)[: as_int(bitmap, "n", 0)]
        bits = np.asarray(bitmap)
        if bits.dtype != np.uint8 or bits.ndim != 1:
            raise TypeError(f"a bitmap is uint8 (n,), not {bits.dtype} of shape {bits.shape}")
        self.bitmap = np.array(bits)

    @property
    def n(self) -> int:
        """How many bytes there are."""
        return len(self.bitmap)

    def mask(self, labels: I64) -> Mask:
        """Return which labels have their bit set; those beyond the map have none."""
        inside = (labels >= 0) & (labels < 8 * len(self.bitmap))
        if not len(self.bitmap):
            return inside
        at = np.where(inside, labels, 0)
        bits = self.bitmap[at >> 3] >> (at & 7).astype(np.uint8) & 1
        return np.asarray(inside & (bits != 0), np.bool_)


class IDSelectorAll(IDSelector):
    """All labels."""

    def mask(self, labels: I64) -> Mask:
        """Return True for each."""
        return np.ones(labels.shape, np.bool_)


class IDSelectorNot(IDSelector):
    """All labels but those of a selector."""

    def __init__(self, sel: Any) -> None:
        self.sel = as_selector(sel)

    def mask(self, labels: I64) -> Mask:
        """Return which labels the other does not have."""
        return ~self.sel.mask(labels)


class _Two(IDSelector):
    def __init__(self, lhs: Any, rhs: Any) -> None:
        self.lhs, self.rhs = as_selector(lhs), as_selector(rhs)


class IDSelectorAnd(_Two):
    """Labels that both selectors have."""

    def mask(self, labels: I64) -> Mask:
        """Return which labels are in both."""
        return self.lhs.mask(labels) & self.rhs.mask(labels)


class IDSelectorOr(_Two):
    """Labels that one of two selectors has."""

    def mask(self, labels: I64) -> Mask:
        """Return which labels are in one or both."""
        return self.lhs.mask(labels) | self.rhs.mask(labels)


class IDSelectorXOr(_Two):
    """Labels that exactly one of two selectors has."""

    def mask(self, labels: I64) -> Mask:
        """Return which labels are in one and not in both."""
        return self.lhs.mask(labels) ^ self.rhs.mask(labels)


class PyCallbackIDSelector(IDSelector):
    """Labels for which a Python function says so: once a label and call, which is slow by nature."""

    def __init__(self, callback: Callable[[int], bool]) -> None:
        if not callable(callback):
            raise TypeError(f"a callback must be callable, not {callback!r}")
        self.callback = callback

    def mask(self, labels: I64) -> Mask:
        """Ask the function about every label."""
        return np.fromiter((bool(self.callback(label)) for label in labels.tolist()), np.bool_, len(labels))


class IDSelectorTranslated(IDSelector):
    """Labels whose translation is in a selector: `id_map[label]`, of an array or of an `IndexIDMap`."""

    def __init__(self, id_map: Any, sel: Any) -> None:
        ids = getattr(id_map, "id_map", id_map)  # an IndexIDMap has one
        self.id_map, self.sel = as_ids(ids, name="id_map"), as_selector(sel)

    def mask(self, labels: I64) -> Mask:
        """Return which labels are in the set once translated; those beyond the map are not."""
        inside = (labels >= 0) & (labels < len(self.id_map))
        out = np.zeros(labels.shape, np.bool_)
        out[inside] = self.sel.mask(self.id_map[labels[inside]])
        return out


def as_selector(sel: Any) -> IDSelector:
    """Return what selects labels: a selector, a boolean mask by label, or listed labels."""
    if isinstance(sel, IDSelector):
        return sel
    array = np.asarray(sel)
    if array.dtype == np.bool_:
        if array.ndim != 1:
            raise DimensionError(f"a mask must have shape (n,), not {array.shape}")
        return IDSelectorBitmap(np.packbits(array, bitorder="little"))
    return IDSelectorBatch(array)
