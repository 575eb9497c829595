"""RVQ, residual vector quantisation: each stage codes what the stages before it left.

    y ~ T_1[i_1] + ... + T_M[i_M]          M codes of 4 or 8 bits, all about all coordinates

Training goes stage by stage. The codewords of a stage are the centres of k-means over what is left of the
rows by then, and rows are coded by the same beam search as later on, so that later stages see what it leaves.
Then all codewords are moved at once to where they are best for the codes there are, rows are coded anew, and
so on for some rounds: with Z the n x MK matrix of which codewords a row has, the normal equations

    (Z'Z + lambda I) dT = Z'(Y - Z T)

need only how often two codewords occur together, and the sums of what is left of each codeword's rows. Zero
is never made a codeword on purpose: it is nearer to most residuals than any of them is to another, and would
take them all.

The first stages alone are a coarser code. What a code of R bits can leave of rows with Gaussian coordinates
in d dimensions is at least 2^(-2R/d) of their energy if all directions are alike, and less the more they
differ (`additive.bound`).

Sources: Chen et al., Approximate nearest neighbor search by residual vector quantization, Sensors 2010; Liu
et al., Improved residual vector quantization, 2015 (beam search, subspaces that grow); Babenko and Lempitsky,
Additive quantization for extreme vector compression, CVPR 2014, section 3.2 (least squares).
"""

import numpy as np
import numpy.typing as npt

from ..clusters import kmeans
from ..parallel.crew import get_num_threads
from ..progress import Progress, track
from .additive import ROWS_A_WORD, AdditiveCodec
from .additive_encode import Beams
from .basis import Basis
from .books import Books
from .pq import mean_of, principal

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

__all__ = ["BEAM", "MODES", "RVQCodec", "solve"]

MODES = ("plain", "progressive")
BEAM = 8
TRAINING_BEAM = 5
ITERATIONS = 10
# How many times codewords are moved to suit the codes, and rows coded anew.
ROUNDS = 2
# Of progressive training: from how many numbers of directions it comes to all, and the iterations for each
# but the last.
WIDTHS = 10
WIDTH_ITERATIONS = 4
# Codewords up to which the normal equations are solved at once; beyond, by conjugate gradients.
SOLVED_WORDS = 8_192
# Bits that are kept of a codeword's largest coordinate. What LAPACK and its threads change is a
# hundred-millionth of that, so that the codes do not depend on them.
KEPT_BITS = 14


class RVQCodec(AdditiveCodec):
    """Residual vector quantisation.

    Parameters
    ----------
    dim : int
    squared_l2 : bool
        Scores are squared L2 distances; else negated inner products.
    stages : int
    bits : {4, 8}
        Of a stage's code.
    beam : int, 1 .. 64
        Partial codes that encoding keeps.
    directions : int, 1 .. dim, or None
        Code only so many principal directions of the rows; None, or dim: all coordinates as they are.
    mode : {"plain", "progressive"}
        How a stage's codewords are found: by k-means from k-means++ seeds, or in a few directions first, then
        in more and more of them, which leaves less error of rows that were not trained on, in more time.
    residual, layout
        See `AdditiveCodec`.
    """

    def __init__(
        self,
        dim: int,
        squared_l2: bool,
        stages: int = 8,
        bits: int = 8,
        beam: int = BEAM,
        directions: int | None = None,
        mode: str = "progressive",
        residual: bool = False,
        layout: str = "blocks",
    ) -> None:
        super().__init__(dim, squared_l2, stages, bits, True, residual, beam, layout)
        self.directions = dim if directions is None else directions
        if not 1 <= self.directions <= dim:
            raise ValueError(f"directions must be 1 to {dim}, not {directions}")
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
        self.mode = mode

    def _basis(self, sample: F32) -> Basis:
        centre = np.zeros(self.dim, np.float32) if self.residual else mean_of(sample)
        if self.directions == self.dim:
            return Basis(centre)
        return Basis(centre, principal(sample - centre)[1][: self.directions])

    def _learn(self, y: F32, seed: int, progress: Progress) -> Books:
        books = Books(y.shape[1], self.stages, self.entries, True)
        find = progressive if self.mode == "progressive" else plain
        work = 1.0 * y.size * self.entries * self.stages * ITERATIONS
        with track(progress, self.stages + ROUNDS, "training", unit="stages", long=work > 2e11) as step:
            beams = Beams(y, self.stages, TRAINING_BEAM)
            for stage in range(self.stages):
                left = residuals(books, beams, stage, ROWS_A_WORD * self.entries)
                books.put(stage, find(left, self.entries, seed + stage))
                beams.advance(books, stage, get_num_threads())
                step(1)
            for _ in range(ROUNDS):
                solve(books, y, np.ascontiguousarray(beams.codes[:, 0]), ridge(len(y) / self.entries))
                beams = Beams(y, self.stages, TRAINING_BEAM)
                for stage in range(self.stages):
                    beams.advance(books, stage, get_num_threads())
                step(1)
        return books


