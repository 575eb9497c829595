"""The float32 vectors of a collection: one slot of 4 x dim bytes for each row, little-endian.

    vectors-<generation>.f32      slot 0 | slot 1 | ...      no header: what they are is said in the database

A file only grows. Bytes past the last committed slot are the torn tail of a write that never came to its
commit: a writer cuts them off on opening, readers never look there. Removed vectors keep their slots until a
compaction writes the others into the file of a new generation.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..contents import FormatError
from . import disk

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
STORED = np.dtype("<f4")  # Stored: changing this needs a new format version.


class Vectors(Protocol):
    """Slots that are written once, in order, and read at random."""

    def write(self, slot: int, rows: F32) -> None:
        """Put rows into the slots from `slot` on; they are durable on return."""

    def read(self, slots: I64) -> F32:
        """Return a copy of these slots, (n, dim)."""


class FileVectors:
    """Vectors in a file, mapped for reading.

    Parameters
    ----------
    file : Path
    dim : int
    n_slots : int
        How many are committed.
    writable : bool
        Whether to cut off what is past those; makes the file if there is none.

    Raises
    ------
    FormatError
        When the file is shorter than the committed slots.
    FileNotFoundError
        When there is none although slots are committed.
    """

    def __init__(self, file: Path, dim: int, n_slots: int, *, writable: bool) -> None:
        self._file = file
        self._dim = dim
        self._stride = dim * STORED.itemsize
        self._mapped = np.empty((0, dim), STORED)
        self._map(n_slots)
        if writable:
            with open(file, "r+b" if n_slots else "wb") as stream:
                stream.truncate(n_slots * self._stride)
            disk.sync_folder(file.parent)

    def _map(self, n_slots: int) -> F32:
        """Return the slots, mapped anew if there are more than before."""
        mapped = self._mapped
        if len(mapped) >= n_slots:
            return mapped
        with open(self._file, "rb") as stream:
            there = os.fstat(stream.fileno()).st_size
            n_bytes = n_slots * self._stride
            if there < n_bytes:
                message = f"the vectors end here, {n_slots} of {self._stride} bytes were committed"
                raise FormatError(message, file=str(self._file), offset=there)
            mapping = mmap.mmap(stream.fileno(), n_bytes, access=mmap.ACCESS_READ)
        mapped = np.frombuffer(mapping, STORED).reshape(n_slots, self._dim)
        # Threads may come here together; each has what it needs, whichever mapping is kept.
        self._mapped = mapped
        return mapped

    def write(self, slot: int, rows: F32) -> None:
        """Write at the place of the slot, over whatever a failed write has left there."""
        with open(self._file, "r+b") as stream:
            stream.seek(slot * self._stride)
            stream.write(np.ascontiguousarray(rows, STORED).data)
            stream.flush()
            disk.sync_file(stream.fileno())

    def read(self, slots: I64) -> F32:
        """Return a copy of these slots, (n, dim)."""
        if not len(slots):
            return np.empty((0, self._dim), np.float32)
        return self._map(int(slots.max()) + 1)[slots].astype(np.float32, copy=False)


class MemoryVectors:
    """Vectors in memory, in an array that doubles when it is full."""

    def __init__(self, dim: int) -> None:
        self._slots = np.empty((0, dim), np.float32)

    def write(self, slot: int, rows: F32) -> None:
        """Put rows into the slots from `slot` on."""
        end = slot + len(rows)
        if end > len(self._slots):
            larger = np.empty((max(end, 2 * len(self._slots)), self._slots.shape[1]), np.float32)
            larger[:slot] = self._slots[:slot]
            self._slots = larger  # readers of the smaller one have what they need
        self._slots[slot:end] = rows

    def read(self, slots: I64) -> F32:
        """Return a copy of these slots, (n, dim)."""
        return self._slots[slots]


@dataclass(frozen=True, slots=True)
class Slots:
    """Which slot a row's vector is in: rows that a compaction kept come first, later ones without gaps.

    Parameters
    ----------
    kept : int64 array
        Rows, ascending.
    first_row : int
        The first row after the compaction.
    """

    kept: I64
    first_row: int

    def of(self, rows: I64) -> I64:
        """Return the slots of rows that have one."""
        return np.where(
            rows < self.first_row,
            np.searchsorted(self.kept, rows),
            rows - self.first_row + len(self.kept),
        )

    def rows_of(self, slots: I64) -> I64:
        """Return the rows of slots."""
        if not len(self.kept):
            return slots + self.first_row
        later = slots - len(self.kept)
        return np.where(later < 0, self.kept[np.minimum(slots, len(self.kept) - 1)], later + self.first_row)

    def rows(self, next_row: int) -> I64:
        """Return the rows of all slots, in order, up to `next_row`."""
        return np.concatenate([self.kept, np.arange(self.first_row, next_row, dtype=np.int64)])
