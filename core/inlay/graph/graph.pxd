"""The graph as other Cython modules see it."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from .walk cimport Links, Walkers

cdef class Before:
    cdef Py_ssize_t n, unmended
    cdef bint had_copies
    cdef object entries
    cdef unordered_map[uint32_t, size_t] at
    cdef vector[uint32_t] links

    cdef int remember(self, const uint32_t* places, uint32_t slot, size_t degree) except -1 nogil


cdef class Graph:
    cdef readonly Py_ssize_t degree
    cdef readonly object table
    cdef readonly object copies
    cdef public object entries
    cdef public Py_ssize_t unmended
    cdef const uint32_t[:, ::1] places_view
    cdef const uint32_t[::1] entry_view, copies_view
    cdef object seen_rows, seen_entries, seen_copies
    cdef list idle
    cdef Before before
    cdef readonly Py_ssize_t expanded, evaluated, walks

    cdef Links links(self) except *
    cdef Walkers walkers(self, int threads, size_t room)
    cdef void put_back(self, Walkers walkers, Py_ssize_t walks)
