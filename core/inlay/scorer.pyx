"""A batch of prepared queries, scored against the rows of an index without the GIL.

Codecs make scorers; scans and walks call them a batch of rows at a time and know no more of codes. Scores are
float32, smaller is nearer.
"""

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


cdef class Prepared:
    """What was prepared for queries, in one piece of memory: NumPy's costs as much as a short walk."""

    def __dealloc__(self):
        free(self.memory)

    cdef char* room(self, size_t zeros, size_t size) except NULL:
        self.memory = <char*>malloc(64 + size)
        if self.memory == NULL:
            raise MemoryError
        cdef char* first = self.memory + (64 - <size_t>self.memory % 64) % 64
        memset(first, 0, zeros)
        return first


cdef class Scorer(Prepared):
    """A batch of prepared queries; what its methods do is said in scorer.pxd."""

    def __cinit__(self):
        self.least = -INFINITY

    cdef void block(
        self, size_t query, size_t n_queries, size_t first, size_t n, float* out, size_t stride, int worker
    ) noexcept nogil:
        pass

    cdef void block_of(
        self, const uint32_t* queries, size_t n_queries, size_t first, size_t n, float* out, size_t stride,
        int worker
    ) noexcept nogil:
        # For scorers that gain nothing by taking several queries together.
        cdef size_t a
        for a in range(n_queries):
            self.block(queries[a], 1, first, n, out + a * stride, stride, worker)

    cdef void enter(self, size_t which, const uint32_t* queries, size_t n, int worker) noexcept nogil:
        pass

    cdef void expect_list(self, size_t which, size_t first, size_t n) noexcept nogil:
        pass

    cdef float shift(self, size_t query) noexcept nogil:
        return 0.0

    cdef float slack(self, size_t query, uint32_t slot) noexcept nogil:
        return 0.0

    cdef void expect(self, const uint32_t* slots, size_t n) noexcept nogil:
        pass

    cdef void rows_at(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        pass

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        pass

    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil:
        pass

    cdef const float* vector(self, size_t query) noexcept nogil:
        return NULL

    cdef void aim(self, int worker, uint32_t slot) noexcept nogil:
        pass


cdef class LinkScorer(Prepared):
    """A batch of prepared queries against links; what its methods do is said in scorer.pxd."""

    cdef void fetch(self, uint32_t vertex) noexcept nogil:
        pass

    cdef void score(
        self, size_t query, uint32_t vertex, float score, float worst, float* out, uint64_t* below
    ) noexcept nogil:
        pass
