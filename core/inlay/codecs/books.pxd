"""Books of codewords, as other Cython modules see them."""

from libc.stddef cimport size_t
from libc.stdint cimport int16_t


# Where the numbers of a `Books` lie: what code without the GIL is given.
cdef struct Pages:
    size_t stages
    size_t entries
    size_t dim
    bint shared             # every stage is about all coordinates
    const size_t* begins    # a stage's first coordinate, of each stage
    const size_t* widths    # how many coordinates it is about
    const size_t* places    # where its codewords begin in `vectors`
    const size_t* lines     # and in `strips`
    const float* vectors    # codeword after codeword
    const int16_t* strips   # the same, 16 codewords side by side: kernels/additive.hpp
    const float* factors    # what an integer of each strip stands for
    const float* norms      # their squared lengths
    const float* crosses    # of stages l < m, twice the products of their codewords; null until `cross`


cdef class Books:
    cdef readonly Py_ssize_t stages
    cdef readonly Py_ssize_t entries
    cdef readonly Py_ssize_t dim
    cdef readonly bint shared
    cdef size_t[::1] begins, widths, places, lines
    cdef float[::1] vectors, factors, norms, crosses
    cdef int16_t[::1] strips
    cdef Pages pages(self) noexcept


# Where the products of stage l's codeword i with those of stage m > l lie in `crosses`.
cdef inline size_t cross_at(size_t entries, size_t l, size_t m, size_t i) noexcept nogil:
    return ((m * (m - 1) // 2 + l) * entries + i) * entries


cdef float length_of(const float* y, size_t dim) noexcept nogil

# Write a row as integers, parts of a length that is no less than its own, and return what a part stands for.
# `shorts` has room for `short_room` of them.
cdef float shorten(const float* y, size_t dim, float length, int16_t* shorts) noexcept nogil

cdef inline size_t short_room(size_t dim) noexcept nogil:
    return (dim + 2) // 2 * 2

# <y, codeword> of n rows that were shortened, for stages [first, last): (n, last - first, entries), and
# `out_stride` floats from row to row.
cdef void products_of(
    const Pages* books, size_t first, size_t last, const int16_t* shorts, const float* factors, size_t n,
    float* out, size_t out_stride
) noexcept nogil

# The sum of one codeword a stage, from a code a byte; only the first `used` stages.
cdef void add_up(const Pages* books, size_t used, const unsigned char* codes, float* out) noexcept nogil
