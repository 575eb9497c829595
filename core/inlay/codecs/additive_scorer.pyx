"""How queries are scored against rows coded in stages: a look-up a stage.

A query has a table of its products with each stage's codewords, as bytes in steps that are the same for all
of its tables:

    ip :  -<q, x>              ~ sum of -<P q, T_m>                            - <q, centre>
    l2 :  |q - x|^2            ~ sum of -2 <y, T_m> + |origin + yhat|^2        + |q - centre|^2

with y = P (q - centre), and the norm from the row's own byte. Where stages share no coordinates and rows have
no origins the norm is the sum of the codewords' own, and lies in the tables.

    StageBlockScorer   for scans
      block            a run of rows: kernels/stages.hpp
    StageRowScorer     for walks
      near             rows named by slots, whole scores
    both
      rows_at          the last scores of candidates, float32: the distance to the row that `decode` gives
    StagePairs         rows against each other: the distances of the rows that `decode` gives
"""

import numpy as np

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from ..kernels.table cimport Line, Shape, StageScan, active, dot, kStageRows
from ..parallel.crew cimport split
from .additive_codes cimport StageBlocks, StageCodes, StageRows
from .basis cimport Basis
from .books cimport Books, Pages, add_up, length_of, products_of, short_room, shorten
from .codec cimport Scorer, lined

# Queries prepared together: each load of a codeword then serves six.
cdef enum:
    TOGETHER = 12
# Blocks that are scanned together when scores cannot go straight to where they are wanted.
cdef enum:
    ASIDE = 8
# Rows decoded together when candidates are rescored: one tile of the float kernel.
cdef enum:
    TILE = 8
# Stages of a row, at most.
cdef enum:
    MOST_STAGES = 4096
# Largest entry of a query's tables.
cdef unsigned MOST = 255


