"""Seeded random rotations, row by row and without the GIL."""


cdef class HadamardRotation:
    cdef readonly Py_ssize_t dim
    cdef readonly object seed
    cdef Py_ssize_t window
    cdef bint folds
    cdef const float[:, ::1] signs
    cdef void forward(self, float* x) noexcept nogil
    cdef void backward(self, float* x) noexcept nogil
    cdef void round(self, float* x, Py_ssize_t number, bint back) noexcept nogil
