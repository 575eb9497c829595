"""The bits of a filter as kernels read them."""

from libc.stdint cimport uint64_t


cdef class Bits:
    # One bit a slot: bit s % 64 of words[s // 64]; bits at and beyond `n` are clear.
    cdef readonly Py_ssize_t n
    cdef readonly Py_ssize_t count
    cdef readonly object array
    cdef const uint64_t[::1] words
