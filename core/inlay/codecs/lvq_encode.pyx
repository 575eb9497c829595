"""How rows become LVQ codes, each by itself, without the GIL.

    r         = R x - centre - mean[s]                  mean[s] is the nearest
    low, step = the grid of r                           from its least to its largest value, or fitted
    c         = round((r - low) / step)                 0 .. 2^bits - 1, packed as the codes' layout has it
    rho       = |r|^2 / <r, rhat>                       rhat = low + step c; low and step are stored times rho
    norm      = |mean|^2 + |r|^2 + 2 <mean, rho rhat>   where scores need it
    c2        = round((r - rhat) / step2)               of two levels only; step2 = step / 2^bits2

Rows that are what origins leave have the origin in their norm, o = R origin:

    norm      = |r|^2 + <o, o + 2 centre + 2 rho rhat>  and the same from both levels as `whole`

A row's codes depend on the row and the frame alone: not on its batch, the threads or the CPU level. So sums
that decide something are summed in one order everywhere, and where rounding could choose the mean, float64
does.
"""

from libc.float cimport FLT_MAX
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ..kernels.table cimport Grid, active, kConstants, kLine, lay_row, put_row
from ..parallel.crew cimport split
from ..rotation cimport HadamardRotation
from .codec cimport lined
from .lvq_codes cimport MAX_MEANS, Frame, LVQCodes, Places, block_of

# Rows a piece: whole blocks, some tens of microseconds of work.
cdef size_t GRAIN = 64


cdef struct EncodeJob:
    void* rotation
    const float* rows
    const float* centre
    const float* means
    const float* origins    # R origin of each row; null where there are none
    Py_ssize_t n_means
    Py_ssize_t dim
    Py_ssize_t lines
    Py_ssize_t stride
    Py_ssize_t residual_bytes
    Py_ssize_t first
    int bits
    int residual_bits
    Places to
    float* energy
    char* scratch
    size_t scratch_size


cdef int encode_rows(
    Frame frame, const float[:, ::1] rows, LVQCodes codes, Py_ssize_t first, float[::1] energy, int workers,
    const float[:, ::1] origins=None,
) except -1:
    cdef EncodeJob job
    cdef size_t n = rows.shape[0]
    job.rotation = <void*>frame.rotation if frame.rotation is not None else NULL
    job.rows, job.centre, job.means = &rows[0, 0], &frame.centre_view[0], &frame.means_view[0, 0]
    job.origins = &origins[0, 0] if origins is not None else NULL
    job.n_means, job.dim, job.lines = frame.means_view.shape[0], codes.dim, codes.lines
    job.stride, job.residual_bytes, job.first = codes.stride, codes.residual_bytes, first
    job.bits, job.residual_bits = codes.bits, codes.residual_bits
    job.to, job.energy = codes.where(), &energy[0]
    job.scratch_size = encode_scratch(codes.dim, codes.lines)
    job.scratch = <char*>calloc(workers, job.scratch_size)
    if job.scratch == NULL:
        raise MemoryError
    try:
        with nogil:
            split(n, GRAIN, workers, encode_piece, &job)
    finally:
        free(job.scratch)
    return 0


cdef size_t encode_scratch(Py_ssize_t dim, Py_ssize_t lines) noexcept:
    # r, distances to means, codes (padded), codes2
    return lined(dim * sizeof(float)) + MAX_MEANS * sizeof(float) + <size_t>lines * kLine + lined(dim)


cdef void encode_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef EncodeJob* job = <EncodeJob*>context
    cdef size_t row
    cdef char* scratch = job.scratch + worker * job.scratch_size
    for row in range(begin, end):
        encode_row(job, row, scratch)


