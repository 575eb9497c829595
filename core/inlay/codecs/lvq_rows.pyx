"""How rows coded by LVQ are scored one by one, as a walk over a graph does; the formulas are in lvq.pyx.

    LVQRowScorer   queries, each prepared once
      near         first level, int8 values: kernels/gather.hpp
      rows_at      float32, from everything a row has
    LVQPairs       rows against each other, by `near` alone

The aimed row's codes are int8 values already: less half of all there can be, they fit exactly. So aiming is a
copy, and the distance of rows a and b is that of their first levels, both corrected:

    |a - b|^2 ~ norm_a + norm_b - 2 <rho_a rhat_a, rho_b rhat_b>

which is free of bias while the errors of a and b are independent. Those of rows nearer to each other than
their steps are not, and do not cancel: down to -2 |r - rho rhat|^2 for a = b, which is raised to 0.
"""

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memset

from ..kernels.table cimport (
    Near, Query, RowConstants, active, codes_as_values, get_codes, kConstants, part_of, prefetch_bytes,
    put_values,
)
from ..parallel.crew cimport split
from .codec cimport Scorer, lined
from .lvq_codes cimport Frame, LVQRows, Places

# Queries a piece of preparation: a rotation is a microsecond or two.
cdef size_t GRAIN = 64
# Rows decoded together when they are rescored: one tile of the float kernel.
cdef enum:
    TILE = 8


