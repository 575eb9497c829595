"""How sign-magnitude codes are scored, by queries and by each other; the formulas are in signmag.pyx.

    SignMagQueries   queries prepared once: each coded, its digits spread over planes
    SignMagPairs     a row as the query of each worker, its two planes spread when it is aimed at

Both leave the work to one kernel call for the rows named: kernels/signmag.hpp.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libcpp.vector cimport vector

from ..kernels.table cimport (
    SignQuery, SignRows, SignScores, active, gather_bits, kBlock, prefetch_bytes,
)
from ..parallel.crew cimport split
from .codec cimport Scorer
from .signmag_coder cimport Code, Coder, finite


# Queries a piece of preparation, 2 us each.
cdef size_t GRAIN = 16
# Rows that `block` names at a time.
cdef enum:
    RUN = 64


cdef class SignMagScorer(Scorer):
    """What queries and pairs share: planes, and the kernel.

    Parameters
    ----------
    coder : Coder
        What the rows were coded by.
    rows : numpy.ndarray, shape (n, stride), uint8
        Must not change while this scorer is in use.
    n_queries : int
    bits : {2, 4}
        Of a query.
    """

    cdef Coder coder
    cdef const uint8_t[:, ::1] held
    cdef SignRows rows
    cdef SignScores kernel
    cdef int bits
    cdef vector[SignQuery] prepared
    cdef uint64_t* planes            # of every query; begin on cache lines
    cdef size_t plane                # words of one

    def __init__(self, Coder coder, const uint8_t[:, ::1] rows, Py_ssize_t n_queries, int bits):
        cdef Py_ssize_t i
        cdef size_t plane = (coder.words + kBlock - 1) // kBlock * kBlock
        cdef int32_t most = 15 if bits == 4 else coder.a + 1  # the largest level of a query
        self.coder, self.held, self.bits, self.n_queries = coder, rows, bits, n_queries
        self.rows.bytes, self.rows.stride = &rows[0, 0], rows.shape[1]
        self.rows.words = self.rows.pair = coder.words
        self.kernel = active().signmag2 if bits == 2 else active().signmag4
        self.plane = plane
        cdef size_t size = n_queries * bits * plane * sizeof(uint64_t)
        self.planes = <uint64_t*>self.room(size, size)
        self.prepared.resize(n_queries)
        for i in range(n_queries):
            self.prepared[i].planes, self.prepared[i].plane = self.planes + i * bits * plane, plane
            self.prepared[i].a = coder.a
            self.prepared[i].all = <int32_t>((coder.a + 1) * most * coder.dim)

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        self.kernel(self.rows, slots, n, self.prepared[query], out)

    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        for i in range(n):
            prefetch_bytes(self.rows.bytes + slots[i] * self.rows.stride, self.coder.size)

    cdef void rows_at(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        self.near(query, slots, n, out, worker)

    cdef void expect(self, const uint32_t* slots, size_t n) noexcept nogil:
        self.fetch(slots, n)

    cdef void block(
        self, size_t query, size_t n_queries, size_t first, size_t n, float* out, size_t stride, int worker
    ) noexcept nogil:
        cdef uint32_t[RUN] slots
        cdef size_t done, run, a, i
        for done in range(0, n, 64):  # RUN
            run = n - done if n - done < RUN else RUN
            for i in range(run):
                slots[i] = <uint32_t>(first + done + i)
            for a in range(n_queries):
                self.near(query + a, slots, run, out + a * stride + done, worker)


cdef class SignMagQueries(SignMagScorer):
    """A batch of queries against codes.

    Parameters
    ----------
    coder : Coder
    queries : numpy.ndarray, shape (n, dim), float32
    rows : numpy.ndarray, shape (n, stride), uint8
    bits : {2, 4}
        Two: queries are coded as the rows are. Four: a finer look.
    workers : int, >= 1
    """

    def __init__(
        self, Coder coder, const float[:, ::1] queries, const uint8_t[:, ::1] rows, int bits, int workers
    ):
        super().__init__(coder, rows, queries.shape[0], bits)
        cdef PrepareJob job
        cdef uint8_t[:, ::1] scratch = coder.scratch(workers)
        if coder.distance == "hamming":
            self.kernel = active().hamming
        if self.n_queries:
            job.scorer, job.queries = <void*>self, &queries[0, 0]
            job.scratch, job.scratch_size = &scratch[0, 0], scratch.shape[1]
            with nogil:
                split(self.n_queries, GRAIN, workers, prepare_piece, &job)

    cdef void prepare(self, size_t i, const float* given, uint8_t* scratch) noexcept nogil:
        cdef SignQuery* query = &self.prepared[i]
        cdef Code code = self.coder.code(given, self.bits, scratch)
        cdef uint64_t* planes = self.planes + i * self.bits * self.plane
        cdef Py_ssize_t word
        cdef int bit
        for bit in range(self.bits):
            for word in range(0, self.coder.words, 2):
                planes[bit * self.plane + word] = gather_bits(code.digits + 32 * word, bit)
                planes[bit * self.plane + word + 1] = planes[bit * self.plane + word]
        if self.coder.corrected and not self.coder.squared_l2:
            query.factor = code.factor
            query.base = finite(self.coder.mean_square - self.coder.along_mean(given))
        else:
            query.factor, query.base = self.coder.times * code.factor, code.norm


cdef class SignMagPairs(SignMagScorer):
    """Rows against each other: squared L2 distances as their codes have them.

    Parameters
    ----------
    coder : Coder
    rows : numpy.ndarray, shape (n, stride), uint8
    workers : int, >= 1
    """

    def __init__(self, Coder coder, const uint8_t[:, ::1] rows, int workers):
        super().__init__(coder, rows, workers, 2)
        self.rows.pair = (coder.size - 8) // 8  # the last

    cdef void aim(self, int worker, uint32_t slot) noexcept nogil:
        cdef const uint64_t* row = <const uint64_t*>(self.rows.bytes + slot * self.rows.stride)
        cdef const float* pair = <const float*>(row + self.rows.pair)
        cdef size_t word
        cdef uint64_t* low = self.planes + worker * 2 * self.plane
        cdef uint64_t* high = low + self.plane
        for word in range(0, self.rows.words, 2):
            high[word] = high[word + 1] = row[word]
            low[word] = low[word + 1] = row[word + 1]
        self.prepared[worker].factor, self.prepared[worker].base = self.coder.times * pair[0], pair[1]


cdef struct PrepareJob:
    void* scorer
    const float* queries
    uint8_t* scratch
    size_t scratch_size


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef PrepareJob* job = <PrepareJob*>context
    cdef size_t i
    for i in range(begin, end):
        (<SignMagQueries>job.scorer).prepare(
            i, job.queries + i * (<SignMagQueries>job.scorer).coder.dim,
            job.scratch + worker * job.scratch_size,
        )
