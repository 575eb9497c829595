"""RaBitQ, and 4-bit PQ in its place: a code of the step from one row to another, scored from either end.

    o, c, q     a row, the row that it is linked from, a query; all rotated at random
    r = o - c;  g: what the code says of r's direction;  ls = |r|^2 / <r, g>
    <o - c, q>  ~  ls (<g, q> - <g, c>) + <r, c>                                     without bias, since
                                                                      <o - c, q - c> ~ ls <g, q - c>

So whoever knows c's score knows o's, but for a sum over the query's coordinates alone, which one set of
tables gives for all links of all rows:

    score of o  ~  score of c + add + rescale <g, q>
    l2 :  rescale = -2 ls     add = |o|^2 - |c|^2 - 2 (<r, c> - ls <g, c>)
    ip :  rescale = -ls       add = -(<r, c> - ls <g, c>)

`RaBitQ`: g lies on a grid of 2^bits levels a dimension, +-1/2, +-3/2 .., stored as planes of bits. Tables
hold the sums of every subset of a group of dimensions, and serve all planes. The grid's step is the one of 16
for which |<r, g>| / |g| is largest. A score is off by 0.3 |rescale| |q - c| on average (root mean square),
whatever the dimension and the bits, each of which halves the rescale: with one by 1.5 |r| |q - c| / sqrt(dim)
(l2).

`PQ4`: g is made of the nearest of 16 centroids for each group of dimensions, learned from links.

A query's tables are 8-bit numbers above each group's least entry, in steps that are the same for all groups.

Sources: Gao and Long, RaBitQ, SIGMOD 2024, section 3; Gao et al., Practical and asymptotically optimal
quantization (extended RaBitQ), SIGMOD 2025, section 3; Gou et al., SymphonyQG, SIGMOD 2025, section 3.1 (the
vertex as centre); Jegou et al., Product quantization for nearest neighbor search, 2011.
"""

import numpy as np

from libc.math cimport sqrt
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from ..kernels.table cimport RaBitQSums, active, gather_bits, total_of
from .codec cimport lined

from ..clusters import kmeans

# Finenesses of a grid of several bits that are tried, the coarsest just wide enough for the largest
# coordinate, each finer than the one before it.
cdef enum:
    STEPS = 16
cdef double FINER = 1.08
# Largest entry of a query's tables.
cdef unsigned MOST = 255
# Links that PQ learns its centroids from, at most and at least.
TRAINING_LINKS = 16_384
FEWEST_LINKS = 1_024
ITERATIONS = 10


cdef class LinkCoder:
    """What codes of links have in common.

    Parameters
    ----------
    dim : int
    width : int
        Dimensions a group.
    groups, planes, entries : int
        How many groups, and a group's codes and table entries.
    """

    def __init__(
        self, Py_ssize_t dim, Py_ssize_t width, Py_ssize_t groups, Py_ssize_t planes, Py_ssize_t entries
    ):
        self.dim, self.width, self.groups, self.planes, self.entries = dim, width, groups, planes, entries
        self.padded = groups * width
        # r; o and c in whole groups or digits in whole words; or float tables
        self.scratch = max(
            3 * lined(self.padded * sizeof(float)) + lined(dim) + 64, lined(groups * entries * sizeof(float))
        )

    cdef Factors code(
        self, bint squared_l2, const float* to, const float* centre, float more, uint8_t* codes,
        uint8_t* scratch
    ) noexcept nogil:
        """Write the codes of a step, planes x groups bytes; `more` is |o|^2 - |c|^2, of squared L2."""

    cdef void tabulate(self, const float* y, float* tables) noexcept nogil:
        """Write what each entry of each group adds to <g, y>, or of a plane of g."""

    cdef void look_up(
        self, const float* y, uint8_t* tables, float* step, float* shift, uint8_t* scratch
    ) noexcept nogil:
        """Write tables of bytes: <g, y> ~ step * (sum of entries) + shift."""
        self.tabulate(y, <float*>scratch)
        active().quantise_tables(
            <const float*>scratch, self.groups, self.entries, MOST, tables, step, shift
        )


