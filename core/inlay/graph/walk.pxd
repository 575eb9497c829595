"""Walks over a graph, as other Cython modules see them."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as bool_t

from ..scorer cimport Scorer

cdef extern from "kernels/beam.hpp" namespace "inlay::beam" nogil:
    const uint32_t NONE "inlay::beam::kNone"  # in a place that holds no link
    cppclass Beam:
        uint64_t* keys
        size_t size
        size_t room
        void start(uint64_t* memory, size_t most)
        void push(float score, uint32_t slot)
        bool_t pop(uint32_t* slot)
        size_t next
        float worst
    cppclass Marks:
        uint8_t* stamps
        size_t n, room
        uint8_t now
        void start()
        size_t take(const uint32_t* links, size_t n_links, uint32_t* fresh)
    uint64_t key_of "inlay::beam::key_of"(float score, uint32_t slot)
    uint32_t slot_of "inlay::beam::slot_of"(uint64_t key)
    size_t cut(uint64_t* keys, size_t n, size_t most, const int64_t* ids)
    size_t keep_best(uint64_t* keys, size_t n, size_t most, const int64_t* ids)

cdef extern from "kernels/topk.hpp" namespace "inlay::topk" nogil:
    float score_of "inlay::topk::score_of"(uint64_t key)

cdef enum:
    MOST_LINKS = 512  # of a vertex
    AT_ONCE = 64      # entries or rows scored by one call


# Links as a walk sees them: n vertices with `degree` places each, the first with slots and the rest NONE.
cdef struct Links:
    const uint32_t* places
    size_t n
    size_t degree
    const uint32_t* entries
    size_t n_entries
    const uint32_t* copies  # the next in the chain of each; null: there are none


# What one thread needs to walk.
cdef struct Walker:
    Marks marks
    Beam beam
    uint64_t* memory  # of the beam
    size_t room       # of that memory, in keys
    uint64_t* known   # of a walk by estimates that keeps so many in view
    uint32_t* front   # the same
    size_t in_view
    uint32_t* fresh   # slots to be scored, and their
    float* scores
    size_t expanded
    size_t evaluated


cdef class Walkers:
    # One for each of `count` threads.
    cdef Walker* each
    cdef readonly int count
    cdef readonly Py_ssize_t n

    cdef int ready(self, size_t n, size_t room) except -1
    cdef int ready_front(self, size_t most) except -1


# Fill walker.beam with the `most` vertices nearest to a query that a walk from the entries finds.
cdef void walk(
    const Links* links, Scorer scorer, size_t query, Walker* walker, size_t most, int worker
) noexcept nogil
