"""k-means: centres that lie in the middle of the rows nearest to them.

Lloyd's iteration from k-means++ seeds (Arthur and Vassilvitskii, 2007): give every row to its nearest centre,
move every centre to the mean of its rows, repeat. Almost all work is one matrix product,

    |x - c|^2 = |x|^2 - 2 <x, c> + |c|^2        where |x|^2 is the same for all centres,

in float32, by NumPy and its BLAS. Where the inner product counts, centres have length 1 and a row's nearest
is that with the largest product (spherical k-means: Dhillon and Modha, 2001).

The rounding of a product changes with the BLAS, its threads and the size of a block, and could change which
of two centres wins. Where the second best is no farther behind than the error may be (one row in some
thousands) plain float64 decides, so the same rows and seed give the same centres with all of them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import as_count, as_rows, normalised
from ..progress import Progress, track
from .lloyd import approach, sums, two_least

Rows = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

METRICS = ("l2", "ip", "cosine")

_BLOCK = 1024  # rows at once, at most: products of 256 took 8 % longer
_SCORES = 1 << 22  # and so many scores
# Seeding looks at so many rows per centre, and no fewer than that.
_SEED_ROWS = 8
_FEWEST_SEED_ROWS = 1024
# Seeds are drawn one by one, or, if there are more of them, in so many rounds: the sample then comes from
# memory less often. In fewer rounds tight clusters get two seeds and others none (DECISIONS).
_SEED_ROUNDS = 256
_LONG = 2e11  # multiplications that take some seconds


def kmeans(
    rows: Rows,
    n_clusters: int,
    *,
    seed: int,
    iterations: int = 20,
    spherical: bool = False,
    start: Floats | None = None,
    weights: Floats | None = None,
    costs: list[float] | None = None,
    progress: Progress = None,
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
    spherical : bool
        Centres of length 1 that make the sum of inner products with them large.
    start : numpy.ndarray, shape (n_clusters, dim), float32, optional
        Centres to begin with; None seeds them by k-means++.
    weights : numpy.ndarray, shape (n,), float32, >= 0, optional
        How often each row counts; seeds are drawn as if once.
    costs : list, optional
        Takes the sum of costs (see `assign`) that each iteration begins with.
    progress : bool, callable or None
        See `inlay.progress.track`; counts iterations.

    Returns
    -------
    centres : numpy.ndarray, shape (n_clusters, dim), float32
        All different as long as the rows have that many different values (or directions); beyond that,
        repetitions, which `assign` never uses.
    """
    return _lloyd(rows, n_clusters, seed, iterations, spherical, start, progress, weights, costs)[0]


def _lloyd(
    rows: Rows,
    n_clusters: int,
    seed: int,
    iterations: int,
    spherical: bool,
    start: Floats | None,
    progress: Progress,
    weights: Floats | None = None,
    costs: list[float] | None = None,
) -> tuple[Floats, Labels]:
    """Return what `kmeans` does, and the labels that the centres were last moved by."""
    rows = np.ascontiguousarray(_matrix(rows, "rows"), np.float32)
    if n_clusters < 1 or iterations < 1:
        raise ValueError(f"n_clusters and iterations must be 1 or more, got {n_clusters} and {iterations}")
    rng = np.random.default_rng(seed)
    work = 1.0 * rows.size * n_clusters * iterations
    with track(progress, iterations, "k-means", unit="iterations", long=work > _LONG) as step:
        centres = _seeds(rows, n_clusters, spherical, rng) if start is None else start.copy()
        before = None
        for _ in range(iterations):
            labels = _labels(rows, centres, spherical)
            if costs is not None:
                each = _costs(rows, centres, labels, spherical)
                costs.append(float((each if weights is None else each * weights).sum(dtype=np.float64)))
            if before is not None and np.array_equal(labels, before):
                break
            _move_to_means(rows, labels, centres, spherical, weights)
            _fill_empty(rows, labels, centres, spherical, rng)
            before = labels
            step(1)
    return centres, labels


