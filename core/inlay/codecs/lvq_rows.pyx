"""How rows coded by LVQ are scored one by one, as a walk over a graph does; the formulas are in lvq.pyx.

    LVQRowScorer   queries, each prepared once
    LVQPairs       rows against each other: the aimed row is decoded and prepared like a query
      near         first level, int8 values: kernels/gather.hpp
      rows_at      float32, from everything a row has

Between rows a and b, with a taken for a query (all its levels; rho rhat where there is one):

    |a - b|^2 ~ norm_a + norm_b - 2 <a, rho_b rhat_b>

which is free of bias but for a = b, where the errors of a's and b's codes are the same and do not cancel:
about -2 |r - rhat|^2, which is raised to 0.
"""

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from ..kernels.table cimport (
    Near, Query, active, get_codes, kConstants, part_of, prefetch_bytes, put_values,
)
from ..parallel.crew cimport split
from .codec cimport Scorer
from .lvq_codes cimport Frame, LVQRows, Places, lined

# Queries a piece of preparation: a rotation is a microsecond or two.
cdef size_t GRAIN = 64
# Rows decoded together when they are rescored: one tile of the float kernel.
cdef enum:
    TILE = 8


cdef class LVQRowReader(Scorer):
    """Prepared queries over coded rows; what these are is a subclass's.

    Parameters
    ----------
    codes : LVQRows
        Must not change while this scorer is in use.
    n_queries : int
    workers : int, >= 1
        How many threads may score at the same time.
    """

    cdef LVQRows codes
    cdef Places at
    cdef int bits, residual_bits
    cdef Py_ssize_t dim, bytes, stride, residual_bytes
    cdef Near kernel
    # All that follows lies in one piece of memory; a query's part of it begins on a cache line.
    cdef char* memory
    cdef Query* ready
    cdef float* queries     # q' of each
    cdef int8_t* values     # its int8 values, laid out like codes
    cdef float* zeros       # the mean about the centre
    cdef char* scratch      # of each worker: codes of a row, its second level, a tile of decoded rows
    cdef size_t values_size, scratch_size

    def __cinit__(self):
        self.memory = NULL

    def __dealloc__(self):
        free(self.memory)

    cdef int start(self, LVQRows codes, Py_ssize_t n_queries, int workers) except -1:
        self.codes, self.at, self.n_queries = codes, codes.where(), n_queries
        self.bits, self.residual_bits, self.dim = codes.bits, codes.residual_bits, codes.dim
        self.bytes, self.stride, self.residual_bytes = 4 * codes.lines, codes.stride, codes.residual_bytes
        self.kernel = active().near4 if self.bits == 4 else active().near8
        cdef Py_ssize_t i
        cdef size_t row = lined(self.dim * sizeof(float)), plan = lined(n_queries * sizeof(Query))
        self.values_size = part_of(self.bytes) * (8 // self.bits)
        self.scratch_size = lined(2 * self.bytes) + lined(self.dim) + lined(TILE * self.dim * sizeof(float))
        self.memory = <char*>calloc(
            64 + plan + n_queries * (row + self.values_size) + row + workers * self.scratch_size, 1
        )
        if self.memory == NULL:
            raise MemoryError
        cdef char* next = self.memory + (64 - <size_t>self.memory % 64) % 64
        self.ready = <Query*>next
        self.queries = <float*>(next + plan)
        next += plan + n_queries * row
        self.values = <int8_t*>next
        self.zeros = <float*>(next + n_queries * self.values_size)
        self.scratch = <char*>self.zeros + row
        for i in range(n_queries):
            self.ready[i].values = self.values + i * self.values_size
        return 0

    cdef inline float* query(self, size_t i) noexcept nogil:
        return <float*>(<char*>self.queries + i * lined(self.dim * sizeof(float)))

    cdef inline char* scratch_of(self, int worker) noexcept nogil:
        return self.scratch + worker * self.scratch_size

    cdef void prepare(self, size_t i, bint squared_l2, float shift, char* scratch) noexcept nogil:
        # From q', which is there already.
        cdef Query* ready = &self.ready[i]
        cdef int8_t* values = <int8_t*>scratch
        cdef Py_ssize_t j
        cdef int total = 0
        cdef float factor = -2.0 if squared_l2 else -1.0
        ready.scale = factor * active().quantise_query(self.query(i), self.dim, values)
        for j in range(self.dim):
            total += values[j]
        ready.total, ready.norms, ready.shift, ready.least = total, squared_l2, shift, self.least
        put_values(self.bits, values, self.dim, self.bytes, self.values + i * self.values_size)

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        self.kernel(self.at.rows, self.stride, self.bytes, slots, n, &self.ready[query], out)

    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        for i in range(n):
            prefetch_bytes(self.at.rows + slots[i] * <size_t>self.stride, self.bytes + kConstants)

    cdef void expect(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        self.fetch(slots, n)
        if self.residual_bits:
            for i in range(n):
                prefetch_bytes(<const uint8_t*>&self.at.rhos[slots[i]], sizeof(float))
                prefetch_bytes(self.at.residuals + slots[i] * self.residual_bytes, self.residual_bytes)

    cdef inline const float* constants(self, uint32_t slot) noexcept nogil:
        # step, low, norm
        return <const float*>(self.at.rows + slot * <size_t>self.stride + self.bytes)

    cdef void decode_row(self, uint32_t slot, float* out, char* scratch) noexcept nogil:
        # rhat, from every level there is
        cdef const float* constants = self.constants(slot)
        cdef float rho = self.at.rhos[slot]
        cdef float step = constants[0] / rho, low = constants[1] / rho
        cdef int levels = 1 << self.residual_bits
        cdef const uint8_t* residual = self.at.residuals + slot * self.residual_bytes
        cdef const uint8_t* codes = self.unpacked(slot, scratch)
        cdef int8_t* codes2 = <int8_t*>(scratch + lined(2 * self.bytes))
        if self.residual_bits == 0:
            active().expand(codes, NULL, self.dim, low, step, 1, self.zeros, out)
            return
        if self.residual_bits == 8:
            codes2 = <int8_t*>residual
        else:
            active().unpack_nibbles(residual, self.dim, codes2)
        active().expand(codes, codes2, self.dim, low, step / levels, levels, self.zeros, out)

    cdef inline const uint8_t* unpacked(self, uint32_t slot, char* scratch) noexcept nogil:
        return get_codes(self.bits, self.at.rows + slot * <size_t>self.stride, self.bytes, <uint8_t*>scratch)

    cdef void last_row(self, uint32_t slot, float* out, char* scratch) noexcept nogil:
        # The best that is known of a row: both levels, or rho rhat.
        cdef const float* constants = self.constants(slot)
        if self.residual_bits:
            self.decode_row(slot, out, scratch)
        else:
            active().expand(
                self.unpacked(slot, scratch), NULL, self.dim, constants[1], constants[0], 1, self.zeros, out
            )


cdef class LVQRowScorer(LVQRowReader):
    """A batch of queries against rows coded by LVQ.

    Parameters
    ----------
    frame : Frame
        What the rows were coded about.
    squared_l2 : bool
        Else inner product.
    queries : numpy.ndarray, shape (n, dim), float32
    codes, workers
        See `LVQRowReader`.
    """

    cdef Frame frame
    cdef bint squared_l2

    def __init__(
        self, Frame frame, bint squared_l2, const float[:, ::1] queries, LVQRows codes, int workers
    ):
        cdef PrepareJob job
        self.frame, self.squared_l2 = frame, squared_l2
        self.least = 0.0 if squared_l2 else -INFINITY
        self.start(codes, queries.shape[0], workers)
        if self.n_queries:
            job.scorer, job.queries = <void*>self, &queries[0, 0]
            with nogil:
                split(self.n_queries, GRAIN, workers, prepare_piece, &job)

    cdef void take(self, size_t i, const float* given, char* scratch) noexcept nogil:
        self.prepare(i, self.squared_l2, self.frame.centred(self.squared_l2, given, self.query(i)), scratch)

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
                    out[i] = 2.0 * out[i] + self.constants(slots[i])[2]
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
    codes, workers
        See `LVQRowReader`.
    """

    def __init__(self, LVQRows codes, int workers):
        self.least = 0.0
        self.start(codes, workers, workers)

    cdef void aim(self, int worker, uint32_t slot) noexcept nogil:
        self.last_row(slot, self.query(worker), self.scratch_of(worker))
        self.prepare(worker, True, self.constants(slot)[2], self.scratch_of(worker))


cdef struct PrepareJob:
    void* scorer
    const float* queries


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef PrepareJob* job = <PrepareJob*>context
    cdef char* scratch = (<LVQRowScorer>job.scorer).scratch_of(worker)
    cdef size_t i
    for i in range(begin, end):
        (<LVQRowScorer>job.scorer).take(i, job.queries + i * (<LVQRowScorer>job.scorer).dim, scratch)
