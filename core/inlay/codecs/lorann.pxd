"""LoRANN's tables, as scorers see them."""

from libc.stdint cimport uint8_t

from ..kernels.table cimport Half
from .codec cimport Codes

# Bare pointers into the tables; they hold until one moves.
cdef struct ModelParts:
    const uint8_t* codes
    const Half* steps
    const Half* firsts
    const float* scales
    const float* leads

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


cdef class Coarse:
    cdef readonly Py_ssize_t size, dim, n_lists
    cdef readonly float scale               # of centres
    cdef readonly LorannCodes directions, centres
