"""The kernels of coded links, and the front of a walk by their estimates, callable from Python at any level.

Like the functions of table.pyx, these exist for tests and measurements, and check shapes first.
"""

import numpy as np

from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .table cimport (
    Extreme, Front, Kernels, RaBitQSums, Sums, at, learn, limit_of, memory_of, pack32, pack64, pop, push,
    start_front, take,
)


def pack_fastscan(const uint8_t[:, ::1] codes):
    """Return the block of codes (32, groups) below 16 or (64, groups) below 64, one byte each."""
    cdef size_t n = codes.shape[0], groups = codes.shape[1]
    if n not in (32, 64) or (n == 64 and groups % 4):
        raise ValueError("give 32 vectors, or 64 with whole fours of groups")
    block = np.empty(groups * (16 if n == 32 else 48), np.uint8)
    cdef uint8_t[::1] view = block
    (pack32 if n == 32 else pack64)(&codes[0, 0], groups, &view[0])
    return block


def fastscan(const uint8_t[::1] codes, const uint8_t[:, ::1] tables, Py_ssize_t planes, level=None):
    """Return the sums (32,) or (64,) of planes of blocks, from tables (groups, 16) or (groups, 64)."""
    cdef Py_ssize_t groups = tables.shape[0], size = tables.shape[1]
    if size not in (16, 64) or (size == 64 and groups % 4) or (
        codes.shape[0] != planes * groups * (16 if size == 16 else 48)
    ):
        raise ValueError("the codes and the tables do not fit each other")
    out = np.empty(32 if size == 16 else 64, np.uint32)
    cdef uint32_t[::1] view = out
    cdef const Kernels* kernels = at(level)
    cdef Sums kernel = kernels.fastscan32 if size == 16 else kernels.fastscan64
    kernel(&codes[0], &tables[0, 0], groups, planes, &view[0])
    return out


