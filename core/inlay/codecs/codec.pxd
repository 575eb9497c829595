"""The contract of codecs, as other Cython modules see it."""

from libc.stddef cimport size_t

from ..scorer cimport Scorer


cdef class Codes:
    cdef readonly dict tables
    cdef readonly tuple cold
    cdef Py_ssize_t n


cdef class Codec:
    cdef readonly Py_ssize_t dim
    cdef readonly bint squared_l2  # else inner product


# The size in whole cache lines.
cdef inline size_t lined(size_t size) noexcept nogil:
    return (size + 63) // 64 * 64
