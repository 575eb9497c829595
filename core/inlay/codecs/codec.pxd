"""The contract of codecs, as other Cython modules see it."""

from ..scorer cimport Scorer


cdef class Codes:
    cdef readonly dict tables
    cdef readonly tuple cold
    cdef Py_ssize_t n


cdef class Codec:
    cdef readonly Py_ssize_t dim
    cdef readonly bint squared_l2  # else inner product
