"""What a vertex of a graph keeps of those it links to, so that all of them are scored at once.

A vertex's row is a block for each 32 (or 64) links, one after the other, padded to whole cache lines:
    codes      planes x groups x 16 (or 48) bytes     as kernels/fastscan.hpp looks them up
    adds       2 bytes a link                         bfloat16; infinite where there is no link
    rescales   2 bytes a link                         bfloat16

They say how each link's score differs from the vertex's own: rabitq.pyx. A link is coded from the two rows'
first-level LVQ codes, in the frame these are kept in. So a row follows from the links and the codes of the
rows, and neither the numbering of the vertices nor how the links came about matters to it.

Factors are bfloat16: a relative error of 0.4 % at most where an estimate is off by a few, in the range of
float32, which float16 has not.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from ..kernels.table cimport (
    Estimates, RowConstants, Sums, active, pack32, pack64, prefetch_bytes,
)
from ..parallel.crew cimport split
from ..scorer cimport LinkScorer, Scorer
from .codec cimport lined
from .lvq_codes cimport Frame, LVQRows, Places
from .rabitq cimport Factors, LinkCoder

from ..tables import Table

cdef uint16_t INFINITE = 0x7F80
# Vertices a piece of encoding, some microseconds each; queries a piece of preparation, 1 us each.
cdef size_t GRAIN = 16


def lanes_of(Py_ssize_t degree, str code):
    """Return how many links are scored together: 32, or 64 by RaBitQ where the degree is a multiple of it."""
    if degree % 32:
        raise ValueError(f"links are scored 32 at a time: degree must be a multiple of 32, not {degree}")
    return 64 if degree % 64 == 0 and code != "pq4" else 32


cdef class LinkCodes(Codes):
    """The links of n vertices, coded.

    Parameters
    ----------
    coder : LinkCoder
    degree : int
        Links a vertex, a multiple of 32.
    """

    def __init__(self, LinkCoder coder not None, Py_ssize_t degree):
        self.dim, self.degree, self.lanes = coder.dim, degree, 64 if coder.entries == 64 else 32
        self.code = coder.planes * coder.groups * (16 if self.lanes == 32 else 48)
        self.block = self.code + 4 * self.lanes
        self.stride = lined(degree // self.lanes * self.block)
        super().__init__({"link_codes": Table(np.uint8, (self.stride,))})

    def encode_links(self, LinkCoder coder not None, LVQRows rows, Frame frame, bint squared_l2, places,
                     vertices, int threads):
        """Code the links of these vertices anew.

        Parameters
        ----------
        coder : LinkCoder
        rows : LVQRows
            Codes of all vertices, 8 bits in their first level.
        frame : Frame
            What these were coded about.
        squared_l2 : bool
        places : uint32 (n, degree)
            The links; numbers from n on are none.
        vertices : uint32 (m,), or None for all
        threads : int
        """
        cdef EncodeJob job
        cdef uint8_t* scratch
        cdef uint8_t[:, ::1] out
        cdef const uint32_t[:, ::1] links = places
        cdef const uint32_t[::1] which
        cdef const float[::1] about
        cdef size_t n = len(rows) if vertices is None else len(vertices)
        if n == 0:
            return
        self.own()
        about = np.zeros(self.dim, np.float32) if squared_l2 else frame.centre
        out = self.tables["link_codes"].rows
        job.coder, job.rows = <void*>coder, rows.where()
        job.dim, job.degree, job.lanes = self.dim, self.degree, self.lanes
        job.code, job.block, job.out_stride = self.code, self.block, self.stride
        job.n, job.stride, job.bytes = len(rows), rows.stride, 4 * rows.lines
        job.squared_l2, job.about, job.places, job.out = squared_l2, &about[0], &links[0, 0], &out[0, 0]
        job.which = NULL
        if vertices is not None:
            which = vertices
            job.which = &which[0]
        job.row = lined(self.dim * sizeof(float))
        job.scratch_size = (
            2 * job.row + lined(coder.scratch) + lined(coder.planes * coder.groups)
            + lined(self.lanes * coder.planes * coder.groups)
        )
        scratch = <uint8_t*>malloc(threads * job.scratch_size + 64)
        if scratch == NULL:
            raise MemoryError
        job.scratch = scratch + (64 - <size_t>scratch % 64) % 64
        try:
            with nogil:
                split(n, GRAIN, threads, encode_piece, &job)
        finally:
            free(scratch)


cdef struct EncodeJob:
    void* coder
    size_t dim, degree, lanes, code, block, out_stride
    Places rows
    size_t n, stride, bytes      # of LVQ rows
    bint squared_l2
    const float* about           # added to rows in their frame: codes of links lie about whole vertices
    const uint32_t* places
    const uint32_t* which        # null: all
    uint8_t* out
    size_t row, scratch_size
    uint8_t* scratch


cdef inline const RowConstants* decode(EncodeJob* job, uint32_t slot, size_t dim, float* out) noexcept nogil:
    cdef const uint8_t* row = job.rows.rows + slot * job.stride
    cdef const RowConstants* constants = <const RowConstants*>(row + job.bytes)
    active().expand(row, NULL, dim, constants.low, constants.step, 1, job.about, out)
    return constants


cdef inline uint16_t half(float x) noexcept nogil:
    # bfloat16, to the nearest, ties to even; beyond it infinite.
    cdef uint32_t bits
    memcpy(&bits, &x, 4)
    return <uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


cdef void encode_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef EncodeJob* job = <EncodeJob*>context
    cdef uint8_t* scratch = job.scratch + worker * job.scratch_size
    cdef size_t at
    for at in range(begin, end):
        encode_vertex(job, <uint32_t>at if job.which == NULL else job.which[at], scratch)


cdef void encode_vertex(EncodeJob* job, uint32_t vertex, uint8_t* scratch) noexcept nogil:
    cdef size_t dim = job.dim, lanes = job.lanes, block, first, lane, plane
    cdef size_t groups = (<LinkCoder>job.coder).groups, planes = (<LinkCoder>job.coder).planes
    cdef float* centre = <float*>scratch
    cdef float* to = <float*>(scratch + job.row)
    cdef uint8_t* desk = scratch + 2 * job.row
    cdef uint8_t* found = desk + lined((<LinkCoder>job.coder).scratch)  # of one link
    cdef uint8_t* digits = found + lined(planes * groups)              # plane, link, group
    cdef const uint32_t* links = job.places + <size_t>vertex * job.degree
    cdef uint8_t* out = job.out + <size_t>vertex * job.out_stride
    cdef uint16_t* adds
    cdef Factors factors
    cdef float norm = decode(job, vertex, dim, centre).norm
    for block in range(job.degree // lanes):
        first = block * lanes
        adds = <uint16_t*>(out + job.code)
        memset(digits, 0, lanes * planes * groups)
        for lane in range(lanes):
            if links[first + lane] >= job.n:
                adds[lane], adds[lanes + lane] = INFINITE, 0
                continue
            factors = (<LinkCoder>job.coder).code(
                job.squared_l2, to, centre, decode(job, links[first + lane], dim, to).norm - norm, found, desk
            )
            for plane in range(planes):
                memcpy(digits + (plane * lanes + lane) * groups, found + plane * groups, groups)
            adds[lane], adds[lanes + lane] = half(factors.add), half(factors.rescale)
        for plane in range(planes):
            if lanes == 32:
                pack32(digits + plane * lanes * groups, groups, out + plane * groups * 16)
            else:
                pack64(digits + plane * lanes * groups, groups, out + plane * groups * 48)
        out += job.block
    # Memory of a table holds anything at first, and a file the same bytes each time.
    memset(out, 0, job.out_stride - job.degree // lanes * job.block)


cdef class LinkQueries(LinkScorer):
    """A batch of queries against coded links.

    Parameters
    ----------
    coder : LinkCoder
    codes : LinkCodes
        Must not change while this scorer is in use.
    queries : Scorer
        The same queries, in the frame of the rows (`vector`).
    workers : int
    """

    cdef LinkCoder coder
    cdef Scorer queries
    cdef const uint8_t[:, ::1] held
    cdef const uint8_t* rows
    cdef size_t stride, block, code, groups, planes, table
    cdef Sums sums
    cdef Estimates estimates
    cdef uint8_t* tables        # of each query
    cdef float* steps           # step and shift of each
    cdef uint8_t* scratch       # of each worker
    cdef size_t scratch_size

    def __init__(self, LinkCoder coder not None, LinkCodes codes not None, Scorer queries not None,
                 int workers):
        cdef size_t n = queries.n_queries, steps = lined(8 * n)
        self.coder, self.queries, self.held = coder, queries, codes.tables["link_codes"].rows
        self.rows, self.stride = &self.held[0, 0], codes.stride
        self.block, self.code = codes.block, codes.code
        self.groups, self.planes, self.lanes = coder.groups, coder.planes, codes.lanes
        self.blocks = codes.degree // codes.lanes
        self.sums = active().fastscan32 if codes.lanes == 32 else active().fastscan64
        self.estimates = active().estimates
        self.table = lined(coder.groups * coder.entries)
        self.scratch_size = lined(coder.scratch)
        self.tables = <uint8_t*>self.room(0, n * self.table + steps + workers * self.scratch_size)
        self.steps = <float*>(self.tables + n * self.table)
        self.scratch = <uint8_t*>self.steps + steps
        if n:
            with nogil:
                split(n, GRAIN, workers, prepare_piece, <void*>self)

    cdef void prepare(self, size_t i, int worker) noexcept nogil:
        self.coder.look_up(
            self.queries.vector(i), self.tables + i * self.table, self.steps + 2 * i, self.steps + 2 * i + 1,
            self.scratch + worker * self.scratch_size,
        )

    cdef void fetch(self, uint32_t vertex) noexcept nogil:
        prefetch_bytes(self.rows + vertex * self.stride, self.stride)

    cdef void score(
        self, size_t query, uint32_t vertex, float score, float worst, float* out, uint64_t* below
    ) noexcept nogil:
        cdef const uint8_t* row = self.rows + vertex * self.stride
        cdef const uint8_t* tables = self.tables + query * self.table
        cdef const uint16_t* factors
        cdef uint32_t[64] sums
        cdef size_t i
        for i in range(self.blocks):
            factors = <const uint16_t*>(row + self.code)
            self.sums(row, tables, self.groups, self.planes, sums)
            below[i] = self.estimates(
                sums, factors, factors + self.lanes, self.lanes, score, self.steps[2 * query],
                self.steps[2 * query + 1], worst, out + self.lanes * i,
            )
            row += self.block


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef size_t i
    for i in range(begin, end):
        (<LinkQueries>context).prepare(i, worker)
