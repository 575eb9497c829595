"""Rows that are compared byte for byte, as other Cython modules see them."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libcpp.vector cimport vector


cdef class Stored:
    cdef list tables
    cdef vector[const uint8_t*] starts
    cdef vector[size_t] sizes

    cdef bint same(self, uint32_t a, uint32_t b) noexcept nogil
    cdef uint64_t digest(self, uint32_t slot) noexcept nogil