cdef class LVQRowReader(Scorer):
    """Int8 queries against the first level of coded rows; what the queries are is a subclass's.

    Parameters
    ----------
    codes : LVQRows
        Must not change while this scorer is in use.
    """

    cdef LVQRows codes
    cdef Places at
    cdef int bits
    cdef Py_ssize_t dim, bytes, stride
    cdef Near kernel
    # All that follows lies in one piece of memory; a query's part of it begins on a cache line.
    cdef Query* ready
    cdef int8_t* values     # of each query, laid out like codes
    cdef size_t values_size

    cdef char* start(self, LVQRows codes, Py_ssize_t n_queries, size_t more) except NULL:
        # Returns where `more` bytes begin that are a subclass's.
        self.codes, self.at, self.n_queries = codes, codes.where(), n_queries
        self.bits, self.dim, self.bytes, self.stride = codes.bits, codes.dim, 4 * codes.lines, codes.stride
        self.kernel = active().near4 if self.bits == 4 else active().near8
        cdef Py_ssize_t i
        cdef size_t plan = lined(n_queries * sizeof(Query))
        self.values_size = part_of(self.bytes) * (8 // self.bits)
        cdef size_t own = plan + n_queries * self.values_size
        cdef char* next = self.room(own, own + more)
        self.ready, self.values = <Query*>next, <int8_t*>(next + plan)
        for i in range(n_queries):
            self.ready[i].values = self.values_of(i)
            self.ready[i].least = self.least
        return next + own

    cdef inline int8_t* values_of(self, size_t i) noexcept nogil:
        return self.values + i * self.values_size

    cdef inline const uint8_t* row(self, uint32_t slot) noexcept nogil:
        return self.at.rows + slot * <size_t>self.stride

    cdef inline const RowConstants* constants(self, uint32_t slot) noexcept nogil:
        return <const RowConstants*>(self.row(slot) + self.bytes)

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        self.kernel(self.at.rows, self.stride, self.bytes, slots, n, &self.ready[query], out)

    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        for i in range(n):
            prefetch_bytes(self.row(slots[i]), self.bytes + kConstants)


cdef class LVQRowScorer(LVQRowReader):
    """A batch of queries against rows coded by LVQ.

    Parameters
    ----------
    frame : Frame
        What the rows were coded about.
    squared_l2 : bool
        Else inner product.
    queries : numpy.ndarray, shape (n, dim), float32
    codes : LVQRows
        Must not change while this scorer is in use.
    workers : int, >= 1
        How many threads may score at the same time.
    """

    cdef Frame frame
    cdef bint squared_l2
    cdef int residual_bits
    cdef Py_ssize_t residual_bytes
    cdef float* queries     # q' of each
    cdef float* zeros       # the mean about the centre
    cdef char* scratch      # of each worker: codes of a row, its second level, a tile of decoded rows
    cdef size_t scratch_size

    def __init__(
        self, Frame frame, bint squared_l2, const float[:, ::1] queries, LVQRows codes, int workers
    ):
        cdef PrepareJob job
        cdef size_t n = queries.shape[0], row = lined(codes.dim * sizeof(float))
        self.frame, self.squared_l2 = frame, squared_l2
        self.residual_bits, self.residual_bytes = codes.residual_bits, codes.residual_bytes
        self.least = 0.0 if squared_l2 else -INFINITY
        self.scratch_size = (
            lined(8 * codes.lines) + lined(codes.dim) + lined(TILE * codes.dim * sizeof(float))
        )
        self.queries = <float*>self.start(codes, n, (n + 1) * row + workers * self.scratch_size)
        self.zeros, self.scratch = self.query(n), <char*>self.query(n + 1)
        memset(self.zeros, 0, row)
        if n:
            job.scorer, job.queries = <void*>self, &queries[0, 0]
            with nogil:
                split(n, GRAIN, workers, prepare_piece, &job)

    cdef inline float* query(self, size_t i) noexcept nogil:
        return <float*>(<char*>self.queries + i * lined(self.dim * sizeof(float)))

    cdef const float* vector(self, size_t query) noexcept nogil:
        return self.query(query)

    cdef inline char* scratch_of(self, int worker) noexcept nogil:
        return self.scratch + worker * self.scratch_size

    cdef void prepare(self, size_t i, const float* given, char* scratch) noexcept nogil:
        cdef Query* ready = &self.ready[i]
        cdef int8_t* values = <int8_t*>scratch
        cdef Py_ssize_t j
        cdef int total = 0
        cdef float factor = -2.0 if self.squared_l2 else -1.0
        ready.shift = self.frame.centred(self.squared_l2, given, self.query(i))
        ready.scale = factor * active().quantise_query(self.query(i), self.dim, values)
        for j in range(self.dim):
            total += values[j]
        ready.total, ready.sum, ready.norms = total, ready.scale * <float>total, self.squared_l2
        put_values(self.bits, values, self.dim, self.bytes, self.values_of(i))

    cdef void expect(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        self.fetch(slots, n)
        if self.residual_bits:
            for i in range(n):
                prefetch_bytes(<const uint8_t*>&self.at.rhos[slots[i]], sizeof(float))
                prefetch_bytes(self.at.residuals + slots[i] * self.residual_bytes, self.residual_bytes)

    cdef void decode_row(self, uint32_t slot, float* out, char* scratch) noexcept nogil:
        # rhat, from every level there is
        cdef const RowConstants* constants = self.constants(slot)
        self.codes.decode(
            slot, self.unpacked(slot, scratch), constants.low, constants.step, self.zeros,
            <int8_t*>(scratch + lined(2 * self.bytes)), out
        )

    cdef inline const uint8_t* unpacked(self, uint32_t slot, char* scratch) noexcept nogil:
        return get_codes(self.bits, self.row(slot), self.bytes, <uint8_t*>scratch)

    cdef void last_row(self, uint32_t slot, float* out, char* scratch) noexcept nogil:
        # The best that is known of a row: both levels, or rho rhat.
        cdef const RowConstants* constants = self.constants(slot)
        cdef const uint8_t* codes
        if self.residual_bits:
            self.decode_row(slot, out, scratch)
        else:
            codes = self.unpacked(slot, scratch)
            active().expand(codes, NULL, self.dim, constants.low, constants.step, 1, self.zeros, out)

    cdef void rows_at(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        cdef char* scratch = self.scratch_of(worker)
        cdef float* rows = <float*>(scratch + lined(2 * self.bytes) + lined(self.dim))
        cdef const float* q = self.query(query)
        cdef size_t done, tile, i
        cdef bint two_levels = self.residual_bits > 0
        for done in range(0, n, 8):  # TILE
            tile = n - done if n - done < TILE else TILE
            for i in range(tile):
                self.last_row(slots[done + i], rows + i * self.dim, scratch)
            if self.squared_l2 and two_levels:
                active().squared_l2(q, 1, rows, tile, self.dim, out + done, tile)
                continue
            active().negative_ip(q, 1, rows, tile, self.dim, out + done, tile)
            for i in range(done, done + tile):
                if self.squared_l2:
                    out[i] = 2.0 * out[i] + self.constants(slots[i]).norm
                out[i] += self.ready[query].shift
                if out[i] < self.least:
                    out[i] = self.least

    def decode_into(self, const int64_t[::1] slots, float[:, ::1] out):
        """Write rhat of each slot to out (n, dim)."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(slots.shape[0]):
                self.decode_row(<uint32_t>slots[i], &out[i, 0], self.scratch)


cdef class LVQPairs(LVQRowReader):
    """Rows coded by LVQ against each other: squared L2 distances, one aimed row a worker.

    Parameters
    ----------
    codes : LVQRows
        Must not change while this scorer is in use.
    workers : int, >= 1
        How many threads may score at the same time.
    """

    def __init__(self, LVQRows codes, int workers):
        self.least = 0.0
        self.start(codes, workers, 0)

    cdef void aim(self, int worker, uint32_t slot) noexcept nogil:
        # Code c stands for low + step c = (low + step half) + step (c - half). Where all are 0 there is no
        # step: the one written down, 1, would only bring in rounding errors.
        cdef const RowConstants* constants = self.constants(slot)
        cdef Query* ready = &self.ready[worker]
        cdef int half = 1 << (self.bits - 1)
        cdef float step = constants.step if constants.total else 0
        cdef uint32_t total = constants.total - <uint32_t>(half * self.dim)
        codes_as_values(self.bits, self.row(slot), self.dim, self.bytes, self.values_of(worker))
        ready.total = <int32_t>total  # wraps where a damaged file has a wrong one
        ready.scale, ready.offset = -2.0 * step, -2.0 * (constants.low + step * <float>half)
        ready.sum = ready.scale * <float>ready.total + ready.offset * <float>self.dim
        ready.shift, ready.norms = constants.norm, True


cdef struct PrepareJob:
    void* scorer
    const float* queries


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef PrepareJob* job = <PrepareJob*>context
    cdef char* scratch = (<LVQRowScorer>job.scorer).scratch_of(worker)
    cdef size_t i
    for i in range(begin, end):
        (<LVQRowScorer>job.scorer).prepare(i, job.queries + i * (<LVQRowScorer>job.scorer).dim, scratch)
