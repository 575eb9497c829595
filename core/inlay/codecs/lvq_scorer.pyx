"""How queries are scored against LVQ codes; the formulas are in lvq.pyx.

    LVQScorer    every query once: q', its int8 values, scale, S, and -<q', mean[s]> of every mean
      block      a run of rows for the scan: one kernel call for a query, or for eight of a batch together
      slack      how far the scan's error lets a row be from its last score
      rows_at    the last scores of the scan's candidates, float32, from everything a row has

An estimate's error is that of d rounding errors, each uniform over a step, and of as many of the int8 query:
deviation sqrt(|q'|^2 step^2 + scale^2 |r|^2) / sqrt 12 (twice for l2), with |r| ~ sqrt(d) * range / 6.
"""

from libc.math cimport INFINITY, sqrt
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from ..kernels.table cimport (
    Constants, Queries, Scan, active, get_row, kTogether, prefetch_bytes, prefetch_row,
)
from ..parallel.crew cimport split
from .codec cimport Scorer, lined
from .lvq_codes cimport MAX_MEANS, Frame, LVQBlocks, Places, block_of as block_with

# Queries a piece of preparation: a rotation is a microsecond or two.
cdef size_t GRAIN = 64
# How many deviations of its error an estimate is trusted to.
cdef double DEVIATIONS = 3.5
# Rows decoded together when candidates are rescored: one tile of the float kernel.
cdef enum:
    TILE = 8
# Queries from which eight together take less time than one by one.
cdef enum:
    FEW = 3


