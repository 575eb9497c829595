"""The dispatch table, and every kernel callable from Python at any level this CPU has.

The functions here exist for tests and measurements: they check shapes, allocate their result and call one
kernel. Index code cimports `active()` and calls the kernels themselves. The kernels of coded links are called
in links.pyx.
"""

import os

import numpy as np

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc


cdef extern from "kernels/table.hpp" namespace "inlay" nogil:
    enum Level:
        kScalar
        kNeon
        kNeonDot
        kAvx2
        kAvx512
    Level best_level()
    const Kernels* kernels_of(Level level)

LEVELS = ("scalar", "neon", "neon_dot", "avx2", "avx512")  # in the order of the C++ enum

cdef const Kernels* in_use = NULL


cdef const Kernels* active() noexcept nogil:
    return in_use


def levels():
    """Return the names of the levels this CPU has, the plainest first."""
    return [name for number, name in enumerate(LEVELS) if kernels_of(<Level>number) != NULL]


def level():
    """Return the name of the level in use."""
    return next(name for number, name in enumerate(LEVELS) if kernels_of(<Level>number) == in_use)


def set_level(name):
    """Use at most this level from now on; one that the CPU lacks means the best below it.

    Not to be called while other threads compute. Raises ValueError for a name that is none of `LEVELS`.
    """
    global in_use
    if name not in LEVELS:
        raise ValueError(f"unknown CPU level {name!r}; choose one of {', '.join(LEVELS)}")
    number = LEVELS.index(name)
    while kernels_of(<Level>number) == NULL:
        number -= 1
    in_use = kernels_of(<Level>number)


set_level(os.environ.get("INLAY_ISA") or LEVELS[best_level()])


cdef const Kernels* at(name) except NULL:
    if name is None:
        return in_use
    if name not in levels():
        raise ValueError(f"this CPU has no level {name!r}; it has {', '.join(levels())}")
    return kernels_of(<Level><int>LEVELS.index(name))


def scores(const float[:, ::1] queries, rows, str metric, level=None):
    """Return the scores (n_queries, n_rows) of "l2" or "ip" for float32 or float16 rows; less is nearer."""
    if queries.shape[1] != rows.shape[1]:
        raise ValueError("queries and rows differ in their number of dimensions")
    out = np.empty((queries.shape[0], rows.shape[0]), np.float32)
    cdef const uint8_t[:, ::1] row = as_bytes(rows)
    cdef float[:, ::1] view = out
    cdef const Kernels* kernels = at(level)
    cdef Scores kernel = kernels.squared_l2 if metric == "l2" else kernels.negative_ip
    if rows.dtype == np.float16:
        kernel = kernels.squared_l2_half if metric == "l2" else kernels.negative_ip_half
    if out.size:
        kernel(&queries[0, 0], queries.shape[0], &row[0, 0], row.shape[0], queries.shape[1], &view[0, 0],
               row.shape[0])
    return out


def scores_of(const float[::1] query, rows, const uint32_t[::1] slots, str metric, level=None):
    """Return the scores (n,) of the rows named by slots, which must lie in [0, n_rows)."""
    if query.shape[0] != rows.shape[1] or (slots.shape[0] and not max(slots) < rows.shape[0]):
        raise ValueError("the query's dimensions or the slots do not fit the rows")
    out = np.empty(slots.shape[0], np.float32)
    cdef const uint8_t[:, ::1] row = as_bytes(rows)
    cdef float[::1] view = out
    cdef const Kernels* kernels = at(level)
    cdef ScoresOf kernel = kernels.squared_l2_of if metric == "l2" else kernels.negative_ip_of
    if rows.dtype == np.float16:
        kernel = kernels.squared_l2_half_of if metric == "l2" else kernels.negative_ip_half_of
    if out.size:
        kernel(&query[0], &row[0, 0], &slots[0], slots.shape[0], query.shape[0], &view[0])
    return out


def as_bytes(rows):
    """Return the bytes of float32 or float16 rows."""
    if rows.dtype not in (np.float32, np.float16):
        raise ValueError(f"rows must be float32 or float16, not {rows.dtype}")
    return rows.view(np.uint8)


