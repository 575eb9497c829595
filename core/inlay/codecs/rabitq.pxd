"""Coders of links, as other Cython modules see them."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

cdef struct Factors:
    float add
    float rescale


cdef class LinkCoder:
    cdef readonly Py_ssize_t dim
    cdef readonly Py_ssize_t width   # dimensions a group
    cdef readonly Py_ssize_t groups  # of all dimensions, the last ones perhaps of none
    cdef readonly Py_ssize_t planes
    cdef readonly Py_ssize_t entries  # of a group's table
    cdef size_t padded               # dimensions in whole groups
    cdef size_t scratch              # bytes that `code` and `look_up` need, 64-byte aligned

    cdef Factors code(
        self, bint squared_l2, const float* to, const float* centre, float more, uint8_t* codes,
        uint8_t* scratch
    ) noexcept nogil
    cdef void tabulate(self, const float* y, float* tables) noexcept nogil
    cdef void look_up(
        self, const float* y, uint8_t* tables, float* step, float* shift, uint8_t* scratch
    ) noexcept nogil