cdef class LVQScorer(Scorer):
    """A batch of queries against LVQ codes.

    Parameters
    ----------
    frame : Frame
        What the rows were coded about.
    squared_l2 : bool
        Else inner product.
    queries : numpy.ndarray, shape (n, dim), float32
    codes : LVQBlocks
        Must not change while this scorer is in use.
    workers : int, >= 1
        How many threads may score at the same time.
    """

    cdef Frame frame
    cdef LVQBlocks codes
    cdef Places at
    cdef bint squared_l2
    cdef int bits, residual_bits
    cdef Py_ssize_t dim, lines, residual_bytes, n_means, values
    cdef const float* means
    cdef Scan scan_one, scan_eight
    # All that follows lies in one piece of memory; a query's part of it begins on a cache line.
    cdef float* queries      # R q - centre (l2) or R q (ip)
    cdef int8_t* singles     # int8 values of each query
    cdef int8_t* together    # the same, eight queries interleaved by fours; only for more than two
    cdef float* offsets      # -<q', mean[s]>, twice for l2; all 256 places, so no selector leads out
    cdef float* scales
    cdef float* sums
    cdef float* shifts
    cdef float* slacks       # a row's slack over its step
    cdef float* zeros        # the mean of rows that are to be decoded without theirs
    # Of each worker: codes of a row, its second level, a tile of decoded rows, eight queries interleaved.
    cdef char* scratch
    cdef size_t scratch_size

    def __init__(
        self, Frame frame, bint squared_l2, const float[:, ::1] queries, LVQBlocks codes, int workers
    ):
        cdef PrepareJob job
        self.frame, self.codes, self.at, self.squared_l2 = frame, codes, codes.where(), squared_l2
        self.bits, self.residual_bits = codes.bits, codes.residual_bits
        self.dim, self.lines, self.values = codes.dim, codes.lines, codes.lines * 32 // codes.bits
        self.residual_bytes = codes.residual_bytes
        self.means = &frame.means_view[0, 0]
        self.n_means, self.n_queries = frame.means_view.shape[0], queries.shape[0]
        # Of residual rows these are not whole scores yet.
        self.least = 0.0 if squared_l2 and not codes.residual else -INFINITY
        self.scan_one = active().scan4_one if self.bits == 4 else active().scan8_one
        self.scan_eight = active().scan4_eight if self.bits == 4 else active().scan8_eight
        self.allocate(workers)
        if self.n_queries:
            job.scorer, job.queries = <void*>self, &queries[0, 0]
            with nogil:
                split(self.n_queries, GRAIN, workers, prepare_piece, &job)

    cdef int allocate(self, int workers) except -1:
        cdef size_t n = self.n_queries, groups = (n + 7) // 8 if n > 2 else 0
        # Queries that only fill up a group of eight have zeros for everything.
        cdef size_t padded = groups * 8 if groups else n
        cdef size_t row = lined(self.dim * sizeof(float)), values = lined(self.values)
        cdef size_t constants = lined(padded * sizeof(float))
        cdef size_t offsets = (padded if self.n_means > 1 else 1) * MAX_MEANS * sizeof(float)
        self.scratch_size = (
            values + lined(self.dim) + lined(TILE * self.dim * sizeof(float)) + kTogether * values
        )
        cdef size_t zeros = n * values + groups * 8 * values + offsets + 4 * constants + row
        cdef char* next = self.room(zeros, zeros + n * row + workers * self.scratch_size)
        self.singles = <int8_t*>next
        next += n * values
        self.together = <int8_t*>next
        next += groups * 8 * values
        self.offsets = <float*>next
        next += offsets
        self.scales, self.sums = <float*>next, <float*>(next + constants)
        self.shifts, self.slacks = <float*>(next + 2 * constants), <float*>(next + 3 * constants)
        next += 4 * constants
        self.zeros = <float*>next
        next += row
        self.queries = <float*>next
        self.scratch = next + n * row
        return 0

    cdef inline float* query(self, size_t i) noexcept nogil:
        return <float*>(<char*>self.queries + i * lined(self.dim * sizeof(float)))

    cdef void prepare(self, size_t i, const float* given) noexcept nogil:
        cdef float* q = self.query(i)
        cdef int8_t* single = self.singles + i * lined(self.values)
        cdef float factor = -2.0 if self.squared_l2 else -1.0
        cdef double square = 0.0, top = (1 << self.bits) - 1, product
        cdef long total = 0
        cdef Py_ssize_t j, s
        self.shifts[i] = self.frame.centred(self.squared_l2, given, q)
        for j in range(self.dim):
            square += <double>q[j] * q[j]
        self.scales[i] = factor * active().quantise_query(q, self.dim, single)
        for j in range(self.dim):
            total += single[j]
        self.sums[i] = self.scales[i] * total
        # |scale| already carries the factor 2 of l2.
        product = <double>self.scales[i] * top / 6.0
        square = factor * factor * square + self.dim * product * product
        self.slacks[i] = <float>(DEVIATIONS * sqrt(square / 12.0))
        if self.n_means > 1:
            for s in range(self.n_means):
                product = 0.0
                for j in range(self.dim):
                    product += <double>q[j] * self.means[s * self.dim + j]
                self.offsets[i * MAX_MEANS + s] = <float>(factor * product)
        if self.n_queries > 2:
            self.interleave(single, i % 8, self.together + i // 8 * 8 * lined(self.values))

    cdef inline void interleave(self, const int8_t* single, size_t lane, int8_t* together) noexcept nogil:
        cdef Py_ssize_t j
        for j in range(self.values // 4):
            memcpy(together + 4 * (j * 8 + lane), single + 4 * j, 4)

    cdef void block(
        self, size_t query, size_t n_queries, size_t first, size_t n, float* out, size_t stride, int worker
    ) noexcept nogil:
        # `first` is a multiple of 16, and `query` of 8 when more than two queries were prepared.
        cdef size_t done = 0
        cdef bint together = self.n_queries > 2
        cdef const int8_t* values = self.together if together else self.singles
        cdef const uint8_t* blocks = block_with(self.at.blocks, self.lines, first)
        cdef Constants rows = self.constants(first)
        cdef Queries queries
        queries.offset_stride = MAX_MEANS if self.n_means > 1 else 0
        queries.n_offsets = self.n_means
        while done < n_queries:
            queries.values = values + (query + done) * lined(self.values)
            queries.scales, queries.sums = self.scales + query + done, self.sums + query + done
            queries.offsets = self.offsets + (query + done) * queries.offset_stride
            if together:
                self.scan_eight(blocks, self.lines, queries, rows, n, out + done * stride, stride)
                done += kTogether
            else:
                self.scan_one(blocks, self.lines, queries, rows, n, out + done * stride, stride)
                done += 1

    cdef void block_of(
        self, const uint32_t* queries, size_t n_queries, size_t first, size_t n, float* out, size_t stride,
        int worker
    ) noexcept nogil:
        # Fewer than FEW are faster one by one; about several means, whose offsets would have to be brought
        # together too, they always are.
        cdef int8_t* together = <int8_t*>self.scratch + (worker + 1) * self.scratch_size
        cdef const uint8_t* blocks = block_with(self.at.blocks, self.lines, first)
        cdef float[8] scales
        cdef float[8] sums
        cdef Queries some
        cdef size_t a, query
        some.offset_stride, some.n_offsets = 0, self.n_means
        if n_queries < FEW or self.n_means > 1:
            for a in range(n_queries):
                some.values = self.singles + queries[a] * lined(self.values)
                some.scales, some.sums = self.scales + queries[a], self.sums + queries[a]
                some.offsets = self.offsets + (queries[a] * MAX_MEANS if self.n_means > 1 else 0)
                self.scan_one(blocks, self.lines, some, self.constants(first), n, out + a * stride, stride)
            return
        together -= kTogether * lined(self.values)
        for a in range(8):  # kTogether
            query = queries[min(a, n_queries - 1)]  # lanes without a query repeat the last one
            self.interleave(self.singles + query * lined(self.values), a, together)
            scales[a], sums[a] = self.scales[query], self.sums[query]
        some.values, some.scales, some.sums, some.offsets = together, scales, sums, self.offsets
        self.scan_eight(blocks, self.lines, some, self.constants(first), n, out, stride)

    cdef inline Constants constants(self, size_t first) noexcept nogil:
        cdef Constants rows
        rows.steps, rows.lows = self.at.steps + first, self.at.lows + first
        rows.norms = self.at.norms + first if self.squared_l2 else NULL
        rows.selectors = self.at.selectors + first if self.n_means > 1 else NULL
        return rows

    cdef float shift(self, size_t query) noexcept nogil:
        return self.shifts[query]

    cdef float slack(self, size_t query, uint32_t slot) noexcept nogil:
        return self.slacks[query] * self.at.steps[slot]

    cdef void decode_row(self, uint32_t slot, float* out, char* scratch) noexcept nogil:
        # mean + rhat, from every level there is
        cdef uint8_t* codes = <uint8_t*>scratch
        cdef int selector = self.at.selectors[slot] if self.n_means > 1 else 0
        # A damaged file may name a mean that there is not.
        cdef const float* mean = self.means + (selector if selector < self.n_means else 0) * self.dim
        get_row(self.bits, block_with(self.at.blocks, self.lines, slot), self.lines, slot % 16, codes)
        self.codes.decode(
            slot, codes, self.at.lows[slot], self.at.steps[slot], mean,
            <int8_t*>(scratch + lined(self.values)), out
        )

    cdef void expect(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        for i in range(n):
            prefetch_row(block_with(self.at.blocks, self.lines, slots[i]), self.lines, slots[i] % 16)
            prefetch_bytes(self.at.residuals + slots[i] * self.residual_bytes, self.residual_bytes)

    cdef void rows_at(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        cdef char* scratch = self.scratch + worker * self.scratch_size
        cdef float* rows = <float*>(scratch + lined(self.values) + lined(self.dim))
        cdef const float* q = self.query(query)
        cdef size_t done, tile, i
        cdef bint two_levels = self.residual_bits > 0
        for done in range(0, n, 8):  # TILE
            tile = n - done if n - done < TILE else TILE
            for i in range(tile):
                if two_levels:
                    self.decode_row(slots[done + i], rows + i * self.dim, scratch)
                else:
                    self.corrected_row(slots[done + i], rows + i * self.dim, <uint8_t*>scratch)
            if self.squared_l2 and two_levels and self.at.wholes == NULL:
                active().squared_l2(q, 1, rows, tile, self.dim, out + done, tile)
                continue
            active().negative_ip(q, 1, rows, tile, self.dim, out + done, tile)
            for i in range(done, done + tile):
                if not two_levels:
                    out[i] = self.complete(query, slots[i], out[i])
                elif self.squared_l2:
                    out[i] = 2.0 * out[i] + self.at.wholes[slots[i]]
                out[i] += self.shifts[query]
                if out[i] < self.least:
                    out[i] = self.least

    cdef inline void corrected_row(self, uint32_t slot, float* out, uint8_t* codes) noexcept nogil:
        # rho rhat; the mean's part of a score comes from the offsets.
        get_row(self.bits, block_with(self.at.blocks, self.lines, slot), self.lines, slot % 16, codes)
        active().expand(
            codes, NULL, self.dim, self.at.lows[slot], self.at.steps[slot], 1, self.zeros, out
        )

    cdef inline float complete(self, size_t query, uint32_t slot, float product) noexcept nogil:
        # From -<q', rho rhat> to the one-level score of a row, the shift aside.
        if self.squared_l2:
            product = 2.0 * product + self.at.norms[slot]
        if self.n_means > 1:
            product += self.offsets[query * MAX_MEANS + self.at.selectors[slot]]
        return product

    def decode_into(self, const int64_t[::1] slots, float[:, ::1] out):
        """Write mean + rhat of each slot to out (n, dim)."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(slots.shape[0]):
                self.decode_row(<uint32_t>slots[i], &out[i, 0], self.scratch)


cdef struct PrepareJob:
    void* scorer
    const float* queries


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef PrepareJob* job = <PrepareJob*>context
    cdef size_t i
    for i in range(begin, end):
        (<LVQScorer>job.scorer).prepare(i, job.queries + i * (<LVQScorer>job.scorer).dim)
