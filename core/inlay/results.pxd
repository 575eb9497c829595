"""What a search returns, as the loops over rows write it. `ids`, of slots, is null while id = base + slot."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint64_t
from libcpp.vector cimport vector

from .kernels.table cimport Heap

# Scores float32 and ids int64, (n, k), not cleared.
cdef tuple new_results(Py_ssize_t n, Py_ssize_t k)

# The k results of one query from a finished heap; (inf, -1) where it holds fewer.
cdef void put(
    const Heap* nearest, size_t k, const int64_t* ids, int64_t base, float* scores, int64_t* labels
) noexcept nogil

# (limits, scores, ids) of all queries' keys, nearest first, ties by id; query i's results are at limits[i] ..
# limits[i + 1]. Puts the keys in order.
cdef tuple put_all(vector[vector[uint64_t]]& keys, const int64_t* ids, int64_t base)
