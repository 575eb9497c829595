"""k-means, as FAISS has it: `Kmeans` for arrays, `Clustering` for what an index is trained with."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from inlay.arrays import normalised
from inlay.clusters import kmeans, sample

from .arrays import F32, I64, Vector, as_int, as_matrix
from .attributes import Declared
from .base import Index
from .errors import DimensionError, IndexOperationError
from .flat import IndexFlatIP, IndexFlatL2
from .kind import METRIC_L2
from .stored import TrainingWarning


class ClusteringParameters(Declared):
    """How centroids are found.

    Attributes
    ----------
    niter, nredo, seed : int
        Iterations at most; how often to begin anew, the best being kept; where chance begins.
    verbose, spherical, int_centroids, update_index, frozen_centroids, decode_block_size
        `verbose` draws a bar; `spherical` makes centroids of length 1, `int_centroids` of whole numbers;
        the last three are accepted: they have no counterpart here.
    min_points_per_centroid, max_points_per_centroid : int
        Fewer rows a centroid are warned about; more are not looked at.
    """

    niter: int = 25
    nredo: int = 1
    verbose: bool = False
    spherical: bool = False
    int_centroids: bool = False
    update_index: bool = False
    frozen_centroids: bool = False
    min_points_per_centroid: int = 39
    max_points_per_centroid: int = 256
    seed: int = 1234
    decode_block_size: int = 32768


class ClusteringIterationStats:
    """What one iteration began with.

    Attributes
    ----------
    obj : float
        Sum of squared distances to the centroids, which falls, or of inner products with them, which rises.
    """

    def __init__(self, obj: float) -> None:
        self.obj = obj


class Clustering(ClusteringParameters):
    """k-means that fills an index with its centroids.

    Parameters
    ----------
    d, k : int
        Dimensions and centroids.
    cp : ClusteringParameters, optional

    Attributes
    ----------
    centroids : float32 (k * d,)
    iteration_stats : Vector of ClusteringIterationStats
    """

    d: int
    k: int
    centroids: F32
    iteration_stats: Any

    def __init__(self, d: int, k: int, cp: ClusteringParameters | None = None) -> None:
        self.d, self.k = as_int(d, "d", 1), as_int(k, "k", 1)
        self.centroids = np.empty(0, np.float32)
        self.iteration_stats = Vector()
        for name, value in vars(cp).items() if cp is not None else ():
            setattr(self, name, value)

    def train(
        self,
        x: npt.ArrayLike,
        index: Index,
        weights: npt.ArrayLike | None = None,
        init_centroids: npt.ArrayLike | None = None,
    ) -> None:
        """Find centroids and put them into an index, in place of what it holds."""
        rows = as_matrix(x, self.d)
        found, costs = self._found(rows, index.metric_type, weights, init_centroids)
        self.centroids = found.reshape(-1)
        self.iteration_stats = Vector(ClusteringIterationStats(cost) for cost in costs)
        index.reset()
        if not index.is_trained:
            index.train(found)
        index.add(found)

    def _found(
        self, rows: F32, metric: int, weights: npt.ArrayLike | None = None, start: npt.ArrayLike | None = None
    ) -> tuple[F32, list[float]]:
        """Return centroids (k, d), and what each iteration began with."""
        if len(rows) < self.k:
            raise IndexOperationError(
                f"{len(rows)} rows to train with are fewer than the {self.k} centroids asked for"
            )
        return self._of_any_number(rows, metric, weights, start)

    def _of_any_number(
        self, rows: F32, metric: int, weights: npt.ArrayLike | None = None, start: npt.ArrayLike | None = None
    ) -> tuple[F32, list[float]]:
        if not np.isfinite(rows).all():
            raise IndexOperationError("training data hold NaN or infinite values")
        if len(rows) < self.min_points_per_centroid * self.k:
            warnings.warn(
                f"{len(rows)} rows to train with; {self.k} centroids should have "
                f"{self.min_points_per_centroid * self.k} at least",
                TrainingWarning,
                stacklevel=6,
            )
        counts = None if weights is None else np.ascontiguousarray(weights, np.float32)
        if counts is not None and (counts.shape != (len(rows),) or not (counts >= 0).all()):
            raise DimensionError(f"weights must be {len(rows)} numbers of 0 or more")
        begin = None if start is None else as_matrix(start, self.d, "init_centroids")
        if begin is not None and len(begin) != self.k:
            raise DimensionError(f"init_centroids are {len(begin)}, not {self.k}")
        chosen = np.arange(len(rows))
        if len(rows) > self.max_points_per_centroid * self.k:
            few = self.max_points_per_centroid * self.k
            chosen = sample(chosen[:, None].astype(np.float32), few, self.seed)[:, 0].astype(np.int64)
        spherical = self.spherical or metric != METRIC_L2
        some, weighed = rows[chosen], None if counts is None else counts[chosen]
        if spherical and begin is not None:
            begin = normalised(begin)
        runs = [self._run(some, self.seed + redo, spherical, begin, weighed) for redo in range(self.nredo)]
        centroids, costs = min(runs, key=lambda run: run[1][-1])
        if spherical:  # costs are what inner products lack
            lengths = np.linalg.norm(some, axis=1)
            most = float((lengths if weighed is None else lengths * weighed).sum(dtype=np.float64))
            costs = [most - cost for cost in costs]
        return centroids, costs

    def _run(
        self, rows: F32, seed: int, spherical: bool, start: F32 | None, weights: F32 | None
    ) -> tuple[F32, list[float]]:
        """Return centroids and what each iteration cost; they end when no row changes its centroid."""
        costs: list[float] = []
        # Centroids of whole numbers are rounded after each iteration.
        times, iterations = (self.niter, 1) if self.int_centroids else (1, self.niter)
        for _ in range(max(times, 1)):
            start = kmeans(
                rows,
                self.k,
                seed=seed,
                iterations=max(iterations, 1),
                spherical=spherical,
                start=start,
                weights=weights,
                costs=costs,
                progress=self.verbose,
            )
            if self.int_centroids:
                start = np.round(start)
        assert start is not None
        return start, costs


class Kmeans(Clustering):
    """k-means over arrays.

    Parameters
    ----------
    d, k : int
        Dimensions and centroids.
    gpu : bool or int
        Accepted, and without meaning: FAISS without one does the same.
    **parameters
        Those of `ClusteringParameters`.

    Attributes
    ----------
    centroids : float32 (k, d)
    obj : float64 (iterations,)
        What each iteration began with, niter of them or fewer; `iteration_stats` has the same as a list of
        dicts. See `ClusteringIterationStats`.
    index : IndexFlat
        Holds the centroids.

    Raises
    ------
    AttributeError
        For a parameter that does not exist.
    """

    index: Any
    obj: Any
    gpu: bool

    def __init__(self, d: int, k: int, *, gpu: bool | int = False, **parameters: Any) -> None:
        super().__init__(d, k)
        self.gpu = False
        self.index, self.obj = None, None
        if "progressive_dim_steps" in parameters:
            raise AttributeError("k-means in growing dimensions is not there")
        for name, value in parameters.items():
            setattr(self, name, value)
        if "niter" not in parameters:
            self.niter = 25

    def train(  # type: ignore[override]
        self,
        x: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        init_centroids: npt.ArrayLike | None = None,
    ) -> float:
        """Find the centroids of rows (n, d), n >= k.

        Parameters
        ----------
        x : array_like, (n, d)
        weights : array_like, (n,), optional
            How often each row counts.
        init_centroids : array_like, (k, d), optional
            Where to begin; by default k-means++ chooses.

        Returns
        -------
        float
            The last objective.

        Raises
        ------
        RuntimeError
            For fewer rows than centroids, or NaN and infinite values.
        """
        rows = as_matrix(x, self.d)
        kind = IndexFlatIP if self.spherical else IndexFlatL2
        metric = kind(1).metric_type
        self.centroids, costs = self._found(rows, metric, weights, init_centroids)
        self.iteration_stats = [{"obj": cost} for cost in costs]
        self.obj = np.array(costs, np.float64)
        self.index = kind(self.d)
        self.index.add(self.centroids)
        return float(self.obj[-1])

    def assign(self, x: npt.ArrayLike) -> tuple[F32, I64]:
        """Return the distance and the number of each row's nearest centroid, float32 (n,) and int64 (n,)."""
        if self.index is None:
            raise IndexOperationError("there are no centroids before train()")
        distances, labels = self.index.search(x, 1)
        return distances.ravel(), labels.ravel()


def centroids_for(index: Index, nlist: int, cp: ClusteringParameters, x: F32) -> F32:
    """Return centroids for the quantizer of inverted lists, however few rows there are."""
    return Clustering(index.d, nlist, cp)._of_any_number(x, index.metric_type)[0]
