"""Codes in stages, as other Cython modules see them."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from ..kernels.table cimport Shape
from .codec cimport Codes


cdef class StageCodes(Codes):
    cdef readonly int bits
    cdef readonly Py_ssize_t stages
    cdef Shape shape
    cdef uint8_t* blocks

    # Where the blocks lie now, and how a row's codes are read and written there.
    cdef uint8_t* where(self) except? NULL
    cdef int put(self, Py_ssize_t row, const uint8_t* codes, uint8_t norm) except -1
