"""PQ, product quantisation: coordinates are dealt to subspaces, and each of these has its own codewords.

    y = (y_1, .., y_M) ~ (T_1[i_1], .., T_M[i_M])          M codes of 4 or 8 bits

Codewords are the centres of k-means in each subspace. With a rotation (OPQ) the coordinates that are dealt
out are chosen to leave the least error: principal directions first, dealt so that the product of variances is
the same for all subspaces, then in turns the codes for a rotation and the rotation for the codes (an
orthogonal Procrustes problem).

Differs from the papers in that subspaces need not be of one width: any number of dimensions will do.

Sources: Jegou, Douze and Schmid, Product quantization for nearest neighbor search, TPAMI 2011; Ge, He, Ke and
Sun, Optimized product quantization, TPAMI 2014, sections 3.1 and 3.2.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..clusters import kmeans
from ..progress import Progress, track
from .additive import AdditiveCodec
from .basis import Basis
from .books import Books

F32 = npt.NDArray[np.float32]

__all__ = ["PQCodec", "mean_of", "principal"]

ITERATIONS = 15
# Turns of codes and rotation, and the rows and iterations that each of them takes.
TURNS = 8
TURN_ROWS = 8_192
TURN_ITERATIONS = 4


class PQCodec(AdditiveCodec):
    """Product quantisation.

    Parameters
    ----------
    dim : int
    squared_l2 : bool
        Scores are squared L2 distances; else negated inner products.
    subspaces : int, >= 1
        Beyond the number of dimensions some are about none.
    bits : {4, 8}
        Of a code.
    rotation : {None, "opq"}
        Whether coordinates are rotated so as to leave the least error.
    residual, layout
        See `AdditiveCodec`.
    """

    def __init__(
        self,
        dim: int,
        squared_l2: bool,
        subspaces: int,
        bits: int = 8,
        rotation: str | None = None,
        residual: bool = False,
        layout: str = "blocks",
    ) -> None:
        if rotation not in (None, "opq"):
            raise ValueError(f'rotation must be None or "opq", not {rotation!r}')
        super().__init__(dim, squared_l2, subspaces, bits, False, residual, 1, layout)
        self.rotation = rotation

    def _basis(self, sample: F32) -> Basis:
        centre = np.zeros(self.dim, np.float32) if self.residual else mean_of(sample)
        return Basis(centre, None if self.rotation is None else self._rotated(sample - centre))

    def _rotated(self, rows: F32) -> F32:
        some = rows[:: -(-len(rows) // TURN_ROWS)].astype(np.float64)
        matrix = dealt(some, self.stages)
        for turn in range(TURNS):
            y = (some @ matrix.T).astype(np.float32)
            books = self._books(y, turn, TURN_ITERATIONS, lambda _: None)
            left, _, right = np.linalg.svd(nearest(books, y).T.astype(np.float64) @ some)
            matrix = left @ right
        return matrix.astype(np.float32)

    def _learn(self, y: F32, seed: int, progress: Progress) -> Books:
        with track(progress, self.stages, "training", unit="subspaces", long=y.size > 1 << 25) as step:
            return self._books(y, seed, ITERATIONS, step)

    def _books(self, y: F32, seed: int, iterations: int, step: Callable[[int], Any]) -> Books:
        books = Books(y.shape[1], self.stages, self.entries, False)
        for stage in range(self.stages):
            part = np.ascontiguousarray(y[:, books.coordinates(stage)])
            if part.shape[1]:
                words = kmeans(part, self.entries, seed=seed + stage, iterations=iterations, progress=False)
                books.put(stage, words)
            step(1)
        return books


def mean_of(rows: F32) -> F32:
    """Return the mean of rows (n, dim), float32 (dim,), summed in float64."""
    mean: F32 = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def principal(rows: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the variances (dim,) of centred rows, largest first, and their directions (dim, dim)."""
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    for first in range(0, len(rows), 4096):
        block = np.asarray(rows[first : first + 4096], np.float64)
        covariance += block.T @ block
    values, vectors = np.linalg.eigh(covariance / len(rows))
    # A direction and its opposite are one; the largest coordinate decides which is meant.
    vectors = vectors[:, ::-1].T
    largest = np.abs(vectors).argmax(axis=1)
    vectors = vectors * np.sign(vectors[np.arange(len(vectors)), largest])[:, None]
    return np.maximum(values[::-1], 0), vectors


def dealt(rows: npt.NDArray[np.float64], subspaces: int) -> npt.NDArray[np.float64]:
    """Return a rotation (dim, dim) to principal directions, in subspaces of even products of variances."""
    dim = rows.shape[1]
    variances, vectors = principal(rows)
    logs = np.log(np.maximum(variances, variances[0] * 1e-12 + 1e-300))
    limits = np.arange(subspaces + 1) * dim // subspaces
    room, sums = np.diff(limits), np.zeros(subspaces)
    chosen: list[list[int]] = [[] for _ in range(subspaces)]
    for number in range(dim):
        # To the subspace with the least so far, among those that have room.
        free = [s for s in range(subspaces) if len(chosen[s]) < room[s]]
        least = min(free, key=lambda s: sums[s])
        chosen[least].append(number)
        sums[least] += logs[number] - logs[-1]
    return vectors[[number for some in chosen for number in some]]


def nearest(books: Books, y: F32) -> F32:
    """Return what rows (n, dim) are coded as."""
    products = books.products(y)
    codes = np.empty((len(y), books.stages), np.uint8)
    for stage in range(books.stages):
        words = books.get(stage)
        codes[:, stage] = (np.square(words).sum(axis=1) - 2 * products[:, stage]).argmin(axis=1)
    found: F32 = books.add(codes)
    return found
