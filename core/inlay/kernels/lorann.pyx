"""The kernels of LoRANN's models, callable from Python at any level.

Like the functions of table.pyx, these exist for tests and measurements, and check shapes first.
"""

import numpy as np

from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t

from .table cimport Half, Kernels, LorannQueries, LorannRows, LorannScan, at, kLine, kRows, kTogether


def lorann(
    const uint8_t[:, :, ::1] blocks, const int8_t[:, ::1] values, const float[::1] scales,
    const float[::1] firsts, steps, row_firsts, norms, int bits, level=None,
):
    """Return scores (n_queries, 16 n_blocks) of one or eight queries, by the formula in lorann.hpp.

    values : int8 (n_queries, 32 / bits * lines); steps, row_firsts : float16 (16 n_blocks,); norms : float32
    or None.
    """
    cdef Py_ssize_t n_queries = values.shape[0], n = blocks.shape[0] * kRows
    cdef const uint16_t[::1] step = steps.view(np.uint16), own = row_firsts.view(np.uint16)
    cdef const float[::1] norm = norms
    if n_queries not in (1, kTogether) or not scales.shape[0] == firsts.shape[0] == n_queries:
        raise ValueError("give one or eight queries")
    if blocks.shape[2] != kLine or values.shape[1] * bits != 32 * blocks.shape[1] or (
        not step.shape[0] == own.shape[0] == n or (norms is not None and norm.shape[0] != n)
    ):
        raise ValueError("the blocks and the rest do not fit each other")
    together = np.ascontiguousarray(np.asarray(values).reshape(n_queries, -1, 4).transpose(1, 0, 2))
    offsets = (1 << (bits - 1)) * np.asarray(values).sum(axis=1, dtype=np.int32)
    out = np.empty((n_queries, n), np.float32)
    cdef const int8_t[:, :, ::1] value = together
    cdef const int32_t[::1] offset = offsets
    cdef float[:, ::1] view = out
    cdef const Kernels* kernels = at(level)
    cdef LorannScan kernel
    cdef LorannQueries queries
    cdef LorannRows rows
    if bits == 4:
        kernel = kernels.lorann4_one if n_queries == 1 else kernels.lorann4_eight
    else:
        kernel = kernels.lorann8_one if n_queries == 1 else kernels.lorann8_eight
    if out.size and blocks.shape[1]:
        queries.values, queries.offsets = &value[0, 0, 0], &offset[0]
        queries.scales, queries.firsts = &scales[0], &firsts[0]
        rows.steps, rows.firsts = <const Half*>&step[0], <const Half*>&own[0]
        rows.norms = &norm[0] if norms is not None else NULL
        kernel(&blocks[0, 0, 0], blocks.shape[0], blocks.shape[1], queries, rows, &view[0, 0], n)
    return out
