"""What is kept of n rows coded by LVQ, and the frame they were coded in.

Tables of n rows whose first level lies in blocks, as a scan wants it:
    codes      ceil(n / 16) x lines x 64 bytes    packed16, the only thing a scan streams, with
    steps lows norms selectors                    4 + 4 + 4 (l2 only) + 1 (several means only) bytes a row
or row by row, as a walk over a graph wants it, about one mean:
    codes      n x stride bytes                   codes and constants of each row: kernels/gather.hpp
and in either case:
    rhos       4 bytes a row, cold                rho, to undo the correction
    wholes     4 bytes a row, cold                the norm from both levels (residual rows, l2, two levels)
    residuals  ceil(dim * bits2 / 8) bytes a row, cold, one byte or nibble a dimension, the lower nibble first

What the numbers mean is said in lvq.pyx. Encoder and scorer read and write them through `Places`, bare
pointers that hold until a table moves.
"""

import numpy as np

from libc.stdint cimport int8_t, uint8_t, uint32_t
from libc.string cimport memcpy

from ..kernels.table cimport active, dot, kConstants, kLine, lines_of

from ..tables import Table


cdef class Frame:
    """What rows are coded about, R x - centre - mean[s]; unchanging, so that a scorer may hold on to it.

    Parameters
    ----------
    rotation : HadamardRotation or None
        R; None where rows are not rotated.
    centre : numpy.ndarray, shape (dim,), float32
    means : numpy.ndarray, shape (1 .. 256, dim), float32
        About the centre.
    """

    def __init__(self, rotation, const float[::1] centre, const float[:, ::1] means):
        self.rotation, self.centre_view, self.means_view = rotation, centre, means

    @property
    def centre(self):
        """What is taken off every rotated row, float32 (dim,)."""
        return np.asarray(self.centre_view)

    @property
    def means(self):
        """The means about the centre, float32 (1 .. 256, dim)."""
        return np.asarray(self.means_view)

    cdef float centred(self, bint squared_l2, const float* query, float* out) noexcept nogil:
        # Write q': R q - centre for squared L2, else R q. Return what all scores of the query have in common.
        cdef Py_ssize_t dim = self.centre_view.shape[0], j
        memcpy(out, query, dim * sizeof(float))
        if self.rotation is not None:
            self.rotation.forward(out)
        if not squared_l2:
            return <float>-dot(out, &self.centre_view[0], dim)
        for j in range(dim):
            out[j] -= self.centre_view[j]
        return <float>dot(out, out, dim)


cdef class LVQCodes(Codes):
    """Codes of n rows: what both layouts of the first level have in common.

    Parameters
    ----------
    dim : int
    bits, residual_bits : int
        Of the first and the second level.
    stride : int
        Bytes from row to row; 0 for blocks.
    tables : dict of str to Table
        Of the first level.
    """

    def __init__(self, Py_ssize_t dim, int bits, int residual_bits, Py_ssize_t stride, dict tables):
        self.dim, self.bits, self.residual_bits, self.stride = dim, bits, residual_bits, stride
        self.lines = lines_of(bits, dim)
        self.residual_bytes = (dim * residual_bits + 7) // 8
        tables["rhos"] = Table(np.float32)
        if residual_bits:
            tables["residuals"] = Table(np.uint8, (self.residual_bytes,))
        super().__init__(tables, ("rhos", "residuals", "wholes"))

    cdef Places where(self) except *:
        if self.moved:
            self.places.blocks = self.places.rows = NULL
            if self.stride:
                self.places.rows = <uint8_t*>self.address("codes")
            else:
                self.places.blocks = <uint8_t*>self.address("codes")
            self.places.steps = <float*>self.address("steps")
            self.places.lows = <float*>self.address("lows")
            self.places.norms = <float*>self.address("norms")
            self.places.rhos = <float*>self.address("rhos")
            self.places.selectors = <uint8_t*>self.address("selectors")
            self.places.residuals = <uint8_t*>self.address("residuals")
            self.places.wholes = <float*>self.address("wholes")
            self.moved = False
        return self.places

    cdef void decode(
        self, uint32_t slot, const uint8_t* codes, float low, float step, const float* mean, int8_t* room,
        float* out
    ) noexcept nogil:
        cdef const uint8_t* residual = self.places.residuals + slot * self.residual_bytes
        cdef float rho = self.places.rhos[slot]
        cdef int levels = 1 << self.residual_bits
        low, step = low / rho, step / rho
        if self.residual_bits == 0:
            active().expand(codes, NULL, self.dim, low, step, 1, mean, out)
            return
        if self.residual_bits == 4:
            active().unpack_nibbles(residual, self.dim, room)
        else:
            room = <int8_t*>residual
        active().expand(codes, room, self.dim, low, step / levels, levels, mean, out)


