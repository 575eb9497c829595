"""LoRANN's models and their queries, as the loop over lists sees them."""

from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int32_t, uint8_t, uint32_t

from ..kernels.table cimport Half, LorannQueries, LorannScan, Scores
from ..scorer cimport Scorer
from .codec cimport Codes

# Bare pointers into the tables; they hold until one moves.
cdef struct ModelParts:
    const uint8_t* codes
    const Half* steps
    const Half* firsts
    const float* scales
    const float* leads
    const float* centres

cdef struct RowParts:
    const uint8_t* codes
    const Half* steps
    const Half* firsts
    const float* norms


cdef class Cleared(Codes):
    pass


cdef class Models(Cleared):
    cdef readonly Py_ssize_t size, rank
    cdef readonly int bits
    cdef ModelParts parts

    cdef ModelParts where(self) except *


cdef class LorannCodes(Cleared):
    cdef readonly Py_ssize_t rank
    cdef readonly int bits
    cdef RowParts parts

    cdef RowParts where(self) except *


cdef class LorannScorer(Scorer):
    cdef readonly Py_ssize_t n_lists
    cdef readonly size_t size, rank
    cdef int bits
    cdef bint squared_l2
    cdef object kept          # whatever the pointers lie in
    cdef ModelParts models
    cdef RowParts rows
    cdef size_t lines, blocks, row_lines, width
    cdef LorannScan scan_one, scan_eight
    cdef Scores near_centres
    cdef float* projected     # t of each query, `size` numbers on whole lines
    cdef int8_t* values       # of t, its first coordinate aside
    cdef size_t values_size
    cdef int32_t* offsets
    cdef float* scales
    cdef float* firsts
    cdef float* squares       # |q|^2
    cdef char* scratch        # of each worker
    cdef size_t scratch_size

    cdef int allocate(self, int workers) except -1
    cdef void prepare(self, size_t i) noexcept nogil
    cdef float* query(self, size_t i) noexcept nogil

    # How far queries [first, first + n) are from each list's centre: out[a * n_lists + list].
    cdef void centres(self, size_t first, size_t n, float* out) noexcept nogil