def residuals(books: Books, beams: Beams, stage: int, most: int) -> F32:
    """Return what the partial codes of rows leave of them, of all partial codes if these are not too many.

    Codewords for the best ones alone suit the rows that they were learned from, and others less.
    """
    total = len(beams.y) * beams.size
    chosen = np.arange(min(total, most)) * total // min(total, most)
    row, place = np.divmod(chosen, beams.size)
    left: F32 = beams.y[row] - books.add(np.ascontiguousarray(beams.codes[row, place, :stage]))
    return left


def plain(left: F32, entries: int, seed: int) -> F32:
    """Return the centres (entries, dim) of rows."""
    return kmeans(left, entries, seed=seed, iterations=ITERATIONS, progress=False)


def progressive(left: F32, entries: int, seed: int) -> F32:
    """Return the centres of rows, which were found in a few principal directions first, then in more."""
    dim = left.shape[1]
    vectors = principal(left)[1].astype(np.float32)
    rows = Basis(np.zeros(dim, np.float32), vectors).apply(left)
    words: F32 = np.empty((0, 0), np.float32)
    for number in range(1, WIDTHS + 1):
        width = dim if number == WIDTHS else max(1, round(dim ** (number / WIDTHS)))
        words = kmeans(
            np.ascontiguousarray(rows[:, :width]),
            entries,
            seed=seed,
            iterations=ITERATIONS if number == WIDTHS else WIDTH_ITERATIONS,
            start=np.pad(words, ((0, 0), (0, width - words.shape[1]))) if len(words) else None,
            progress=False,
        )
    return Basis(np.zeros(dim, np.float32), np.ascontiguousarray(vectors.T)).apply(words)


def ridge(rows_a_word: float) -> float:
    """Return lambda: small where there are rows enough for every codeword, large where there are few."""
    return max(1.0, 50.0 * (64 / rows_a_word) ** 2)


def solve(books: Books, y: F32, codes: U8, ridge: float) -> None:
    """Move all codewords to where the squared error of rows with these codes is least, but for the ridge."""
    together, sums = equations(books, y, codes)
    together[np.diag_indices_from(together)] += ridge
    moved = (np.linalg.solve if len(sums) <= SOLVED_WORDS else conjugate)(together, sums)
    for stage, words in enumerate(moved.reshape(books.stages, books.entries, -1)):
        books.put(stage, settled(books.get(stage) + words))


def equations(books: Books, y: F32, codes: U8) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Z'Z (words, words), how often codewords occur together, and Z'(Y - Z T) (words, dim)."""
    size, words = books.entries, books.stages * books.entries
    left = y - books.add(codes)
    together, sums = np.zeros((words, words)), np.zeros((words, books.dim))
    columns = codes.astype(np.int64)
    for m in range(books.stages):
        at = slice(m * size, (m + 1) * size)
        np.fill_diagonal(together[at, at], np.bincount(columns[:, m], minlength=size))
        for earlier in range(m):
            pairs = columns[:, earlier] * size + columns[:, m]
            counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
            there = slice(earlier * size, (earlier + 1) * size)
            together[there, at] = counts
            together[at, there] = counts.T
        order = np.argsort(columns[:, m], kind="stable")
        used, starts = np.unique(columns[order, m], return_index=True)
        sums[m * size + used] = np.add.reduceat(left[order], starts, axis=0, dtype=np.float64)
    return together, sums


def conjugate(
    matrix: npt.NDArray[np.float64], sums: npt.NDArray[np.float64], tolerance: float = 1e-6
) -> npt.NDArray[np.float64]:
    """Solve matrix X = sums by conjugate gradients, scaled by the diagonal, for all columns together."""
    scale = 1 / matrix.diagonal()[:, None]
    found, left = np.zeros_like(sums), sums.copy()
    ahead = scale * left
    now = np.einsum("ij,ij->j", left, ahead)
    enough = tolerance**2 * now
    for _ in range(len(matrix)):
        if (now <= enough).all():
            break
        pushed = matrix @ ahead
        # A column that is solved has nothing left, and stays.
        curved = np.einsum("ij,ij->j", ahead, pushed)
        length = np.divide(now, curved, out=np.zeros_like(now), where=curved > 0)
        found += length * ahead
        left -= length * pushed
        steep = scale * left
        new = np.einsum("ij,ij->j", left, steep)
        ahead = steep + np.divide(new, now, out=np.zeros_like(now), where=now > 0) * ahead
        now = new
    return found


def settled(words: npt.NDArray[np.float64]) -> F32:
    """Return codewords rounded to so many bits of the largest number."""
    bits = KEPT_BITS - int(np.frexp(np.abs(words).max(initial=0))[1])
    rounded: F32 = np.ldexp(np.rint(np.ldexp(words, bits)), -bits).astype(np.float32)
    return rounded
