"""LoRANN: the rows of a cluster are scored by a model of it, two small products in place of one large one.

    t        = G^T q                               once a query                      lorann_fit.py: G, A, b
    <t, c>                                         of each cluster's centre: which ones are looked into
    p        = A^T t                               once a query and cluster, r + 1 numbers
    <q, x>   ~ <p, b_x>                            for each row x of the cluster

    ip :  -<q, x>                    l2 :  |q - x|^2 - |q|^2  =  |x|^2 - 2 <q, x>

A and b are held in 8 or 4 bits a number, but for what belongs to the first coordinate (of t, and of p), which
is float; q, t and p are rounded to int8 on the way, G and the centres have 8 bits. All four products are one
kernel's, kernels/lorann.hpp: the columns of A are to t what the rows' coefficients are to p
(lorann_scorer.pyx). In tables:

    by list    codes      blocks of 16 columns of A, their first row aside       steps, firsts    float16
               leads      the first column of A, float32       scales      what A's numbers are multiplied by
               centres    in the coordinates of t
    by place   codes      blocks of 16 rows' b, the first number aside           steps, firsts    float16
               norms      |x|^2, of l2 alone

Sources: see lorann_fit.py. Differs from the reference in: codes lie interleaved to the end of a list; steps
are float16; norms are there once; first coordinates are float all the way.
"""

import numpy as np

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from ..kernels.table cimport get_row, kLine, kRows, lines_of, put_row
from .codec cimport Codes

from ..tables import Table
from .lorann_encode import decode, encode
from .lorann_fit import coefficients


cdef class Cleared(Codes):
    """Tables whose new entries hold zeros."""

    def resize(self, Py_ssize_t n):
        """Keep the first n, or make room for more at the end."""
        self.moved = True
        for name, table in self.tables.items():
            had = len(table)
            table.resize(self.length(name, n))
            if len(table) > had:
                table.rows[had:] = 0
        self.n = n


cdef class Models(Cleared):
    """A model a list, those of A and where its list lies.

    Parameters
    ----------
    size : int, >= 1
        Coordinates of the projection.
    rank : int, 0 .. size - 1
        Coefficients of a row beside its first.
    bits : {4, 8}
    """

    def __init__(self, Py_ssize_t size, Py_ssize_t rank, int bits):
        self.size, self.rank, self.bits = size, rank, bits
        cdef Py_ssize_t blocks = (rank + kRows - 1) // kRows
        super().__init__(
            {
                "codes": Table(np.uint8, (blocks, lines_of(bits, size - 1), kLine)),
                "steps": Table(np.float16, (blocks * kRows,)),
                "firsts": Table(np.float16, (blocks * kRows,)),
                "scales": Table(np.float32),
                "leads": Table(np.float32, (size,)),
                "centres": Table(np.float32, (size,)),
            },
            ("centres",),
        )

    cdef ModelParts where(self) except *:
        if self.moved:
            self.parts.codes = <const uint8_t*>self.address("codes")
            self.parts.steps = <const Half*>self.address("steps")
            self.parts.firsts = <const Half*>self.address("firsts")
            self.parts.scales = <const float*>self.address("scales")
            self.parts.leads = <const float*>self.address("leads")
            self.moved = False
        return self.parts

    def put(self, Py_ssize_t which, left):
        """Keep a model's A, float64 (size, 1 + rank), and return it as it is kept."""
        tables = {name: table.rows for name, table in self.tables.items()}
        scale = np.float32(max(np.abs(left[:, 1:]).max(initial=0.0), 1e-30))
        firsts, steps, codes = encode(np.ascontiguousarray(left[:, 1:].T / scale), None, self.bits)
        tables["codes"][which] = packed(codes, self.bits)
        for name, values in (("steps", steps), ("firsts", firsts)):
            tables[name][which] = 0
            tables[name][which, : self.rank] = values
        tables["scales"][which], tables["leads"][which] = scale, left[:, 0]
        kept = np.empty((self.size, 1 + self.rank))
        kept[:, 0] = tables["leads"][which]
        kept[:, 1:] = np.float64(scale) * decode(firsts, steps, codes, self.bits).T
        return kept

    def get(self, Py_ssize_t which):
        """Return A as `put` did."""
        tables = {name: table.rows[which] for name, table in self.tables.items()}
        codes = unpacked(tables["codes"], self.rank, self.size - 1, self.bits)
        kept = np.empty((self.size, 1 + self.rank))
        kept[:, 0] = tables["leads"]
        firsts, steps = tables["firsts"][: self.rank], tables["steps"][: self.rank]
        kept[:, 1:] = np.float64(tables["scales"]) * decode(firsts, steps, codes, self.bits).T
        # Of a damaged file they may be anything.
        return np.clip(np.nan_to_num(kept), -1e40, 1e40)


