"""Codes in stages: a row is nearly the sum of one codeword from each of several books.

    x ~ centre + P' (T_1[i_1] + ... + T_M[i_M])          M stages of 16 or 256 codewords

Product quantisation (pq.py) and residual vector quantisation (rvq.py) differ in what a stage is about,
its own coordinates or all of them, and in how codewords are learned; everything else is here, so that one
goes wherever the other does. Of this file are options and files. Beside it: basis.pyx (P and the centre),
books.pyx (codewords), additive_encode.pyx (rows to codes), additive_codes.pyx (where they lie),
additive_scorer.pyx (scores).

A squared distance takes the length of what a code stands for, and that is not the sum of its codewords' own
lengths: their products with each other are neither small nor constant. Where stages share coordinates a row
therefore has a byte more, its norm in even steps over the range of a sample's norms, widened by half: 8 bits
lose no recall, and fewer, or the wrong norm, more than none at all.

`residual` codes are what rows leave of origins, such as the centroids of an inverted file. Their norms are
those of origin + xhat, so that one table of a query serves all origins (see `StageScorer`):

    |q - origin - xhat|^2  =  |q|^2 - 2 <q, origin> - 2 <q, xhat> + |origin + xhat|^2
"""

import numpy as np

from ..kernels.table cimport kMaxDim
from ..parallel.crew cimport thread_count
from .additive_codes cimport StageBlocks, StageCodes, StageRows
from .additive_encode cimport encode_rows
from .basis cimport Basis
from .books cimport Books
from .codec cimport Codec, Codes

from ..contents import field
from .additive_scorer import StageBlockScorer, StagePairs, StageRowScorer, decoded
from .plain import PlainPairs

# Rows a codeword that training looks at, at most, and at least so many rows in all: more change nothing that
# a held-out row would show.
ROWS_A_WORD = 256
FEWEST_TRAINING_ROWS = 16_384
# Rows on which distortion and norms are measured.
MEASURED_ROWS = 16_384
# Stages a row has at most.
MOST_STAGES = 4_096
# Largest size of a number: squares of its sums are then far from the end of float32.
LARGEST = 1e15


