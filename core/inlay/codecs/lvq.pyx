"""LVQ: each vector is stored as its own evenly spaced grid over the range it spans.

    r = R x - centre - mean[s]                   R: optional random rotation; s: the nearest of up to 256 means
    r ~ low + step * c                           c in 0 .. 2^bits - 1, one a dimension
      ~ low + step2 * (c * 2^bits2 + c2)         step2 = step / 2^bits2; c2 signed, the residual level

The scan never decodes. With q' = R q - centre (squared L2) or R q (inner product), quantised once to int8,
q' ~ scale * v, and S = scale * sum(v):

    <q', r> ~ step * scale * <v, c> + low * S                      and only <v, c> is work: kernels/codes.hpp
    ip :  -<q, x>                ~ -<q', r> - <q', mean[s]> - <R q, centre>
    l2 :  |q - x|^2 - |q'|^2     ~ norm - 2 <q', r> - 2 <q', mean[s]>

step and low are stored multiplied by rho = |r|^2 / <r, rhat>, and norm = |mean|^2 + |r|^2 + 2 <mean, rho rhat>. So the
estimate is unbiased along r, and a row is at distance 0 from itself. The last candidates are scored in float32 from
everything a row has: with two levels the distance to the row that `decode` gives back, |q' - mean - rhat|^2; with one
the same estimate from the float query (plain distances to decoded rows lose 0.2 to 2 points of recall at 4 bits).

An estimate's error is that of d rounding errors, each uniform over a step, and of as many of the int8 query:
deviation sqrt(|q'|^2 step^2 + scale^2 |r|^2) / sqrt 12 (twice for l2), with |r| ~ sqrt(d) * range / 6.

Tables, n rows (blocks of 16 in `codes`):
    codes      ceil(n / 16) x lines x 64 bytes    packed16, the only thing a scan streams, with
    steps lows norms selectors                    4 + 4 + 4 (l2 only) + 1 (several means only) bytes a row
    rhos       4 bytes a row, cold                rho, to undo the correction
    residuals  ceil(dim * bits2 / 8) bytes a row, cold, one byte or nibble a dimension, the lower nibble first

Differs from the papers: constants are float32 and codes are made with the constants as stored (rounding them
afterwards loses the second level a factor of 18); one-level 4-bit grids are fitted, not min-max; rotation; rho.
Sources: Aguerrebere et al., Similarity search in the blink of an eye with compressed indices, VLDB 2023, section 3;
Aguerrebere et al., Locally-adaptive quantization for streaming vector search, 2024, section 4 (several means).
"""

from copy import copy


import numpy as np

from libc.float cimport FLT_MAX
from libc.math cimport INFINITY, sqrt
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ..kernels.table cimport (
    Constants, Grid, Queries, Scan, active, get_row, kLine, kMaxDim, kTogether, lines_of, prefetch_bytes,
    prefetch_row, put_row,
)
from ..parallel.crew cimport split, thread_count
from ..rotation cimport HadamardRotation
from .codec cimport Codec, Codes, Scorer

from ..clusters import kmeans
from ..contents import field
from ..tables import Table

FORMS = {"4": (4, 0), "8": (8, 0), "4x4": (4, 4), "4x8": (4, 8), "8x8": (8, 8)}
cdef enum:
    MAX_MEANS = 256  # a selector is one byte

# Rows that training looks at, or so many a mean if that is more: a mean over 4,096 rows is off by 1/64 of their spread,
# which adds 1/4,096 to the energy about it.
TRAINING_ROWS = 4_096
ROWS_A_MEAN = 64
MEANS_ITERATIONS = 10
# Rows of a sample on which rotation and clustering are decided, 2 ms of work together.
PROBE_ROWS = 512
# What is left of 512 rows' energy about 64 of them: 0.01 to 0.33 of tight clusters, 0.5 of loose ones (where 64 means
# would not halve the error), 0.5 of images of clothes, 1.4 of text embeddings.
CLUSTERED_ENERGY = 0.4
CLUSTERED = 64
# Rotation costs a twentieth of the adding time and a microsecond a query: it has to lower the error to be kept.
ROTATION_GAIN = 0.9
# A new mean is added once this many rows came and their energy about it would be a tenth lower than about the old.
DRIFT_ROWS = 1_000
DRIFT_GAIN = 0.9

