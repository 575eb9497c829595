"""Bases of coordinates, as other Cython modules see them."""

from libc.stddef cimport size_t


cdef class Basis:
    cdef readonly Py_ssize_t dim
    cdef readonly Py_ssize_t rank
    cdef readonly object matrix
    cdef readonly size_t padded   # floats a row that `forward` needs room for
    cdef const float[::1] centre_view
    cdef float[::1] strips, moved
    # P (x - centre) of n rows, or P x: n x padded floats of room, of which the first n x rank are written.
    cdef void forward(self, const float* rows, size_t n, bint centred, float* out) noexcept nogil
