"""What is kept of n rows coded by LVQ, and the frame they were coded in.

Tables, n rows (blocks of 16 in `codes`):
    codes      ceil(n / 16) x lines x 64 bytes    packed16, the only thing a scan streams, with
    steps lows norms selectors                    4 + 4 + 4 (l2 only) + 1 (several means only) bytes a row
    rhos       4 bytes a row, cold                rho, to undo the correction
    residuals  ceil(dim * bits2 / 8) bytes a row, cold, one byte or nibble a dimension, the lower nibble first

What the numbers mean is said in lvq.pyx. Encoder and scorer read and write them through `Places`, bare
pointers that hold until a table moves.
"""

import numpy as np

from ..kernels.table cimport kLine, lines_of

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


cdef class LVQCodes(Codes):
    """Codes of n rows, the first level in blocks of 16 rows.

    Parameters
    ----------
    dim : int
    bits, residual_bits : int
        Of the first and the second level.
    with_norms : bool
        Whether scores need norms, as those of squared L2 do.
    """

    def __init__(self, Py_ssize_t dim, int bits, int residual_bits, bint with_norms):
        self.dim, self.bits, self.residual_bits = dim, bits, residual_bits
        self.lines = lines_of(bits, dim)
        self.residual_bytes = (dim * residual_bits + 7) // 8
        tables = {
            "codes": Table(np.uint8, (self.lines, kLine)),
            "steps": Table(np.float32),
            "lows": Table(np.float32),
        }
        if with_norms:
            tables["norms"] = Table(np.float32)
        tables["selectors"] = Table(np.uint8)
        tables["rhos"] = Table(np.float32)
        if residual_bits:
            tables["residuals"] = Table(np.uint8, (self.residual_bytes,))
        super().__init__(tables, ("rhos", "residuals"))
        self.moved = True

    @property
    def code_size(self):
        """Bytes a row, cold ones included."""
        return 4 * self.lines + 12 + 4 * ("norms" in self.tables) + 1 + self.residual_bytes

    cdef Places where(self) except *:
        # Kernels read through bare pointers, looked up again after everything that may move a table, and only
        # when next needed: an interrupted change cannot leave old ones behind.
        if self.moved:
            self.places.blocks = <uint8_t*>address(self.tables, "codes")
            self.places.steps = <float*>address(self.tables, "steps")
            self.places.lows = <float*>address(self.tables, "lows")
            self.places.norms = <float*>address(self.tables, "norms")
            self.places.rhos = <float*>address(self.tables, "rhos")
            self.places.selectors = <uint8_t*>address(self.tables, "selectors")
            self.places.residuals = <uint8_t*>address(self.tables, "residuals")
            self.moved = False
        return self.places

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

    def reserve(self, Py_ssize_t n):
        """Have memory for n rows."""
        self.moved = True
        Codes.reserve(self, n)

    def own(self):
        """Copy tables that lie in a mapped file, so that they can be written to."""
        self.moved = True
        Codes.own(self)

    def move(self, sources, targets):
        """Let the rows of targets become those of sources."""
        self.own()
        for name, table in self.tables.items():
            if name == "codes":
                lanes = table.rows.reshape(-1, self.lines, 16, 4)
                lanes[targets // 16, :, targets % 16] = lanes[sources // 16, :, sources % 16]
            else:
                table.rows[targets] = table.rows[sources]

    def compact(self):
        """Give back memory beyond the rows there are."""
        self.moved = True
        Codes.compact(self)

    def restore(self, sections, Py_ssize_t n):
        """Lie over the arrays of a file."""
        self.moved = True
        Codes.restore(self, sections, n)


cdef size_t address(dict tables, str name) except? 0:
    return tables[name].rows.ctypes.data if name in tables else 0
