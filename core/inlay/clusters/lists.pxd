"""Inverted lists, as the loops that read them see them."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libcpp.vector cimport vector

cdef enum:
    NONE = 0xFFFFFFFF  # the slot of a place without a row, the place of a slot without one


cdef class Lists:
    cdef readonly Py_ssize_t n_lists
    cdef readonly Py_ssize_t page
    cdef object slots                     # Table: of each place, its slot
    cdef object places                    # Table: of each slot, its place
    cdef vector[uint32_t] sizes           # of each list, its rows
    cdef vector[vector[uint32_t]] pages   # of each list, in the order of its rows
    cdef vector[uint32_t] owners          # of each page, its list; NONE for a free one
    cdef vector[uint32_t] ranks           # of each page, its number in its list
    cdef vector[uint32_t] free            # pages without a list, ascending
    # The tables for loops without the GIL; they hold until the lists next change.
    cdef const uint32_t* slot_of
    cdef const uint32_t* place_of

    # From row `row` of a list on, how many of its rows lie in one piece, and in `first` the place where they
    # begin. `row` is less than the list's size.
    cdef size_t run(self, size_t which, size_t row, size_t* first) noexcept nogil

    # The list that a place belongs to.
    cdef uint32_t list_of(self, size_t place) noexcept nogil

    cdef tuple laid_out(self, const uint32_t[::1] labels)
    cdef tuple closed(self, const uint32_t[::1] holes)
    cdef size_t place_in(self, size_t which, size_t row) noexcept nogil
    cdef vector[uint32_t] unowned(self)
    cdef int give(self, size_t which, uint32_t page) except -1
    cdef int look(self) except -1
