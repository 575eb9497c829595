"""LoRANN: the rows of a cluster are scored by a model of it, two small products in place of one large one.

    t        = G^T q                               once a query                      lorann_fit.py: G, A, b
    p        = A^T t                               once a query and cluster, r + 1 numbers
    <q, x>   ~ <p, b_x>                            for each row x of the cluster

    ip :  -<q, x>                    l2 :  |q - x|^2 - |q|^2  =  |x|^2 - 2 <q, x>

A and b are held in 8 or 4 bits a number, but for what belongs to the first coordinate (of t, and of p), which
is float; t and p are rounded to int8 on the way. Both products are one kernel's, kernels/lorann.hpp: the
columns of A are to t what the rows' coefficients are to p. The score's order in tables:

    by list    codes      blocks of 16 columns of A, their first row aside       steps, firsts    float16
               leads      the first column of A, float32       scales      what A's numbers are multiplied by
               centres    in the coordinates of t
    by place   codes      blocks of 16 rows' b, the first number aside           steps, firsts    float16
               norms      |x|^2, of l2 alone

Sources: see lorann_fit.py. Differs from the reference in: codes lie interleaved to the end of a list; steps
are float16; norms are there once; first coordinates are float all the way.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from libcpp.algorithm cimport partial_sort
from libcpp.vector cimport vector

from ..kernels.table cimport (
    LorannRows, active, dot, get_row, key_of, kLine, kRows, kTogether, lines_of, prefetch_bytes,
    put_row, slot_of,
)
from ..parallel.crew cimport split
from .codec cimport Codes, Scorer, lined

from ..tables import Table
from .lorann_encode import decode, encode
from .lorann_fit import coefficients

# Queries a piece of preparation.
cdef size_t GRAIN = 16


cdef class Cleared(Codes):
    """Tables whose new entries hold zeros."""

    def resize(self, Py_ssize_t n):
        """Keep the first n, or make room for more at the end."""
        self.moved = True
        for name, table in self.tables.items():
            had = len(table)
            table.resize(self.length(name, n))
            if len(table) > had:
                table.rows[had:] = 0
        self.n = n


cdef class Models(Cleared):
    """A model a list, those of A and where its list lies.

    Parameters
    ----------
    size : int, >= 1
        Coordinates of the projection.
    rank : int, 0 .. size - 1
        Coefficients of a row beside its first.
    bits : {4, 8}
    """

    def __init__(self, Py_ssize_t size, Py_ssize_t rank, int bits):
        self.size, self.rank, self.bits = size, rank, bits
        cdef Py_ssize_t blocks = (rank + kRows - 1) // kRows
        super().__init__(
            {
                "codes": Table(np.uint8, (blocks, lines_of(bits, size - 1), kLine)),
                "steps": Table(np.float16, (blocks * kRows,)),
                "firsts": Table(np.float16, (blocks * kRows,)),
                "scales": Table(np.float32),
                "leads": Table(np.float32, (size,)),
                "centres": Table(np.float32, (size,)),
            }
        )

    cdef ModelParts where(self) except *:
        if self.moved:
            self.parts.codes = <const uint8_t*>self.address("codes")
            self.parts.steps = <const Half*>self.address("steps")
            self.parts.firsts = <const Half*>self.address("firsts")
            self.parts.scales = <const float*>self.address("scales")
            self.parts.leads = <const float*>self.address("leads")
            self.parts.centres = <const float*>self.address("centres")
            self.moved = False
        return self.parts

    def put(self, Py_ssize_t which, left):
        """Keep a model's A, float64 (size, 1 + rank), and return it as it is kept."""
        tables = {name: table.rows for name, table in self.tables.items()}
        scale = np.float32(max(np.abs(left[:, 1:]).max(initial=0.0), 1e-30))
        firsts, steps, codes = encode(np.ascontiguousarray(left[:, 1:].T / scale), None, self.bits)
        tables["codes"][which] = packed(codes, self.bits)
        for name, values in (("steps", steps), ("firsts", firsts)):
            tables[name][which] = 0
            tables[name][which, : self.rank] = values
        tables["scales"][which], tables["leads"][which] = scale, left[:, 0]
        kept = np.empty((self.size, 1 + self.rank))
        kept[:, 0] = tables["leads"][which]
        kept[:, 1:] = np.float64(scale) * decode(firsts, steps, codes, self.bits).T
        return kept

    def get(self, Py_ssize_t which):
        """Return A as `put` did."""
        tables = {name: table.rows[which] for name, table in self.tables.items()}
        codes = unpacked(tables["codes"], self.rank, self.size - 1, self.bits)
        kept = np.empty((self.size, 1 + self.rank))
        kept[:, 0] = tables["leads"]
        firsts, steps = tables["firsts"][: self.rank], tables["steps"][: self.rank]
        kept[:, 1:] = np.float64(tables["scales"]) * decode(firsts, steps, codes, self.bits).T
        # Of a damaged file they may be anything.
        return np.clip(np.nan_to_num(kept), -1e40, 1e40)


