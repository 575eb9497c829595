"""The contract every codec keeps: rows to codes, codes to rows, and scores."""

import math

import numpy as np


cdef class Codes:
    """Tables that together hold the codes of n rows.

    Parameters
    ----------
    tables : dict of str to Table
        By section name.
    cold : tuple of str
        Names of the tables that a search touches for its last candidates only.
    """

    def __init__(self, dict tables, tuple cold=()):
        self.tables = tables
        self.cold = cold
        self.n = 0
        self.moved = True

    def __len__(self):
        return self.n

    def resize(self, Py_ssize_t n):
        """Keep the first n rows, or make room for more at the end."""
        self.moved = True
        for table in self.tables.values():
            table.resize(n)
        self.n = n

    def reserve(self, Py_ssize_t n):
        """Have memory for n rows."""
        self.moved = True
        for name, table in self.tables.items():
            table.reserve(self.length(name, n))

    def own(self):
        """Copy tables that lie in a mapped file, so that they can be written to."""
        self.moved = True
        for table in self.tables.values():
            table.own()

    def move(self, sources, targets):
        """Let the rows of targets become those of sources, all at once."""
        self.place(targets, self, sources)

    def place(self, targets, Codes other, sources):
        """Let the rows of targets become those of sources in other codes of the same kind."""
        self.own()
        for name in self.tables:
            self.scatter(name, targets, other.gather(name, sources))

    def gather(self, name, slots):
        """Return what a table holds of rows, each by itself: an array (n, ...)."""
        return self.tables[name].rows[slots]

    def scatter(self, name, slots, rows):
        """Let a table hold what `gather` gave."""
        self.tables[name].rows[slots] = rows

    def pack(self, slots):
        """Return all that is kept of rows, each by itself, uint8 (n, bytes)."""
        parts = [np.ascontiguousarray(self.gather(name, slots)) for name in self.tables]
        flat = [part.reshape(len(slots), math.prod(part.shape[1:])) for part in parts]
        return np.concatenate([part.view(np.uint8) for part in flat], axis=1)

    def unpack(self, packed):
        """Append rows that `pack` gave."""
        cdef Py_ssize_t first = self.n, at = 0
        slots = np.arange(first, first + len(packed))
        self.resize(first + len(packed))
        self.own()
        for name in self.tables:
            like = self.gather(name, slots)
            size = like.dtype.itemsize * int(np.prod(like.shape[1:], dtype=np.int64))
            part = np.ascontiguousarray(packed[:, at : at + size])
            self.scatter(name, slots, part.view(like.dtype).reshape(like.shape))
            at += size

    def blank(self, targets):
        """Let the rows of targets hold zeros."""
        self.own()
        for table in self.tables.values():
            table.rows[targets] = 0

    def compact(self):
        """Give back memory beyond the rows there are."""
        self.moved = True
        for table in self.tables.values():
            table.compact()

    def nbytes(self, *, cold):
        """Return the bytes of the cold tables, or of the others."""
        return sum(table.nbytes for name, table in self.tables.items() if (name in self.cold) == cold)

    def sections(self, Py_ssize_t n):
        """Return the arrays that a file of the first n rows holds."""
        return {name: table.rows[: self.length(name, n)] for name, table in self.tables.items()}

    def restore(self, sections, Py_ssize_t n):
        """Lie over the arrays of a file, once their dtypes and shapes are right for n rows."""
        self.moved = True
        for name, table in self.tables.items():
            self.tables[name] = table.over(
                sections.take(name, table.rows.dtype, (self.length(name, n), *table.shape))
            )
        self.n = n

    cdef size_t address(self, str name) except? 0:
        return self.tables[name].rows.ctypes.data if name in self.tables else 0

    def length(self, name, Py_ssize_t n):
        """Return how many rows a table has for n rows of codes."""
        return n


cdef class Codec:
    """How rows of one dimension become codes.

    Parameters
    ----------
    dim : int
    squared_l2 : bool
        Scores are squared L2 distances; else negated inner products.
    """

    is_trained = True
    # Rows that lie packed together: where they start is a multiple of it.
    packed = 16

    def __init__(self, Py_ssize_t dim, bint squared_l2):
        self.dim = dim
        self.squared_l2 = squared_l2

    def train(self, rows, *, seed=0, progress=None, origins=None):
        """Learn from rows (n, dim), `residual` ones with their origins; nothing where nothing is learned."""

    def new_codes(self):
        """Return empty `Codes` of this codec."""
        raise TypeError("an abstract codec has no codes")

    def encode(self, rows, Codes codes=None, origins=None):
        """Append the codes of rows (n, dim) to `codes`, new ones if None, and return it.

        A codec of `residual` rows is given what origins (n, dim) leave of rows, and the origins. Its scorers
        then leave -2 <q, origin> (squared L2; -<q, origin> for inner products) to the caller.
        """
        raise TypeError("an abstract codec has no codes")

    def decode(self, Codes codes, slots=None):
        """Return the rows float32 (n, dim) that the codes of these slots (all if None) stand for."""
        raise TypeError("an abstract codec has no codes")

    def scorer(self, queries, Codes codes, int workers):
        """Return a `Scorer` of queries (n, dim) over codes, with scratch for so many threads."""
        raise TypeError("an abstract codec has no codes")

    def pairs(self, Codes codes, int workers, bint most=False):
        """Return a `Scorer` of rows against each other, one aimed row a worker.

        Its scores are squared L2 distances whatever the metric, so that they can be compared with each other:
        0 (or an estimate about 0) between equal rows. `most` is a hint that most rows will be compared many
        times, so that it pays to decode them all at first where codes are slow to read.
        """
        raise TypeError("an abstract codec has no codes")

    def learned(self):
        """Return what training and later rows have taught, for `unlearn`; None where nothing is learned."""

    def unlearn(self, learned):
        """Go back to what `learned` gave."""

    @property
    def nbytes(self):
        """Bytes of what was learned, where that is much."""
        return 0

    def state(self):
        """Return (fields, arrays) that a file holds of what was learned."""
        return {}, {}

    def restore(self, header, sections):
        """Take what `state` gave, as read from a file."""
