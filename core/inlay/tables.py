"""Tables: the memory under every index, rows of one dtype and shape that grow at the end.

A table's memory is 64-byte aligned, so that a kernel's loads never straddle a cache line. Large tables come
straight from the operating system, on huge pages where it offers them (random rows then cost one miss, not
two), and a page is only resident once something was written to it. A table may also lie over an array it does
not own, such as a mapped file: it is copied when first changed.
"""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_ALIGNMENT = 64
_LARGE = 1 << 20  # bytes from which memory comes in whole pages
_HUGE_PAGES = 8 << 20  # bytes from which huge pages are asked for: below, rounding up to 2 MiB would show
_GROWTH = 1.5


class Table:
    """Rows that grow at the end.

    Parameters
    ----------
    dtype : dtype
        Of the elements.
    shape : tuple of int
        Of one row; () for single elements.
    """

    __slots__ = ("_capacity", "_memory", "_mine", "_rows", "_used", "shape")

    def __init__(self, dtype: npt.DTypeLike, shape: tuple[int, ...] = ()) -> None:
        self.shape = shape
        self._memory: Array = np.empty((0, *shape), dtype)
        self._rows = self._memory
        self._capacity = 0
        self._used = 0
        self._mine = True

    @classmethod
    def over(cls, array: Array) -> "Table":
        """Return a table over the rows of an array that stays its owner's; a change copies it first."""
        table = cls(array.dtype, array.shape[1:])
        table._memory = table._rows = array
        table._capacity = table._used = len(array)
        table._mine = False
        return table

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Array:
        """The rows, (n, *shape); a view that the next `resize` may invalidate for writing."""
        return self._rows

    @property
    def nbytes(self) -> int:
        """Bytes of memory that this table has written to."""
        row = self._memory.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        return self._used * row

    @property
    def mapped(self) -> bool:
        """Whether the rows still lie in an array that is not this table's own."""
        return not self._mine

    def reserve(self, n: int) -> None:
        """Have memory for n rows.

        Growing takes amortised constant time a row; an empty table takes exactly what it is asked for.
        """
        if n > self._capacity or (n > len(self) and not self._mine):
            self._move(max(n, int(self._capacity * _GROWTH)) if len(self) else n)

    def resize(self, n: int) -> None:
        """Keep the first n rows, or add rows at the end; new rows hold anything."""
        self.reserve(n)
        if n < len(self) and not self._mine:
            self._rows = self._rows[:n]
            self._capacity = self._used = n
            return
        self._used = max(self._used, n)
        self._rows = self._memory[:n]

    def own(self) -> None:
        """Copy the rows now if they are not this table's, so that they can be written to."""
        if not self._mine:
            self._move(len(self))

    def compact(self) -> None:
        """Give back memory beyond the rows there are."""
        if self._mine and self._capacity > len(self):
            self._move(len(self))

    def _move(self, capacity: int) -> None:
        kept = min(len(self._rows), capacity)
        memory = allocate(capacity, self.shape, self._memory.dtype)
        memory[:kept] = self._rows[:kept]
        self._memory, self._capacity, self._used, self._mine = memory, capacity, kept, True
        self._rows = memory[:kept]


def allocate(n: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an aligned array (n, *shape), not cleared; a large one goes back to the system when freed."""
    dtype = np.dtype(dtype)
    size = n * dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    raw: Array
    if size >= _LARGE and hasattr(mmap, "MAP_PRIVATE"):
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if size >= _HUGE_PAGES and hasattr(mmap, "MADV_HUGEPAGE"):
            pages.madvise(mmap.MADV_HUGEPAGE)
        raw = np.frombuffer(pages, np.uint8)
    else:
        spare = np.empty(size + _ALIGNMENT, np.uint8)
        skip = -spare.ctypes.data % _ALIGNMENT
        raw = spare[skip : skip + size]
    return raw.view(dtype).reshape((n, *shape))