# Rows a piece of encoding: whole blocks, some tens of microseconds of work.
cdef size_t GRAIN = 64
# How many deviations of its error an estimate is trusted to.
cdef double DEVIATIONS = 4.0
# Rows decoded together when candidates are rescored: one tile of the float kernel.
cdef enum:
    TILE = 8


cdef class LVQCodes(Codes):
    """Codes of n rows, the first level in blocks of 16 rows."""

    def __init__(self, dict tables, Py_ssize_t lines):
        super().__init__(tables, ("rhos", "residuals"))
        self.lines = lines
        self.place()

    cdef object place(self):
        # Kernels read through bare pointers: taken again after everything that may move a table.
        self.places.blocks = <uint8_t*>address(self.tables, "codes")
        self.places.steps = <float*>address(self.tables, "steps")
        self.places.lows = <float*>address(self.tables, "lows")
        self.places.norms = <float*>address(self.tables, "norms")
        self.places.rhos = <float*>address(self.tables, "rhos")
        self.places.selectors = <uint8_t*>address(self.tables, "selectors")
        self.places.residuals = <uint8_t*>address(self.tables, "residuals")

    def length(self, name, Py_ssize_t n):
        """Return how many rows a table has for n rows of codes."""
        return (n + 15) // 16 if name == "codes" else n

    def resize(self, Py_ssize_t n):
        """Keep the first n rows, or make room for more; lanes without a row hold zeros."""
        blocks = self.tables["codes"]
        cdef Py_ssize_t had = len(blocks)
        if n < self.n and n % 16:
            self.own()
        for name, table in self.tables.items():
            table.resize(self.length(name, n))
        if len(blocks) > had:
            # Every row writes the whole of its lane, so only the last block can keep lanes without one.
            blocks.rows[len(blocks) - 1] = 0
        elif n < self.n and n % 16:
            blocks.rows[n // 16].reshape(self.lines, 16, 4)[:, n % 16:] = 0
        self.n = n
        self.place()

    def reserve(self, Py_ssize_t n):
        """Have memory for n rows."""
        Codes.reserve(self, n)
        self.place()

    def own(self):
        """Copy tables that lie in a mapped file, so that they can be written to."""
        Codes.own(self)
        self.place()

    def move(self, sources, targets):
        """Let the rows of targets become those of sources."""
        self.own()
        for name, table in self.tables.items():
            if name == "codes":
                lanes = table.rows.reshape(-1, self.lines, 16, 4)
                lanes[targets // 16, :, targets % 16] = lanes[sources // 16, :, sources % 16]
            else:
                table.rows[targets] = table.rows[sources]

    def compact(self):
        """Give back memory beyond the rows there are."""
        Codes.compact(self)
        self.place()

    def restore(self, sections, Py_ssize_t n):
        """Lie over the arrays of a file."""
        Codes.restore(self, sections, n)
        self.place()


cdef size_t address(dict tables, str name) except? 0:
    return tables[name].rows.ctypes.data if name in tables else 0


cdef struct EncodeJob:
    void* rotation
    const float* rows
    const float* centre
    const float* means
    Py_ssize_t n_means
    Py_ssize_t dim
    Py_ssize_t lines
    Py_ssize_t residual_bytes
    Py_ssize_t first
    int bits
    int residual_bits
    Places to
    float* energy
    char* scratch
    size_t scratch_size


cdef size_t encode_scratch(Py_ssize_t dim, Py_ssize_t lines) noexcept:
    # r, mean distances, codes (padded), codes2; each a multiple of 64 bytes.
    cdef size_t floats = (4 * dim + 63) // 64 * 64
    return floats + 1024 + <size_t>lines * 64 + floats


cdef void encode_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef EncodeJob* job = <EncodeJob*>context
    cdef size_t row
    cdef char* scratch = job.scratch + worker * job.scratch_size
    for row in range(begin, end):
        encode_row(job, row, scratch)


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
    # CPU levels round differently. Where dim roundings could decide, double differences do, the same at all of them.
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


cdef void encode_row(EncodeJob* job, size_t row, char* scratch) noexcept nogil:
    cdef Py_ssize_t dim = job.dim, i, slot = job.first + row
    cdef size_t floats = (4 * dim + 63) // 64 * 64
    cdef float* r = <float*>scratch
    cdef float* distances = <float*>(scratch + floats)
    cdef uint8_t* codes = <uint8_t*>(scratch + floats + 1024)
    cdef int8_t* codes2 = <int8_t*>(scratch + floats + 1024 + job.lines * 64)
    cdef float top = (1 << job.bits) - 1
    cdef Grid grid
    cdef float[2] sums
    cdef float rho, norm, product
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
    # Sums make a ratio only while they are normal numbers: smaller ones have lost digits, larger ones are infinite.
    rho = 1.0
    if 1e-36 < sums[0] < INFINITY and 1e-36 < sums[1] < INFINITY:
        rho = sums[0] / sums[1]
    put_row(job.bits, codes, job.lines, slot % 16, job.to.blocks + slot // 16 * job.lines * kLine)
    job.to.steps[slot] = rho * grid.step
    job.to.lows[slot] = rho * grid.low
    job.to.rhos[slot] = rho
    job.energy[row] = sums[0] if sums[0] < FLT_MAX else FLT_MAX  # a file holds finite numbers only
    job.to.selectors[slot] = <uint8_t>selector
    if job.to.norms != NULL:
        norm = sums[0]
        if job.n_means > 1:
            norm += mean_terms(mean, codes, dim, grid, rho)
        job.to.norms[slot] = norm
    if job.residual_bits:
        put_residual(job, r, codes, grid, codes2, job.to.residuals + slot * job.residual_bytes)


cdef float mean_terms(
    const float* mean, const uint8_t* codes, Py_ssize_t dim, Grid grid, float rho
) noexcept nogil:
    # |mean|^2 + 2 <mean, rho rhat>
    cdef double total = 0.0
    cdef Py_ssize_t i
    for i in range(dim):
        total += mean[i] * (<double>mean[i] + 2.0 * rho * (grid.low + grid.step * codes[i]))
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


cdef class LVQCodec(Codec):
    """Locally-adaptive vector quantisation.

    Parameters
    ----------
    dim : int, 1 .. 65,536
        Beyond, the integer sums of 8-bit codes would not fit 32 bits.
    squared_l2 : bool
    bits : {4, 8}
        Of the first level, which is scanned.
    residual_bits : {0, 4, 8}
        Of the second level, which only the last candidates meet; 0 for none.
    n_means : int, 0 .. 256
        How many means training finds; 0: as many as the data call for, one or `CLUSTERED`.
    rotation_seed : int or None
        Rotate vectors at random first; None for not.
    may_drop_rotation : bool
        Training drops the rotation where a sample is coded no worse without it.
    """

    def __init__(
        self, dim, squared_l2, bits, residual_bits, n_means, rotation_seed, bint may_drop_rotation=False
    ):
        super().__init__(dim, squared_l2)
        if dim > <Py_ssize_t>kMaxDim:
            raise ValueError(f"LVQ takes at most {kMaxDim} dimensions, not {dim}: its sums are 32-bit integers")
        if (bits, residual_bits) not in FORMS.values():
            raise ValueError(f"LVQ comes as {', '.join(FORMS)} bits, not {bits}x{residual_bits}")
        if not 0 <= n_means <= MAX_MEANS:
            raise ValueError(f"n_means must be at most {MAX_MEANS}, not {n_means}")
        self.bits, self.residual_bits, self.n_means = bits, residual_bits, n_means
        self.rotation = None if rotation_seed is None else HadamardRotation(dim, rotation_seed)
        self.may_drop_rotation = may_drop_rotation
        self.lines = lines_of(bits, dim)
        self.residual_bytes = (dim * residual_bits + 7) // 8
        self.drift = None
        self.zeros = np.zeros(dim, np.float32)

    @property
    def is_trained(self):
        """Whether centre and means are known."""
        return self.drift is not None

    @property
    def centre(self):
        """What is taken off every rotated row, float32 (dim,)."""
        return np.asarray(self.centre_view)

    @property
    def means(self):
        """The means about the centre, float32 (1 .. 256, dim)."""
        return np.asarray(self.means_view)

    @property
    def code_size(self):
        """Bytes a row, cold ones included."""
        return self.lines * 4 + 12 + 4 * self.squared_l2 + 1 + self.residual_bytes

    def train(self, rows, *, seed=0, progress=None):
        """Find the centre and the means about it from rows (n, dim), n >= n_means; decide what is left open."""
        if len(rows) < max(self.n_means, 1):
            raise ValueError(
                f"LVQ with {self.n_means} means takes at least {self.n_means} rows to train, not {len(rows)}"
            )
        wanted = max(TRAINING_ROWS, ROWS_A_MEAN * self.n_means)
        sample = np.ascontiguousarray(rows[:: -(-len(rows) // wanted)])
        rotation = self.rotation
        if self.may_drop_rotation and len(sample) >= PROBE_ROWS and not self._gains_by_rotation(sample):
            rotation = None
        if rotation is not None:
            sample = rotation.apply(sample)
        centre = mean_of(sample)
        n_means = self.n_means or (CLUSTERED if is_clustered(sample - centre) else 1)
        if n_means == 1:
            means = np.zeros((1, self.dim), np.float32)
        else:
            means = kmeans(sample - centre, n_means, seed=seed, iterations=MEANS_ITERATIONS, progress=progress)
        # What the rows' energy about their means is now; later rows are held against it.
        level = float(self._trial(centre, means, sample)[1].mean(dtype=np.float64))
        self.rotation, self.n_means, self.may_drop_rotation = rotation, n_means, False
        self.centre_view, self.means_view, self.drift = centre, means, Drift(self.dim, level)

    def _trial(self, centre, means, sample):
        # Codes of a sample that is rotated already, and |r|^2 of its rows.
        cdef LVQCodec trial = LVQCodec(self.dim, self.squared_l2, self.bits, self.residual_bits, len(means), None)
        trial.centre_view, trial.means_view = centre, means
        energy = np.empty(len(sample), np.float32)
        codes = trial.new_codes()
        codes.resize(len(sample))
        trial.encode_rows(sample, codes, 0, energy)
        return codes, energy

    def _gains_by_rotation(self, sample):
        # A grid's error is step^2 / 12 a dimension.
        some = np.ascontiguousarray(sample[:: len(sample) // PROBE_ROWS])
        errors = []
        for rows in (some, self.rotation.apply(some)):
            tables = self._trial(mean_of(rows), np.zeros((1, self.dim), np.float32), rows)[0].tables
            errors.append(float(np.square(tables["steps"].rows, dtype=np.float64).mean()))
        return errors[1] < ROTATION_GAIN * errors[0]

    def new_codes(self):
        """Return empty tables."""
        tables = {
            "codes": Table(np.uint8, (self.lines, kLine)),
            "steps": Table(np.float32),
            "lows": Table(np.float32),
        }
        if self.squared_l2:
            tables["norms"] = Table(np.float32)
        tables["selectors"] = Table(np.uint8)
        tables["rhos"] = Table(np.float32)
        if self.residual_bits:
            tables["residuals"] = Table(np.uint8, (self.residual_bytes,))
        return LVQCodes(tables, self.lines)

    def encode(self, rows, Codes codes=None):
        """Append the codes of rows (n, dim) to `codes`; O(dim log dim + n_means dim) a row."""
        codes = self.new_codes() if codes is None else codes
        cdef Py_ssize_t first = len(codes)
        rows = np.ascontiguousarray(rows, np.float32)
        energy = np.empty(len(rows), np.float32)
        codes.own()
        codes.resize(first + len(rows))
        if len(rows):
            self.encode_rows(rows, codes, first, energy)
            self._watch(rows, energy)
        return codes

    def _watch(self, rows, energy):
        # Means are only ever added, so that old codes stay valid.
        if len(self.means) == MAX_MEANS or not self.drift.notices(rows, energy):
            return
        mean = self.drift.take_mean()
        if mean is not None:
            if self.rotation is not None:
                mean = self.rotation.apply(mean[None])[0]
            self.means_view = np.concatenate([self.means, (mean - self.centre)[None]])

    cdef int encode_rows(
        self, const float[:, ::1] rows, LVQCodes codes, Py_ssize_t first, float[::1] energy
    ) except -1:
        cdef EncodeJob job
        cdef size_t n = rows.shape[0]
        cdef int threads = thread_count(0)
        job.rotation = <void*>self.rotation if self.rotation is not None else NULL
        job.rows, job.centre, job.means = &rows[0, 0], &self.centre_view[0], &self.means_view[0, 0]
        job.n_means, job.dim, job.lines = self.means_view.shape[0], self.dim, self.lines
        job.residual_bytes, job.first = self.residual_bytes, first
        job.bits, job.residual_bits = self.bits, self.residual_bits
        job.to, job.energy = codes.places, &energy[0]
        job.scratch_size = encode_scratch(self.dim, self.lines)
        job.scratch = <char*>calloc(threads, job.scratch_size)
        if job.scratch == NULL:
            raise MemoryError
        try:
            with nogil:
                split(n, GRAIN, threads, encode_piece, &job)
        finally:
            free(job.scratch)
        return 0

    def decode(self, Codes codes, slots=None):
        """Return the rows that the codes of these slots stand for, both levels, rotated back."""
        which = np.arange(len(codes)) if slots is None else np.ascontiguousarray(slots, np.int64)
        out = np.empty((len(which), self.dim), np.float32)
        if len(which):
            LVQScorer(self, np.zeros((1, self.dim), np.float32), codes, 1).decode_into(which, out)
            out += self.centre
            if self.rotation is not None:
                out = self.rotation.invert(out)
        return out

    def scorer(self, queries, Codes codes, int workers):
        """Return queries ready to be scored against codes."""
        return LVQScorer(self, queries, codes, workers)

    def learned(self):
        """Return what training and later rows have taught, for `unlearn`."""
        known = (self.centre, self.means, copy(self.drift)) if self.is_trained else None
        return self.rotation, self.n_means, self.may_drop_rotation, known

    def unlearn(self, learned):
        """Go back to what `learned` gave."""
        self.rotation, self.n_means, self.may_drop_rotation, known = learned
        self.drift = None
        if known is not None:
            self.centre_view, self.means_view, self.drift = known

    def state(self):
        """Return what a file holds of training: centre, means and the watch for drift."""
        if not self.is_trained:
            return {"trained": False}, {}
        fields, sums = self.drift.state()
        return {"trained": True, "drift": fields}, {
            "centre": self.centre, "means": self.means, "drift_sums": sums,
        }

    def restore(self, header, sections):
        """Take what `state` gave, as read from a file."""
        if not field(header, "trained", bool):
            return
        means = sections.take("means", np.float32, (None, self.dim))
        if not 1 <= len(means) <= MAX_MEANS:
            raise sections.fault("means", f"holds {len(means)} means, expected 1 to {MAX_MEANS}")
        centre, sums = (
            sections.take("centre", np.float32, (self.dim,)), sections.take("drift_sums", np.float64, (self.dim,)),
        )
        for name, array in (("centre", centre), ("means", means), ("drift_sums", sums)):
            if not np.isfinite(array).all():
                raise sections.fault(name, "holds a NaN or infinite value")
        self.centre_view, self.means_view = np.array(centre), np.array(means)
        self.drift = Drift.restored(field(header, "drift", dict), sums)


def mean_of(rows):
    """Return the mean of rows (n, dim), float32 (dim,), summed in float64."""
    return rows.mean(axis=0, dtype=np.float64).astype(np.float32)


def is_clustered(residuals):
    """Return whether rows (n, dim) about their centre fall into tight, distinct clusters.

    Rows are chosen one by one, each the farthest from those before (Gonzalez, 1985), as many as there would be
    means. In clusters the others then lie nearer to one of these than to the centre: twice their cluster's energy
    away on average, where unclustered rows are as far from any row as from the next.
    """
    if len(residuals) < PROBE_ROWS:
        return False
    some = np.ascontiguousarray(residuals[:: len(residuals) // PROBE_ROWS])
    cdef const float[:, ::1] rows = some
    cdef size_t n = rows.shape[0], farthest = 0, i
    cdef int chosen
    nearest, distance = np.full(n, np.inf, np.float32), np.empty(n, np.float32)
    cdef float[::1] best = nearest, now = distance
    for chosen in range(CLUSTERED):
        active().squared_l2(&rows[farthest, 0], 1, &rows[0, 0], n, rows.shape[1], &now[0], n)
        for i in range(n):
            if now[i] < best[i]:
                best[i] = now[i]
        farthest = nearest.argmax()
    left = nearest.sum(dtype=np.float64) / (n - CLUSTERED)
    return bool(left < CLUSTERED_ENERGY * np.square(some, dtype=np.float64).sum() / n)


class Drift:
    """Watches whether new rows lie away from the means there are.

    Parameters
    ----------
    dim : int
    level : float
        Mean |r|^2 of the rows the means were made from.
    """

    def __init__(self, dim, level):
        self.level = level
        self._clear(dim)

    def _clear(self, dim):
        self.count, self.sums, self.squares, self.energy = 0, np.zeros(dim), 0.0, 0.0

    def notices(self, rows, energy):
        """Take in rows (n, dim) with |r|^2 (n,) when they lie far out; True once there are enough of them."""
        total = float(energy.sum(dtype=np.float64))
        if total * DRIFT_GAIN <= self.level * len(rows):
            return False
        self.count += len(rows)
        self.sums = self.sums + rows.sum(axis=0, dtype=np.float64)  # not in place: `learned` keeps the old ones
        self.squares += float(np.einsum("ij,ij->", rows, rows, dtype=np.float64))
        self.energy += total
        return self.count >= DRIFT_ROWS

    def take_mean(self):
        """Return the mean of the rows taken in if coding them about it pays, else None; start afresh."""
        mean = self.sums / self.count
        spread = max(self.squares / self.count - float(mean @ mean), 0.0)
        pays = spread < DRIFT_GAIN * self.energy / self.count
        if pays:
            self.level = max(self.level, spread)
        self._clear(len(mean))
        return mean.astype(np.float32) if pays else None

    def state(self):
        """Return (fields, sums) for a file."""
        return {name: getattr(self, name) for name in ("level", "count", "squares", "energy")}, self.sums

    @classmethod
    def restored(cls, fields, sums):
        """Return a watch in the state that a file holds."""
        watch = cls(len(sums), field(fields, "level", float))
        watch.count = field(fields, "count", int, at_least=0, at_most=2**63)
        watch.squares = field(fields, "squares", float)
        watch.energy = field(fields, "energy", float)
        watch.sums = np.array(sums)
        return watch


cdef class LVQScorer(Scorer):
    """A batch of queries against LVQ codes."""

    cdef LVQCodec codec
    cdef LVQCodes codes
    cdef Places at
    cdef bint squared_l2
    cdef int bits, residual_bits
    cdef Py_ssize_t dim, lines, residual_bytes, n_means, values
    cdef Scan scan_one, scan_eight
    # All that follows lies in one piece of memory; a query's part of it begins on a cache line.
    cdef char* memory
    cdef float* queries      # R q - centre (l2) or R q (ip)
    cdef int8_t* singles     # int8 values of each query
    cdef int8_t* together    # the same, eight queries interleaved by fours; only for more than two
    cdef float* offsets      # -<q', mean[s]>, twice for l2; all 256 places, so no selector leads out
    cdef float* scales
    cdef float* sums
    cdef float* shifts
    cdef float* slacks       # a row's slack over its step
    cdef char* scratch       # of each worker: codes of a row, its second level, a tile of decoded rows
    cdef size_t scratch_size

    def __cinit__(self):
        self.memory = NULL

    def __dealloc__(self):
        free(self.memory)

    def __init__(self, LVQCodec codec, const float[:, ::1] queries, LVQCodes codes, int workers):
        cdef size_t n = queries.shape[0], groups
        cdef PrepareJob job
        self.codec, self.codes, self.at, self.squared_l2 = codec, codes, codes.places, codec.squared_l2
        self.bits, self.residual_bits, self.residual_bytes = codec.bits, codec.residual_bits, codec.residual_bytes
        self.dim, self.lines, self.n_means = codec.dim, codec.lines, codec.means_view.shape[0]
        self.values, self.n_queries = codec.lines * 32 // codec.bits, n
        self.least = 0.0 if self.squared_l2 else -INFINITY
        self.scan_one = active().scan4_one if self.bits == 4 else active().scan8_one
        self.scan_eight = active().scan4_eight if self.bits == 4 else active().scan8_eight
        self.scratch_size = lined(self.values) + lined(self.dim) + lined(TILE * self.dim * sizeof(float))
        groups = (n + 7) // 8 if n > 2 else 0
        # Queries that only fill up a group of eight have zeros for everything.
        cdef size_t padded = groups * 8 if groups else n
        cdef size_t offsets = padded * MAX_MEANS if self.n_means > 1 else MAX_MEANS
        self.memory = <char*>calloc(
            64 + n * lined(self.dim * sizeof(float)) + n * lined(self.values) + groups * 8 * lined(self.values)
            + offsets * sizeof(float) + 4 * lined(padded * sizeof(float)) + workers * self.scratch_size, 1
        )
        if self.memory == NULL:
            raise MemoryError
        cdef char* next = self.memory + (64 - <size_t>self.memory % 64) % 64
        self.queries = <float*>next
        next += n * lined(self.dim * sizeof(float))
        self.singles = <int8_t*>next
        next += n * lined(self.values)
        self.together = <int8_t*>next
        next += groups * 8 * lined(self.values)
        self.offsets = <float*>next
        next += offsets * sizeof(float)
        self.scales, self.sums = <float*>next, <float*>(next + lined(padded * sizeof(float)))
        self.shifts = <float*>(next + 2 * lined(padded * sizeof(float)))
        self.slacks = <float*>(next + 3 * lined(padded * sizeof(float)))
        self.scratch = next + 4 * lined(padded * sizeof(float))
        if n:
            job.scorer, job.queries = <void*>self, &queries[0, 0]
            with nogil:
                split(n, GRAIN, workers, prepare_piece, &job)

    cdef inline float* query(self, size_t i) noexcept nogil:
        return <float*>(<char*>self.queries + i * lined(self.dim * sizeof(float)))

    cdef void prepare(self, size_t i, const float* given) noexcept nogil:
        cdef float* q = self.query(i)
        cdef int8_t* single = self.singles + i * lined(self.values)
        cdef float factor = -2.0 if self.squared_l2 else -1.0
        cdef double shift = 0.0, square = 0.0, top = (1 << self.bits) - 1, product
        cdef long total = 0
        cdef Py_ssize_t j, s
        memcpy(q, given, self.dim * sizeof(float))
        if self.codec.rotation is not None:
            (<HadamardRotation>self.codec.rotation).forward(q)
        if self.squared_l2:
            for j in range(self.dim):
                q[j] -= self.codec.centre_view[j]
                shift += <double>q[j] * q[j]
        else:
            for j in range(self.dim):
                shift -= <double>q[j] * self.codec.centre_view[j]
        for j in range(self.dim):
            square += <double>q[j] * q[j]
        self.shifts[i] = <float>shift
        self.scales[i] = factor * active().quantise_query(q, self.dim, single)
        for j in range(self.dim):
            total += single[j]
        self.sums[i] = self.scales[i] * total
        # |scale| already carries the factor 2 of l2.
        product = <double>self.scales[i] * top / 6.0
        self.slacks[i] = <float>(DEVIATIONS * sqrt((factor * factor * square + self.dim * product * product) / 12.0))
        if self.n_means > 1:
            for s in range(self.n_means):
                product = 0.0
                for j in range(self.dim):
                    product += <double>q[j] * self.codec.means_view[s, j]
                self.offsets[i * MAX_MEANS + s] = <float>(factor * product)
        if self.n_queries > 2:
            for j in range(self.values // 4):
                memcpy(
                    self.together + i // 8 * 8 * lined(self.values) + 4 * (j * 8 + i % 8), single + 4 * j, 4
                )

    cdef void block(
        self, size_t query, size_t n_queries, size_t first, size_t n, float* out, size_t stride, int worker
    ) noexcept nogil:
        # `first` is a multiple of 16, and `query` of 8 when more than two queries were prepared.
        cdef size_t done = 0
        cdef bint together = self.n_queries > 2
        cdef const uint8_t* blocks = self.at.blocks + first // 16 * self.lines * kLine
        cdef Constants rows
        cdef Queries queries
        rows.steps, rows.lows = self.at.steps + first, self.at.lows + first
        rows.norms = self.at.norms + first if self.squared_l2 else NULL
        rows.selectors = self.at.selectors + first if self.n_means > 1 else NULL
        queries.offset_stride = MAX_MEANS if self.n_means > 1 else 0
        while done < n_queries:
            queries.values = (self.together if together else self.singles) + (query + done) * lined(self.values)
            queries.scales, queries.sums = self.scales + query + done, self.sums + query + done
            queries.offsets = self.offsets + (query + done) * queries.offset_stride
            if together:
                self.scan_eight(blocks, self.lines, queries, rows, n, out + done * stride, stride)
                done += kTogether
            else:
                self.scan_one(blocks, self.lines, queries, rows, n, out + done * stride, stride)
                done += 1

    cdef float shift(self, size_t query) noexcept nogil:
        return self.shifts[query]

    cdef float slack(self, size_t query, int64_t slot) noexcept nogil:
        return self.slacks[query] * self.at.steps[slot]

    cdef void decode_row(self, int64_t slot, float* out, char* scratch) noexcept nogil:
        # mean + rhat, from every level there is
        cdef uint8_t* codes = <uint8_t*>scratch
        cdef int8_t* codes2 = <int8_t*>(scratch + lined(self.values))
        cdef float rho = self.at.rhos[slot]
        cdef float low = self.at.lows[slot] / rho, step = self.at.steps[slot] / rho
        cdef int levels = 1 << self.residual_bits, selector = self.at.selectors[slot]
        cdef const uint8_t* residual = self.at.residuals + slot * self.residual_bytes
        # A damaged file may name a mean that there is not.
        cdef const float* mean = &self.codec.means_view[selector if selector < self.n_means else 0, 0]
        get_row(self.bits, self.at.blocks + slot // 16 * self.lines * kLine, self.lines, slot % 16, codes)
        if self.residual_bits == 0:
            active().expand(codes, NULL, self.dim, low, step, 1, mean, out)
            return
        if self.residual_bits == 8:
            codes2 = <int8_t*>residual
        else:
            active().unpack_nibbles(residual, self.dim, codes2)
        active().expand(codes, codes2, self.dim, low, step / levels, levels, mean, out)

    cdef inline void prefetch(self, int64_t slot) noexcept nogil:
        prefetch_row(self.at.blocks + slot // 16 * self.lines * kLine, self.lines, slot % 16)
        prefetch_bytes(self.at.residuals + slot * self.residual_bytes, self.residual_bytes)

    cdef void rows_at(
        self, size_t query, const int64_t* slots, size_t n, float* out, int worker
    ) noexcept nogil:
        cdef char* scratch = self.scratch + worker * self.scratch_size
        cdef float* rows = <float*>(scratch + lined(self.values) + lined(self.dim))
        cdef const float* q = self.query(query)
        cdef size_t done, tile, i
        cdef bint two_levels = self.residual_bits > 0
        for i in range(TILE if n > TILE else n):
            self.prefetch(slots[i])
        for done in range(0, n, 8):  # TILE
            tile = n - done if n - done < TILE else TILE
            for i in range(done + TILE, done + 2 * TILE if done + 2 * TILE < n else n):
                self.prefetch(slots[i])
            for i in range(tile):
                if two_levels:
                    self.decode_row(slots[done + i], rows + i * self.dim, scratch)
                else:
                    self.corrected_row(slots[done + i], rows + i * self.dim, <uint8_t*>scratch)
            if self.squared_l2 and two_levels:
                active().squared_l2(q, 1, rows, tile, self.dim, out + done, tile)
                continue
            active().negative_ip(q, 1, rows, tile, self.dim, out + done, tile)
            for i in range(done, done + tile):
                if not two_levels:
                    out[i] = self.complete(query, slots[i], out[i])
                out[i] += self.shifts[query]
                if out[i] < self.least:
                    out[i] = self.least

    cdef inline void corrected_row(self, int64_t slot, float* out, uint8_t* codes) noexcept nogil:
        # rho rhat; the mean's part of a score comes from the offsets.
        get_row(self.bits, self.at.blocks + slot // 16 * self.lines * kLine, self.lines, slot % 16, codes)
        active().expand(
            codes, NULL, self.dim, self.at.lows[slot], self.at.steps[slot], 1, &self.codec.zeros[0], out
        )

    cdef inline float complete(self, size_t query, int64_t slot, float product) noexcept nogil:
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
                self.decode_row(slots[i], &out[i, 0], self.scratch)


cdef inline size_t lined(size_t size) noexcept nogil:
    # The size in whole cache lines.
    return (size + 63) // 64 * 64


cdef struct PrepareJob:
    void* scorer
    const float* queries


cdef void prepare_piece(void* context, size_t begin, size_t end, int worker) noexcept nogil:
    cdef PrepareJob* job = <PrepareJob*>context
    cdef size_t i
    for i in range(begin, end):
        (<LVQScorer>job.scorer).prepare(i, job.queries + i * (<LVQScorer>job.scorer).dim)
