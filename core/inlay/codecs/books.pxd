"""Books of codewords, as other Cython modules see them."""

from libc.stddef cimport size_t


# Where the numbers of a `Books` lie: what code without the GIL is given.
cdef struct Pages:
    size_t stages
    size_t entries
    size_t dim
    bint shared             # every stage is about all coordinates
    const size_t* begins    # a stage's first coordinate, of each stage
    const size_t* widths    # how many coordinates it is about
    const size_t* places    # where its codewords begin in `vectors` and `strips`
    const float* vectors    # codeword after codeword
    const float* strips     # the same, 16 codewords side by side: kernels/additive.hpp
    const float* norms      # their squared lengths
    const float* crosses    # of stages l < m, twice the products of their codewords; null until `cross`


cdef class Books:
    cdef readonly Py_ssize_t stages
    cdef readonly Py_ssize_t entries
    cdef readonly Py_ssize_t dim
    cdef readonly bint shared
    cdef size_t[::1] begins, widths, places
    cdef float[::1] vectors, strips, norms, crosses
    cdef Pages pages(self) noexcept


# Where the products of stage l's codeword i with those of stage m > l lie in `crosses`.
cdef inline size_t cross_at(size_t entries, size_t l, size_t m, size_t i) noexcept nogil:
    return ((m * (m - 1) // 2 + l) * entries + i) * entries


# <y, codeword> of n rows, each with `stride` floats, for stages [first, last): (n, last - first, entries), and
# so many floats from row to row of `out`.
cdef void products_of(
    const Pages* books, size_t first, size_t last, const float* y, size_t n, float* out, size_t out_stride
) noexcept nogil

# The sum of one codeword a stage, from a code a byte; only the first `used` stages.
cdef void add_up(const Pages* books, size_t used, const unsigned char* codes, float* out) noexcept nogil
