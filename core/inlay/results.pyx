"""From the keys of topk.hpp to what a search returns: scores, and ids instead of slots."""

import numpy as np

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libcpp.vector cimport vector

from .kernels.table cimport Heap, score_of, slot_of


cdef extern from "kernels/topk.hpp" namespace "inlay::topk" nogil:
    void sort_keys(uint64_t* keys, size_t n, const int64_t* ids)


# As C sees them: a search of few rows feels it when they are looked up in NumPy.
cdef object empty = np.empty
cdef object FLOAT32 = np.dtype(np.float32)
cdef object INT64 = np.dtype(np.int64)


cdef inline int64_t id_of(uint32_t slot, const int64_t* ids, int64_t base) noexcept nogil:
    return base + slot if ids == NULL else ids[slot]


cdef void put(
    const Heap* nearest, size_t k, const int64_t* ids, int64_t base, float* scores, int64_t* labels
) noexcept nogil:
    cdef size_t i
    for i in range(k):
        if i < nearest.size:
            scores[i] = score_of(nearest.keys[i])
            labels[i] = id_of(slot_of(nearest.keys[i]), ids, base)
        else:
            scores[i] = INFINITY
            labels[i] = -1


cdef tuple new_results(Py_ssize_t n, Py_ssize_t k):
    shape = (n, k)
    return empty(shape, FLOAT32), empty(shape, INT64)


def negate(float[:, ::1] scores):
    """Change the sign of scores in place; zeros stay without one."""
    cdef Py_ssize_t i, j
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            scores[i, j] = <float>0.0 - scores[i, j]


cdef tuple put_all(vector[vector[uint64_t]]& keys, const int64_t* ids, int64_t base):
    cdef size_t n = keys.size(), query, i, at = 0
    cdef int64_t[::1] limit_view, label_view
    cdef float[::1] score_view
    limits = np.zeros(n + 1, np.int64)
    limit_view = limits
    for query in range(n):
        limit_view[query + 1] = limit_view[query] + <int64_t>keys[query].size()
    scores, labels = np.empty(limits[n], np.float32), np.empty(limits[n], np.int64)
    score_view, label_view = scores, labels
    with nogil:
        for query in range(n):
            sort_keys(keys[query].data(), keys[query].size(), ids)
            for i in range(keys[query].size()):
                score_view[at] = score_of(keys[query][i])
                label_view[at] = id_of(slot_of(keys[query][i]), ids, base)
                at += 1
    return limits, scores, labels