cdef class LorannCodes(Cleared):
    """The coefficients of rows, by place.

    Parameters
    ----------
    rank : int
        Coefficients beside the first.
    bits : {4, 8}
    with_norms : bool
        Of squared L2.
    """

    def __init__(self, Py_ssize_t rank, int bits, bint with_norms):
        self.rank, self.bits = rank, bits
        tables = {
            "codes": Table(np.uint8, (lines_of(bits, rank), kLine)),
            "steps": Table(np.float16),
            "firsts": Table(np.float16),
        }
        if with_norms:
            tables["norms"] = Table(np.float32)
        super().__init__(tables)

    def length(self, name, Py_ssize_t n):
        """Return how many rows a table has for n places, whole blocks."""
        return n // kRows if name == "codes" else n

    cdef RowParts where(self) except *:
        if self.moved:
            self.parts.codes = <const uint8_t*>self.address("codes")
            self.parts.steps = <const Half*>self.address("steps")
            self.parts.firsts = <const Half*>self.address("firsts")
            self.parts.norms = <const float*>self.address("norms")
            self.moved = False
        return self.parts

    def code(self, places, points, left, moments):
        """Write the coefficients of rows (m, size), in coordinates of the projection, under a model A.

        moments : float64 (size, size) or None
            Of the queries that come to the list.
        """
        values, metric = coefficients(left, points, moments)
        firsts, steps, codes = encode(values, metric, self.bits)
        self.tables["firsts"].rows[places], self.tables["steps"].rows[places] = firsts, steps
        put_rows(codes, places, self.tables["codes"].rows, self.bits)

    def place(self, targets, Codes other, sources):
        """Let the places `targets` hold what is at `sources` in other codes of the same kind."""
        self.own()
        for name, table in self.tables.items():
            if name == "codes":
                to, of = lanes(table), lanes(other.tables[name])
                to[targets // kRows, :, targets % kRows] = of[sources // kRows, :, sources % kRows]
            else:
                table.rows[targets] = other.tables[name].rows[sources]

    def blank(self, targets):
        """Let places hold zeros."""
        self.own()
        for name, table in self.tables.items():
            if name == "codes":
                lanes(table)[targets // kRows, :, targets % kRows] = 0
            else:
                table.rows[targets] = 0


cdef object lanes(table):
    return table.rows.reshape(len(table), table.shape[0], kRows, 4)


def packed(const uint8_t[:, ::1] codes, int bits):
    """Return the blocks (ceil(n / 16), lines, 64) of codes (n, length), one byte each."""
    blocks = np.zeros(
        ((codes.shape[0] + kRows - 1) // kRows, lines_of(bits, codes.shape[1]), kLine), np.uint8
    )
    put_rows(codes, np.arange(codes.shape[0]), blocks, bits)
    return blocks


def put_rows(const uint8_t[:, ::1] codes, const int64_t[::1] places, uint8_t[:, :, ::1] blocks, int bits):
    """Write codes (n, length) to their places in blocks."""
    cdef Py_ssize_t i, length = codes.shape[1], lines = blocks.shape[1]
    cdef uint8_t[::1] row = np.zeros(lines * 32 // bits, np.uint8)
    if length == 0:
        return
    for i in range(codes.shape[0]):
        memcpy(&row[0], &codes[i, 0], length)
        put_row(bits, &row[0], lines, places[i] % kRows, &blocks[places[i] // kRows, 0, 0])


def unpacked(const uint8_t[:, :, ::1] blocks, Py_ssize_t n, Py_ssize_t length, int bits):
    """Return the codes (n, length) that `packed` was given."""
    cdef Py_ssize_t i, lines = blocks.shape[1]
    codes = np.zeros((n, lines * 32 // bits), np.uint8)
    cdef uint8_t[:, ::1] row = codes
    if length:
        for i in range(n):
            get_row(bits, &blocks[i // kRows, 0, 0], lines, i % kRows, &row[i, 0])
    return np.ascontiguousarray(codes[:, :length])


cdef class LorannScorer(Scorer):
    """A batch of queries against the lists' models.

    Parameters
    ----------
    squared_l2 : bool
        Else inner product.
    queries : numpy.ndarray, shape (n, dim), float32
    directions : numpy.ndarray, shape (size, dim), float32
        The columns of the projection.
    models : Models
    codes : LorannCodes
        Neither may change while this scorer is in use.
    workers : int, >= 1
        How many threads may score at the same time.
    """

    def __init__(
        self, bint squared_l2, const float[:, ::1] queries, const float[:, ::1] directions, Models models,
        LorannCodes codes, int workers,
    ):
        cdef PrepareJob job
        cdef size_t n = queries.shape[0]
        self.squared_l2, self.n_queries, self.n_lists = squared_l2, n, len(models)
        self.size, self.rank, self.bits = models.size, models.rank, models.bits
        self.kept = (models, codes)
        self.models, self.rows = models.where(), codes.where()
        self.lines, self.row_lines = lines_of(self.bits, self.size - 1), lines_of(self.bits, self.rank)
        self.blocks = (self.rank + kRows - 1) // kRows
        self.width = self.blocks * kRows
        self.scan_one = active().lorann4_one if self.bits == 4 else active().lorann8_one
        self.scan_eight = active().lorann4_eight if self.bits == 4 else active().lorann8_eight
        self.near_centres = active().squared_l2 if squared_l2 else active().negative_ip
        self.allocate(workers)
        if n:
            job.scorer, job.queries, job.directions = <void*>self, &queries[0, 0], &directions[0, 0]
            job.dim = queries.shape[1]
            with nogil:
                split(n, GRAIN, workers, prepare_piece, &job)

    cdef int allocate(self, int workers) except -1:
        cdef size_t n = self.n_queries, constants = lined(n * sizeof(float))
        cdef size_t values = lined(32 // self.bits * self.lines)
        cdef size_t row_values = lined(32 // self.bits * self.row_lines)
        self.values_size = values
        # What a worker has: the queries in a list and their constants, the values of t of eight, those of p
        # and of one p, p.
        self.scratch_size = (
            256 + kTogether * values + (kTogether + 1) * row_values
            + lined(kTogether * self.width * sizeof(float))
        )
        cdef size_t own = lined(n * self.size * sizeof(float)) + n * values + 4 * constants
        cdef char* next = self.room(own, own + workers * self.scratch_size)
        self.projected = <float*>next
        next += lined(n * self.size * sizeof(float))
        self.values = <int8_t*>next
        next += n * values
        self.offsets, self.scales = <int32_t*>next, <float*>(next + constants)
        self.firsts, self.squares = <float*>(next + 2 * constants), <float*>(next + 3 * constants)
        self.scratch = next + 4 * constants
        return 0

    cdef inline float* query(self, size_t i) noexcept nogil:
        return self.projected + i * self.size

    cdef void prepare(self, size_t i) noexcept nogil:
        cdef float* t = self.query(i)
        cdef int8_t* values = self.values + i * self.values_size
        cdef size_t j
        for j in range(self.size):
            t[j] = -t[j]  # the kernel's inner products are negated
        self.firsts[i] = t[0]
        self.scales[i] = active().quantise_query(t + 1, self.size - 1, values)
        self.offsets[i] = offset_of(values, self.size - 1, self.bits)

    cdef void centres(self, size_t first, size_t n, float* out) noexcept nogil:
        self.near_centres(
            self.query(first), n, self.models.centres, self.n_lists, self.size, out, self.n_lists
        )

    cdef void enter(self, size_t which, const uint32_t* queries, size_t n, int worker) noexcept nogil:
        # One query's values lie in their order, those of several interleaved with zeros for who is missing.
        cdef char* room = self.scratch + worker * self.scratch_size
        cdef LorannQueries* entered = <LorannQueries*>room
        cdef int32_t* offsets = <int32_t*>(room + 64)
        cdef float* scales = <float*>(room + 128)
        cdef float* firsts = <float*>(room + 192)
        cdef int8_t* values = <int8_t*>(room + 256)
        cdef int8_t* next = values + kTogether * self.values_size
        cdef size_t next_size = lined(32 // self.bits * self.row_lines)
        cdef int8_t* single = next + kTogether * next_size
        cdef float* p = <float*>(single + next_size)
        cdef float scale = self.models.scales[which], factor = -2.0 if self.squared_l2 else -1.0, lead
        cdef size_t a, together = 1 if n == 1 else kTogether
        cdef LorannRows columns
        cdef const int8_t* given
        for a in range(together):
            offsets[a] = self.offsets[queries[a]] if a < n else 0
            scales[a] = scale * self.scales[queries[a]] if a < n else 0
            firsts[a] = scale * self.firsts[queries[a]] if a < n else 0
            if together > 1:
                given = self.values + queries[a] * self.values_size if a < n else NULL
                spread(given, self.values_size, a, values)
        entered.values = values if together > 1 else self.values + queries[0] * self.values_size
        entered.offsets, entered.scales, entered.firsts = offsets, scales, firsts
        columns.steps = self.models.steps + which * self.width
        columns.firsts = self.models.firsts + which * self.width
        columns.norms = NULL
        (self.scan_one if together == 1 else self.scan_eight)(
            self.models.codes + which * self.blocks * self.lines * kLine, self.blocks, self.lines, entered[0],
            columns, p, self.width,
        )
        for a in range(n):
            active().negative_ip(
                self.query(queries[a]), 1, self.models.leads + which * self.size, 1, self.size, &lead, 1
            )
            scales[a] = factor * active().quantise_query(p + a * self.width, self.rank, single)
            offsets[a] = offset_of(single, self.rank, self.bits)
            firsts[a] = -factor * lead
            if together > 1:
                spread(single, next_size, a, next)
        entered.values = next if together > 1 else single

    cdef void block_of(
        self, const uint32_t* queries, size_t n_queries, size_t first, size_t n, float* out, size_t stride,
        int worker
    ) noexcept nogil:
        # The queries are those that entered.
        cdef LorannQueries* entered = <LorannQueries*>(self.scratch + worker * self.scratch_size)
        cdef LorannRows rows
        rows.steps, rows.firsts = self.rows.steps + first, self.rows.firsts + first
        rows.norms = self.rows.norms + first if self.squared_l2 else NULL
        (self.scan_one if n_queries == 1 else self.scan_eight)(
            self.rows.codes + first // kRows * self.row_lines * kLine, (n + kRows - 1) // kRows,
            self.row_lines, entered[0], rows, out, stride,
        )

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
            keys.resize(threads * self.n_lists)
            job.together = min(GRAIN, <size_t>self.n_queries)
            scores.resize(threads * job.together * self.n_lists)
            job.scorer, job.n, job.found = <void*>self, n, &view[0, 0]
            job.keys, job.scores = keys.data(), scores.data()
            with nogil:
                split(self.n_queries, GRAIN, threads, probe_piece, &job)
        return found


cdef struct ProbeJob:
    void* scorer
    size_t n
    int64_t* found
    uint64_t* keys    # n_lists a worker
    float* scores     # together * n_lists a worker
    size_t together


cdef void probe_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef ProbeJob* job = <ProbeJob*>context
    cdef size_t n_lists = (<LorannScorer>job.scorer).n_lists, query, i
    cdef uint64_t* keys = job.keys + worker * n_lists
    cdef float* scores = job.scores + worker * job.together * n_lists
    (<LorannScorer>job.scorer).centres(begin, end - begin, scores)
    for query in range(begin, end):
        for i in range(n_lists):
            keys[i] = key_of(scores[i], i)
        partial_sort(keys, keys + job.n, keys + n_lists)
        for i in range(job.n):
            job.found[query * job.n + i] = slot_of(keys[i])
        scores += n_lists


cdef inline int32_t offset_of(const int8_t* values, size_t n, int bits) noexcept nogil:
    # What codes that begin at 0, not at -half, add to a product.
    cdef int32_t total = 0
    cdef size_t j
    for j in range(n):
        total += values[j]
    return total * (1 << (bits - 1))


cdef inline void spread(const int8_t* values, size_t n, size_t a, int8_t* together) noexcept nogil:
    # The values of query a among those of eight, by fours; zeros for null.
    cdef size_t j
    for j in range(n // 4):
        if values == NULL:
            memset(together + 4 * (j * kTogether + a), 0, 4)
        else:
            memcpy(together + 4 * (j * kTogether + a), values + 4 * j, 4)


cdef struct PrepareJob:
    void* scorer
    const float* queries
    const float* directions
    size_t dim


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef PrepareJob* job = <PrepareJob*>context
    cdef size_t i
    cdef const float* query
    active().negative_ip(
        job.queries + begin * job.dim, end - begin, job.directions, (<LorannScorer>job.scorer).size, job.dim,
        (<LorannScorer>job.scorer).query(begin), (<LorannScorer>job.scorer).size,
    )
    for i in range(begin, end):
        (<LorannScorer>job.scorer).prepare(i)
        if (<LorannScorer>job.scorer).squared_l2:
            query = job.queries + i * job.dim
            (<LorannScorer>job.scorer).squares[i] = <float>dot(query, query, job.dim)