def subset_tables(const float[::1] y, int width, level=None):
    """Return the sums of some of every `width` coordinates, 4 or 6, as tables (groups, 2^width)."""
    cdef Py_ssize_t dim = y.shape[0]
    if width not in (4, 6):
        raise ValueError("a table is of 4 or 6 coordinates")
    tables = np.empty(((dim + 3) // 4, 16) if width == 4 else ((dim + 23) // 24 * 4, 64), np.float32)
    cdef float[:, ::1] view = tables
    at(level).subset_tables(&y[0], dim, width, &view[0, 0])
    return tables


def quantise_tables(const float[:, ::1] tables, unsigned int most, level=None):
    """Return tables of bytes 0 .. most, their step, and the sum of what a byte of 0 stands for in each."""
    cdef float step, low
    if tables.shape[1] not in (16, 64, 256) or not 1 <= most <= 255:
        raise ValueError("give tables of 16, 64 or 256 entries, and 1 to 255 as the largest byte")
    out = np.empty((tables.shape[0], tables.shape[1]), np.uint8)
    cdef uint8_t[:, ::1] view = out
    at(level).quantise_tables(
        &tables[0, 0], tables.shape[0], tables.shape[1], most, &view[0, 0], &step, &low
    )
    return out, np.float32(step), np.float32(low)


def estimates(
    const uint32_t[::1] sums, const uint16_t[::1] adds, const uint16_t[::1] rescales, float base, float step,
    float shift, float worst, level=None
):
    """Return (adds + base) + rescales * (step * sums + shift), and the bits of those below `worst`."""
    cdef size_t n = sums.shape[0]
    if n not in (32, 64) or adds.shape[0] != <Py_ssize_t>n or rescales.shape[0] != <Py_ssize_t>n:
        raise ValueError("give 32 or 64 sums, and as many factors of both kinds")
    out = np.empty(n, np.float32)
    cdef float[::1] view = out
    better = at(level).estimates(
        &sums[0], &adds[0], &rescales[0], n, base, step, shift, worst, &view[0]
    )
    return out, better


def subtract(const float[::1] o, const float[::1] c, level=None):
    """Return r = o - c, |r|^2 and <r, c>."""
    if o.shape[0] != c.shape[0]:
        raise ValueError("o and c differ in their number of dimensions")
    out = np.empty(o.shape[0], np.float32)
    cdef float[::1] view = out
    cdef RaBitQSums sums = at(level).rabitq_subtract(&o[0], &c[0], o.shape[0], &view[0])
    return out, sums.one, sums.other


def fit(const float[::1] r, float inverse, int most, level=None):
    """Return <r, g> and |g|^2 on the grid whose levels are |r| * inverse, cut off at `most`."""
    cdef RaBitQSums sums = at(level).rabitq_fit(&r[0], r.shape[0], inverse, most)
    return sums.one, sums.other


def code(const float[::1] r, const float[::1] c, float inverse, int most, level=None):
    """Return the codes of r on that grid, bytes, and <r, g> and <g, c>; most <= 127."""
    if r.shape[0] != c.shape[0] or not 0 <= most <= 127:
        raise ValueError("r and c differ in their number of dimensions, or codes would not fit a byte")
    out = np.empty(r.shape[0], np.uint8)
    cdef uint8_t[::1] view = out
    cdef RaBitQSums sums = at(level).rabitq_code(&r[0], &c[0], r.shape[0], inverse, most, &view[0])
    return out, sums.one, sums.other


def assign(
    const float[::1] r, const float[::1] c, const float[:, :, ::1] centroids, float scale, level=None
):
    """Return the nearest of centroids (groups, width, 16) to each group of scale * r, <r, g> and <g, c>."""
    cdef Py_ssize_t groups = centroids.shape[0], width = centroids.shape[1]
    if r.shape[0] != groups * width or c.shape[0] != groups * width or centroids.shape[2] != 16:
        raise ValueError("give whole groups of r and c, and 16 centroids of each")
    out = np.empty(groups, np.uint8)
    cdef uint8_t[::1] view = out
    cdef RaBitQSums sums = at(level).rabitq_assign(
        &r[0], &c[0], groups, width, &centroids[0, 0, 0], scale, &view[0]
    )
    return out, sums.one, sums.other


def least(const uint32_t[::1] numbers, size_t n, level=None):
    """Return the place of the least of the first n numbers; those after are no less."""
    return extreme(at(level).least, numbers, n)


def greatest(const uint32_t[::1] numbers, size_t n, level=None):
    """Return the place of the greatest of the first n numbers; those after are no greater."""
    return extreme(at(level).greatest, numbers, n)


cdef size_t extreme(Extreme kernel, const uint32_t[::1] numbers, size_t n) except? 0:
    if not 0 < n <= <size_t>numbers.shape[0] or numbers.shape[0] % 16:
        raise ValueError("give a multiple of 16 numbers, and how many of them are looked at")
    return kernel(&numbers[0], n)


cdef class WalkFront:
    """The front of a walk: kernels/front.hpp.

    Parameters
    ----------
    most : int, >= 1
        Places.
    n : int
        A power of two, of which three quarters are vertices that are known.
    level : str or None
    """

    cdef Front front
    cdef uint32_t[::1] memory
    cdef uint64_t[::1] known

    def __init__(self, size_t most, size_t n, level=None):
        if most < 1 or n < 1 or n & (n - 1):
            raise ValueError("give one place or more, and a power of two of vertices")
        self.memory, self.known = np.empty(memory_of(most), np.uint32), np.empty(n, np.uint64)
        start_front(
            self.front, &self.memory[0], most, &self.known[0], n, at(level).least, at(level).greatest
        )

    @property
    def worst(self):
        """What a score must lie below to come in."""
        return self.front.worst

    def push(self, float score, uint32_t slot):
        """Let a vertex come in by an estimate, if that is good enough."""
        push(self.front, score, slot)

    def take(self, const float[::1] scores, uint64_t below, const uint32_t[::1] links, size_t n_slots):
        """Push those of up to 64 links whose bit is set and that are vertices, less than n_slots."""
        if scores.shape[0] != links.shape[0] or links.shape[0] > 64 or (
            links.shape[0] < 64 and below >> links.shape[0]
        ):
            raise ValueError("scores, bits and links do not fit each other")
        take(self.front, &scores[0], below, &links[0], n_slots)

    def pop(self, float most=INFINITY):
        """Take (slot, estimate) of the best vertex that is left; None where there is none up to `most`."""
        cdef uint32_t slot
        cdef float estimate
        return (slot, estimate) if pop(self.front, most, &slot, &estimate) else None

    def learn(self, float score, float estimate):
        """Note the score of a vertex that was estimated."""
        learn(self.front, score, estimate)

    def limit(self, float enough):
        """Return the estimate up to which vertices may be better than `enough`."""
        return limit_of(self.front, enough)
