"""Functions beside indexes: exact search without one, results together, random numbers, threads."""

from typing import Any

import numpy as np
import numpy.typing as npt

import inlay
from inlay.arrays import normalised

from .arrays import F32, I64, as_int, worst
from .base import Index
from .errors import DimensionError, IndexOperationError
from .flat import IndexFlat
from .ivf import IndexIVF
from .kind import METRIC_L2
from .shards import best
from .transforms import VectorTransform


def knn(
    xq: npt.ArrayLike, xb: npt.ArrayLike, k: int, metric: int = METRIC_L2, metric_arg: float = 0.0
) -> tuple[F32, I64]:
    """Find the k nearest of some rows for each query, exactly.

    Parameters
    ----------
    xq : array_like, (n, d)
    xb : array_like, (n_rows, d)
    k : int
    metric : int
    metric_arg : float
        Accepted: neither metric has an argument.

    Returns
    -------
    D : float32 (n, k), I : int64 (n, k)
        As `Index.search`.
    """
    rows = np.asarray(xb)
    if rows.ndim != 2:
        raise DimensionError(f"xb must have two dimensions, not shape {rows.shape}")
    index = IndexFlat(rows.shape[1], metric)
    index.add(rows)
    return index.search(xq, k)


def pairwise_distances(
    xq: npt.ArrayLike, xb: npt.ArrayLike, metric: int = METRIC_L2, metric_arg: float = 0.0
) -> F32:
    """Return the distances of all pairs, float32 (n, n_rows)."""
    rows = np.asarray(xb, np.float32)
    distances, labels = knn(xq, rows, max(len(rows), 1), metric)
    out = np.empty_like(distances)
    np.put_along_axis(out, labels, distances, axis=1)
    return out[:, : len(rows)]


