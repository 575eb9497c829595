"""How a vertex chooses its links, as other Cython modules see it."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t
from libcpp.vector cimport vector

from .walk cimport Links, Walker

# One thread's room to choose in.
cdef struct Desk:
    vector[uint64_t] keys      # candidates, nearest first
    vector[uint64_t] skipped
    vector[uint32_t] slots     # of the candidates that are left, and how far they are
    vector[float] distances
    vector[float] apart        # from the one kept last


cdef struct Job:
    Links links
    uint32_t* places
    void* pairs
    Walker* walkers
    Desk* desks
    size_t ef
    float occlusion
    bint inner                 # scores are negated inner products, not squared distances
    const uint32_t* round      # vertices to be linked
    uint32_t* same             # the vertices of which these turn out to be copies, NONE where they are none
    void* stored               # null: nobody asks whether they are
    size_t n_first             # not 0: compare with so many of the round instead of walking
    const uint64_t* offers     # (to, from), in order
    const size_t* groups       # where the offers to one vertex begin


# From desk.slots to desk.keys: the distances from a vertex, nearest first.
cdef void measure(Job* job, Desk* desk, uint32_t slot, int worker) noexcept nogil

# From desk.keys, nearest first, into the places of a vertex; returns how many.
cdef size_t choose(Job* job, Desk* desk, int worker, uint32_t* places) noexcept nogil


cdef inline bint holds(const uint32_t* places, size_t n, uint32_t slot) noexcept nogil:
    # Without an early end, so that several places are compared at once.
    cdef size_t i
    cdef uint32_t found = 0
    for i in range(n):
        found |= places[i] == slot
    return found != 0
