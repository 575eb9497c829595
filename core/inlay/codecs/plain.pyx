"""Plain float32 rows: the exact codec, and the last word of every reranking.

Source of the kernels: kernels/float32.hpp. 4 * dim bytes a row.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t

from ..kernels.table cimport Scores, ScoresOf, active, prefetch_bytes
from .codec cimport Codec, Codes, Scorer

from ..tables import Table


cdef class PlainScorer(Scorer):
    """Queries against float32 rows."""

    cdef const float[:, ::1] queries
    cdef const float[:, ::1] rows
    cdef Scores scores
    cdef ScoresOf scores_of

    def __init__(self, bint squared_l2, queries, rows):
        self.queries, self.rows = queries, rows
        self.n_queries = self.queries.shape[0]
        self.scores = active().squared_l2 if squared_l2 else active().negative_ip
        self.scores_of = active().squared_l2_of if squared_l2 else active().negative_ip_of

    cdef void block(
        self, size_t query, size_t n_queries, size_t first, size_t n, float* out, size_t stride, int worker
    ) noexcept nogil:
        self.scores(
            &self.queries[query, 0], n_queries, &self.rows[first, 0], n, self.rows.shape[1], out, stride
        )

    cdef void expect(self, const int64_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        for i in range(n):
            prefetch_bytes(<const uint8_t*>&self.rows[slots[i], 0], self.rows.shape[1] * sizeof(float))

    cdef void rows_at(
        self, size_t query, const int64_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        self.scores_of(&self.queries[query, 0], &self.rows[0, 0], slots, n, self.rows.shape[1], out)


cdef class PlainCodec(Codec):
    """Rows as they are."""

    @property
    def code_size(self):
        """Bytes a row."""
        return 4 * self.dim

    def new_codes(self):
        """Return an empty table of rows."""
        return Codes({"rows": Table(np.float32, (self.dim,))})

    def encode(self, rows, Codes codes=None):
        """Append rows (n, dim) to `codes`."""
        codes = self.new_codes() if codes is None else codes
        first = len(codes)
        codes.resize(first + len(rows))
        codes.tables["rows"].rows[first:] = rows
        return codes

    def decode(self, Codes codes, slots=None):
        """Return copies of the rows of these slots."""
        rows = codes.tables["rows"].rows
        return np.array(rows if slots is None else rows[slots], np.float32)

    def scorer(self, queries, Codes codes, int workers):
        """Return queries ready to be scored against the rows."""
        return PlainScorer(self.squared_l2, queries, codes.tables["rows"].rows)
