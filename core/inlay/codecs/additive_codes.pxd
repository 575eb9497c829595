"""Codes in stages, as other Cython modules see them."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from ..kernels.table cimport Shape
from .codec cimport Codes


cdef class StageCodes(Codes):
    cdef readonly int bits
    cdef readonly Py_ssize_t stages
    cdef readonly bint with_norms
    cdef uint8_t* at

    # Where the codes lie now. What follows is asked for after it.
    cdef uint8_t* where(self) except? NULL

    # A row's codes, a byte each, and its norm's; null for zeros.
    cdef void put(self, size_t slot, const uint8_t* codes, uint8_t norm) noexcept nogil
    cdef void read(self, size_t slot, uint8_t* codes) noexcept nogil
    cdef uint8_t norm(self, size_t slot) noexcept nogil

    # What is read next: a hint to fetch it.
    cdef void fetch(self, size_t slot) noexcept nogil


cdef class StageBlocks(StageCodes):
    cdef Shape shape
    cdef uint8_t* block(self, size_t slot) noexcept nogil


cdef class StageRows(StageCodes):
    cdef readonly Py_ssize_t stride  # bytes from row to row
    cdef uint8_t* row(self, size_t slot) noexcept nogil