def assign(
    rows: Rows, centres: Floats, block: int | None = None, *, spherical: bool = False
) -> tuple[Labels, Floats]:
    """Find the nearest centre of every row.

    Parameters
    ----------
    rows : numpy.ndarray, shape (n, dim)
        As in `kmeans`; n may be 0.
    centres : numpy.ndarray, shape (n_clusters, dim), float32
        At least one.
    block : int, >= 1, optional
        Rows at once. It changes the memory needed, (dim + n_clusters) floats per row, but no result.
    spherical : bool
        The nearest is that with the largest inner product.

    Returns
    -------
    labels : numpy.ndarray, shape (n,), int32
        Index of the nearest centre; of several that are equally near, the lowest.
    costs : numpy.ndarray, shape (n,), float32
        Its squared distance, or what its inner product (spherical) lacks of the row's length.
    """
    rows, centres = (
        _matrix(rows, "rows", at_least=0),
        np.ascontiguousarray(_matrix(centres, "centres"), np.float32),
    )
    if rows.shape[1] != centres.shape[1]:
        raise ValueError(f"rows have {rows.shape[1]} dimensions but centres have {centres.shape[1]}")
    if block is not None and block < 1:
        raise ValueError(f"block must be 1 or more, got {block}")
    labels = _labels(rows, centres, spherical, block)
    return labels, _costs(rows, centres, labels, spherical)


class KMeans:
    """k-means clustering of rows.

    Parameters
    ----------
    n_clusters : int, >= 1
    metric : {"l2", "ip", "cosine"}
        "l2": centres are the means of the rows nearest to them. "ip", "cosine": spherical k-means, centres
        have length 1 and a row's nearest is that with the largest inner product; for "cosine" rows are scaled
        to length 1 first.
    seed : int, >= 0
        The same rows, seed and options give the same centres, whatever the number of threads.
    iterations : int, >= 1
        At most so many; it stops early when no row changes its centre.
    rows_a_cluster : int, >= 1
        `fit` looks at so many rows for each cluster, at most, drawn at random. More make centres hardly
        better (DECISIONS).

    Attributes
    ----------
    centres : numpy.ndarray, shape (n_clusters, dim), float32
        After `fit`.
    inertia : float
        What iterations make small, over the rows that `fit` looked at: the sum of squared distances to their
        centres, or of what inner products lack of the rows' lengths; rows in the clusters of the last
        iteration.

    Notes
    -----
    An iteration costs n * n_clusters * dim multiplications in blocked matrix products. Centres start from
    k-means++ seeds; one without rows moves into the cluster that has most to gain by it.

    References
    ----------
    Lloyd, Least squares quantization in PCM, 1982. Arthur and Vassilvitskii, k-means++: the advantages of
    careful seeding, SODA 2007. Dhillon and Modha, Concept decompositions for large sparse text data, 2001.

    Examples
    --------
    >>> import numpy as np, inlay
    >>> rows = np.array([[0, 0], [0, 1], [9, 9], [9, 8]], np.float32)
    >>> inlay.KMeans(2).fit(rows).predict([[1, 1], [8, 8]]).tolist() in ([0, 1], [1, 0])
    True
    """

    __slots__ = ("_centres", "_inertia", "iterations", "metric", "n_clusters", "rows_a_cluster", "seed")

    def __init__(
        self,
        n_clusters: int,
        metric: str = "l2",
        *,
        seed: int = 0,
        iterations: int = 10,
        rows_a_cluster: int = 256,
    ) -> None:
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, not {metric!r}")
        self.n_clusters = as_count(n_clusters, "n_clusters")
        self.metric = metric
        self.seed = as_count(seed, "seed", 0)
        self.iterations = as_count(iterations, "iterations")
        self.rows_a_cluster = as_count(rows_a_cluster, "rows_a_cluster")
        self._centres: Floats | None = None
        self._inertia = np.nan

    @property
    def centres(self) -> Floats:
        """The centres, float32 (n_clusters, dim); RuntimeError before `fit`."""
        if self._centres is None:
            raise RuntimeError("there are no centres before fit()")
        return self._centres

    @property
    def inertia(self) -> float:
        """What iterations make small, over the rows that `fit` looked at; nan before."""
        return self._inertia

    def fit(self, rows: npt.ArrayLike, *, progress: Progress = None) -> "KMeans":
        """Find the centres.

        Parameters
        ----------
        rows : array_like, (n, dim), n >= 1
            Any real dtype.
        progress : bool, callable or None
            True draws a bar, False is silent, a callable receives (done, total) iterations; None draws one
            when the work is long and stderr is a terminal.

        Returns
        -------
        KMeans
            This one.

        Raises
        ------
        TypeError, ValueError
            For rows that are no finite numbers, or none; nothing has changed then.
        """
        given = np.asarray(rows)
        vectors = as_rows(given, given.shape[-1] if given.ndim else 0)
        if not vectors.size:
            raise ValueError(f"k-means takes one row or more, of one dimension or more, not {vectors.shape}")
        vectors = self._prepared(sample(vectors, self.rows_a_cluster * self.n_clusters, self.seed))
        spherical = self.metric != "l2"
        centres, labels = _lloyd(
            vectors, self.n_clusters, self.seed, self.iterations, spherical, None, progress
        )
        self._centres = centres
        self._inertia = float(_costs(vectors, centres, labels, spherical).sum(dtype=np.float64))
        return self

    def predict(self, rows: npt.ArrayLike) -> Labels:
        """Return the index of the nearest centre of each row (n, dim), int32 (n,); of equal ones the first.

        Raises
        ------
        RuntimeError
            Before `fit`.
        TypeError, ValueError
            For rows that are no finite numbers, or have another dimension.
        """
        centres = self.centres
        vectors = self._prepared(as_rows(rows, centres.shape[1]))
        return _labels(vectors, centres, self.metric != "l2")

    def _prepared(self, rows: Floats) -> Floats:
        return normalised(rows) if self.metric == "cosine" else rows

    def __repr__(self) -> str:
        return f"KMeans({self.n_clusters}, {self.metric!r})"