cdef void encode_row(EncodeJob* job, size_t row, char* scratch) noexcept nogil:
    cdef Py_ssize_t dim = job.dim, i, slot = job.first + row
    cdef float* r = <float*>scratch
    cdef float* distances = <float*>(scratch + lined(dim * sizeof(float)))
    cdef uint8_t* codes = <uint8_t*>(distances + MAX_MEANS)
    cdef int8_t* codes2 = <int8_t*>(codes + job.lines * kLine)
    cdef float top = (1 << job.bits) - 1
    cdef Grid grid
    cdef float[2] sums
    cdef float rho, norm
    cdef const float* mean
    memcpy(r, job.rows + row * dim, dim * sizeof(float))
    if job.rotation != NULL:
        (<HadamardRotation>job.rotation).forward(r)
    for i in range(dim):
        r[i] -= job.centre[i]
    cdef int selector = nearest_mean(job, r, distances)
    mean = job.means + selector * dim
    if job.n_means > 1:
        for i in range(dim):
            r[i] -= mean[i]
    # Fitted bounds clip the ends of a row, which the residual level could not make good.
    if job.bits == 4 and job.residual_bits == 0:
        grid = active().multi_start(r, dim, top)
    else:
        grid = active().min_max(r, dim, top)
    memset(codes + dim, 0, job.lines * 32 // job.bits - dim)
    active().quantise(r, dim, grid, top, codes, sums)
    # Sums make a ratio only while they are normal numbers: smaller ones have lost digits, larger ones are
    # infinite.
    rho = 1.0
    if 1e-36 < sums[0] < INFINITY and 1e-36 < sums[1] < INFINITY:
        rho = sums[0] / sums[1]
    job.to.rhos[slot] = rho
    job.energy[row] = sums[0] if sums[0] < FLT_MAX else FLT_MAX  # a file holds finite numbers only
    if job.to.rows != NULL:
        put_whole(job, slot, codes, rho * grid.step, rho * grid.low, job.energy[row])
    else:
        put_row(job.bits, codes, job.lines, slot % 16, block_of(job.to.blocks, job.lines, slot))
        job.to.steps[slot] = rho * grid.step
        job.to.lows[slot] = rho * grid.low
        if job.to.selectors != NULL:
            job.to.selectors[slot] = <uint8_t>selector
        if job.to.norms != NULL:
            norm = sums[0]
            if job.n_means > 1:
                norm += mean_terms(mean, codes, dim, grid, rho)
            if job.origins != NULL:
                norm += origin_terms(job, row, codes, NULL, grid, rho)
            job.to.norms[slot] = norm
    if job.residual_bits:
        put_residual(job, r, codes, grid, codes2, job.to.residuals + slot * job.residual_bytes)
        if job.to.wholes != NULL:
            job.to.wholes[slot] = origin_terms(job, row, codes, codes2, grid, 1.0)


cdef void put_whole(
    EncodeJob* job, Py_ssize_t slot, const uint8_t* codes, float step, float low, float norm
) noexcept nogil:
    # About one mean, which is the centre, so that norm = |r|^2.
    cdef uint8_t* row = job.to.rows + slot * job.stride
    cdef size_t bytes = 4 * job.lines, size = bytes + kConstants
    lay_row(job.bits, codes, bytes, step, low, norm, row)
    memset(row + size, 0, job.stride - size)


cdef int nearest_mean(EncodeJob* job, const float* r, float* distances) noexcept nogil:
    cdef int best = 0, possible = 0, s
    cdef float limit
    cdef double least = INFINITY, exact
    if job.n_means == 1:
        return 0
    active().squared_l2(r, 1, job.means, job.n_means, job.dim, distances, job.n_means)
    for s in range(job.n_means):
        if distances[s] < distances[best]:
            best = s
    # CPU levels round differently. Where dim roundings could decide, double differences do, the same at all
    # of them.
    limit = distances[best] * (1.0 + (job.dim + 4) * 2.0**-22) + 1e-36
    for s in range(job.n_means):
        possible += distances[s] <= limit
    if possible == 1:
        return best
    for s in range(job.n_means):
        if distances[s] <= limit:
            exact = exact_distance(r, job.means + s * job.dim, job.dim)
            if exact < least:
                least, best = exact, s
    return best


cdef double exact_distance(const float* a, const float* b, Py_ssize_t dim) noexcept nogil:
    cdef double total = 0.0, apart
    cdef Py_ssize_t i
    for i in range(dim):
        apart = <double>a[i] - b[i]
        total += apart * apart
    return total


cdef float mean_terms(
    const float* mean, const uint8_t* codes, Py_ssize_t dim, Grid grid, float rho
) noexcept nogil:
    # |mean|^2 + 2 <mean, rho rhat>
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(dim):
        total += mean[i] * (<double>mean[i] + 2.0 * rho * (grid.low + grid.step * codes[i]))
    return <float>total


cdef float origin_terms(
    EncodeJob* job, size_t row, const uint8_t* codes, const int8_t* codes2, Grid grid, float rho
) noexcept nogil:
    # <o, o + 2 centre + 2 rho rhat>; and |rhat|^2 with it, where rhat is from both levels.
    cdef const float* o = job.origins + row * job.dim
    cdef double total = 0.0, rhat, step2 = <double>grid.step / (1 << job.residual_bits)
    cdef Py_ssize_t i
    for i in range(job.dim):
        rhat = grid.low + <double>grid.step * codes[i]
        if codes2 != NULL:
            rhat += step2 * codes2[i]
            total += rhat * rhat
        total += o[i] * (o[i] + 2.0 * (job.centre[i] + rho * rhat))
    return <float>total


cdef void put_residual(
    EncodeJob* job, const float* r, const uint8_t* codes, Grid grid, int8_t* codes2, uint8_t* out
) noexcept nogil:
    cdef int levels = 1 << job.residual_bits
    cdef Py_ssize_t i
    active().residual(r, codes, job.dim, grid, grid.step / levels, levels // 2, codes2)
    if job.residual_bits == 8:
        memcpy(out, codes2, job.dim)
        return
    memset(out, 0, job.residual_bytes)
    for i in range(job.dim):
        out[i // 2] |= <uint8_t>((codes2[i] & 15) << (i % 2 * 4))
