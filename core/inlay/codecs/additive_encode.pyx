"""How rows become codes in stages: a beam search for the sum of codewords that lies nearest.

After each stage the `beam` best partial codes of a row are kept. What every way on would score,

    |y - sum - T[k]|^2 - |y|^2  =  score + |T[k]|^2 - 2 <y, T[k]> + sum over l < m of 2 <T_l[i_l], T[k]>

comes from tables: products of the row with all codewords, made for 64 rows at once, and of codewords with
each other. No residual is formed: with d dimensions, K entries, M stages and a beam of B a row takes
M K d products and B K M (M - 1) / 2 sums, where residuals take B M K d products.

Scores are sums in one order of numbers that are the same bits at every CPU level, and equal scores are taken
in order, so codes depend on the row and the books alone.

    norm      |origin + xhat|^2 = |origin|^2 + 2 <P origin, yhat> + |yhat|^2, in steps above the least

Sources: Babenko and Lempitsky, Additive quantization for extreme vector compression, CVPR 2014, section 3.1
(beam search from tables); Chen et al., Approximate nearest neighbor search by residual vector quantization,
Sensors 2010.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int16_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from ..kernels.table cimport Step, active, dot, kStageRows, prefetch_bytes
from ..parallel.crew cimport split
from .additive_codes cimport StageCodes
from .basis cimport Basis
from .books cimport Books, Pages, add_up, cross_at, length_of, products_of, short_room, shorten
from .codec cimport lined

# Products that are made together: those of a block of rows then lie in the second cache.
cdef enum:
    TOGETHER = 256


# What one thread needs for its rows.
cdef struct Room:
    float* y
    int16_t* shorts          # y in integers
    float* factors           # -2 of what these stand for
    float* products
    float* scores            # of each row's partial codes
    uint8_t* codes           # the partial codes, `beam` a row
    uint8_t* fresh           # those of one row after a stage
    const float** crosses
    Step* steps
    float* sum
    float* origin


cdef struct EncodeJob:
    Pages books
    void* basis
    const float* rows
    const float* origins
    size_t n
    size_t first
    size_t beam
    void* codes
    float low
    float step
    float* norms
    float* errors
    char* scratch
    size_t scratch_size


cdef size_t room_of(const Pages* books, size_t padded, size_t beam, char* memory, Room* room) noexcept nogil:
    # Lay out a thread's room, null for measuring it alone.
    cdef size_t each = beam * books.stages, at = 0
    cdef size_t group = group_of(books)
    room.y = <float*>memory
    at += lined(kStageRows * padded * sizeof(float))
    room.shorts = <int16_t*>(memory + at)
    at += lined(kStageRows * short_room(books.dim) * sizeof(int16_t))
    room.factors = <float*>(memory + at)
    at += lined(kStageRows * sizeof(float))
    room.products = <float*>(memory + at)
    at += lined(kStageRows * group * books.entries * sizeof(float))
    room.scores = <float*>(memory + at)
    at += lined(kStageRows * beam * sizeof(float))
    room.codes = <uint8_t*>(memory + at)
    at += lined(kStageRows * each)
    room.fresh = <uint8_t*>(memory + at)
    at += lined(each)
    room.crosses = <const float**>(memory + at)
    at += lined(each * sizeof(float*))
    room.steps = <Step*>(memory + at)
    at += lined(beam * sizeof(Step))
    room.sum = <float*>(memory + at)
    at += lined(books.dim * sizeof(float))
    room.origin = <float*>(memory + at)
    at += lined(padded * sizeof(float))
    return at


cdef inline size_t group_of(const Pages* books) noexcept nogil:
    cdef size_t group = TOGETHER // books.entries
    return group if group < books.stages else books.stages


cdef size_t advance(
    const Pages* books, size_t stage, size_t parents, size_t beam, const float* products, float* scores,
    uint8_t* codes, Room* room
) noexcept nogil:
    # A row's partial codes go on by one stage; return how many there are then.
    cdef size_t n_cross = stage if books.shared else 0, b, earlier, found
    cdef const uint8_t* parent
    for b in range(parents):
        for earlier in range(n_cross):
            room.crosses[b * n_cross + earlier] = books.crosses + cross_at(
                books.entries, earlier, stage, codes[b * books.stages + earlier]
            )
    found = active().extend(
        books.norms + stage * books.entries, products, books.entries, scores, parents, room.crosses, n_cross,
        beam, room.steps,
    )
    if found == 0:
        # A row too large for float32 sums has no numbers for scores; any code will do.
        codes[stage] = 0
        return 1
    for b in range(found):
        parent = codes + room.steps[b].parent * books.stages
        memcpy(room.fresh + b * books.stages, parent, stage)
        room.fresh[b * books.stages + stage] = <uint8_t>room.steps[b].entry
        scores[b] = room.steps[b].score
    memcpy(codes, room.fresh, found * books.stages)
    return found


cdef void expect(
    const Pages* books, size_t stage, size_t parents, const uint8_t* codes
) noexcept nogil:
    # Send for what `advance` will read of the products of codewords, which no cache holds all of.
    cdef size_t b, earlier
    cdef const float* cross
    if not books.shared:
        return
    for b in range(parents):
        for earlier in range(stage):
            cross = books.crosses + cross_at(
                books.entries, earlier, stage, codes[b * books.stages + earlier]
            )
            prefetch_bytes(<const uint8_t*>cross, books.entries * sizeof(float))


cdef void prepare(const Pages* books, const float* y, size_t n, Room* room) noexcept nogil:
    # Rows as integers, whose products with codewords will be -2 <y, T>.
    cdef size_t r
    cdef const float* row
    for r in range(n):
        row = y + r * books.dim
        room.factors[r] = -2 * shorten(
            row, books.dim, length_of(row, books.dim), room.shorts + r * short_room(books.dim)
        )


cdef void encode_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef EncodeJob* job = <EncodeJob*>context
    cdef Room room
    cdef size_t block
    room_of(
        &job.books, (<Basis>job.basis).padded, job.beam, job.scratch + worker * job.scratch_size, &room
    )
    for block in range(begin, end):
        encode_block(job, job.first // kStageRows + block, &room)


cdef void encode_block(EncodeJob* job, size_t block, Room* room) noexcept nogil:
    # The new rows of one block: no two threads write to one byte.
    cdef const Pages* books = &job.books
    cdef size_t slot = block * kStageRows if block * kStageRows > job.first else job.first
    cdef size_t end = (block + 1) * kStageRows, row, n, r, m, stage, last, beam
    cdef size_t group = group_of(books), stride = group * books.entries
    cdef const float* start
    cdef size_t[64] parents
    if end > job.first + job.n:
        end = job.first + job.n
    row, n = slot - job.first, end - slot
    (<Basis>job.basis).forward(job.rows + row * (<Basis>job.basis).dim, n, True, room.y)
    prepare(books, room.y, n, room)
    for r in range(n):
        parents[r], room.scores[r * job.beam] = 1, 0
    stage = 0
    while stage < books.stages:
        last = stage + group if stage + group < books.stages else books.stages
        products_of(books, stage, last, room.shorts, room.factors, n, room.products, stride)
        for r in range(n):
            start = room.products + r * stride
            for m in range(stage, last):
                if r + 1 < n and m == stage:
                    expect(books, m, parents[r + 1], room.codes + (r + 1) * job.beam * books.stages)
                # Of the last stage only the best is wanted.
                beam = job.beam if m + 1 < books.stages else 1
                parents[r] = advance(
                    books, m, parents[r], beam, start + (m - stage) * books.entries,
                    room.scores + r * job.beam, room.codes + r * job.beam * books.stages, room,
                )
        stage = last
    for r in range(n):
        settle(job, row + r, r, room)


cdef void settle(EncodeJob* job, size_t row, size_t r, Room* room) noexcept nogil:
    # Store the codes and the norm of a row, which is number r of its block's.
    cdef const Pages* books = &job.books
    cdef const uint8_t* codes = room.codes + r * job.beam * books.stages
    cdef const float* y = room.y + r * books.dim
    cdef bint with_norms = (<StageCodes>job.codes).with_norms
    cdef double norm, level, error = 0, apart
    cdef uint8_t coded = 0
    cdef size_t j
    cdef const float* origin
    if not with_norms and job.norms == NULL and job.errors == NULL:
        (<StageCodes>job.codes).put(job.first + row, codes, 0)
        return
    add_up(books, books.stages, codes, room.sum)
    if job.errors != NULL:
        for j in range(books.dim):
            apart = <double>y[j] - room.sum[j]
            error += apart * apart
        job.errors[row] = <float>error
    norm = dot(room.sum, room.sum, books.dim)
    if job.origins != NULL:
        origin = job.origins + row * (<Basis>job.basis).dim
        (<Basis>job.basis).forward(origin, 1, False, room.origin)
        norm += dot(origin, origin, (<Basis>job.basis).dim) + 2 * dot(room.origin, room.sum, books.dim)
    if job.norms != NULL:
        job.norms[row] = <float>norm
    if with_norms:
        level = (norm - job.low) / job.step + 0.5
        coded = <uint8_t>(0 if not level > 0 else level if level < 255 else 255)
    (<StageCodes>job.codes).put(job.first + row, codes, coded)


cdef int encode_rows(
    Books books, Basis basis, rows, origins, Py_ssize_t beam, levels, StageCodes codes, Py_ssize_t first,
    norms, errors, int workers,
) except -1:
    cdef const float[:, ::1] given = rows
    cdef const float[:, ::1] about
    cdef float[::1] exact, wrong
    cdef EncodeJob job
    cdef Room room
    cdef size_t blocks
    if given.shape[0] == 0:
        return 0
    books.cross(books.stages)
    job.books, job.basis = books.pages(), <void*>basis
    job.rows, job.n, job.first, job.beam = &given[0, 0], given.shape[0], first, beam
    job.origins = job.norms = job.errors = NULL
    if origins is not None:
        about = origins
        job.origins = &about[0, 0]
    if norms is not None:
        exact = norms
        job.norms = &exact[0]
    if errors is not None:
        wrong = errors
        job.errors = &wrong[0]
    job.codes = <void*>codes
    codes.where()
    job.low, job.step = levels
    job.scratch_size = room_of(&job.books, basis.padded, beam, NULL, &room)
    job.scratch = <char*>calloc(workers, job.scratch_size)
    if job.scratch == NULL:
        raise MemoryError
    blocks = (first + job.n + kStageRows - 1) // kStageRows - first // kStageRows
    try:
        with nogil:
            split(blocks, 1, workers, encode_piece, &job)
    finally:
        free(job.scratch)
    return 0


cdef struct BeamJob:
    Pages books
    const float* y
    size_t stage
    size_t beam
    size_t parents
    float* scores
    uint8_t* codes
    char* scratch
    size_t scratch_size


cdef void beam_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef BeamJob* job = <BeamJob*>context
    cdef const Pages* books = &job.books
    cdef Room room
    cdef size_t n = end - begin, dim = books.dim, r
    room_of(books, dim, job.beam, job.scratch + worker * job.scratch_size, &room)
    prepare(books, job.y + begin * dim, n, &room)
    products_of(
        books, job.stage, job.stage + 1, room.shorts, room.factors, n, room.products, books.entries
    )
    for r in range(n):
        advance(
            books, job.stage, job.parents, job.beam, room.products + r * books.entries,
            job.scores + (begin + r) * job.beam, job.codes + (begin + r) * job.beam * books.stages, &room,
        )


class Beams:
    """Partial codes of many rows, for training, which goes on by one stage at a time.

    Parameters
    ----------
    y : numpy.ndarray, shape (n, dim), float32, n >= 1
    stages : int
    beam : int

    Attributes
    ----------
    scores : numpy.ndarray, shape (n, beam), float32
        |y - sum|^2 - |y|^2 of each partial code.
    codes : numpy.ndarray, shape (n, beam, stages), uint8
    size : int
        How many partial codes each row has by now, the best first.
    """

    def __init__(self, y, Py_ssize_t stages, Py_ssize_t beam):
        self.y, self.beam, self.size = y, beam, 1
        self.scores = np.zeros((len(y), beam), np.float32)
        self.codes = np.zeros((len(y), beam, stages), np.uint8)

    def advance(self, Books books, Py_ssize_t stage, int workers):
        """Go on by a stage whose codewords are known."""
        cdef const float[:, ::1] y = self.y
        cdef float[:, ::1] scores = self.scores
        cdef uint8_t[:, :, ::1] codes = self.codes
        cdef BeamJob job
        cdef Room room
        books.cross(stage + 1)
        job.books, job.y, job.stage = books.pages(), &y[0, 0], stage
        job.beam, job.parents = self.beam, self.size
        job.scores, job.codes = &scores[0, 0], &codes[0, 0, 0]
        job.scratch_size = room_of(&job.books, books.dim, self.beam, NULL, &room)
        job.scratch = <char*>calloc(workers, job.scratch_size)
        if job.scratch == NULL:
            raise MemoryError
        try:
            with nogil:
                split(y.shape[0], kStageRows, workers, beam_piece, &job)
        finally:
            free(job.scratch)
        self.size = min(self.beam, self.size * books.entries)
