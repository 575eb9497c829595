"""How one vector becomes digits and two constants: the same for rows and for queries.

    y       = R (v - mean)                  R: optional random rotation
    digits  two bits a dimension, or four (queries of a finer look): kernels/digits.hpp
    X       what they stand for: +-1 +-3 (levels "1:3"), +-2 +-4 ("1:2"); four bits +-1 +-3 .. +-15
    y       ~ factor * X                    factor = |y|^2 / <y, X>, 0 where y is

A vector's code depends on the vector alone: not on its batch, the threads or the CPU level. So sums are
float64 in one order everywhere, and rounded once.
"""

import numpy as np

from libc.float cimport FLT_MAX
from libc.math cimport sqrt
from libc.stdint cimport uint8_t

from ..kernels.table cimport Sizes, active

LEVELS = ("1:3", "1:2")
DISTANCES = ("corrected", "code", "weighted", "hamming")

# Between thresholds, in root mean squares; stored codes go by the first. For a Gaussian, 0.9957 makes the
# least error of four even levels, 0.3352 of sixteen (Max, 1960). Sixteen levels up to a query's largest
# coordinate instead lose 0 to 6 points of recall in the best 16.
cdef double STEP_2 = 0.98
cdef double STEP_4 = 0.3352


def layout(Py_ssize_t dim, bint squared_l2):
    """Return (words of a row's planes, bytes of a row, bytes from one row to the next)."""
    cdef Py_ssize_t words = (dim + 63) // 64 * 2
    cdef Py_ssize_t size = 8 * words + (8 if squared_l2 else 16)
    cdef Py_ssize_t whole = (size + 63) // 64 * 64
    # A row touches (size + 56) / 64 cache lines on average, or whole / 64 where rows begin on one. They do
    # where that saves more lines than it costs memory: a million rows of 384 dimensions, drawn at random,
    # then take 19 ns each instead of 27.
    return words, size, whole if whole * whole <= size * (size + 56) else size


cdef class Coder:
    """What rows and queries are coded by; unchanging, so that a scorer may hold on to it.

    Parameters
    ----------
    dim : int
    squared_l2 : bool
    levels : {"1:3", "1:2"}
    distance : {"corrected", "code", "weighted", "hamming"}
    mean : numpy.ndarray, shape (dim,), float32
    rotation : HadamardRotation or None
    """

    def __init__(
        self, Py_ssize_t dim, bint squared_l2, str levels, str distance, const float[::1] mean, rotation
    ):
        self.dim, self.squared_l2, self.levels, self.distance = dim, squared_l2, levels, distance
        self.mean_view, self.rotation = mean, rotation
        self.a, self.c = (2, 1) if levels == "1:3" else (3, 2)
        self.corrected = distance == "corrected"
        self.times = 2.0 if distance in ("corrected", "code") else 1.0
        self.words, self.size, self.stride = layout(dim, squared_l2)
        self.mean_square = self.along_mean(&mean[0])

    @property
    def mean(self):
        """What is taken off every row and query, float32 (dim,)."""
        return np.asarray(self.mean_view)

    def scratch(self, int workers):
        """Return what `code` needs, uint8 (workers, bytes): y, and digits with zeros up to whole words."""
        return np.zeros((workers, 32 * self.words * (sizeof(float) + 1)), np.uint8)

    cdef Code code(self, const float* row, int bits, uint8_t* scratch) noexcept nogil:
        """Return the code of a vector in so many bits; digits last as long as scratch is left alone."""
        cdef float* y = <float*>scratch
        cdef uint8_t* digits = scratch + 32 * self.words * sizeof(float)
        cdef Sizes sizes
        cdef double rms, product
        cdef Py_ssize_t i
        cdef Code found
        for i in range(self.dim):
            y[i] = row[i] - self.mean_view[i]
        if self.rotation is not None:
            self.rotation.forward(y)
        sizes = active().measure(y, self.dim)
        rms = sqrt(sizes.square / self.dim)
        # <y, X>: |X| is 1 + 2 k, or 2 + 2 k of levels "1:2".
        if bits == 4:
            product = sizes.absolute + 2.0 * active().digits4(y, self.dim, <float>(STEP_4 * rms), digits)
        elif self.c == 1:
            product = sizes.absolute + 2.0 * active().digits2(y, self.dim, <float>(STEP_2 * rms), digits)
        else:
            product = 2.0 * sizes.absolute
            product += 2.0 * active().digits2(y, self.dim, <float>(sizes.absolute / self.dim), digits)
        found.digits = digits
        if self.corrected:
            found.factor = <float>(sizes.square / product) if product > 0.0 else 0.0
            found.norm = finite(sizes.square)
        else:
            found.factor = <float>(1.0 / self.c)
            found.norm = self.norm_of_levels(digits)
        return found

    cdef float norm_of_levels(self, const uint8_t* digits) noexcept nogil:
        # "code": |x|^2. Else half of the largest product, so that distances begin at 0.
        cdef Py_ssize_t i, strong = 0
        cdef double weak_square = self.c * self.c, strong_square = (self.c + 2) * (self.c + 2)
        if self.times == 1.0:
            return <float>(self.dim * strong_square / weak_square / 2.0)
        for i in range(self.dim):
            strong += digits[i] == 0 or digits[i] == 3
        return <float>(self.dim + strong * (strong_square / weak_square - 1.0))

    cdef double along_mean(self, const float* row) noexcept nogil:
        """Return <row, mean>."""
        cdef Py_ssize_t i
        cdef double total = 0.0
        for i in range(self.dim):
            total += <double>row[i] * self.mean_view[i]
        return total


cdef float finite(double value) noexcept nogil:
    # A file holds finite numbers only, and squares of large ones are none as float32.
    return <float>min(max(value, -FLT_MAX), FLT_MAX)
