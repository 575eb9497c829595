"""The float vectors of a faiss index file, read without faiss.

    IxF2 IxFI    flat     header, number of floats, float32 rows
    IHNf         HNSW     header, its graph, and the flat index of its rows at the very end
    IwFl         IVF      header, lists, nprobe, the quantiser, a map from ids to places, the lists

Where rows lie in lists, each has its number beside it. Codes are not read: what they were made from is gone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from inlay import FormatError

F32 = npt.NDArray[np.float32]

_FLAT = {b"IxF2": "l2", b"IxFI": "ip"}
_METRICS = {0: "ip", 1: "l2"}
_HEADER = np.dtype(
    [
        *(("kind", "S4"), ("dim", "<i4"), ("n", "<i8"), ("unused", "<i8", 2), ("is_trained", "u1")),
        ("metric", "<i4"),
    ]
)
_HASHED = 2  # the kind of map that has a table behind it


def vectors(contents: bytes) -> tuple[str, F32]:
    """Return the metric, "l2" or "ip", and the rows (n, dim) in the order of their numbers.

    Raises
    ------
    FormatError
        For a kind that holds codes, and for a file that is not what it says.
    """
    kind, file = contents[:4], _File(contents)
    if kind in _FLAT:
        rows = file.flat()
        file.end()
        return _FLAT[kind], rows
    if kind == b"IHNf":
        return _beneath_graph(file)
    if kind == b"IwFl":
        return _in_lists(file)
    raise FormatError(
        f"this is a faiss index of the kind {kind!r}; those of float vectors are read: flat, HNSW and IVF. "
        "Reconstruct the vectors with faiss, and give them to from_embeddings"
    )


class _File:
    """The bytes of a file, taken one after the other and never beyond the end."""

    def __init__(self, contents: bytes, at: int = 0) -> None:
        self._contents = contents
        self._at = at

    def left(self) -> int:
        return len(self._contents) - self._at

    def take(self, kind: npt.DTypeLike, count: int = 1) -> npt.NDArray[np.generic]:
        dtype = np.dtype(kind)
        if not 0 <= count <= self.left() // dtype.itemsize:
            raise FormatError("the index is not as long as it says")
        values = np.frombuffer(self._contents, dtype, count, self._at)
        self._at += count * dtype.itemsize
        return values

    def number(self) -> int:
        return int(self.take("<i8")[0])

    def header(self) -> tuple[int, int, str]:
        """Return the number of rows, their dimension, and the metric."""
        (header,) = self.take(_HEADER)
        n, dim, metric = int(header["n"]), int(header["dim"]), _METRICS.get(int(header["metric"]))
        if n < 0 or dim < 1 or metric is None:
            raise FormatError("the header of the index cannot be true")
        return n, dim, metric

    def flat(self) -> F32:
        if self._contents[self._at : self._at + 4] not in _FLAT:
            raise FormatError("the index has parts other than float vectors")
        n, dim, _ = self.header()
        if self.number() != n * dim:
            raise FormatError("the index is not as long as it says")
        return self.take("<f4", n * dim).reshape(n, dim).astype(np.float32, copy=False)

    def end(self) -> None:
        if self.left():
            raise FormatError("the index is not as long as it says")


def _beneath_graph(file: _File) -> tuple[str, F32]:
    contents = file._contents
    n, dim, metric = file.header()
    start = len(contents) - _HEADER.itemsize - 8 - 4 * n * dim
    if start < _HEADER.itemsize:
        raise FormatError("the index is not as long as it says")
    rows = _File(contents, start).flat()
    if rows.shape != (n, dim):
        raise FormatError("the graph and its vectors do not belong together")
    return metric, rows


def _in_lists(file: _File) -> tuple[str, F32]:
    n, dim, metric = file.header()
    n_lists, _ = file.number(), file.number()
    if file.flat().shape != (n_lists, dim):
        raise FormatError("the lists and their centres do not belong together")
    (mapped,) = file.take("u1")
    file.take("<i8", file.number())
    if mapped == _HASHED:
        file.take("<i8", 2 * file.number())
    if file.take("S4")[0] != b"ilar" or file.number() != n_lists or file.number() != 4 * dim:
        raise FormatError("the lists of the index are not those of float vectors")
    sizes = _sizes(file, n_lists)
    if int(sizes.sum()) != n or n * (4 * dim + 8) != file.left():
        raise FormatError("the index is not as long as it says")
    rows, seen = np.empty((n, dim), np.float32), np.zeros(n, np.bool_)
    for size in sizes[sizes > 0].tolist():
        held = file.take("<f4", size * dim).reshape(size, dim)
        numbers = file.take("<i8", size)
        if int(numbers.min()) < 0 or int(numbers.max()) >= n:
            raise FormatError("the rows of the index are not numbered from 0 on")
        rows[numbers], seen[numbers] = held, True
    if not seen.all():
        raise FormatError("the rows of the index are not numbered from 0 on")
    return metric, rows


def _sizes(file: _File, n_lists: int) -> npt.NDArray[np.int64]:
    """Return how many rows each list has: of all, or of those that have any."""
    form, count = file.take("S4")[0], file.number()
    sizes = np.zeros(n_lists, np.int64)
    given = file.take("<i8", count)
    if form == b"full" and count == n_lists:
        sizes[:] = given
    elif form == b"sprs" and count % 2 == 0:
        lists, held = given[::2], given[1::2]
        if count and (int(lists.min()) < 0 or int(lists.max()) >= n_lists):
            raise FormatError("the lists of the index are not numbered as they should be")
        sizes[lists] = held
    else:
        raise FormatError("the lists of the index are in a form that is not known")
    if (sizes < 0).any():
        raise FormatError("the index is not as long as it says")
    return sizes
