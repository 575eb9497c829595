"""How queries are scored against LoRANN's models; the formulas are in lorann.pyx.

    LorannScorer      every query once: t, its int8 values and scale
      nearest_lists   which clusters' centres are nearest
      enter           one query or eight come to a cluster: p, its int8 values and scale
      block_of        the scores of rows there

Each of the four products is one call of kernels/lorann.hpp, which takes a query's values as they are or those
of eight interleaved (`Ready`). Their sums are integers, so a query's scores do not depend on its company.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from libcpp.vector cimport vector

from ..kernels.table cimport (
    Half, LorannQueries, LorannRows, LorannScan, active, dot, key_of, kLine, kRows, kTogether, lines_of,
    prefetch_bytes, slot_of,
)
from ..parallel.crew cimport split
from .codec cimport Scorer, lined
from .lorann cimport Coarse, LorannCodes, ModelParts, Models, RowParts

cdef extern from "kernels/topk.hpp" namespace "inlay::topk" nogil:
    void select_keys(uint64_t* keys, size_t n, size_t k)
    void sort_keys(uint64_t* keys, size_t n, const int64_t* ids)

# Queries a piece of preparation: two groups of eight.
cdef size_t GRAIN = 16


# One query, or up to eight with zeros for who is missing, as the kernel takes them.
cdef struct Ready:
    LorannQueries queries
    size_t together       # 1 or 8
    int8_t* values        # of eight, interleaved
    int8_t* single        # of one query, while they are made
    float* p              # of eight
    float* left           # of eight queries, what the first level leaves
    float* more           # t of that
    int32_t[8] offsets
    float[8] scales
    float[8] firsts


cdef class LorannScorer(Scorer):
    """A batch of queries against the lists' models.

    Parameters
    ----------
    squared_l2 : bool
        Else inner product.
    queries : numpy.ndarray, shape (n, dim), float32
    coarse : Coarse
    models : Models
    codes : LorannCodes
        Neither may change while this scorer is in use.
    workers : int, >= 1
        How many threads may score at the same time.
    """

    cdef readonly Py_ssize_t n_lists
    cdef Coarse coarse
    cdef object kept          # whatever the pointers lie in
    cdef ModelParts models
    cdef RowParts directions, centres, rows
    cdef bint squared_l2
    cdef int bits
    cdef float factor         # of inner products in a score
    cdef size_t size, rank, lines, blocks, row_lines, width, stride
    cdef LorannScan scan_one, scan_eight
    cdef float* projected     # t of each query, `stride` numbers
    cdef int8_t* values       # of t, its first coordinate aside
    cdef size_t values_size
    cdef int32_t* sums        # of these
    cdef float* scales
    cdef float* squares       # |q|^2
    cdef char* scratch        # of each worker: `Ready` and what it points to
    cdef size_t scratch_size

    def __init__(
        self, bint squared_l2, const float[:, ::1] queries, Coarse coarse, Models models, LorannCodes codes,
        int workers,
    ):
        cdef PrepareJob job
        cdef size_t n = queries.shape[0]
        self.squared_l2, self.n_queries, self.n_lists = squared_l2, n, coarse.n_lists
        self.factor = -2.0 if squared_l2 else -1.0
        self.size, self.rank, self.bits = models.size, models.rank, models.bits
        self.coarse, self.kept = coarse, (models, codes)
        self.models, self.rows = models.where(), codes.where()
        self.directions, self.centres = coarse.directions.where(), coarse.centres.where()
        self.lines, self.row_lines = lines_of(self.bits, self.size - 1), lines_of(self.bits, self.rank)
        self.blocks = blocks_of(self.rank)
        self.width, self.stride = self.blocks * kRows, blocks_of(self.size) * kRows
        self.scan_one = active().lorann4_one if self.bits == 4 else active().lorann8_one
        self.scan_eight = active().lorann4_eight if self.bits == 4 else active().lorann8_eight
        self.allocate(workers)
        if n:
            job.scorer, job.queries = <void*>self, &queries[0, 0]
            with nogil:
                split(n, GRAIN, workers, prepare_piece, &job)

    cdef int allocate(self, int workers) except -1:
        # Groups of eight are projected together, the last one whole.
        cdef size_t n = self.n_queries, padded = n if n == 1 else (n + 7) // 8 * 8
        cdef size_t constants = lined(n * sizeof(float)), ready = lined(sizeof(Ready)), most
        cdef size_t projected = padded * self.stride * sizeof(float)
        self.values_size = lined(32 // self.bits * self.lines)
        most = max(self.values_size, lined(4 * lines_of(8, self.coarse.dim)))
        most = max(most, lined(32 // self.bits * self.row_lines))
        cdef size_t p = kTogether * self.width * sizeof(float)
        cdef size_t left = lined(kTogether * self.coarse.dim * sizeof(float))
        self.scratch_size = (
            ready + (kTogether + 1) * most + p + left + kTogether * self.stride * sizeof(float)
        )
        cdef char* next = self.room(
            n * self.values_size,
            n * self.values_size + projected + 3 * constants + workers * self.scratch_size,
        )
        self.values = <int8_t*>next
        next += n * self.values_size
        self.projected = <float*>next
        next += projected
        self.sums, self.scales = <int32_t*>next, <float*>(next + constants)
        self.squares = <float*>(next + 2 * constants)
        self.scratch = next + 3 * constants
        cdef int worker
        cdef Ready* to
        for worker in range(workers):
            to, next = self.ready(worker), self.scratch + worker * self.scratch_size + ready
            to.values, to.single = <int8_t*>next, <int8_t*>(next + kTogether * most)
            next += (kTogether + 1) * most
            to.p, to.left, to.more = <float*>next, <float*>(next + p), <float*>(next + p + left)
        return 0

    cdef inline Ready* ready(self, int worker) noexcept nogil:
        return <Ready*>(self.scratch + worker * self.scratch_size)

    cdef inline float* query(self, size_t i) noexcept nogil:
        return self.projected + i * self.stride

    cdef void project(self, size_t first, size_t n, const float* queries, int worker) noexcept nogil:
        # t of up to eight queries, and their values. A query has two levels of 8 bits here: it comes as it
        # is, and one large number would leave the others none.
        cdef Ready* ready = self.ready(worker)
        cdef size_t dim = self.coarse.dim, lines = lines_of(8, dim), level, a, j
        cdef float* left
        cdef float* t
        cdef int8_t* values
        cdef float scale
        memset(ready.single + dim, 0, 4 * lines - dim)
        memcpy(ready.left, queries, n * dim * sizeof(float))
        for level in range(2):
            start(ready, n)
            for a in range(n):
                left = ready.left + a * dim
                scale = active().quantise_query(left, dim, ready.single)
                put(ready, a, ready.single, 4 * lines, 128 * sum_of(ready.single, dim), scale, 0)
                for j in range(dim):
                    left[j] -= scale * ready.single[j]
            t = ready.more if level else self.query(first)
            self.scan(8, ready, self.directions, blocks_of(self.size), lines, t, self.stride)
        for a in range(n):
            t, values = self.query(first + a), self.values + (first + a) * self.values_size
            for j in range(self.size):
                t[j] += ready.more[a * self.stride + j]
            self.scales[first + a] = active().quantise_query(t + 1, self.size - 1, values)
            self.sums[first + a] = sum_of(values, self.size - 1)
            if self.squared_l2:
                self.squares[first + a] = <float>dot(queries + a * dim, queries + a * dim, dim)

    cdef inline void scan(
        self, int bits, Ready* ready, RowParts rows, size_t n_blocks, size_t lines, float* out,
        size_t stride
    ) noexcept nogil:
        cdef LorannRows constants
        cdef LorannScan one = self.scan_one, eight = self.scan_eight
        if bits == 8:
            one, eight = active().lorann8_one, active().lorann8_eight
        constants.steps, constants.firsts, constants.norms = rows.steps, rows.firsts, rows.norms
        (one if ready.together == 1 else eight)(
            rows.codes, n_blocks, lines, ready.queries, constants, out, stride
        )

    cdef void turn_to(
        self, Ready* ready, const uint32_t* queries, size_t n, int bits, float factor
    ) noexcept nogil:
        # t of these queries, times a factor.
        cdef size_t a, i
        start(ready, n)
        for a in range(n):
            i = queries[a]
            put(
                ready, a, self.values + i * self.values_size, self.values_size,
                (1 << (bits - 1)) * self.sums[i], factor * self.scales[i], factor * self.query(i)[0],
            )

    cdef void enter(self, size_t which, const uint32_t* queries, size_t n, int worker) noexcept nogil:
        cdef Ready* ready = self.ready(worker)
        cdef RowParts columns
        cdef size_t a, size = 32 // self.bits * self.row_lines
        cdef float lead, scale
        self.turn_to(ready, queries, n, self.bits, self.models.scales[which])
        columns.codes = self.models.codes + which * self.blocks * self.lines * kLine
        columns.steps = self.models.steps + which * self.width
        columns.firsts = self.models.firsts + which * self.width
        columns.norms = NULL
        self.scan(self.bits, ready, columns, self.blocks, self.lines, ready.p, self.width)
        start(ready, n)
        memset(ready.single + self.rank, 0, size - self.rank)
        for a in range(n):
            active().negative_ip(
                self.query(queries[a]), 1, self.models.leads + which * self.size, 1, self.size, &lead, 1
            )
            scale = active().quantise_query(ready.p + a * self.width, self.rank, ready.single)
            put(
                ready, a, ready.single, size, (1 << (self.bits - 1)) * sum_of(ready.single, self.rank),
                self.factor * scale, -self.factor * lead,
            )

    cdef void block_of(
        self, const uint32_t* queries, size_t n_queries, size_t first, size_t n, float* out, size_t stride,
        int worker
    ) noexcept nogil:
        # The queries are those that entered.
        cdef RowParts rows
        rows.codes = self.rows.codes + first // kRows * self.row_lines * kLine
        rows.steps, rows.firsts = self.rows.steps + first, self.rows.firsts + first
        rows.norms = self.rows.norms + first if self.squared_l2 else NULL
        self.scan(self.bits, self.ready(worker), rows, blocks_of(n), self.row_lines, out, stride)

    cdef void expect_list(self, size_t which, size_t first, size_t n) noexcept nogil:
        cdef size_t width = self.width * sizeof(Half), model = self.blocks * self.lines * kLine
        cdef size_t row = self.row_lines * kLine // kRows
        prefetch_bytes(self.models.codes + which * model, model)
        prefetch_bytes(<const uint8_t*>(self.models.steps + which * self.width), width)
        prefetch_bytes(<const uint8_t*>(self.models.firsts + which * self.width), width)
        prefetch_bytes(<const uint8_t*>(self.models.leads + which * self.size), self.size * sizeof(float))
        prefetch_bytes(self.rows.codes + first * row, n * row)
        prefetch_bytes(<const uint8_t*>(self.rows.steps + first), n * sizeof(Half))
        prefetch_bytes(<const uint8_t*>(self.rows.firsts + first), n * sizeof(Half))
        if self.squared_l2:
            prefetch_bytes(<const uint8_t*>(self.rows.norms + first), n * sizeof(float))

    cdef float shift(self, size_t query) noexcept nogil:
        return self.squares[query] if self.squared_l2 else 0

    def nearest_lists(self, size_t n, int threads):
        """Return the n lists whose centres are nearest to each query, nearest first, int64 (n_queries, n)."""
        cdef ProbeJob job
        cdef vector[uint64_t] keys
        cdef vector[float] scores
        cdef int64_t[:, ::1] view
        found = np.empty((self.n_queries, n), np.int64)
        view = found
        if self.n_queries:
            job.scorer, job.n, job.found = <void*>self, n, &view[0, 0]
            job.stride = blocks_of(self.n_lists) * kRows
            keys.resize(threads * self.n_lists)
            job.room = (1 if self.n_queries == 1 else kTogether) * job.stride
            scores.resize(threads * job.room)
            job.keys, job.scores = keys.data(), scores.data()
            with nogil:
                split(self.n_queries, GRAIN, threads, probe_piece, &job)
        return found

    cdef void centres_of(self, size_t first, size_t n, float* out, size_t stride, int worker) noexcept nogil:
        # How near the centres are to up to eight queries, but for what is the same for all centres.
        cdef uint32_t[8] queries
        cdef size_t a
        for a in range(n):
            queries[a] = first + a
        self.turn_to(self.ready(worker), queries, n, 8, self.factor * self.coarse.scale)
        self.scan(
            8, self.ready(worker), self.centres, blocks_of(self.n_lists), lines_of(8, self.size - 1), out,
            stride
        )


cdef inline size_t blocks_of(size_t n) noexcept nogil:
    return (n + kRows - 1) // kRows


cdef inline int32_t sum_of(const int8_t* values, size_t n) noexcept nogil:
    cdef int32_t total = 0
    cdef size_t j
    for j in range(n):
        total += values[j]
    return total


cdef inline void start(Ready* ready, size_t n) noexcept nogil:
    # n queries are about to be put; values in `single` of a query alone may stay there.
    cdef size_t a
    ready.together = 1 if n == 1 else kTogether
    ready.queries.values = ready.values
    ready.queries.offsets, ready.queries.scales = ready.offsets, ready.scales
    ready.queries.firsts = ready.firsts
    for a in range(n, ready.together):
        put(ready, a, NULL, 0, 0, 0, 0)


cdef inline void put(
    Ready* ready, size_t a, const int8_t* values, size_t size, int32_t offset, float scale, float first
) noexcept nogil:
    # Query a; without values it leaves whatever numbers there are out of account.
    cdef size_t j
    ready.offsets[a], ready.scales[a], ready.firsts[a] = offset, scale, first
    if ready.together == 1:
        ready.queries.values = values
        return
    for j in range(size // 4):
        memcpy(ready.values + 4 * (j * kTogether + a), values + 4 * j, 4)


cdef struct PrepareJob:
    void* scorer
    const float* queries


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef PrepareJob* job = <PrepareJob*>context
    cdef size_t dim = (<LorannScorer>job.scorer).coarse.dim, first
    for first in range(begin, end, 8):  # kTogether
        (<LorannScorer>job.scorer).project(
            first, min(end - first, <size_t>kTogether), job.queries + first * dim, worker
        )


cdef struct ProbeJob:
    void* scorer
    size_t n
    int64_t* found
    uint64_t* keys    # n_lists a worker
    float* scores     # of one query or eight, `room` a worker
    size_t room, stride


cdef void probe_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef ProbeJob* job = <ProbeJob*>context
    cdef size_t n_lists = (<LorannScorer>job.scorer).n_lists, first, few, a, i
    cdef uint64_t* keys = job.keys + worker * n_lists
    cdef float* scores = job.scores + worker * job.room
    cdef int64_t* found = job.found + begin * job.n
    for first in range(begin, end, 8):  # kTogether
        few = min(end - first, <size_t>kTogether)
        (<LorannScorer>job.scorer).centres_of(first, few, scores, job.stride, worker)
        for a in range(few):
            for i in range(n_lists):
                keys[i] = key_of(scores[a * job.stride + i], i)
            select_keys(keys, n_lists, job.n)
            sort_keys(keys, job.n, NULL)
            for i in range(job.n):
                found[i] = slot_of(keys[i])
            found += job.n