cdef class LVQRows(LVQCodes):
    """Codes of n rows, the first level row by row.

    Parameters
    ----------
    dim, bits, residual_bits : int
        See `LVQCodes`.
    """

    def __init__(self, Py_ssize_t dim, int bits, int residual_bits):
        cdef Py_ssize_t size = 4 * lines_of(bits, dim) + kConstants
        # Whole lines where they cost a fifth at most, else quarters of lines. Rows of 4 bits and 384
        # dimensions took 7.2 ns each from the second cache at any multiple of 4 bytes, 6.0 of 16, 5.7 of 64.
        stride = rounded(size, 64) if 5 * rounded(size, 64) <= 6 * size else rounded(size, 16)
        super().__init__(dim, bits, residual_bits, stride, {"codes": Table(np.uint8, (stride,))})

    @property
    def code_size(self):
        """Bytes a row, cold ones included."""
        return self.stride + 4 + self.residual_bytes


cdef class LVQBlocks(LVQCodes):
    """Codes of n rows, the first level in blocks of 16 rows.

    Parameters
    ----------
    dim, bits, residual_bits : int
        See `LVQCodes`.
    with_norms : bool
        Whether scores need norms, as those of squared L2 do.
    with_selectors : bool
        Whether there may be several means.
    residual : bool
        Whether rows are what origins leave of them.
    """

    def __init__(
        self, Py_ssize_t dim, int bits, int residual_bits, bint with_norms, bint with_selectors=True,
        bint residual=False,
    ):
        tables = {
            "codes": Table(np.uint8, (lines_of(bits, dim), kLine)),
            "steps": Table(np.float32),
            "lows": Table(np.float32),
        }
        if with_norms:
            tables["norms"] = Table(np.float32)
        if with_selectors:
            tables["selectors"] = Table(np.uint8)
        if residual and with_norms and residual_bits:
            tables["wholes"] = Table(np.float32)
        self.residual = residual
        super().__init__(dim, bits, residual_bits, 0, tables)

    @property
    def code_size(self):
        """Bytes a row, cold ones included."""
        alone = sum(table.rows.dtype.itemsize for table in self.tables.values() if table.shape == ())
        return 4 * self.lines + alone + self.residual_bytes

    def length(self, name, Py_ssize_t n):
        """Return how many rows a table has for n rows of codes."""
        return (n + 15) // 16 if name == "codes" else n

    def resize(self, Py_ssize_t n):
        """Keep the first n rows, or make room for more; lanes without a row hold zeros."""
        self.moved = True
        blocks = self.tables["codes"]
        cdef Py_ssize_t had = len(blocks)
        if n < self.n and n % 16:
            self.own()
        for name, table in self.tables.items():
            table.resize(self.length(name, n))
        if len(blocks) > had:
            # Every row writes the whole of its lane, so only the last block can keep lanes without one.
            blocks.rows[len(blocks) - 1] = 0
        elif n <= self.n and n % 16 and not blocks.mapped:
            blocks.rows[n // 16].reshape(self.lines, 16, 4)[:, n % 16:] = 0
        self.n = n

    cdef object lanes(self):
        return self.tables["codes"].rows.reshape(-1, self.lines, 16, 4)

    def gather(self, name, slots):
        """Return what a table holds of rows, each by itself."""
        return self.lanes()[slots // 16, :, slots % 16] if name == "codes" else super().gather(name, slots)

    def scatter(self, name, slots, rows):
        """Let a table hold what `gather` gave."""
        if name == "codes":
            self.lanes()[slots // 16, :, slots % 16] = rows
        else:
            super().scatter(name, slots, rows)

    def blank(self, targets):
        """Let the rows of targets hold zeros."""
        self.own()
        for name, table in self.tables.items():
            if name == "codes":
                self.lanes()[targets // 16, :, targets % 16] = 0
            else:
                table.rows[targets] = 0


cdef Py_ssize_t rounded(Py_ssize_t size, Py_ssize_t unit) noexcept:
    return (size + unit - 1) // unit * unit
