"""The contract of codecs, as other Cython modules see it."""

from libc.stddef cimport size_t

from ..scorer cimport Scorer


cdef class Codes:
    cdef readonly dict tables
    cdef readonly tuple cold
    cdef Py_ssize_t n
    # Whether a table may have moved since its address was last asked for. Kernels read through bare pointers,
    # which subclasses look up again then, and only when next needed: an interrupted change cannot leave old
    # ones behind.
    cdef bint moved

    # Where a table lies; 0 for one that there is not. It takes a microsecond.
    cdef size_t address(self, str name) except? 0


cdef class Codec:
    cdef readonly Py_ssize_t dim
    cdef readonly bint squared_l2  # else inner product


# The size in whole cache lines.
cdef inline size_t lined(size_t size) noexcept nogil:
    return (size + 63) // 64 * 64
