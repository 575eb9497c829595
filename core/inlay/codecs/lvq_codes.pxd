"""LVQ codes and what they were made about, as other Cython modules see them."""

from libc.stddef cimport size_t
from libc.stdint cimport int8_t, uint8_t, uint32_t

from ..kernels.table cimport kLine
from ..rotation cimport HadamardRotation
from .codec cimport Codes

cdef enum:
    MAX_MEANS = 256  # a selector is one byte


# Where the tables lie now; null for tables that there are not, and for the layout that the codes do not have.
cdef struct Places:
    uint8_t* blocks
    uint8_t* rows
    float* steps
    float* lows
    float* norms
    float* rhos
    uint8_t* selectors
    uint8_t* residuals
    float* wholes


cdef class LVQCodes(Codes):
    cdef readonly Py_ssize_t dim
    cdef readonly int bits
    cdef readonly int residual_bits
    cdef readonly Py_ssize_t lines   # four bytes a row each
    cdef readonly Py_ssize_t stride  # bytes from row to row; 0 in blocks
    cdef readonly Py_ssize_t residual_bytes
    cdef Places places
    cdef Places where(self) except *

    # A row from its first level, one code a byte, on the grid that the row's tables name, and its second.
    # `room` has a byte a dimension. After `where`.
    cdef void decode(
        self, uint32_t slot, const uint8_t* codes, float low, float step, const float* mean, int8_t* room,
        float* out
    ) noexcept nogil


cdef class LVQRows(LVQCodes):
    pass


cdef class LVQBlocks(LVQCodes):
    cdef readonly bint residual
    cdef object lanes(self)


cdef class Frame:
    cdef readonly HadamardRotation rotation
    cdef const float[::1] centre_view
    cdef const float[:, ::1] means_view
    cdef float centred(self, bint squared_l2, const float* query, float* out) noexcept nogil


# The block of 16 rows that a row lies in, there in lane slot % 16.
cdef inline uint8_t* block_of(uint8_t* blocks, Py_ssize_t lines, Py_ssize_t slot) noexcept nogil:
    return blocks + slot // 16 * lines * <Py_ssize_t>kLine
