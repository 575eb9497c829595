"""From the candidates of a search to its results, for every loop that collects candidates."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

from ..clusters.lists cimport Lists
from ..codecs.codec cimport Scorer
from ..ids cimport Bits
from ..kernels.table cimport Best


# What becomes of candidates, whose keys name slots.
cdef struct Outcome:
    void* scan                # Scorer: of the scores that candidates have
    void* last                # Scorer: of those they get; null when the scan's own are the last word
    float least               # no true score lies below
    size_t k
    size_t wanted             # candidates, be there so many rows or not
    size_t screened           # how many of them `near` leaves for the last scores; 0 for all
    const int64_t* ids        # of slots, for ties and results; null when id = base + slot
    int64_t base
    float* distances          # results
    int64_t* found
    const uint32_t* place_of  # of slots: where scorers know their rows; null when slots are places
    # Where rows are coded by what centres leave of them, else null; and whether `last` knows the rows whole.
    const float* centres
    bint whole
    const float* queries
    const uint32_t* owner_of  # of places, a page together: the centre
    size_t page, dim
    float factor              # of inner products in a score


# Fill the buffers of the queries [query, query + n_queries) from a part of what there is.
ctypedef void (*look_t)(
    void* source, Best* best, size_t query, size_t n_queries, size_t part, int worker
) noexcept nogil


# A search as every loop over rows needs it: how queries are cut into groups, and what there is into parts.
cdef struct Search:
    Outcome to
    size_t n_queries, candidates
    size_t group              # queries that look together
    size_t parts              # of what there is, when queries are too few to keep all threads busy
    const uint64_t* allowed   # bits of slots; null for all
    look_t look
    void* source


cdef class Placed:
    cdef readonly Lists lists
    cdef const float[:, ::1] centres
    cdef const float[:, ::1] queries
    cdef bint squared_l2, by_slot
    cdef void into(self, Outcome* to) noexcept

# What the scores of all rows about a centre have in common, and scorers leave out.
cdef float bias(const Outcome* to, size_t query, size_t centre) noexcept nogil

# The last scores, whole, of the rows in some slots, 256 at most.
cdef void last_scores(
    const Outcome* to, size_t query, const uint32_t* slots, size_t n, float* out, int worker
) noexcept nogil

# Look everywhere for every query, and put down what was found.
cdef int run(Search* search, int threads) except -1

# Empty results (scores, ids), and what a search needs to know of them and of what it is given.
cdef tuple results(
    Search* search, Scorer scan, Scorer last, Py_ssize_t k, Py_ssize_t candidates, Bits allowed,
    const int64_t[::1] ids, int64_t base
)
