"""The codecs of codes in stages, as other Cython modules see them."""

from .basis cimport Basis
from .books cimport Books
from .codec cimport Codec


cdef class AdditiveCodec(Codec):
    cdef readonly Py_ssize_t stages
    cdef readonly int bits
    cdef readonly bint shared
    cdef readonly bint residual
    cdef readonly str layout
    cdef public Py_ssize_t beam
    # What was learned; None before training.
    cdef readonly Basis basis
    cdef readonly Books books
    cdef readonly tuple levels       # the least norm, and the step of the norms' codes
    cdef readonly object distortion  # what stages leave of the energy, and what they must
    cdef readonly object bounds
