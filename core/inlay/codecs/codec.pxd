"""The contract of codecs, as other Cython modules see it."""

from libc.stddef cimport size_t

from ..scorer cimport Scorer


cdef class Codes:
    cdef readonly dict tables
    cdef readonly tuple cold
    cdef Py_ssize_t n


cdef class PreparedScorer(Scorer):
    cdef char* memory

    # So many bytes, zero, from a cache line on; they go with the scorer. Once.
    cdef char* room(self, size_t size) except NULL


cdef class Codec:
    cdef readonly Py_ssize_t dim
    cdef readonly bint squared_l2  # else inner product