cdef inline Factors factors(
    bint squared_l2, double square, double with_centre, double along, double code_with_centre, double more
) noexcept nogil:
    cdef Factors found
    cdef double ls
    # No step, or one too small for float32: what c's score is, o's is, but for their lengths.
    found.add, found.rescale = <float>more if squared_l2 else 0, 0
    if square > 0 and along > 0:
        ls = square / along
        if squared_l2:
            found.rescale = <float>(-2.0 * ls)
            found.add = <float>(more - 2.0 * (with_centre - ls * code_with_centre))
        else:
            found.rescale = <float>-ls
            found.add = <float>-(with_centre - ls * code_with_centre)
    return found


cdef class RaBitQ(LinkCoder):
    """Codes of 1 to 8 bits a dimension.

    Parameters
    ----------
    dim : int
        Of vectors that were rotated at random.
    bits : int, 1 .. 8
    width : {4, 6}
        Dimensions a group: 16 table entries each, for 32 links at a time, or 64, for 64.
    """

    cdef readonly int bits

    def __init__(self, Py_ssize_t dim, int bits=1, Py_ssize_t width=4):
        if not 1 <= bits <= 8:
            raise ValueError(f"RaBitQ has 1 to 8 bits, not {bits}")
        if width not in (4, 6):
            raise ValueError(f"groups have 4 or 6 dimensions, not {width}")
        groups = (dim + 3) // 4 if width == 4 else (dim + 23) // 24 * 4
        super().__init__(dim, width, groups, bits, 1 << width)
        self.bits = bits

    cdef Factors code(
        self, bint squared_l2, const float* to, const float* centre, float more, uint8_t* codes,
        uint8_t* scratch
    ) noexcept nogil:
        cdef float* r = <float*>scratch
        cdef uint8_t* digits = scratch + lined(self.padded * sizeof(float))
        cdef size_t words = (self.dim + 63) // 64
        cdef RaBitQSums lengths = active().rabitq_subtract(to, centre, self.dim, r)
        cdef int most = (1 << (self.bits - 1)) - 1
        cdef float inverse = self.finest(r, most) if most else 0
        memset(digits + self.dim, 0, 64 * words - self.dim)
        cdef RaBitQSums coded = active().rabitq_code(r, centre, self.dim, inverse, most, digits)
        cdef int plane
        for plane in range(self.bits):
            self.split(digits, plane, codes + plane * self.groups)
        return factors(squared_l2, lengths.one, lengths.other, coded.one, coded.other, more)

    cdef float finest(self, const float* r, int most) noexcept nogil:
        cdef float largest = 0, best = 0
        cdef double inverse, cosine, highest = -1
        cdef RaBitQSums fit
        cdef Py_ssize_t i
        for i in range(self.dim):
            largest = max(largest, r[i], -r[i])
        if largest == 0:
            return 0
        inverse = (most + 1) / <double>largest
        for _ in range(STEPS):
            fit = active().rabitq_fit(r, self.dim, <float>inverse, most)
            cosine = fit.one / sqrt(fit.other)
            if cosine > highest:
                highest, best = cosine, <float>inverse
            inverse *= FINER
        return best

    cdef void split(self, const uint8_t* digits, int plane, uint8_t* codes) noexcept nogil:
        # Bit `plane` of each digit: `width` of them a byte, the group's first dimension lowest.
        cdef size_t group, at, width = self.width
        cdef uint8_t code
        cdef Py_ssize_t first = 0
        cdef unsigned long long word
        if width == 4:
            for group in range(<size_t>self.groups):
                if group % 16 == 0:
                    word = gather_bits(digits + 4 * group, plane)
                codes[group] = word & 15
                word >>= 4
            return
        for group in range(<size_t>self.groups):
            code = 0
            for at in range(width):
                first = group * width + at
                if first < self.dim:
                    code |= (digits[first] >> plane & 1) << at
            codes[group] = code

    cdef void tabulate(self, const float* y, float* tables) noexcept nogil:
        active().subset_tables(y, self.dim, self.width, tables)

    cdef void look_up(
        self, const float* y, uint8_t* tables, float* step, float* shift, uint8_t* scratch
    ) noexcept nogil:
        cdef double levels = (1 << self.bits) - 1
        LinkCoder.look_up(self, y, tables, step, shift, scratch)
        # g = u - levels / 2, and the sum over planes holds the tables' shift `levels` times.
        shift[0] = <float>(levels * (shift[0] - total_of(y, self.dim) / 2))


