"""Rows against each other by inner product, as other Cython modules see it."""

from libc.stdint cimport uint32_t

from ..scorer cimport Scorer


cdef class InnerPairs(Scorer):
    cdef Scorer pairs
    cdef const float[::1] squares
    cdef uint32_t[::1] aimed
