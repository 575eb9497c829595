"""Plain rows of float32 or float16: the exact codec, and the last word of every reranking.

Source of the kernels: kernels/float32.hpp. 4 or 2 bytes a dimension. float16 keeps 11 bits of a number:
values are off by one part in 2,048 at most (those below 6e-5: by 3e-8).
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from ..kernels.table cimport Half, Scores, ScoresOf, active, prefetch_bytes, widen
from .codec cimport Codec, Codes, Scorer

from ..tables import Table

# The largest number of float16.
HALF_MAX = 65504.0


cdef class PlainReader(Scorer):
    """Rows, and how they are asked for.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n, dim), float32 or float16
        Must not change while this scorer is in use.
    """

    cdef const uint8_t[:, ::1] rows  # as bytes
    cdef bint half

    def __init__(self, rows):
        self.rows, self.half = rows.view(np.uint8), rows.dtype == np.float16

    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        for i in range(n):
            prefetch_bytes(&self.rows[slots[i], 0], self.rows.shape[1])


cdef class PlainScorer(PlainReader):
    """Queries against rows.

    Parameters
    ----------
    squared_l2 : bool
        Else inner product.
    queries : numpy.ndarray, shape (n_queries, dim), float32
    rows : numpy.ndarray, shape (n, dim), float32 or float16
        Must not change while this scorer is in use.
    """

    cdef const float[:, ::1] queries
    cdef Scores scores
    cdef ScoresOf scores_of

    def __init__(self, bint squared_l2, queries, rows):
        super().__init__(rows)
        self.queries = queries
        self.n_queries = self.queries.shape[0]
        if self.half:
            self.scores = active().squared_l2_half if squared_l2 else active().negative_ip_half
            self.scores_of = active().squared_l2_half_of if squared_l2 else active().negative_ip_half_of
        else:
            self.scores = active().squared_l2 if squared_l2 else active().negative_ip
            self.scores_of = active().squared_l2_of if squared_l2 else active().negative_ip_of

    cdef void block(
        self, size_t query, size_t n_queries, size_t first, size_t n, float* out, size_t stride, int worker
    ) noexcept nogil:
        self.scores(
            &self.queries[query, 0], n_queries, &self.rows[first, 0], n, self.queries.shape[1], out, stride
        )

    cdef void expect(self, const uint32_t* slots, size_t n) noexcept nogil:
        self.fetch(slots, n)

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        self.rows_at(query, slots, n, out, worker)

    cdef void rows_at(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        self.scores_of(&self.queries[query, 0], &self.rows[0, 0], slots, n, self.queries.shape[1], out)


cdef class PlainPairs(PlainReader):
    """Rows against each other: squared L2 distances.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n, dim), float32 or float16
        Must not change while this scorer is in use.
    workers : int, >= 1
        How many threads may score at the same time.
    """

    cdef float[:, ::1] aimed  # the row of each worker
    cdef ScoresOf scores_of

    def __init__(self, rows, int workers):
        super().__init__(rows)
        self.aimed, self.n_queries = np.zeros((workers, rows.shape[1]), np.float32), workers
        self.scores_of = active().squared_l2_half_of if self.half else active().squared_l2_of

    cdef void aim(self, int worker, uint32_t slot) noexcept nogil:
        cdef const uint8_t* row = &self.rows[slot, 0]
        if self.half:
            widen(<const Half*>row, self.aimed.shape[1], &self.aimed[worker, 0])
        else:
            memcpy(&self.aimed[worker, 0], row, self.rows.shape[1])

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        self.scores_of(&self.aimed[query, 0], &self.rows[0, 0], slots, n, self.aimed.shape[1], out)


cdef class PlainCodec(Codec):
    """Rows as they are.

    Parameters
    ----------
    dim : int
    squared_l2 : bool
        Scores are squared L2 distances; else negated inner products.
    dtype : {"float32", "float16"}
        What rows are kept as; float16 rounds to the nearest, ties to even.
    """

    cdef readonly str dtype

    def __init__(self, Py_ssize_t dim, bint squared_l2, str dtype="float32"):
        super().__init__(dim, squared_l2)
        if dtype not in ("float32", "float16"):
            raise ValueError(f'plain rows are "float32" or "float16", not {dtype!r}')
        self.dtype = dtype

    @property
    def code_size(self):
        """Bytes a row."""
        return np.dtype(self.dtype).itemsize * self.dim

    def new_codes(self):
        """Return an empty table of rows."""
        return Codes({"rows": Table(self.dtype, (self.dim,))})

    def encode(self, rows, Codes codes=None, origins=None):
        """Append rows (n, dim) to `codes`.

        Raises ValueError, before anything changes, for values that float16 cannot hold.
        """
        if self.dtype == "float16":
            self._check(rows)
        codes = self.new_codes() if codes is None else codes
        first = len(codes)
        codes.resize(first + len(rows))
        codes.tables["rows"].rows[first:] = rows
        return codes

    def _check(self, rows):
        beyond = np.abs(rows).max(axis=1, initial=0) > HALF_MAX
        if beyond.any():
            row = int(beyond.argmax())
            value = float(np.abs(rows[row]).max())
            raise ValueError(f"row {row} holds {value:g} in size; float16 goes up to {HALF_MAX:g}")

    def decode(self, Codes codes, slots=None):
        """Return copies of the rows of these slots, float32."""
        rows = codes.tables["rows"].rows
        return np.array(rows if slots is None else rows[slots], np.float32)

    def scorer(self, queries, Codes codes, int workers):
        """Return queries ready to be scored against the rows."""
        return PlainScorer(self.squared_l2, queries, codes.tables["rows"].rows)

    def pairs(self, Codes codes, int workers, bint most=False):
        """Return rows ready to be compared with each other."""
        return PlainPairs(codes.tables["rows"].rows, workers)