cdef class LorannCodes(Cleared):
    """The coefficients of rows, by place.

    Parameters
    ----------
    rank : int
        Coefficients beside the first.
    bits : {4, 8}
    with_norms : bool
        Of squared L2.
    """

    def __init__(self, Py_ssize_t rank, int bits, bint with_norms):
        self.rank, self.bits = rank, bits
        tables = {
            "codes": Table(np.uint8, (lines_of(bits, rank), kLine)),
            "steps": Table(np.float16),
            "firsts": Table(np.float16),
        }
        if with_norms:
            tables["norms"] = Table(np.float32)
        super().__init__(tables)

    def length(self, name, Py_ssize_t n):
        """Return how many rows a table has for n places, whole blocks."""
        return n // kRows if name == "codes" else n

    cdef RowParts where(self) except *:
        if self.moved:
            self.parts.codes = <const uint8_t*>self.address("codes")
            self.parts.steps = <const Half*>self.address("steps")
            self.parts.firsts = <const Half*>self.address("firsts")
            self.parts.norms = <const float*>self.address("norms")
            self.moved = False
        return self.parts

    def code(self, places, points, left, moments):
        """Write the coefficients of rows (m, size), in coordinates of the projection, under a model A.

        moments : float64 (size, size) or None
            Of the queries that come to the list.
        """
        self.put(places, *coefficients(left, points, moments))

    def put(self, places, vectors, metric=None):
        """Write the codes of vectors (m, 1 + rank), as `encode` makes them."""
        firsts, steps, codes = encode(vectors, metric, self.bits)
        self.tables["firsts"].rows[places], self.tables["steps"].rows[places] = firsts, steps
        put_rows(codes, places, self.tables["codes"].rows, self.bits)

    def place(self, targets, Codes other, sources):
        """Let the places `targets` hold what is at `sources` in other codes of the same kind."""
        self.own()
        for name, table in self.tables.items():
            if name == "codes":
                to, of = lanes(table), lanes(other.tables[name])
                to[targets // kRows, :, targets % kRows] = of[sources // kRows, :, sources % kRows]
            else:
                table.rows[targets] = other.tables[name].rows[sources]

    def blank(self, targets):
        """Let places hold zeros."""
        self.own()
        for name, table in self.tables.items():
            if name == "codes":
                lanes(table)[targets // kRows, :, targets % kRows] = 0
            else:
                table.rows[targets] = 0


cdef class Coarse:
    """What a query meets before it comes to a list: directions and centres, as 8 bits hold them.

    Parameters
    ----------
    directions : numpy.ndarray, shape (size, dim), float32
        The columns of the projection.
    centres : numpy.ndarray, shape (n_lists, size), float32
    squared_l2 : bool
        Centres are compared by squared L2 distances; else inner products.
    """

    def __init__(self, directions, centres, bint squared_l2):
        self.size, self.dim, self.n_lists = directions.shape[0], directions.shape[1], len(centres)
        self.directions = rounded(np.pad(directions, ((0, 0), (1, 0))), False)
        # What the first coordinates have in common, much the most of them, is nothing to choose between
        # centres by, and would take up the bits of what is.
        apart = np.float64(centres)
        norms = np.square(apart).sum(axis=1)
        apart[:, 0] -= apart[:, 0].mean()
        self.scale = max(np.abs(apart).max(initial=0.0), 1e-30)
        self.centres = rounded(apart / self.scale, squared_l2)
        if squared_l2:
            with np.errstate(over="ignore"):  # beyond float32 they are far, too
                self.centres.tables["norms"].rows[: self.n_lists] = norms

    @property
    def nbytes(self):
        """Bytes of both."""
        return self.directions.nbytes(cold=False) + self.centres.nbytes(cold=False)


def held(directions):
    """Return directions as `Coarse` holds them, so that rows and queries are projected alike."""
    vectors = np.ascontiguousarray(np.pad(np.float64(directions), ((0, 0), (1, 0))))
    kept = decode(*encode(vectors, None, 8), 8)
    return np.ascontiguousarray(kept[:, 1:], np.float32)


cdef LorannCodes rounded(vectors, bint with_norms):
    # The vectors (n, 1 + rank) in 8 bits, but for their first numbers.
    cdef LorannCodes codes = LorannCodes(vectors.shape[1] - 1, 8, with_norms)
    codes.resize((len(vectors) + kRows - 1) // kRows * kRows)
    codes.put(np.arange(len(vectors)), np.ascontiguousarray(vectors, np.float64))
    return codes


cdef object lanes(table):
    return table.rows.reshape(len(table), table.shape[0], kRows, 4)


def packed(const uint8_t[:, ::1] codes, int bits):
    """Return the blocks (ceil(n / 16), lines, 64) of codes (n, length), one byte each."""
    blocks = np.zeros(
        ((codes.shape[0] + kRows - 1) // kRows, lines_of(bits, codes.shape[1]), kLine), np.uint8
    )
    put_rows(codes, np.arange(codes.shape[0]), blocks, bits)
    return blocks


def put_rows(const uint8_t[:, ::1] codes, const int64_t[::1] places, uint8_t[:, :, ::1] blocks, int bits):
    """Write codes (n, length) to their places in blocks."""
    cdef Py_ssize_t i, length = codes.shape[1], lines = blocks.shape[1]
    cdef uint8_t[::1] row = np.zeros(lines * 32 // bits, np.uint8)
    if length == 0:
        return
    for i in range(codes.shape[0]):
        memcpy(&row[0], &codes[i, 0], length)
        put_row(bits, &row[0], lines, places[i] % kRows, &blocks[places[i] // kRows, 0, 0])


def unpacked(const uint8_t[:, :, ::1] blocks, Py_ssize_t n, Py_ssize_t length, int bits):
    """Return the codes (n, length) that `packed` was given."""
    cdef Py_ssize_t i, lines = blocks.shape[1]
    codes = np.zeros((n, lines * 32 // bits), np.uint8)
    cdef uint8_t[:, ::1] row = codes
    if length:
        for i in range(n):
            get_row(bits, &blocks[i // kRows, 0, 0], lines, i % kRows, &row[i, 0])
    return np.ascontiguousarray(codes[:, :length])
