"""Books of codewords: a row is nearly the sum of one codeword from each stage's book.

    x ~ T_1[i_1] + ... + T_M[i_M]

A stage is about all coordinates (residual vector quantisation), or each about its own (product quantisation);
then codewords of different stages have nothing in common, and neither products nor norms of sums need more
than a stage at a time. Where they do have, twice the product of any two codewords is tabulated:

    |x - sum|^2 - |x|^2  =  sum over m of (|T_m|^2 - 2 <x, T_m>) + sum over l < m of 2 <T_l, T_m>

Products of rows with codewords are those of 16-bit integers (kernels/additive.hpp). Products of codewords
with each other are float64, rounded to float32 at last, which the rounding of a BLAS changes once in some
billions.

Bytes: 6 a coordinate of a codeword, and for stages that share coordinates 2 M (M - 1) entries^2 for the
products, which encoding asks for.
"""

import numpy as np

from libc.math cimport sqrt
from libc.stddef cimport size_t
from libc.stdint cimport int16_t
from libc.string cimport memset

from ..kernels.table cimport active, dot, kStrip, kWhole


cdef class Books:
    """The codewords of all stages.

    Parameters
    ----------
    dim : int
    stages : int, >= 1
    entries : {16, 256}
    shared : bool
        Every stage is about all coordinates; else each about its own, as equal in number as can be,
        which is none for some where there are more stages than coordinates.
    """

    def __init__(self, Py_ssize_t dim, Py_ssize_t stages, Py_ssize_t entries, bint shared):
        self.dim, self.stages, self.entries, self.shared = dim, stages, entries, shared
        if shared:
            begins, widths = np.zeros(stages, np.uintp), np.full(stages, dim, np.uintp)
        else:
            limits = (np.arange(stages + 1) * dim // stages).astype(np.uintp)
            begins, widths = limits[:-1].copy(), np.diff(limits)
        self.begins, self.widths = begins, widths
        total = int(widths.sum())
        places = np.zeros(stages, np.uintp)
        places[1:] = entries * np.cumsum(widths)[:-1]
        self.places = places
        self.vectors = np.zeros(entries * total, np.float32)
        pairs = (widths + 1) // 2
        lines = np.zeros(stages, np.uintp)
        lines[1:] = 2 * entries * np.cumsum(pairs)[:-1]
        self.lines, self.strips = lines, np.zeros(2 * entries * int(pairs.sum()), np.int16)
        self.factors = np.zeros(stages * entries // kStrip, np.float32)
        self.norms, self.crosses = np.zeros(stages * entries, np.float32), None

    @staticmethod
    def of(Py_ssize_t dim, Py_ssize_t stages, Py_ssize_t entries, bint shared, flat):
        """Return books whose codewords were `flat`."""
        cdef Books books = Books(dim, stages, entries, shared)
        cdef Py_ssize_t stage
        for stage in range(stages):
            words = flat[books.places[stage] : books.places[stage] + entries * books.widths[stage]]
            books.put(stage, words.reshape(entries, books.widths[stage]))
        return books

    @property
    def flat(self):
        """All codewords, stage after stage and codeword after codeword, float32."""
        return np.asarray(self.vectors)

    @property
    def nbytes(self):
        """Bytes of codewords and of the products of pairs, if these were asked for."""
        crosses = 0 if self.crosses is None else len(self.crosses)
        return 4 * (len(self.vectors) + len(self.norms) + len(self.factors) + crosses) + 2 * len(self.strips)

    def coordinates(self, Py_ssize_t stage):
        """Return the slice of the coordinates that a stage is about."""
        return slice(self.begins[stage], self.begins[stage] + self.widths[stage])

    def get(self, Py_ssize_t stage):
        """Return the codewords of a stage, float32 (entries, width)."""
        size = self.entries * self.widths[stage]
        flat = np.asarray(self.vectors)[self.places[stage] : self.places[stage] + size]
        return flat.reshape(self.entries, self.widths[stage])

    def put(self, Py_ssize_t stage, words):
        """Let a stage have codewords (entries, width)."""
        cdef const float[:, ::1] view = np.ascontiguousarray(words, np.float32)
        cdef size_t width = self.widths[stage], entry, j, at, line, pairs = (width + 1) // 2
        cdef double most = 0
        cdef float scale
        if view.shape[0] != self.entries or <size_t>view.shape[1] != width:
            raise ValueError(f"a stage has codewords ({self.entries}, {width}), not {words.shape}")
        shorts = np.empty(short_room(width), np.int16)
        cdef int16_t[::1] short = shorts
        for entry in range(<size_t>self.entries):
            self.norms[stage * self.entries + entry] = <float>dot(&view[entry, 0], &view[entry, 0], width)
            most = max(most, self.norms[stage * self.entries + entry])
        scale = <float>sqrt(most)
        for entry in range(<size_t>self.entries):
            at = self.places[stage] + entry * width
            for j in range(width):
                self.vectors[at + j] = view[entry, j]
            shorten(&view[entry, 0], width, scale, &short[0])
            line = self.lines[stage] + entry // kStrip * pairs * 2 * kStrip + 2 * (entry % kStrip)
            for j in range(2 * pairs):
                self.strips[line + j // 2 * 2 * kStrip + j % 2] = short[j]
        for j in range(self.entries // kStrip):
            self.factors[stage * self.entries // kStrip + j] = scale / kWhole
        if self.crosses is not None:
            # Products with earlier stages alone still hold.
            self.crosses = self.crosses[: cross_at(self.entries, 0, stage, 0)]

    def cross(self, Py_ssize_t stages):
        """Tabulate the products of pairs of codewords of the first stages, if that is still to be done."""
        cdef size_t n = self.entries, size = cross_at(n, 0, stages, 0), known
        if not self.shared:
            return
        known = 0 if self.crosses is None else self.crosses.shape[0]
        if self.crosses is not None and known >= size:
            return
        grown = np.empty(size, np.float32)
        if known:
            grown[:known] = self.crosses
        words = [self.get(stage).astype(np.float64) for stage in range(stages)]
        for m in range(1, stages):
            for earlier in range(m):
                at = cross_at(n, earlier, m, 0)
                if at >= known:
                    grown[at : at + n * n] = (2 * words[earlier] @ words[m].T).ravel()
        self.crosses = grown

    cdef Pages pages(self) noexcept:
        cdef Pages books
        books.stages, books.entries = self.stages, self.entries
        books.dim, books.shared = self.dim, self.shared
        books.begins, books.widths = &self.begins[0], &self.widths[0]
        books.places, books.lines = &self.places[0], &self.lines[0]
        books.vectors, books.strips = &self.vectors[0], &self.strips[0]
        books.factors, books.norms = &self.factors[0], &self.norms[0]
        books.crosses = NULL
        if self.crosses is not None and self.crosses.shape[0]:
            books.crosses = &self.crosses[0]
        return books

    def products(self, y):
        """Return <y, codeword> of rows (n, dim) and every codeword, float32 (n, stages, entries)."""
        cdef const float[:, ::1] rows = np.ascontiguousarray(y, np.float32)
        cdef Py_ssize_t size = self.stages * self.entries
        cdef Pages books = self.pages()
        cdef Py_ssize_t i
        shorts = np.empty((rows.shape[0], short_room(self.dim)), np.int16)
        factors = np.empty(rows.shape[0], np.float32)
        cdef int16_t[:, ::1] short = shorts
        cdef float[::1] factor = factors
        out = np.empty((rows.shape[0], self.stages, self.entries), np.float32)
        cdef float[:, :, ::1] view = out
        for i in range(rows.shape[0]):
            factor[i] = shorten(&rows[i, 0], self.dim, length_of(&rows[i, 0], self.dim), &short[i, 0])
        if rows.shape[0]:
            products_of(
                &books, 0, self.stages, &short[0, 0], &factor[0], rows.shape[0], &view[0, 0, 0], size
            )
        return out

    def add(self, const unsigned char[:, ::1] codes):
        """Return the sums that codes (n, used) name, float32 (n, dim)."""
        cdef Pages books = self.pages()
        cdef Py_ssize_t i
        out = np.empty((codes.shape[0], self.dim), np.float32)
        cdef float[:, ::1] view = out
        for i in range(codes.shape[0]):
            add_up(&books, codes.shape[1], &codes[i, 0], &view[i, 0])
        return out


cdef float length_of(const float* y, size_t dim) noexcept nogil:
    return <float>sqrt(dot(y, y, dim))


cdef float shorten(const float* y, size_t dim, float length, int16_t* shorts) noexcept nogil:
    cdef double scale = kWhole / <double>length if length > 0 else 0, value
    cdef size_t j
    for j in range(dim):
        value = y[j] * scale
        shorts[j] = <int16_t>(value + 0.5 if value > 0 else value - 0.5)
    for j in range(dim, short_room(dim)):
        shorts[j] = 0
    return length / kWhole


cdef void products_of(
    const Pages* books, size_t first, size_t last, const int16_t* shorts, const float* factors, size_t n,
    float* out, size_t out_stride
) noexcept nogil:
    cdef size_t strips = books.entries // kStrip, stride = short_room(books.dim), stage
    if books.shared:
        active().short_products(
            shorts, n, stride, factors, books.dim, books.strips + books.lines[first],
            books.factors + first * strips, (last - first) * strips, out, out_stride,
        )
        return
    for stage in range(first, last):
        active().short_products(
            shorts + books.begins[stage], n, stride, factors, books.widths[stage],
            books.strips + books.lines[stage], books.factors + stage * strips, strips,
            out + (stage - first) * books.entries, out_stride,
        )


cdef void add_up(const Pages* books, size_t used, const unsigned char* codes, float* out) noexcept nogil:
    cdef size_t stage, j, width
    cdef const float* word
    cdef float* part
    if books.shared:
        active().add_words(books.vectors, books.entries, books.dim, codes, used, out)
        return
    memset(out, 0, books.dim * sizeof(float))
    for stage in range(used):
        width = books.widths[stage]
        word = books.vectors + books.places[stage] + codes[stage] * width
        part = out + books.begins[stage]
        for j in range(width):
            part[j] = word[j]