cdef class PQ4(LinkCoder):
    """Codes of 4 bits a group of dimensions.

    Parameters
    ----------
    dim : int
    width : int, 1 .. 16
        Dimensions a group.
    book : numpy.ndarray, shape (groups, width, 16), float32, or None
        Centroids of directions, a coordinate of all 16 after the other; None for those that `RaBitQ` has.
    """

    cdef const float[:, :, ::1] book
    cdef readonly bint is_learned

    def __init__(self, Py_ssize_t dim, Py_ssize_t width=4, book=None):
        if not 1 <= width <= 16:
            raise ValueError(f"groups have 1 to 16 dimensions, not {width}")
        super().__init__(dim, width, (dim + width - 1) // width, 1, 16)
        self.is_learned = book is not None
        if book is None:
            book = signs(dim, width, self.groups)
        book = np.ascontiguousarray(book, np.float32)
        if book.shape != (self.groups, width, 16) or not np.isfinite(book).all():
            raise ValueError(f"centroids must be finite, shape {(self.groups, width, 16)}, not {book.shape}")
        self.book = book

    @property
    def centroids(self):
        """Centroids of directions, float32 (groups, width, 16)."""
        return np.asarray(self.book)

    @staticmethod
    def learned(steps, Py_ssize_t width, *, seed=0):
        """Return a coder whose centroids are those of the directions of steps (n, dim), n >= 16."""
        n, dim = steps.shape
        groups = (dim + width - 1) // width
        lengths = np.sqrt(np.einsum("ij,ij->i", steps, steps, dtype=np.float64))
        some = np.zeros((n, groups * width), np.float32)
        some[:, :dim] = steps / np.where(lengths > 0, lengths, 1)[:, None]
        book = np.empty((groups, width, 16), np.float32)
        for group in range(groups):
            part = np.ascontiguousarray(some[:, group * width : (group + 1) * width])
            book[group] = kmeans(part, 16, seed=seed + group, iterations=ITERATIONS).T
        return PQ4(dim, width, book)

    cdef Factors code(
        self, bint squared_l2, const float* to, const float* centre, float more, uint8_t* codes,
        uint8_t* scratch
    ) noexcept nogil:
        cdef size_t part = lined(self.padded * sizeof(float))
        cdef float* r = <float*>scratch
        cdef float* c = <float*>(scratch + part)
        cdef RaBitQSums lengths, coded
        memset(r + self.dim, 0, (self.padded - self.dim) * sizeof(float))
        memset(c + self.dim, 0, (self.padded - self.dim) * sizeof(float))
        memcpy(c, centre, self.dim * sizeof(float))
        lengths = active().rabitq_subtract(to, centre, self.dim, r)
        coded = active().rabitq_assign(
            r, c, self.groups, self.width, &self.book[0, 0, 0],
            <float>(1.0 / sqrt(lengths.one)) if lengths.one > 0 else 0, codes,
        )
        return factors(squared_l2, lengths.one, lengths.other, coded.one, coded.other, more)

    cdef void tabulate(self, const float* y, float* tables) noexcept nogil:
        cdef Py_ssize_t group, i, j, at
        for group in range(self.groups):
            for j in range(16):
                tables[16 * group + j] = 0
            for i in range(self.width):
                at = group * self.width + i
                if at < self.dim:
                    for j in range(16):
                        tables[16 * group + j] += y[at] * self.book[group, i, j]


def signs(Py_ssize_t dim, Py_ssize_t width, Py_ssize_t groups):
    """Return centroids (groups, width, 16): every sign of the first four dimensions of a group."""
    book = np.zeros((groups, width, 16), np.float32)
    size = np.sqrt(2 / np.pi / dim)
    for i in range(min(4, width)):
        book[:, i] = np.where(np.arange(16) >> i & 1, size, -size)
    return book
