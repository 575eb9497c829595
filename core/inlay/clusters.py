"""k-means: centres that lie in the middle of the rows nearest to them.

Lloyd's iteration from k-means++ seeds (Arthur and Vassilvitskii, 2007): give every row to its nearest centre,
move every centre to the mean of its rows, repeat. Almost all work is one matrix product,

    |x - c|^2 = |x|^2 - 2 <x, c> + |c|^2        where |x|^2 is the same for all centres,

in float32, by NumPy and its BLAS. The rounding of a product changes with the BLAS, its threads and the size
of a block, and could change which of two centres wins. Where its error bound leaves a doubt (some rows in ten
thousand) plain float64 differences decide, so the same rows and seed give the same centres with all of them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from inlay.progress import Progress, track

Rows = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

_BLOCK = 1024  # rows at once: their scores against some hundred centres fit the second cache
# Seeding looks at so many rows per centre, and no fewer than that: it then takes about two iterations' time.
_SEED_ROWS = 16
_FEWEST_SEED_ROWS = 1024
_LONG = 2e11  # multiplications that take some seconds


def kmeans(
    rows: Rows, n_clusters: int, *, seed: int, iterations: int = 20, progress: Progress = None
) -> Floats:
    """Find centres that make the sum of the squared distances of rows to their nearest centre small.

    An iteration costs n * n_clusters * dim multiplications, and memory for two blocks of rows beside
    the rows themselves. It stops early when no row changes its centre.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n, dim), n >= 1
        Finite floats, which are used as float32; their squares must be finite in float32, too.
    n_clusters : int, >= 1
        How many centres; may be more than there are rows.
    seed : int, >= 0
        The same seed, rows and arguments give the same centres.
    iterations : int, >= 1
        At most so many.
    progress : bool, callable or None
        See `inlay.progress.track`; counts iterations.

    Returns
    -------
    centres : numpy.ndarray, shape (n_clusters, dim), float32
        All different as long as the rows have that many different values; beyond that, repetitions, which
        `assign` never uses.
    """
    rows = _matrix(rows, "rows")
    if n_clusters < 1 or iterations < 1:
        raise ValueError(f"n_clusters and iterations must be 1 or more, got {n_clusters} and {iterations}")
    rng = np.random.default_rng(seed)
    work = 1.0 * rows.size * n_clusters * iterations
    with track(progress, iterations, "k-means", unit="iterations", long=work > _LONG) as step:
        centres = _seeds(rows, n_clusters, rng)
        before = None
        for _ in range(iterations):
            labels = _labels(rows, centres)
            if before is not None and np.array_equal(labels, before):
                break
            _move_to_means(rows, labels, centres)
            _fill_empty(rows, labels, centres, rng)
            before = labels
            step(1)
    return centres


def assign(rows: Rows, centres: Floats, block: int = _BLOCK) -> tuple[Labels, Floats]:
    """Find the nearest centre of every row.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n, dim)
        As in `kmeans`; n may be 0.
    centres : numpy.ndarray, shape (n_clusters, dim), float32
        At least one.
    block : int, >= 1
        Rows at once. It changes the memory needed, (dim + n_clusters) floats per row, but no result.

    Returns
    -------
    labels : numpy.ndarray, shape (n,), int32
        Index of the nearest centre; of several that are equally near, the lowest.
    distances : numpy.ndarray, shape (n,), float32
        Its squared distance.
    """
    rows, centres = (
        _matrix(rows, "rows", at_least=0),
        _matrix(centres, "centres").astype(np.float32, copy=False),
    )
    if rows.shape[1] != centres.shape[1]:
        raise ValueError(f"rows have {rows.shape[1]} dimensions but centres have {centres.shape[1]}")
    if block < 1:
        raise ValueError(f"block must be 1 or more, got {block}")
    labels = _labels(rows, centres, block)
    return labels, _squared_distances(rows, centres, labels)


def _matrix(rows: Rows, name: str, at_least: int = 1) -> Rows:
    rows = np.asarray(rows)
    if rows.ndim != 2 or len(rows) < at_least or rows.shape[1] < 1:
        raise ValueError(
            f"{name} must have shape (n, dim) with n >= {at_least} and dim >= 1, got {rows.shape}"
        )
    return rows


def _blocks(rows: Rows, size: int = _BLOCK) -> Iterator[tuple[slice, Floats]]:
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        yield part, np.asarray(rows[part], np.float32)


def _labels(rows: Rows, centres: Floats, block: int = _BLOCK) -> Labels:
    labels = np.empty(len(rows), np.int32)
    nearest = _Nearest(centres)
    for part, x in _blocks(rows, block):
        labels[part] = nearest(x)
    return labels


def _squared_distances(rows: Rows, centres: Floats, labels: Labels) -> Floats:
    """Squared distances of rows to the centres of their labels, from differences: nothing cancels."""
    distances = np.empty(len(rows), np.float32)
    for part, x in _blocks(rows):
        apart = x - centres[labels[part]]
        np.einsum("ij,ij->i", apart, apart, out=distances[part])
    return distances


class _Nearest:
    """Find the nearest of some centres, of equal ones the first."""

    def __init__(self, centres: Floats) -> None:
        dim = centres.shape[1]
        first: dict[bytes, int] = {}
        for i, centre in enumerate(centres):
            first.setdefault(centre.tobytes(), i)
        self.kept: Labels = np.fromiter(first.values(), np.int32)
        self.centres = centres[self.kept]
        # Seen from their middle, centres are short vectors, and products of short vectors have small errors.
        self.origin = self.centres.mean(axis=0, dtype=np.float64).astype(np.float32)
        moved = self.centres - self.origin
        squares = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
        self.squares = squares.astype(np.float32)
        self.minus_twice = np.ascontiguousarray(-2 * moved.T)
        # What a score may be wrong by: dim roundings of products 2|x||c|, a few more of |x||c| and of |c|^2
        # from moving the origin and adding up, some for the second order, and what underflow swallows.
        unit = 2.0**-24
        self.error_per_length = (unit * (2.1 * dim + 16) * np.sqrt(squares)).astype(np.float32)
        self.error = (unit * 8 * squares + dim * 1e-36).astype(np.float32)

    def __call__(self, rows: Floats) -> Labels:
        x = rows - self.origin
        scores = x @ self.minus_twice
        scores += self.squares
        best = scores.argmin(axis=1)
        errors = np.sqrt(np.einsum("ij,ij->i", x, x))[:, None] * self.error_per_length
        errors += self.error
        line = np.arange(len(rows))
        limit = scores[line, best] + errors[line, best]
        scores -= errors
        possible = scores <= limit[:, None]
        doubtful = np.flatnonzero(np.count_nonzero(possible, axis=1) > 1)
        if len(doubtful):
            best[doubtful] = self._decide(rows[doubtful], possible[doubtful])
        labels: Labels = self.kept[best]
        return labels

    def _decide(self, rows: Floats, possible: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
        """Choose among the possible centres of each row (one at least) by float64 differences."""
        row, centre = np.nonzero(possible)
        exact = np.empty(len(row))
        for start in range(0, len(row), _BLOCK):
            part = slice(start, start + _BLOCK)
            apart = rows[row[part]].astype(np.float64) - self.centres[centre[part]]
            np.einsum("ij,ij->i", apart, apart, out=exact[part])
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        least = np.minimum.reduceat(exact, starts)
        hits = np.flatnonzero(exact == least[row])
        chosen: npt.NDArray[np.intp] = centre[hits[np.unique(row[hits], return_index=True)[1]]]
        return chosen


def _seeds(rows: Rows, n_clusters: int, rng: np.random.Generator) -> Floats:
    """k-means++ on a sample: each seed is a row drawn by its squared distance to the seeds before it."""
    size = min(len(rows), max(_FEWEST_SEED_ROWS, _SEED_ROWS * n_clusters))
    sample = np.asarray(rows[np.sort(rng.choice(len(rows), size, replace=False))], np.float32)
    seeds = np.repeat(sample[rng.integers(size, size=1)], n_clusters, axis=0)
    to_first = np.zeros(size, np.int32)
    distances = _squared_distances(sample, seeds, to_first)
    for i in range(1, n_clusters):
        if not distances.any():
            break  # every row of the sample is a seed
        seeds[i] = sample[_draw(distances, rng)]
        np.minimum(distances, _squared_distances(sample, seeds[i : i + 1], to_first), out=distances)
    return seeds


def _draw(weights: Floats, rng: np.random.Generator) -> int:
    """Draw an index with a probability in proportion to its weight."""
    sums = np.cumsum(weights, dtype=np.float64)
    return min(int(np.searchsorted(sums, sums[-1] * rng.random(), side="right")), len(weights) - 1)


def _move_to_means(rows: Rows, labels: Labels, centres: Floats) -> None:
    """Move each centre to the mean of its rows; a centre without rows stays."""
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(len(centres) + 1))
    for cluster in range(len(centres)):
        members = order[bounds[cluster] : bounds[cluster + 1]]
        total = np.zeros(rows.shape[1])
        for start in range(0, len(members), _BLOCK):
            total += rows[members[start : start + _BLOCK]].sum(axis=0, dtype=np.float64)
        if len(members):
            centres[cluster] = total / len(members)


def _fill_empty(rows: Rows, labels: Labels, centres: Floats, rng: np.random.Generator) -> None:
    """Move each centre without rows into a cluster with the largest sum of squares, which it splits.

    It goes to a row drawn as k-means++ draws. The sum over all clusters cannot grow by that, as no row was
    nearest to where the centre came from; clusters of equal rows are never split.
    """
    empty = np.flatnonzero(np.bincount(labels, minlength=len(centres)) == 0)
    if not len(empty):
        return
    distances = _squared_distances(rows, centres, labels)
    sums = np.bincount(labels, weights=distances, minlength=len(centres))
    largest = np.argsort(-sums, kind="stable")[: np.count_nonzero(sums)]
    for hole, cluster in zip(empty, largest, strict=False):
        members = np.flatnonzero(labels == cluster)
        centres[hole] = rows[members[_draw(distances[members], rng)]]
