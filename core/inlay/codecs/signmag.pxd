"""The sign-magnitude codec, as other Cython modules see it."""

from .codec cimport Codec, Codes
from .signmag_coder cimport Coder


cdef class SignMagCodec(Codec):
    cdef readonly str transform  # None: not yet chosen
    cdef readonly str levels
    cdef readonly str distance
    cdef readonly object seed
    cdef readonly Coder coder  # None before training
    cdef readonly dict report  # what training saw
