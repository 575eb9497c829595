"""Codes of links, as other Cython modules see them."""

from .codec cimport Codes


cdef class LinkCodes(Codes):
    cdef readonly Py_ssize_t dim
    cdef readonly Py_ssize_t degree
    cdef readonly Py_ssize_t lanes   # links scored together
    cdef readonly Py_ssize_t code    # bytes of their codes
    cdef readonly Py_ssize_t block   # and with their factors
    cdef readonly Py_ssize_t stride
