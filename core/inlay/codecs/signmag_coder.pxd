"""How one vector becomes digits, as the other modules of the codec see it."""

from libc.stdint cimport uint8_t

from ..rotation cimport HadamardRotation


# y ~ factor * X, X the number that the digits of each dimension stand for; what a distance adds is `norm`.
cdef struct Code:
    const uint8_t* digits
    float factor
    float norm


cdef class Coder:
    cdef readonly Py_ssize_t dim
    cdef readonly bint squared_l2
    cdef readonly str levels
    cdef readonly str distance
    cdef readonly HadamardRotation rotation
    cdef const float[::1] mean_view
    cdef double mean_square
    # X = a P + T for two bits, c times the level; a distance has `times` the product of two vectors.
    cdef int a
    cdef int c
    cdef float times
    cdef bint corrected
    # Words of a row's two planes, bytes of a row, and from one to the next.
    cdef readonly Py_ssize_t words
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t stride
    cdef Code code(self, const float* row, int bits, uint8_t* scratch) noexcept nogil
    cdef float norm_of_levels(self, const uint8_t* digits) noexcept nogil
    cdef double along_mean(self, const float* row) noexcept nogil


cdef float finite(double value) noexcept nogil
