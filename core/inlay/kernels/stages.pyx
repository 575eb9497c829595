"""The kernels of codes in stages, callable from Python at any level.

Like the functions of table.pyx, these exist for tests and measurements, and check shapes first.
"""

import numpy as np

from libc.stddef cimport size_t
from libc.stdint cimport int16_t, uint8_t
from libcpp.vector cimport vector

from .table cimport Kernels, Line, Shape, Step, at, get_code, kStageRows, kStrip, put_code, stage_bytes


def pack_stages(const uint8_t[:, ::1] codes, norms=None, int bits=8):
    """Return the blocks (n_blocks, bytes) of codes (n, stages) and of norms (n,) if there are any."""
    cdef Py_ssize_t n = codes.shape[0], stages = codes.shape[1], row, stage
    cdef size_t size = stage_bytes(bits, stages), stride = size
    if bits not in (4, 8) or (norms is not None and len(norms) != n):
        raise ValueError("codes have 4 or 8 bits, and there are norms for all rows or for none")
    if norms is not None:
        stride += kStageRows
    blocks = np.zeros(((n + kStageRows - 1) // kStageRows, stride), np.uint8)
    cdef uint8_t[:, ::1] view = blocks
    for row in range(n):
        for stage in range(stages):
            put_code(bits, &view[row // kStageRows, 0], stages, row % kStageRows, stage, codes[row, stage])
        if norms is not None:
            view[row // kStageRows, size + row % kStageRows] = norms[row]
    return blocks


def unpack_stages(const uint8_t[:, ::1] blocks, Py_ssize_t n, Py_ssize_t stages, int bits=8):
    """Return the codes (n, stages) of the first n rows."""
    cdef Py_ssize_t row, stage
    if n > blocks.shape[0] * <Py_ssize_t>kStageRows or stage_bytes(bits, stages) > <size_t>blocks.shape[1]:
        raise ValueError("the blocks hold fewer rows or stages")
    codes = np.empty((n, stages), np.uint8)
    cdef uint8_t[:, ::1] view = codes
    for row in range(n):
        for stage in range(stages):
            view[row, stage] = get_code(bits, &blocks[row // kStageRows, 0], stages, row % kStageRows, stage)
    return codes


def scan_stages(
    const uint8_t[:, ::1] blocks, Py_ssize_t stored, const uint8_t[:, ::1] tables, float step=1, float low=0,
    norms=None, level=None,
):
    """Return the scores (64 n_blocks,) by as many stages as there are tables (used, 16 or 256).

    norms : (norm_step, norm_low) or None
        For blocks that hold norms.
    """
    cdef Py_ssize_t used = tables.shape[0]
    cdef int bits = 4 if tables.shape[1] == 16 else 8
    cdef Shape shape
    cdef Line line
    shape.stride, shape.stored, shape.used = stage_bytes(bits, stored), stored, used
    shape.norms = 0
    line.step, line.low, line.norm_step, line.norm_low = step, low, 0, 0
    if norms is not None:
        shape.norms = shape.stride
        shape.stride += kStageRows
        line.norm_step, line.norm_low = norms
    if tables.shape[1] not in (16, 256) or used > stored or <size_t>blocks.shape[1] != shape.stride:
        raise ValueError("the blocks and the tables do not fit each other")
    out = np.empty(blocks.shape[0] * kStageRows, np.float32)
    cdef float[::1] view = out
    cdef const Kernels* kernels = at(level)
    if out.size:
        (kernels.stages16 if bits == 4 else kernels.stages256)(
            &blocks[0, 0], blocks.shape[0], shape, &tables[0, 0], line, &view[0]
        )
    return out


def products(const float[:, ::1] rows, const float[:, :, ::1] strips, level=None):
    """Return the products (n, 16 n_strips) of rows (n, dim) and codewords in strips (n_strips, dim, 16)."""
    if rows.shape[1] != strips.shape[1] or strips.shape[2] != kStrip:
        raise ValueError("the rows and the strips do not fit each other")
    out = np.empty((rows.shape[0], kStrip * strips.shape[0]), np.float32)
    cdef float[:, ::1] view = out
    if out.size:
        at(level).products(
            &rows[0, 0], rows.shape[0], rows.shape[1], rows.shape[1], &strips[0, 0, 0], strips.shape[0],
            &view[0, 0], out.shape[1],
        )
    return out


def short_products(
    const int16_t[:, ::1] rows, const float[::1] row_factors, const int16_t[:, :, ::1] strips,
    const float[::1] strip_factors, Py_ssize_t dim, level=None
):
    """Return the products (n, 16 n_strips) of rows (n, dim or more) and strips (n_strips, pairs, 32)."""
    cdef Py_ssize_t pairs = (dim + 1) // 2
    if rows.shape[1] < 2 * pairs or strips.shape[1] != pairs or strips.shape[2] != 2 * kStrip or (
        row_factors.shape[0] != rows.shape[0] or strip_factors.shape[0] != strips.shape[0]
    ):
        raise ValueError("the rows and the strips do not fit each other")
    out = np.empty((rows.shape[0], kStrip * strips.shape[0]), np.float32)
    cdef float[:, ::1] view = out
    if out.size:
        at(level).short_products(
            &rows[0, 0], rows.shape[0], rows.shape[1], &row_factors[0], dim, &strips[0, 0, 0],
            &strip_factors[0], strips.shape[0], &view[0, 0], out.shape[1],
        )
    return out


def add_words(const float[:, :, ::1] words, const uint8_t[:, ::1] codes, level=None):
    """Return the sums (n, dim) of the words (stages, entries, dim) that codes (n, stages) name."""
    cdef Py_ssize_t i
    if codes.shape[1] > words.shape[0] or (codes.size and np.max(codes) >= words.shape[1]):
        raise ValueError("the codes and the words do not fit each other")
    out = np.empty((codes.shape[0], words.shape[2]), np.float32)
    cdef float[:, ::1] view = out
    for i in range(codes.shape[0]):
        at(level).add_words(
            &words[0, 0, 0], words.shape[1], words.shape[2], &codes[i, 0], codes.shape[1], &view[i, 0]
        )
    return out


def extend(
    const float[::1] norms, const float[::1] products, const float[::1] scores,
    const float[:, :, ::1] crosses, Py_ssize_t room, level=None,
):
    """Return (scores, parents, entries) of the best ways on; crosses (parents, n_cross, entries)."""
    cdef size_t entries = norms.shape[0], parents = scores.shape[0], n_cross = crosses.shape[1], i, found
    cdef vector[const float*] rows
    cdef vector[Step] steps
    if entries % kStrip or <size_t>products.shape[0] != entries or room < 1 or (
        crosses.shape[0] != <Py_ssize_t>parents or <size_t>crosses.shape[2] != entries
    ):
        raise ValueError("norms, products, scores and crosses do not fit each other")
    rows.resize(parents * n_cross + 1)
    steps.resize(room)
    for i in range(parents * n_cross):
        rows[i] = &crosses[i // n_cross, i % n_cross, 0]
    found = at(level).extend(
        &norms[0], &products[0], entries, &scores[0], parents, rows.data(), n_cross, room, steps.data()
    )
    return (
        np.array([steps[i].score for i in range(found)], np.float32),
        np.array([steps[i].parent for i in range(found)], np.int64),
        np.array([steps[i].entry for i in range(found)], np.int64),
    )