cdef class StageScorer(Scorer):
    """A batch of queries against rows coded in stages: what scans and walks have in common.

    Parameters
    ----------
    books : Books
    basis : Basis
    squared_l2 : bool
        Else inner product.
    residual : bool
        Rows are what origins leave of them: scores want 2 <q, origin> taken off ("l2"; <q, origin> for inner
        products), which whoever knows a row's origin does.
    levels : (float, float)
        The least norm and the step of the norms' codes.
    used : int
        How many stages estimates look at.
    queries : numpy.ndarray, shape (n, dim), float32
    codes : StageCodes
        Must not change while this scorer is in use.
    workers : int, >= 1
        How many threads may score at the same time.
    """

    cdef Books books
    cdef Basis basis
    cdef StageCodes codes
    cdef Pages pages
    cdef bint squared_l2, residual, with_norms
    cdef size_t used, dim, rank, size      # size: of a query's tables
    cdef float norm_low, norm_step
    # All that follows lies in one piece of memory.
    cdef uint8_t* tables     # of each query
    cdef float* queries      # y, or P q for inner products
    cdef Line* lines
    cdef float* shifts
    cdef float* beyond       # |q - centre|^2 - |y|^2, which P leaves out
    cdef char* scratch
    cdef size_t scratch_size

    def __init__(
        self, Books books, Basis basis, bint squared_l2, bint residual, levels, Py_ssize_t used,
        const float[:, ::1] queries, StageCodes codes, int workers,
    ):
        cdef PrepareJob job
        self.books, self.basis, self.codes = books, basis, codes
        self.squared_l2, self.residual, self.with_norms = squared_l2, residual, codes.with_norms
        self.pages, self.used, self.dim, self.rank = books.pages(), used, basis.dim, basis.rank
        codes.where()
        self.size = used * books.entries
        self.norm_low, self.norm_step = levels
        self.n_queries = queries.shape[0]
        self.least = 0.0 if squared_l2 and not residual else -INFINITY
        self.allocate(workers)
        if self.n_queries:
            job.scorer, job.queries = <void*>self, &queries[0, 0]
            with nogil:
                split(self.n_queries, TOGETHER, workers, prepare_piece, &job)

    cdef int allocate(self, int workers) except -1:
        cdef size_t n = self.n_queries, constants = lined(n * sizeof(float))
        cdef size_t y = lined(self.rank * sizeof(float))
        cdef size_t aside = lined(ASIDE * kStageRows * sizeof(float)) + MOST_STAGES + TILE * y
        cdef size_t made = lined(TOGETHER * self.basis.padded * sizeof(float)) + lined(
            TOGETHER * short_room(self.rank) * sizeof(int16_t)
        ) + lined(TOGETHER * self.size * sizeof(float))
        self.scratch_size = aside if aside > made else made
        cdef size_t own = n * (self.size + y) + lined(n * sizeof(Line)) + 2 * constants
        cdef char* next = self.room(own, own + workers * self.scratch_size)
        self.tables = <uint8_t*>next
        next += n * self.size
        self.queries = <float*>next
        next += n * y
        self.lines = <Line*>next
        next += lined(n * sizeof(Line))
        self.shifts, self.beyond = <float*>next, <float*>(next + constants)
        self.scratch = next + 2 * constants
        return 0

    cdef inline float* query(self, size_t i) noexcept nogil:
        return <float*>(<char*>self.queries + i * lined(self.rank * sizeof(float)))

    cdef void prepare(self, size_t first, size_t n, const float* given, char* scratch) noexcept nogil:
        cdef float* y = <float*>scratch
        cdef size_t stride = short_room(self.rank)
        cdef int16_t* shorts = <int16_t*>(scratch + lined(TOGETHER * self.basis.padded * sizeof(float)))
        cdef float* tables = <float*>(<char*>shorts + lined(TOGETHER * stride * sizeof(int16_t)))
        cdef float[12] factors  # TOGETHER
        cdef float factor = -2.0 if self.squared_l2 else -1.0
        cdef const float* row
        cdef Line* line
        cdef size_t i, j
        cdef double square
        self.basis.forward(given, n, self.squared_l2, y)
        for i in range(n):
            row = y + i * self.rank
            factors[i] = factor * shorten(row, self.rank, length_of(row, self.rank), shorts + i * stride)
        products_of(&self.pages, 0, self.used, shorts, factors, n, tables, self.size)
        for i in range(n):
            row = y + i * self.rank
            memcpy(self.query(first + i), row, self.rank * sizeof(float))
            line = self.lines + first + i
            line.norm_step, line.norm_low = self.norm_step, self.norm_low
            if self.squared_l2 and not self.with_norms:
                for j in range(self.size):
                    tables[i * self.size + j] += self.pages.norms[j]
            active().quantise_tables(
                tables + i * self.size, self.used, self.pages.entries, MOST,
                self.tables + (first + i) * self.size, &line.step, &line.low,
            )
            if self.squared_l2:
                square = self.from_centre(given + i * self.dim)
                self.shifts[first + i] = <float>square
                self.beyond[first + i] = <float>(square - dot(row, row, self.rank))
            else:
                self.shifts[first + i] = <float>-dot(
                    given + i * self.dim, &self.basis.centre_view[0], self.dim
                )

    cdef double from_centre(self, const float* q) noexcept nogil:
        cdef double square = 0, apart
        cdef size_t j
        for j in range(self.dim):
            apart = <double>q[j] - self.basis.centre_view[j]
            square += apart * apart
        return square

    cdef float shift(self, size_t query) noexcept nogil:
        return self.shifts[query]

    cdef float slack(self, size_t query, uint32_t slot) noexcept nogil:
        # Nothing is known of how far a row lies from its code.
        return INFINITY

    cdef void expect(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        for i in range(n):
            self.codes.fetch(slots[i])

    cdef void rows_at(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        cdef uint8_t* codes = <uint8_t*>(self.scratch + worker * self.scratch_size)
        cdef float* rows = <float*>(codes + MOST_STAGES)
        cdef const float* q = self.query(query)
        cdef size_t done, tile, i
        for done in range(0, n, 8):  # TILE
            tile = n - done if n - done < TILE else TILE
            for i in range(tile):
                decode_row(self.codes, &self.pages, slots[done + i], codes, rows + i * self.rank)
            if self.squared_l2 and not self.residual:
                active().squared_l2(q, 1, rows, tile, self.rank, out + done, tile)
                for i in range(done, done + tile):
                    out[i] += self.beyond[query]
                    if out[i] < 0:
                        out[i] = 0
                continue
            active().negative_ip(q, 1, rows, tile, self.rank, out + done, tile)
            for i in range(done, done + tile):
                if self.squared_l2:
                    out[i] = 2 * out[i] + self.norm_of(slots[i])
                out[i] += self.shifts[query]

    cdef inline float norm_of(self, uint32_t slot) noexcept nogil:
        return self.norm_low + self.norm_step * self.codes.norm(slot)

    cdef const float* vector(self, size_t query) noexcept nogil:
        return self.query(query)


cdef void decode_row(
    StageCodes codes, const Pages* books, uint32_t slot, uint8_t* room, float* out
) noexcept nogil:
    # The sum of a row's codewords; `room` has a byte a stage.
    codes.read(slot, room)
    add_up(books, books.stages, room, out)


def decoded(Books books not None, StageCodes codes not None, const int64_t[::1] slots):
    """Return the sum of codewords of each slot, float32 (n, rank)."""
    cdef Pages pages = books.pages()
    cdef uint8_t[::1] room = np.empty(codes.stages, np.uint8)
    cdef float[:, ::1] out = np.empty((slots.shape[0], books.dim), np.float32)
    cdef Py_ssize_t i
    codes.where()
    with nogil:
        for i in range(slots.shape[0]):
            decode_row(codes, &pages, <uint32_t>slots[i], &room[0], &out[i, 0])
    return np.asarray(out)


cdef class StageBlockScorer(StageScorer):
    """A batch of queries against codes in blocks, for scans; parameters are those of `StageScorer`."""

    cdef Shape shape
    cdef StageScan kernel

    def __init__(
        self, books, basis, squared_l2, residual, levels, used, queries, StageBlocks codes, workers
    ):
        self.shape = codes.shape
        self.shape.used = used
        self.kernel = active().stages16 if codes.bits == 4 else active().stages256
        super().__init__(books, basis, squared_l2, residual, levels, used, queries, codes, workers)

    cdef void block(
        self, size_t query, size_t n_queries, size_t first, size_t n, float* out, size_t stride, int worker
    ) noexcept nogil:
        cdef float* aside = <float*>(self.scratch + worker * self.scratch_size)
        cdef size_t skip = first % kStageRows, a, done, some, whole
        cdef const uint8_t* blocks = self.codes.at + first // kStageRows * self.shape.stride
        cdef const uint8_t* tables
        cdef const Line* line
        cdef float* to
        for a in range(n_queries):
            tables, line = self.tables + (query + a) * self.size, self.lines + query + a
            to, done = out + a * stride, 0
            # Whole blocks go where they are wanted, parts of them by way of a copy.
            if skip == 0:
                whole = n // kStageRows
                self.kernel(blocks, whole, self.shape, tables, line[0], to)
                done = whole * kStageRows
            while done < n:
                some = ASIDE * kStageRows - (skip if done == 0 else 0)
                some = some if some < n - done else n - done
                whole = (skip if done == 0 else 0)
                self.kernel(
                    blocks + (skip + done) // kStageRows * self.shape.stride,
                    (whole + some + kStageRows - 1) // kStageRows, self.shape, tables, line[0], aside,
                )
                memcpy(to + done, aside + whole, some * sizeof(float))
                done += some


cdef class StageRowScorer(StageScorer):
    """A batch of queries against codes row after row, for walks; parameters are those of `StageScorer`."""

    cdef int bits
    cdef size_t stride

    def __init__(
        self, books, basis, squared_l2, residual, levels, used, queries, StageRows codes, workers
    ):
        self.bits, self.stride = codes.bits, codes.stride
        super().__init__(books, basis, squared_l2, residual, levels, used, queries, codes, workers)

    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil:
        self.expect(slots, n)

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        cdef const uint8_t* tables = self.tables + query * self.size
        cdef const Line* line = self.lines + query
        cdef const uint8_t* row
        cdef size_t i
        cdef float score
        for i in range(n):
            row = self.codes.at + slots[i] * self.stride
            score = line.step * <float>looked_up(tables, row, self.used, self.bits) + line.low
            if self.with_norms:
                score += line.norm_step * <float>row[self.stride - 1] + line.norm_low
            score += self.shifts[query]
            out[i] = score if score > self.least else self.least


cdef inline uint32_t looked_up(
    const uint8_t* tables, const uint8_t* row, size_t stages, int bits
) noexcept nogil:
    cdef uint32_t total = 0
    cdef size_t stage
    if bits == 8:
        for stage in range(stages):
            total += tables[256 * stage + row[stage]]
        return total
    for stage in range(stages):
        total += tables[16 * stage + (row[stage // 2] >> 4 * (stage % 2) & 15)]
    return total


cdef class StagePairs(Scorer):
    """Rows coded in stages against each other: squared L2 distances, one aimed row a worker.

    No table of a row's products with all codewords is made, for a row is aimed at to be compared with a few
    others: these are decoded, which takes M d additions where stages share coordinates, else a copy.

    Parameters
    ----------
    books : Books
    codes : StageCodes
        Must not change while this scorer is in use.
    workers : int, >= 1
        How many threads may score at the same time.
    """

    cdef Books books
    cdef StageCodes codes
    cdef Pages pages
    cdef size_t rank, size
    cdef char* scratch       # of each worker: the aimed row, a tile of rows, codes

    def __init__(self, Books books, StageCodes codes, int workers):
        self.books, self.codes, self.pages, self.rank = books, codes, books.pages(), books.dim
        self.n_queries, self.least = workers, 0.0
        codes.where()
        self.size = lined((TILE + 1) * self.rank * sizeof(float)) + MOST_STAGES
        self.scratch = self.room(workers * self.size, workers * self.size)

    cdef inline float* aimed(self, size_t worker) noexcept nogil:
        return <float*>(self.scratch + worker * self.size)

    cdef inline uint8_t* unpacked(self, size_t worker) noexcept nogil:
        return <uint8_t*>(self.scratch + (worker + 1) * self.size - MOST_STAGES)

    cdef void fetch(self, const uint32_t* slots, size_t n) noexcept nogil:
        cdef size_t i
        for i in range(n):
            self.codes.fetch(slots[i])

    cdef void aim(self, int worker, uint32_t slot) noexcept nogil:
        decode_row(self.codes, &self.pages, slot, self.unpacked(worker), self.aimed(worker))

    cdef void near(
        self, size_t query, const uint32_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        cdef const float* aimed = self.aimed(query)
        cdef float* rows = self.aimed(query) + self.rank
        cdef size_t done, tile, i
        for done in range(0, n, 8):  # TILE
            tile = n - done if n - done < TILE else TILE
            for i in range(tile):
                decode_row(
                    self.codes, &self.pages, slots[done + i], self.unpacked(query), rows + i * self.rank
                )
            active().squared_l2(aimed, 1, rows, tile, self.rank, out + done, tile)


cdef struct PrepareJob:
    void* scorer
    const float* queries


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef PrepareJob* job = <PrepareJob*>context
    cdef char* scratch = (<StageScorer>job.scorer).scratch + worker * (<StageScorer>job.scorer).scratch_size
    (<StageScorer>job.scorer).prepare(
        begin, end - begin, job.queries + begin * (<StageScorer>job.scorer).dim, scratch
    )