cdef class AdditiveCodec(Codec):
    """Codes in stages.

    Parameters
    ----------
    dim : int
    squared_l2 : bool
    stages : int, >= 1
    bits : {4, 8}
        Of a stage's code.
    shared : bool
        Whether stages are about all coordinates; else each about its own.
    residual : bool
        Rows are what origins leave of them; norms are those of origin + xhat.
    beam : int, 1 .. 64
        Partial codes that encoding keeps.
    layout : {"blocks", "rows"}
        How codes lie: for scans of all rows, or for walks from row to row (`Scorer.near`, `pairs`).
    """

    packed = 64

    def __init__(
        self, Py_ssize_t dim, bint squared_l2, stages, bits, bint shared, bint residual, beam,
        str layout="blocks",
    ):
        super().__init__(dim, squared_l2)
        if dim > <Py_ssize_t>kMaxDim:
            raise ValueError(f"codes in stages take at most {kMaxDim} dimensions, not {dim}")
        if bits not in (4, 8):
            raise ValueError(f"a stage has 4 or 8 bits, not {bits}")
        if not 1 <= stages <= MOST_STAGES:
            raise ValueError(f"there must be 1 to {MOST_STAGES} stages, not {stages}")
        if not 1 <= beam <= 64:
            raise ValueError(f"beam must be 1 to 64, not {beam}")
        if layout not in ("blocks", "rows"):
            raise ValueError(f'layout must be "blocks" or "rows", not {layout!r}')
        self.stages, self.bits, self.shared, self.residual, self.beam = stages, bits, shared, residual, beam
        self.layout = layout

    @property
    def entries(self):
        """Codewords a stage."""
        return 1 << self.bits

    @property
    def with_norms(self):
        """Whether rows have a byte for their norm."""
        return self.squared_l2 and (self.shared or self.residual)

    @property
    def is_trained(self):
        """Whether there are codewords."""
        return self.books is not None

    @property
    def code_size(self):
        """Bytes a row."""
        return self.new_codes().code_size

    @property
    def nbytes(self):
        """Bytes of what was learned."""
        return 0 if self.books is None else self.books.nbytes + self.basis.nbytes

    def train(self, rows, *, seed=0, progress=None, origins=None):
        """Learn books, and the norms' levels, from rows (n, dim), n >= entries.

        `origins` (n, dim) are those of `residual` rows.
        """
        if len(rows) < self.entries:
            raise ValueError(
                f"{self.bits}-bit stages take at least {self.entries} rows to train, better "
                f"{ROWS_A_WORD * self.entries:,}, not {len(rows)}; call train() with more rows first"
            )
        check_size(rows)
        every = -(-len(rows) // max(ROWS_A_WORD * self.entries, FEWEST_TRAINING_ROWS))
        sample = np.ascontiguousarray(rows[::every], np.float32)
        basis = self._basis(sample)
        books = self._learn(basis.apply(sample), seed, progress)
        # Rows that took no part, if there are any.
        rest = rows[every // 2 :: every] if every > 1 else sample
        about = None if origins is None else origins[every // 2 :: every]
        thin = -(-len(rest) // MEASURED_ROWS)
        self._measure(basis, books, rest[::thin], None if about is None else about[::thin])

    def _basis(self, sample):
        # What coordinates rows are coded in.
        raise TypeError("an abstract codec learns nothing")

    def _learn(self, y, seed, progress):
        # Books for rows (n, rank) in these coordinates.
        raise TypeError("an abstract codec learns nothing")

    def _measure(self, Basis basis, Books books, rows, origins):
        # Norms and errors of rows as they are coded from now on.
        cdef StageCodes codes = StageRows(self.stages, self.bits, False)
        rows = np.ascontiguousarray(rows, np.float32)
        origins = None if origins is None else np.ascontiguousarray(origins, np.float32)
        norms = np.empty(len(rows), np.float32)
        codes.resize(len(rows))
        encode_rows(
            books, basis, rows, origins, self.beam, (0.0, 1.0), codes, 0, norms, None, thread_count(0)
        )
        least, most = float(norms.min()), float(norms.max())
        least, most = max(least - (most - least) / 4, 0.0), most + (most - least) / 4
        step = (most - least) / 255
        self.levels = (least, step if step > 1e-37 else 1.0)
        self.distortion = distortion(basis, books, rows, codes.get(np.arange(len(rows)))[0])
        about = (rows - basis.centre).astype(np.float64)
        variances = np.linalg.eigvalsh(about.T @ about if len(about) > self.dim else about @ about.T)
        self.bounds = np.array([bound(variances, self.bits * (stage + 1)) for stage in range(self.stages)])
        self.basis, self.books = basis, books

    def new_codes(self):
        """Return empty codes."""
        kind = StageRows if self.layout == "rows" else StageBlocks
        return kind(self.stages, self.bits, self.with_norms)

    def encode(self, rows, Codes codes=None, origins=None):
        """Append the codes of rows (n, dim) to `codes`, new ones if None, and return it.

        Parameters
        ----------
        rows : numpy.ndarray, shape (n, dim), float32
        codes : StageCodes, optional
        origins : numpy.ndarray, shape (n, dim), float32, optional
            Of `residual` rows: what they were taken off from. Needed for squared L2.
        """
        check_size(rows)
        codes = self.new_codes() if codes is None else codes
        if self.with_norms and self.residual and origins is None:
            raise ValueError("norms of residual rows need their origins")
        first = len(codes)
        codes.own()
        codes.resize(first + len(rows))
        encode_rows(
            self.books, self.basis, np.ascontiguousarray(rows, np.float32),
            None if origins is None or not self.residual else np.ascontiguousarray(origins, np.float32),
            self.beam, self.levels, codes, first, None, None, thread_count(0),
        )
        return codes

    def errors(self, rows):
        """Return the squared error that coding leaves of each row (n, dim), float32 (n,), P's aside."""
        cdef StageCodes codes = StageRows(self.stages, self.bits, False)
        rows = np.ascontiguousarray(rows, np.float32)
        out = np.empty(len(rows), np.float32)
        codes.resize(len(rows))
        encode_rows(
            self.books, self.basis, rows, None, self.beam, (0.0, 1.0), codes, 0, None, out, thread_count(0)
        )
        return out

    def decode(self, Codes codes, slots=None):
        """Return the rows that the codes of these slots stand for, float32 (n, dim)."""
        which = np.arange(len(codes)) if slots is None else np.ascontiguousarray(slots, np.int64)
        if not len(which):
            return np.empty((0, self.dim), np.float32)
        return self.basis.invert(decoded(self.books, codes, which))

    def scorer(self, queries, Codes codes, int workers, stages=None):
        """Return queries ready to be scored against codes, at first by the first `stages` alone."""
        kind = StageRowScorer if self.layout == "rows" else StageBlockScorer
        return kind(
            self.books, self.basis, self.squared_l2, self.residual, self.levels,
            self.stages if stages is None else stages, queries, codes, workers,
        )

    def pairs(self, Codes codes, int workers, bint most=False):
        """Return rows ready to be compared with each other; decoded all at once if `most` will be."""
        if most:
            return PlainPairs(decoded(self.books, codes, np.arange(len(codes))), workers)
        return StagePairs(self.books, codes, workers)

    def learned(self):
        """Return what training has taught, for `unlearn`."""
        return self.basis, self.books, self.levels, self.distortion, self.bounds

    def unlearn(self, learned):
        """Go back to what `learned` gave."""
        self.basis, self.books, self.levels, self.distortion, self.bounds = learned

    def state(self):
        """Return what a file holds of training."""
        if not self.is_trained:
            return {"trained": False}, {}
        arrays = {
            "centre": self.basis.centre, "books": self.books.flat, "distortion": self.distortion,
            "bounds": self.bounds,
        }
        if self.basis.matrix is not None:
            arrays["matrix"] = self.basis.matrix
        return {"trained": True, "least_norm": self.levels[0], "norm_step": self.levels[1]}, arrays

    def restore(self, header, sections):
        """Take what `state` gave, as read from a file."""
        if not field(header, "trained", bool):
            return
        levels = (
            field(header, "least_norm", float, at_least=0.0, at_most=1e38),
            field(header, "norm_step", float, at_least=1e-38, at_most=1e38),
        )
        centre = sections.take("centre", np.float32, (self.dim,))
        matrix = sections.take("matrix", np.float32, (None, self.dim)) if "matrix" in sections else None
        if matrix is not None and not 1 <= len(matrix) <= self.dim:
            raise sections.fault("matrix", f"holds {len(matrix)} directions, expected 1 to {self.dim}")
        rank = self.dim if matrix is None else len(matrix)
        size = self.entries * rank * (self.stages if self.shared else 1)
        flat = sections.take("books", np.float32, (size,))
        lost = sections.take("distortion", np.float64, (self.stages,))
        must = sections.take("bounds", np.float64, (self.stages,))
        for name, array in (
            ("centre", centre), ("matrix", matrix), ("books", flat), ("distortion", lost), ("bounds", must),
        ):
            if array is not None and not np.isfinite(array).all():
                raise sections.fault(name, "holds a NaN or infinite value")
        self.basis = Basis(np.array(centre), None if matrix is None else np.array(matrix))
        self.books = Books.of(rank, self.stages, self.entries, self.shared, flat)
        self.levels, self.distortion, self.bounds = levels, np.array(lost), np.array(must)


def check_size(rows):
    """Refuse numbers whose squares float32 cannot add up."""
    if len(rows) and max(float(rows.max()), -float(rows.min())) > LARGEST:
        row = int(np.abs(rows).max(axis=1).argmax())
        raise ValueError(
            f"row {row} holds {float(np.abs(rows[row]).max()):g} in size; "
            f"codes in stages go up to {LARGEST:g}"
        )


def distortion(Basis basis, Books books, rows, codes):
    """Return what is left of the rows' energy about the centre after each stage, float64 (stages,)."""
    left = rows - basis.centre
    whole = np.einsum("ij,ij->", left, left, dtype=np.float64)
    y = basis.apply(rows)
    beyond = whole - np.einsum("ij,ij->", y, y, dtype=np.float64)
    after = np.zeros(books.stages)
    for stage in range(books.stages):
        part = y[:, books.coordinates(stage)]
        part -= books.get(stage)[codes[:, stage]]
        after[stage] = np.einsum("ij,ij->", y, y, dtype=np.float64) + max(beyond, 0.0)
    return after / whole if whole > 0 else after


def bound(variances, bits):
    """Return the least share of their energy that a code of so many bits leaves of Gaussian rows.

    Variances above a level are coded down to it, those below not at all, and the level lies where the bits
    are spent (Cover and Thomas, Elements of information theory, section 10.3.3).
    """
    some = np.sort(variances[variances > 0])[::-1]
    if not len(some):
        return 0.0
    # With the k largest above the level, bits = sum of log2(variance / level) / 2.
    levels = 2 ** ((np.cumsum(np.log2(some)) - 2 * bits) / np.arange(1, len(some) + 1))
    level = levels[np.flatnonzero(levels <= some).max()]
    return float(np.minimum(some, level).sum() / some.sum())
