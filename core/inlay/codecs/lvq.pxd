"""LVQ codes, as other Cython modules see them."""

from libc.stdint cimport uint8_t

from .codec cimport Codec, Codes


# Where the tables lie now; null for tables that there are not.
cdef struct Places:
    uint8_t* blocks
    float* steps
    float* lows
    float* norms
    float* rhos
    uint8_t* selectors
    uint8_t* residuals


cdef class LVQCodes(Codes):
    cdef readonly Py_ssize_t lines
    cdef Places places
    cdef object place(self)


cdef class LVQCodec(Codec):
    cdef readonly int bits
    cdef readonly int residual_bits
    cdef readonly int n_means
    cdef readonly object rotation
    cdef readonly object drift
    cdef readonly bint may_drop_rotation
    cdef const float[::1] centre_view
    cdef const float[:, ::1] means_view
    cdef const float[::1] zeros
    cdef readonly Py_ssize_t lines
    cdef readonly Py_ssize_t residual_bytes
    cdef int encode_rows(self, const float[:, ::1] rows, LVQCodes codes, Py_ssize_t first, float[::1] energy) except -1
