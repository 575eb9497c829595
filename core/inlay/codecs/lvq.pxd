"""The LVQ codec, as other Cython modules see it."""

from .codec cimport Codec
from .lvq_codes cimport Frame


cdef class LVQCodec(Codec):
    cdef readonly int bits
    cdef readonly int residual_bits
    cdef readonly int n_means
    cdef readonly object rotation_seed
    cdef object drawn
    cdef readonly bint may_drop_rotation
    cdef readonly str layout
    cdef readonly bint grows
    cdef readonly bint residual
    # What rows are coded about and the watch over it; None before training.
    cdef readonly Frame frame
    cdef readonly object drift