def normalize_L2(x: F32) -> None:
    """Scale rows to length 1, in place; zeros stay zeros.

    Parameters
    ----------
    x : float32 (n, d), C-contiguous and writeable
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        raise TypeError(f"x must be a float32 array, not {getattr(x, 'dtype', type(x).__name__)}")
    if x.ndim != 2 or not x.flags.c_contiguous:
        raise DimensionError(f"x must be C-contiguous (n, d), not shape {x.shape}")
    if not x.flags.writeable:
        raise DimensionError("x is read-only, and would be changed in place")
    x[:] = normalised(x)


def kmin(array: npt.ArrayLike, k: int) -> tuple[F32, I64]:
    """Return the k smallest values of each line, rising, and where they are."""
    return _extreme(array, k, True)


def kmax(array: npt.ArrayLike, k: int) -> tuple[F32, I64]:
    """Return the k largest values of each line, falling, and where they are."""
    return _extreme(array, k, False)


def _extreme(array: npt.ArrayLike, k: int, smallest: bool) -> tuple[F32, I64]:
    values = np.ascontiguousarray(array, np.float32)
    places = np.broadcast_to(np.arange(values.shape[1], dtype=np.int64), values.shape)
    distances, labels = best(values, places, as_int(k, "k", 1), smallest)
    distances[labels < 0] = worst(smallest)
    return distances, labels


class ResultHeap:
    """The best results of searches in parts of a data set.

    Parameters
    ----------
    nq, k : int
        Queries, and results for each.
    keep_max : bool
        The largest values are the best ones.

    Attributes
    ----------
    D : float32 (nq, k), I : int64 (nq, k)
        The results, in order at any time.
    """

    def __init__(self, nq: int, k: int, keep_max: bool = False) -> None:
        self.nq, self.k, self._least = as_int(nq, "nq", 0), as_int(k, "k", 1), not keep_max
        self.D: F32 = np.full((self.nq, self.k), worst(self._least), np.float32)
        self.I: I64 = np.full((self.nq, self.k), -1, np.int64)

    def add_result(self, D: npt.ArrayLike, I: npt.ArrayLike) -> None:  # noqa: E741
        """Add results (nq, n) of all queries."""
        self.add_result_subset(np.arange(self.nq), D, I)

    def add_result_subset(self, subset: npt.ArrayLike, D: npt.ArrayLike, I: npt.ArrayLike) -> None:  # noqa: E741
        """Add results (len(subset), n) of some queries; labels (n,) are the same for all."""
        queries, values = np.asarray(subset, np.int64), np.asarray(D, np.float32)
        if values.ndim != 2 or len(values) != len(queries):
            raise DimensionError(f"D has shape {values.shape} for {len(queries)} queries")
        labels = np.broadcast_to(np.asarray(I, np.int64), values.shape)
        found, kept = best(
            np.concatenate([self.D[queries], values], axis=1),
            np.concatenate([self.I[queries], labels], axis=1),
            self.k,
            self._least,
        )
        found[kept < 0] = worst(self._least)
        self.D[queries], self.I[queries] = found, kept

    def finalize(self) -> None:
        """Do nothing: results are in order already."""


def merge_knn_results(
    Dall: npt.ArrayLike,
    Iall: npt.ArrayLike,
    keep_max: bool = False,
) -> tuple[F32, I64]:
    """Return the best of results (n_shards, n, k) of several parts, (n, k)."""
    values, labels = np.asarray(Dall, np.float32), np.asarray(Iall, np.int64)
    if values.shape != labels.shape or values.ndim != 3:
        raise DimensionError(
            f"Dall and Iall must both be (n_shards, n, k), not {values.shape}, {labels.shape}"
        )
    heap = ResultHeap(values.shape[1], values.shape[2], keep_max)
    for some, named in zip(values, labels, strict=True):
        heap.add_result(some, named)
    return heap.D, heap.I


def eval_intersection(I1: npt.ArrayLike, I2: npt.ArrayLike) -> int:
    """Return how many labels each line of two results has in common, summed over lines."""
    one, two = np.asarray(I1), np.asarray(I2)
    if len(one) != len(two):
        raise DimensionError(f"results have {len(one)} and {len(two)} lines")
    return sum(len(np.intersect1d(a, b)) for a, b in zip(one, two, strict=True))


# Random numbers: the same for the same seed, and not those of FAISS


def rand(n: Any, seed: int = 12345) -> F32:
    """Return numbers from [0, 1), float32 of shape n."""
    drawn: F32 = np.random.default_rng(seed).random(n, np.float32)
    return drawn


def randn(n: Any, seed: int = 12345) -> F32:
    """Return normally distributed numbers, float32 of shape n."""
    drawn: F32 = np.random.default_rng(seed).standard_normal(n, np.float32)
    return drawn


def randint(n: Any, seed: int = 12345, vmax: int | None = None) -> I64:
    """Return whole numbers from 0 to below vmax, int64 of shape n."""
    most = 2**63 - 1 if vmax is None else vmax
    drawn: I64 = np.random.default_rng(seed).integers(0, most, n, np.int64)
    return drawn


def rand_smooth_vectors(n: int, d: int, seed: int = 1234) -> F32:
    """Return vectors that lie near ten dimensions, bent, as real ones do, float32 (n, d)."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 10)) @ rng.random((10, d))
    return np.asarray(np.sin(rows * (rng.random(d) * 4 + 0.1)), np.float32)


# Threads and builds


def omp_set_num_threads(num_threads: int) -> None:
    """Set how many threads a call may use, for the whole process."""
    inlay.set_num_threads(as_int(num_threads, "num_threads", 1))


def omp_get_max_threads() -> int:
    """Return how many threads a call may use."""
    return inlay.get_num_threads()


omp_get_num_threads = omp_get_max_threads


def get_num_gpus() -> int:
    """Return 0."""
    return 0


def get_compile_options() -> str:
    """Return which instructions the core uses here."""
    from inlay.kernels import table

    return table.level().upper()


# What FAISS has for its own ways of naming classes


def downcast_index(index: Index) -> Index:
    """Return the index, which has its class already."""
    return index


def downcast_VectorTransform(vt: VectorTransform) -> VectorTransform:
    """Return the transform, which has its class already."""
    return vt


def downcast_Quantizer(aq: Any) -> Any:
    """Return the quantiser, which has its class already."""
    return aq


def try_extract_index_ivf(index: Index) -> IndexIVF | None:
    """Return the inverted lists in an index, or None."""
    if isinstance(index, IndexIVF):
        return index
    found = (try_extract_index_ivf(part) for part in index.parts())
    return next((ivf for ivf in found if ivf is not None), None)


def extract_index_ivf(index: Index) -> IndexIVF:
    """Return the inverted lists in an index.

    Raises
    ------
    RuntimeError
        When there are none.
    """
    ivf = try_extract_index_ivf(index)
    if ivf is None:
        raise IndexOperationError(f"there are no inverted lists in {index!r}")
    return ivf


def is_similarity_metric(metric: int) -> bool:
    """Return whether larger values are nearer."""
    return metric != METRIC_L2
