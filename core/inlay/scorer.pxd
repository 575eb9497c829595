"""Scores of rows as every loop over rows sees them, be it a scan or a walk."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef class Prepared:
    cdef char* memory

    # So many bytes from a cache line on, of which the first `zeros` are zero; they go with the scorer. Once.
    cdef char* room(self, size_t zeros, size_t size) except NULL


cdef class Scorer(Prepared):
    # A batch of queries prepared against codes. `worker` names the scratch of the calling thread.
    cdef readonly Py_ssize_t n_queries
    # No true score lies below: estimates that do are raised to it.
    cdef readonly float least

    # Scores of the queries [query, query + n_queries) against the rows [first, first + n): out[a * stride +
    # i]. They may leave out what is the same for all rows of a query: `shift`. `first` is a multiple of 16;
    # with more than two queries `query` is a multiple of 8, and `out` has room for whole groups of eight.
    cdef void block(
        self, size_t query, size_t n_queries, size_t first, size_t n, float* out, size_t stride, int worker
    ) noexcept nogil

    # The same of up to eight queries named by their numbers, any of the batch; `out` has room for eight.
    cdef void block_of(
        self, const uint32_t* queries, size_t n_queries, size_t first, size_t n, float* out, size_t stride,
        int worker
    ) noexcept nogil

    # These queries (one, or up to eight) are the next that `block_of` is asked for, with rows of this list
    # alone. What depends on the list is made here.
    cdef void enter(self, size_t which, const uint32_t* queries, size_t n, int worker) noexcept nogil

    # This list is the next that queries enter, and `n` of its rows from a place on the next to be scored: a
    # hint to fetch all that.
    cdef void expect_list(self, size_t which, size_t first, size_t n) noexcept nogil

    # The part of a query's scores that `block` leaves out.
    cdef float shift(self, size_t query) noexcept nogil

    # How far the score of `block` may lie above the row's last score, but for one row in some thousands.
    cdef float slack(self, size_t query, uint32_t slot) noexcept nogil

    # These rows are the next to be asked for: a hint to fetch them.
    cdef void expect(self, const uint32_t* slots, size_t n) noexcept nogil

    # The best scores these codes can give, whole, for the rows named by slots.
    cdef void rows_at(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil

    # What a walk over a graph goes by: whole scores of the rows named by slots, as the first level has them.
    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil

    # These rows are the next that `near` is asked for: a hint to fetch them.
    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil

    # The query in the frame in which rows are coded, dim numbers; null where there is no such thing.
    cdef const float* vector(self, size_t query) noexcept nogil

    # Of `Codec.pairs`, whose queries are rows, one a worker: let query `worker` be the row in a slot.
    cdef void aim(self, int worker, uint32_t slot) noexcept nogil


cdef class LinkScorer(Prepared):
    # A batch of queries against all links of a vertex at once, `lanes` at a time, by what the vertex's own
    # row holds of them.
    cdef readonly size_t lanes
    cdef readonly size_t blocks

    # This vertex is the next that is asked for: a hint to fetch what it holds.
    cdef void fetch(self, uint32_t vertex) noexcept nogil

    # Given a vertex's score, the estimated scores of its links, in the order of their places, and a bit for
    # each that lies below `worst`, a word for each `lanes`.
    cdef void score(
        self, size_t query, uint32_t vertex, float score, float worst, float* out, uint64_t* below
    ) noexcept nogil