def pack(const uint8_t[:, ::1] codes, int bits):
    """Return codes (n, dim), one byte each, in packed16 blocks (ceil(n / 16), lines, 64)."""
    cdef size_t lines = lines_of(bits, codes.shape[1])
    padded = np.zeros((codes.shape[0], lines * 32 // bits), np.uint8)
    padded[:, : codes.shape[1]] = codes
    blocks = np.zeros(((codes.shape[0] + kRows - 1) // kRows, lines, kLine), np.uint8)
    cdef const uint8_t[:, ::1] row = padded
    cdef uint8_t[:, :, ::1] block = blocks
    cdef Py_ssize_t i
    if codes.shape[1]:
        for i in range(codes.shape[0]):
            put_row(bits, &row[i, 0], lines, i % kRows, &block[i // kRows, 0, 0])
    return blocks


def unpack(const uint8_t[:, :, ::1] blocks, int bits, Py_ssize_t n, Py_ssize_t dim):
    """Return the first n rows of packed16 blocks as codes (n, dim), one byte each."""
    cdef size_t lines = blocks.shape[1]
    padded = np.zeros((n, lines * 32 // bits), np.uint8)
    if n > blocks.shape[0] * <Py_ssize_t>kRows or dim > padded.shape[1]:
        raise ValueError("the blocks hold fewer rows or dimensions")
    cdef uint8_t[:, ::1] row = padded
    cdef Py_ssize_t i
    if lines:
        for i in range(n):
            get_row(bits, &blocks[i // kRows, 0, 0], lines, i % kRows, &row[i, 0])
    return np.ascontiguousarray(padded[:, :dim])


def dots(const uint8_t[:, :, ::1] blocks, const int8_t[:, ::1] queries, int bits, level=None):
    """Return the integer products (n_queries, 16 n_blocks) of one or eight int8 queries with packed codes."""
    cdef size_t lines = blocks.shape[1], n_queries = queries.shape[0]
    if n_queries not in (1, kTogether) or lines_of(bits, queries.shape[1]) != lines:
        raise ValueError("give one or eight queries of the blocks' number of dimensions")
    padded = np.zeros((n_queries, lines * 32 // bits), np.int8)
    padded[:, : queries.shape[1]] = queries
    # Groups of four values, the queries side by side within a group.
    together = np.ascontiguousarray(padded.reshape(n_queries, -1, 4).transpose(1, 0, 2))
    out = np.empty((n_queries, blocks.shape[0] * kRows), np.int32)
    cdef const int8_t[:, :, ::1] values = together
    cdef int32_t[:, ::1] view = out
    cdef const Kernels* kernels = at(level)
    cdef Dots kernel
    if bits == 4:
        kernel = kernels.dots4_one if n_queries == 1 else kernels.dots4_eight
    else:
        kernel = kernels.dots8_one if n_queries == 1 else kernels.dots8_eight
    if out.size:
        kernel(&blocks[0, 0, 0], blocks.shape[0], lines, &values[0, 0, 0], &view[0, 0], out.shape[1])
    return out


def lay(const uint8_t[:, ::1] codes, const float[:, ::1] constants, int bits, Py_ssize_t stride):
    """Return rows (n, stride) of codes (n, dim), one byte each, and the step, low and norm (n, 3) of each."""
    cdef size_t bytes = bytes_of(bits, codes.shape[1])
    if stride < <Py_ssize_t>(bytes + kConstants) or constants.shape[0] < codes.shape[0]:
        raise ValueError("the stride is too short, or constants are missing")
    padded = np.zeros((codes.shape[0], bytes * 8 // bits), np.uint8)
    padded[:, : codes.shape[1]] = codes
    rows = np.zeros((codes.shape[0], stride), np.uint8)
    cdef const uint8_t[:, ::1] code = padded
    cdef uint8_t[:, ::1] row = rows
    cdef Py_ssize_t i
    for i in range(codes.shape[0]):
        lay_row(
            bits, &code[i, 0], bytes, constants[i, 0], constants[i, 1], constants[i, 2], &row[i, 0]
        )
    return rows


def near(const uint8_t[:, ::1] rows, const int8_t[::1] query, int bits, const uint32_t[::1] slots,
         float scale, float offset, float shift, float least, bint norms, level=None):
    """Return the scores (n,), as kernels/gather.hpp has them, of scale * query + offset and rows in slots."""
    cdef size_t bytes = bytes_of(bits, query.shape[0]), part = part_of(bytes)
    values = np.zeros(8 // bits * part, np.int8)
    cdef int8_t[::1] laid = values
    cdef Query prepared
    cdef const Kernels* kernels = at(level)
    if rows.shape[1] < <Py_ssize_t>(bytes + kConstants) or (
        slots.shape[0] and not max(slots) < rows.shape[0]
    ):
        raise ValueError("the query's dimensions or the slots do not fit the rows")
    put_values(bits, &query[0], query.shape[0], bytes, &laid[0])
    prepared.values, prepared.total, prepared.norms = &laid[0], np.sum(query, dtype=np.int32), norms
    prepared.scale, prepared.offset, prepared.shift, prepared.least = scale, offset, shift, least
    prepared.sum = scale * <float>prepared.total + offset * <float>query.shape[0]
    out = np.empty(slots.shape[0], np.float32)
    cdef float[::1] view = out
    if out.size:
        (kernels.near4 if bits == 4 else kernels.near8)(
            &rows[0, 0], rows.shape[1], bytes, &slots[0], slots.shape[0], &prepared, &view[0]
        )
    return out


def grid(const float[::1] row, int bits, bint multi_start, level=None):
    """Return (low, step) of a residual row."""
    cdef const Kernels* kernels = at(level)
    cdef float top = (1 << bits) - 1
    cdef Grid found = (kernels.multi_start if multi_start else kernels.min_max)(&row[0], row.shape[0], top)
    return np.float32(found.low), np.float32(found.step)


def quantise(const float[::1] row, float low, float step, int bits, level=None):
    """Return (codes, squared norm of the row, inner product with its reconstruction)."""
    codes = np.empty(row.shape[0], np.uint8)
    cdef uint8_t[::1] view = codes
    cdef Grid found
    cdef float[2] out
    found.low, found.step = low, step
    at(level).quantise(&row[0], row.shape[0], found, (1 << bits) - 1, &view[0], out)
    return codes, np.float32(out[0]), np.float32(out[1])


def residual(const float[::1] row, const uint8_t[::1] codes, float low, float step, int bits2, level=None):
    """Return the signed second-level codes of a row."""
    codes2 = np.empty(row.shape[0], np.int8)
    cdef int8_t[::1] view = codes2
    cdef Grid found
    cdef int levels = 1 << bits2
    found.low, found.step = low, step
    at(level).residual(&row[0], &codes[0], row.shape[0], found, step / levels, levels // 2, &view[0])
    return codes2


def expand(codes, codes2, float low, float step, int scale2, mean, level=None):
    """Return mean + low + step * (codes * scale2 + codes2); codes2 may be None."""
    cdef const uint8_t[::1] first = codes
    cdef const int8_t[::1] second = codes2
    cdef const float[::1] centre = mean
    out = np.empty(first.shape[0], np.float32)
    cdef float[::1] view = out
    cdef const int8_t* signed = NULL
    if codes2 is not None:
        signed = &second[0]
    at(level).expand(&first[0], signed, first.shape[0], low, step, scale2, &centre[0], &view[0])
    return out


def unpack_nibbles(const uint8_t[::1] packed, Py_ssize_t dim, level=None):
    """Return `dim` signed nibbles as int8."""
    if packed.shape[0] * 2 < dim:
        raise ValueError("too few bytes")
    out = np.empty(dim, np.int8)
    cdef int8_t[::1] view = out
    if dim:
        at(level).unpack_nibbles(&packed[0], dim, &view[0])
    return out


def estimate(const int32_t[::1] products, const float[::1] steps, const float[::1] lows, norms, selectors,
             float scale, float total, const float[::1] offsets, level=None):
    """Return steps * (scale * products) + lows * total + norms + offsets[selectors]."""
    cdef const float[::1] norm = norms
    cdef const uint8_t[::1] selector = selectors
    cdef Constants rows
    rows.steps, rows.lows = &steps[0], &lows[0]
    rows.norms = NULL
    rows.selectors = NULL
    if norms is not None:
        rows.norms = &norm[0]
    if selectors is not None:
        rows.selectors = &selector[0]
    out = np.empty(products.shape[0], np.float32)
    cdef float[::1] view = out
    at(level).estimate(&products[0], products.shape[0], rows, scale, total, &offsets[0], &view[0])
    return out


def quantise_query(const float[::1] query, level=None):
    """Return (scale, int8 values) of a query."""
    values = np.empty(query.shape[0], np.int8)
    cdef int8_t[::1] view = values
    scale = at(level).quantise_query(&query[0], query.shape[0], &view[0])
    return np.float32(scale), values


def signmag(
    const uint8_t[:, ::1] rows, const uint32_t[::1] slots, const uint64_t[:, ::1] planes, Py_ssize_t dim,
    Py_ssize_t pair, int a, float base, float factor, level=None
):
    """Return (row.base + base) - (row.factor * factor) * <x, Y> of a query's two or four planes, (n,).

    A row's two constants are its word number `pair`. Slots must lie in [0, n_rows).
    """
    cdef SignRows at_rows
    cdef SignQuery query
    cdef int bits = planes.shape[0]
    cdef Py_ssize_t words = (dim + 63) // 64 * 2
    at_rows.bytes, at_rows.stride = &rows[0, 0], rows.shape[1]
    at_rows.words, at_rows.pair = words, pair
    if (
        bits not in (2, 4) or planes.shape[1] % kBlock or planes.shape[1] < words
        or rows.shape[1] < 8 * max(words, pair + 1)
        or (slots.shape[0] and not max(slots) < rows.shape[0])
    ):
        raise ValueError("the rows, the planes or the slots do not fit each other")
    query.planes, query.plane, query.a = &planes[0, 0], planes.shape[1], a
    query.all = (a + 1) * (15 if bits == 4 else a + 1) * dim
    query.base, query.factor = base, factor
    out = np.empty(slots.shape[0], np.float32)
    cdef float[::1] view = out
    cdef const Kernels* kernels = at(level)
    if out.size:
        (kernels.signmag2 if bits == 2 else kernels.signmag4)(
            at_rows, &slots[0], slots.shape[0], query, &view[0]
        )
    return out


def hamming(
    const uint8_t[:, ::1] rows, const uint32_t[::1] slots, const uint64_t[:, ::1] planes, Py_ssize_t dim,
    level=None
):
    """Return popc(pa ^ pb) + popc(sa ^ sb), (n,), of the rows in slots and a query of two planes."""
    cdef SignRows at_rows
    cdef SignQuery query
    cdef Py_ssize_t words = (dim + 63) // 64 * 2
    at_rows.bytes, at_rows.stride, at_rows.words = &rows[0, 0], rows.shape[1], words
    if (
        planes.shape[0] != 2 or planes.shape[1] < words or rows.shape[1] < 8 * words
        or (slots.shape[0] and not max(slots) < rows.shape[0])
    ):
        raise ValueError("the rows, the planes or the slots do not fit each other")
    query.planes, query.plane = &planes[0, 0], planes.shape[1]
    out = np.empty(slots.shape[0], np.float32)
    cdef float[::1] view = out
    cdef const Kernels* kernels = at(level)
    if out.size:
        kernels.hamming(at_rows, &slots[0], slots.shape[0], query, &view[0])
    return out


def measure(const float[::1] y, level=None):
    """Return (sum y^2, sum |y|)."""
    cdef Sizes sizes = at(level).measure(&y[0], y.shape[0])
    return sizes.square, sizes.absolute


def digits(const float[::1] y, float step, int bits, level=None):
    """Return the numbers of two or four bits, one a dimension, and sum k |y|, k the thresholds below |y|."""
    out = np.empty(y.shape[0], np.uint8)
    cdef uint8_t[::1] view = out
    cdef const Kernels* kernels = at(level)
    beyond = (kernels.digits2 if bits == 2 else kernels.digits4)(&y[0], y.shape[0], step, &view[0])
    return out, beyond


def bits_of(const uint8_t[::1] numbers, int bit):
    """Return one bit of up to 64 numbers as an integer, the first number's lowest."""
    cdef uint8_t[64] padded
    cdef Py_ssize_t i
    for i in range(64):
        padded[i] = numbers[i] if i < numbers.shape[0] else 0
    return gather_bits(padded, bit)


def top_k(const float[::1] values, size_t k, allowed=None, ids=None, level=None):
    """Return (scores, slots) of the k smallest scores, ties by lower id (the slot itself where ids is None).

    allowed : None or bool (n,).
    """
    cdef size_t n = values.shape[0]
    cdef Best best
    cdef const int64_t[::1] row_ids = ids
    cdef const uint64_t[::1] bits
    cdef const int64_t* tie_ids = NULL
    cdef const uint64_t* mask = NULL
    if ids is not None:
        tie_ids = &row_ids[0]
    if allowed is not None:
        packed = np.zeros((n + 63) // 64 * 8, np.uint8)
        packed[: (n + 7) // 8] = np.packbits(allowed, bitorder="little")
        bits = packed.view(np.uint64)
        mask = &bits[0]
    if k < 1:
        raise ValueError("k must be at least 1")
    cdef uint64_t* memory = <uint64_t*>malloc(Best.room(k) * sizeof(uint64_t))
    if memory == NULL:
        raise MemoryError
    try:
        best.start(memory, k, tie_ids)
        if n:
            best.take(at(level).collect, &values[0], n, 0, mask)
        best.finish()
        slots = np.array([slot_of(best.keys[i]) for i in range(best.size)], np.int64)
        found = np.array([score_of(best.keys[i]) for i in range(best.size)], np.float32)
    finally:
        free(memory)
    return found, slots


def hadamard(const float[::1] values, level=None):
    """Return the unnormalised Walsh-Hadamard transform of 2^p values."""
    n = values.shape[0]
    if n & (n - 1) or n == 0:
        raise ValueError("the length must be a power of two")
    out = np.array(values, np.float32)
    cdef float[::1] view = out
    at(level).hadamard(&view[0], n)
    return out
