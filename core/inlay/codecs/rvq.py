"""RVQ, residual vector quantisation: each stage codes what the stages before it left.

    y ~ T_1[i_1] + ... + T_M[i_M]          M codes of 4 or 8 bits, all about all coordinates

Training goes stage by stage. The codewords of a stage are the centres of k-means over what is left of the rows
by then, and rows are coded by the same beam search as later on, so that later stages see what it leaves. Then
all codewords are moved at once to where they are best for the codes there are, rows are coded anew, and so on
for some rounds: with Z the n x MK matrix of which codewords a row has, the normal equations

    (Z'Z + lambda I) dT = Z'(Y - Z T)

need only how often two codewords occur together, and the sums of what is left of each codeword's rows. Zero is
never made a codeword on purpose: it is nearer to most residuals than any of them is to another, and would
take them all.

The first stages alone are a coarser code. What a code of R bits can leave of rows with Gaussian coordinates
in d dimensions is at least 2^(-2R/d) of their energy if all directions are alike, and less the more they
differ: `bound`.

Sources: Chen et al., Approximate nearest neighbor search by residual vector quantization, Sensors 2010; Liu et
al., Improved residual vector quantization, 2015 (beam search, subspaces that grow); Babenko and Lempitsky,
Additive quantization for extreme vector compression, CVPR 2014, section 3.2 (least squares).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ..clusters import kmeans
from ..parallel.crew import get_num_threads
from ..progress import Progress, track
from .additive import AdditiveCodec
from .additive_encode import Beams
from .basis import Basis
from .books import Books
from .pq import directions, mean_of

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

__all__ = ["RVQCodec"]

BEAM = 8
TRAINING_BEAM = 5
ITERATIONS = 10
ROUNDS = 2


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
    directions : int or None
        Code only so many principal directions of the rows; None for all coordinates as they are.
    residual : bool
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
        residual: bool = False,
    ) -> None:
        super().__init__(dim, squared_l2, stages, bits, True, residual, beam)
        if directions is not None and not 1 <= directions <= dim:
            raise ValueError(f"directions must be 1 to {dim}, not {directions}")
        self.directions = directions

    def _basis(self, sample: F32) -> Basis:
        centre = np.zeros(self.dim, np.float32) if self.residual else mean_of(sample)
        if self.directions is None or self.directions == self.dim:
            return Basis(centre)
        return Basis(centre, directions(sample - centre)[1][: self.directions].astype(np.float32))

    def _learn(self, y: F32, seed: int, progress: Progress) -> Books:
        books = Books(y.shape[1], self.stages, self.entries, True)
        beams = Beams(y, self.stages, TRAINING_BEAM)
        work = y.size * self.entries * self.stages * ITERATIONS
        with track(progress, self.stages + ROUNDS, "training", unit="stages", long=work > 2e11) as step:
            for stage in range(self.stages):
                left = y - books.add(np.ascontiguousarray(beams.codes[:, 0, :stage]))
                books.put(
                    stage,
                    kmeans(left, self.entries, seed=seed + stage, iterations=ITERATIONS, progress=False),
                )
                beams.advance(books, stage, get_num_threads())
                step(1)
            for _ in range(ROUNDS):
                solve(books, y, np.ascontiguousarray(beams.codes[:, 0]), RIDGE)
                beams = Beams(y, self.stages, TRAINING_BEAM)
                for stage in range(self.stages):
                    beams.advance(books, stage, get_num_threads())
                step(1)
        return books


RIDGE = 1.0


def solve(books: Books, y: F32, codes: U8, ridge: float) -> None:
    """Move all codewords to where the squared error of these codes is least, but for the ridge."""
    size = books.entries
    left = y - books.add(codes)
    together = np.zeros((books.stages, size, books.stages, size))
    sums = np.zeros((books.stages, size, books.dim))
    for m in range(books.stages):
        column = codes[:, m].astype(np.int64)
        together[m, :, m, :] = np.diag(np.bincount(column, minlength=size) + ridge)
        for l in range(m):
            counts = np.bincount(codes[:, l].astype(np.int64) * size + column, minlength=size * size).reshape(size, size)
            together[l, :, m, :] = counts
            together[m, :, l, :] = counts.T
        order = np.argsort(column, kind="stable")
        used, starts = np.unique(column[order], return_index=True)
        sums[m, used] = np.add.reduceat(left[order], starts, axis=0, dtype=np.float64)
    n = books.stages * size
    moved = np.linalg.solve(together.reshape(n, n), sums.reshape(n, -1)).reshape(sums.shape)
    for m in range(books.stages):
        books.put(m, books.get(m) + moved[m])


def bound(variances: F64, bits: float) -> float:
    """Return the least share of the energy of Gaussian rows that a code of so many bits can leave.

    Variances above a level are coded down to it, those below not at all, and the level is where the bits are
    spent (Cover and Thomas, Elements of information theory, theorem 10.3.3).
    """
    variances = np.sort(np.maximum(variances, 0))[::-1]
    total = variances.sum()
    if total == 0:
        return 0.0
    some = variances[variances > 0]
    # With the k largest above the level: bits = sum of log2(variance / level) / 2.
    logs = np.cumsum(np.log2(some))
    levels = 2 ** ((logs - 2 * bits) / np.arange(1, len(some) + 1))
    above = int(np.flatnonzero(levels <= some).max())
    level = levels[above]
    return float((np.minimum(variances, level)).sum() / total)


__all__ += ["bound", "solve"]
Any
