"""The keys of a shard's documents: eight bytes for each row, in a file beside those of its collection.

    order.i64     key of row 0 | key of row 1 | ...

A row's key is written, and durable, before the collection commits the row, so every committed row has one;
what a write that never came to its commit has left behind is overwritten by the next. Rows are numbered
without end and never used twice, so the file only grows.
"""

from pathlib import Path

import numpy as np

from inlay import FormatError
from inlay.collection import disk

from .routing import I64

ORDER = "order.i64"
_STORED = np.dtype("<i8")


class Order:
    """Keys by row number.

    Parameters
    ----------
    folder : Path
        Of the shard.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / ORDER
        self._keys = np.empty(0, np.int64)
        self._looked = 0  # rows that `is_ascending` has looked at
        self._ascending = True

    def write(self, row: int, keys: I64) -> None:
        """Give the rows from `row` on their keys; for one thread at a time."""
        with open(self._file, "r+b" if self._file.exists() else "wb") as stream:
            stream.seek(row * _STORED.itemsize)
            stream.write(keys.astype(_STORED).tobytes())
            stream.flush()
            disk.sync_file(stream.fileno())

    def up_to(self, next_row: int) -> I64:
        """Return the keys of all rows below `next_row`.

        Raises
        ------
        FormatError
            When there are fewer: somebody wrote to the collection who is no shard.
        """
        keys = self._keys
        if len(keys) < next_row:
            keys = np.concatenate([keys, self._read(len(keys), next_row)])
            self._keys = keys  # threads may come here together; each has what it needs
        return keys[:next_row]

    def _read(self, start: int, stop: int) -> I64:
        size = _STORED.itemsize
        try:
            with open(self._file, "rb") as stream:
                stream.seek(start * size)
                held = stream.read((stop - start) * size)
        except FileNotFoundError:
            held = b""
        if len(held) < (stop - start) * size:
            message = "documents have no place in the order; were they written past the shards?"
            raise FormatError(message, file=str(self._file), offset=start * size + len(held))
        return np.frombuffer(held, _STORED).astype(np.int64)

    def is_ascending(self, next_row: int) -> bool:
        """Tell whether a later row always has the higher key, which is so until documents move here."""
        if self._ascending and next_row > self._looked:
            keys = self.up_to(next_row)[max(0, self._looked - 1) :]
            self._ascending = bool((np.diff(keys) > 0).all())
            self._looked = next_row
        return self._ascending

    def copy_to(self, folder: Path, next_row: int) -> None:
        """Write the keys of the rows below `next_row` to another folder."""
        Order(folder).write(0, self.up_to(next_row))
        disk.sync_folder(folder)