def sample(rows: Floats, n: int, seed: int) -> Floats:
    """Return n of the rows drawn at random, in their order; all of them if they are not more."""
    if len(rows) <= n:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), n, replace=False))]


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


def _labels(rows: Rows, centres: Floats, spherical: bool, block: int | None = None) -> Labels:
    labels = np.empty(len(rows), np.int32)
    with np.errstate(over="ignore", invalid="ignore"):
        nearest = _Nearest(centres, spherical)
    for part, x in _blocks(rows, block or max(64, min(_BLOCK, _SCORES // len(centres)))):
        with np.errstate(over="ignore", invalid="ignore"):
            labels[part] = nearest(x)
    return labels


def _costs(rows: Rows, centres: Floats, labels: Labels, spherical: bool) -> Floats:
    """Return what rows cost at the centres of their labels; from differences, so that nothing cancels."""
    costs = np.empty(len(rows), np.float32)
    for part, x in _blocks(rows):
        own = centres[labels[part]]
        if spherical:
            lengths = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))
            costs[part] = np.maximum(lengths - np.einsum("ij,ij->i", x, own, dtype=np.float64), 0)
        else:
            own -= x
            np.einsum("ij,ij->i", own, own, out=costs[part])
    return costs


class _Nearest:
    """Find the nearest of some centres, of equal ones the first."""

    def __init__(self, centres: Floats, spherical: bool) -> None:
        dim = centres.shape[1]
        first: dict[bytes, int] = {}
        for i, centre in enumerate(centres):
            first.setdefault(centre.tobytes(), i)
        self.spherical = spherical
        self.kept: Labels = np.fromiter(first.values(), np.int32)
        self.centres = centres[self.kept]
        # Seen from their middle, centres are short vectors, and products of short vectors have small errors.
        self.origin = np.zeros(dim, np.float32)
        if not spherical:
            self.origin = self.centres.mean(axis=0, dtype=np.float64).astype(np.float32)
        moved = self.centres - self.origin
        squares = np.einsum("ij,ij->i", moved, moved, dtype=np.float64)
        self.squares = (np.zeros_like(squares) if spherical else squares).astype(np.float32)
        self.factors = np.ascontiguousarray((-1 if spherical else -2) * moved.T)
        # What a score may be wrong by: dim roundings of products 2|x||c|, a few more of |x||c| and of |c|^2
        # from moving the origin and adding up, some for the second order, and what underflow swallows.
        unit = 2.0**-24
        self.error_per_length = (unit * (2.1 * dim + 16) * np.sqrt(squares)).astype(np.float32)
        self.error = (unit * 8 * squares + dim * 1e-36).astype(np.float32)
        self.room = np.empty(0, np.float32)  # for scores: new memory for each block would cost a tenth
        self.largest_errors = self.error_per_length.max(), self.error.max()

    def __call__(self, rows: Floats) -> Labels:
        x = rows if self.spherical else rows - self.origin
        n = len(rows) * len(self.centres)
        if n > len(self.room):
            self.room = np.empty(n, np.float32)
        scores = np.matmul(x, self.factors, out=self.room[:n].reshape(len(rows), -1))
        best, least, second = two_least(scores, self.squares)
        lengths = np.sqrt(np.einsum("ij,ij->i", x, x))
        # Nearly every row is settled by the largest error of any centre; the rest is looked at in detail.
        per_length, fixed = self.largest_errors
        # Where squares are beyond float32, nothing is greater than anything, and all is left to float64.
        doubtful = np.flatnonzero(~(second - least > 2.01 * (lengths * per_length + fixed)))
        if len(doubtful):
            best[doubtful] = self._settle(rows[doubtful], scores[doubtful], lengths[doubtful])
        labels: Labels = self.kept[best]
        return labels

    def _settle(self, rows: Floats, scores: Floats, lengths: Floats) -> npt.NDArray[np.intp]:
        """Choose by float64 among the centres that each row's scores leave possible."""
        scores += self.squares
        best = scores.argmin(axis=1)
        errors = lengths[:, None] * self.error_per_length
        errors += self.error
        line = np.arange(len(rows))
        limit = scores[line, best] + errors[line, best]
        scores -= errors
        row, centre = np.nonzero(~(scores > limit[:, None]))
        exact = np.empty(len(row))
        for start in range(0, len(row), _BLOCK):
            part = slice(start, start + _BLOCK)
            x, c = rows[row[part]].astype(np.float64), self.centres[centre[part]]
            if self.spherical:
                exact[part] = -np.einsum("ij,ij->i", x, c)
            else:
                x -= c
                np.einsum("ij,ij->i", x, x, out=exact[part])
        exact[np.isnan(exact)] = np.inf  # of rows that are not finite
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        lowest = np.minimum.reduceat(exact, starts)
        hits = np.flatnonzero(exact == lowest[row])
        chosen: npt.NDArray[np.intp] = centre[hits[np.unique(row[hits], return_index=True)[1]]]
        return chosen


def _seeds(rows: Floats, n_clusters: int, spherical: bool, rng: np.random.Generator) -> Floats:
    """k-means++ on a sample: each seed is a row drawn by its squared distance to the seeds before it."""
    size = min(len(rows), max(_FEWEST_SEED_ROWS, _SEED_ROWS * n_clusters))
    some = rows[np.sort(rng.choice(len(rows), size, replace=False))]
    if spherical:
        some = normalised(some[some.any(axis=1)]) if some.any() else some[:1]
    seeds = np.repeat(some[rng.integers(len(some), size=1)], n_clusters, axis=0)
    distances = np.full(len(some), np.inf, np.float32)
    approach(seeds[:1], some, distances)
    done, together = 1, max(1, n_clusters // _SEED_ROUNDS)
    while done < n_clusters and distances.any():  # else every row of the sample is a seed
        drawn = _draw(distances, min(together, n_clusters - done), rng)
        seeds[done : done + len(drawn)] = some[drawn]
        approach(some[drawn], some, distances)
        done += len(drawn)
    return seeds


def _draw(weights: Floats, n: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw n indices with probabilities in proportion to their weights; one drawn twice counts once."""
    to = np.cumsum(weights, dtype=np.float64)
    found = np.searchsorted(to, to[-1] * rng.random(n), side="right")
    drawn: npt.NDArray[np.intp] = np.unique(np.minimum(found, len(weights) - 1))
    return drawn


def _move_to_means(
    rows: Floats, labels: Labels, centres: Floats, spherical: bool, weights: Floats | None = None
) -> None:
    """Move each centre to the mean of its rows, or its direction; a centre without rows stays."""
    total, counts = sums(rows if weights is None else rows * weights[:, None], labels, len(centres))
    if spherical:
        sizes = np.sqrt(np.einsum("ij,ij->i", total, total))
    else:
        sizes = (
            np.bincount(labels, weights, len(centres)) if weights is not None else counts.astype(np.float64)
        )
    there = sizes > 0
    centres[there] = total[there] / sizes[there, None]


def _fill_empty(
    rows: Floats, labels: Labels, centres: Floats, spherical: bool, rng: np.random.Generator
) -> None:
    """Move each centre without rows into a cluster with the largest sum of costs, which it splits.

    It goes to a row drawn as k-means++ draws. The sum over all clusters cannot grow by that, as no row was
    nearest to where the centre came from; clusters of equal rows are never split.
    """
    empty = np.flatnonzero(np.bincount(labels, minlength=len(centres)) == 0)
    if not len(empty):
        return
    costs = _costs(rows, centres, labels, spherical)
    total = np.bincount(labels, weights=costs, minlength=len(centres))
    largest = np.argsort(-total, kind="stable")[: np.count_nonzero(total)]
    for hole, cluster in zip(empty, largest, strict=False):
        members = np.flatnonzero(labels == cluster)
        row = rows[members[_draw(costs[members], 1, rng)]]
        centres[hole] = normalised(row) if spherical else row
