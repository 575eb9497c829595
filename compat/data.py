"""The rows, queries and exact answers that contenders are measured on.

A data set is brought into one form whatever it came from: float32 rows in row order, unit length when the
metric is cosine (so that a library without that metric runs inner products over the same rows), and the ids
of the exact answers. A returned id is right when its true distance is no worse than that of the k-th exact
answer, so equal rows are interchangeable and nobody loses recall to a tie.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Metric = Literal["l2", "ip", "cosine"]
Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

METRICS: tuple[Metric, ...] = ("l2", "ip", "cosine")
HDF5 = (".hdf5", ".h5")
DISTANCES: dict[str, Metric] = {
    "euclidean": "l2",
    "angular": "cosine",
    "dot": "ip",
    "ip": "ip",
}  # in such files
KINDS = ("float16", "float32", "float64", "uint8", "int8")

BLOCK_BYTES = 32 << 20  # of float64 work at a time: small beside any data set worth measuring
ROUNDING = 1e-6  # float32 sums of some hundred products agree to about this share of their terms
CHECKED_QUERIES = 10  # enough to notice answers of another metric or another base
SAME_ANSWERS = 0.98  # rounding may swap a near tie; another metric or another base shares far less


@dataclass(frozen=True)
class DataSet:
    """Rows, queries and the ids of the exact answers, all in the form every contender is given.

    Attributes
    ----------
    name : str
        What the tables call it.
    metric : {"l2", "ip", "cosine"}
        Squared distance, inner product, or inner product of unit rows.
    base : ndarray of float32, shape (n, dim)
    queries : ndarray of float32, shape (q, dim)
    truth : ndarray of int64, shape (q, m)
        Ids of the m nearest rows, best first; m is at least the k that is measured.
    """

    name: str
    metric: Metric
    base: Floats
    queries: Floats
    truth: Ids

    def fingerprint(self) -> str:
        """Return eight hex digits that change with the rows, the queries and the metric."""
        checksum = zlib.crc32(self.metric.encode())
        for block in (*row_blocks(self.base), *row_blocks(self.queries)):
            checksum = zlib.crc32(block.tobytes(), checksum)
        return f"{checksum:08x}"


@dataclass(frozen=True)
class Source:
    """Arrays as found: any accepted dtype, perhaps still on disk, perhaps without answers or metric."""

    name: str
    base: npt.NDArray[Any]
    queries: npt.NDArray[Any]
    truth: npt.NDArray[Any] | None = None
    metric: Metric | None = None


def row_blocks(rows: npt.NDArray[Any], bytes_per_value: int = 8) -> Iterator[npt.NDArray[Any]]:
    """Yield consecutive runs of rows that take about ``BLOCK_BYTES`` when widened."""
    step = max(1, BLOCK_BYTES // max(1, rows.shape[1] * bytes_per_value))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


# --- where data comes from -------------------------------------------------------------------------------


def from_files(base: Path, queries: Path | None, truth: Path | None) -> Source:
    """Open ``.npy`` files, or one file that holds it all.

    That is a ``.npz`` of ``base``, ``query`` and perhaps ``gt``, or a ``.hdf5`` of ann-benchmarks.

    Raises
    ------
    ValueError
        When such a file lacks an array or is not given alone, or a ``.npy`` base comes without queries.
    ImportError
        For a ``.hdf5`` without h5py.
    """
    if base.suffix in (".npz", *HDF5) and (queries is not None or truth is not None):
        raise ValueError(f"{base} brings its own queries and answers; leave out --queries and --truth")
    if base.suffix in HDF5:
        return _from_hdf5(base)
    if base.suffix == ".npz":
        with np.load(base, allow_pickle=False) as packed:
            missing = [key for key in ("base", "query") if key not in packed]
            if missing:
                raise ValueError(f"{base} holds {sorted(packed)}; it needs 'base' and 'query', perhaps 'gt'")
            return Source(base.stem, packed["base"], packed["query"], packed.get("gt"))
    if queries is None:
        raise ValueError(f"{base} holds rows only; give the queries too (--queries FILE.npy)")
    return Source(base.stem, _open(base), _open(queries), None if truth is None else _open(truth))


def _from_hdf5(path: Path) -> Source:
    """Read the layout of ann-benchmarks: ``train``, ``test``, perhaps ``neighbors``, a named ``distance``."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path.name} is read by h5py: pip install 'inlay[compat]'") from error
    with h5py.File(path, "r") as file:
        missing = [name for name in ("train", "test") if name not in file]
        if missing:
            raise ValueError(
                f"{path} holds {sorted(file)}; it needs 'train' and 'test', as ann-benchmarks has"
            )
        distance = file.attrs.get("distance")
        if distance is not None and distance not in DISTANCES:
            raise ValueError(f"{path} is for the distance {distance!r}; there are {', '.join(DISTANCES)}")
        truth = file["neighbors"][:] if "neighbors" in file else None
        return Source(path.stem, file["train"][:], file["test"][:], truth, DISTANCES.get(distance))


def from_folder(folder: Path, name: str) -> Source:
    """Open ``name.npz`` or ``.hdf5``, or ``name_base.npy``, ``name_query.npy`` (perhaps ``name_gt.npy``)."""
    for packed in (folder / f"{name}{ending}" for ending in (".npz", *HDF5)):
        if packed.exists():
            return from_files(packed, None, None)
    base, queries, truth = (folder / f"{name}_{part}.npy" for part in ("base", "query", "gt"))
    if not base.exists():
        raise ValueError(
            f"{folder} has neither {name}.npz or .hdf5 nor {base.name}; is --name spelled right?"
        )
    source = from_files(base, queries, truth if truth.exists() else None)
    return Source(name, source.base, source.queries, source.truth)


def _open(path: Path) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def clustered(rows: int, dim: int, queries: int, seed: int) -> Source:
    """Make groups of unequal size and spread around random centres; queries are drawn like rows."""
    random = np.random.default_rng(seed)
    n_groups = max(8, rows // 200)
    centres = random.standard_normal((n_groups, dim))
    spread = random.uniform(0.3, 0.7, (n_groups, 1)) * random.uniform(0.4, 1.6, (1, dim))
    popularity = 1 / np.arange(1, n_groups + 1) ** 0.5
    group = random.choice(n_groups, rows + queries, p=popularity / popularity.sum())
    made = (centres[group] + spread[group] * random.standard_normal((rows + queries, dim))).astype(np.float32)
    return Source(f"clustered-{rows}x{dim}", made[:rows], made[rows:])


def outliers(rows: int, dim: int, queries: int, seed: int) -> Source:
    """Make Gaussian rows with every twelfth dimension twelve times as wide, as text models have a few."""
    random = np.random.default_rng(seed)
    width = np.where(np.arange(dim) % 12 == 5, 12.0, 1.0)
    made = (random.standard_normal((rows + queries, dim)) * width).astype(np.float32)
    return Source(f"outliers-{rows}x{dim}", made[:rows], made[rows:])


# --- into one form ---------------------------------------------------------------------------------------


def prepare(
    source: Source, metric: Metric, k: int, scratch: Path, *, limit: int = 0, n_queries: int = 0
) -> DataSet:
    """Write the rows as float32 beside each other in ``scratch`` and make sure there are exact answers.

    Parameters
    ----------
    source : Source
    metric : {"l2", "ip", "cosine"}
    k : int
        How many answers are needed per query.
    scratch : Path
        A folder; ``base.npy`` and ``queries.npy`` are written there, for workers to map into memory.
    limit, n_queries : int, optional
        Keep only the first so many rows and queries; 0 keeps all. Given answers are for all rows, so they
        are computed anew when ``limit`` cuts.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, or given answers that are not those of this
        metric and base.
    TypeError
        A dtype that is none of float16, float32, float64, uint8, int8.
    """
    _check_shapes(source, k)
    cut = 0 < limit < len(source.base)
    base = _write_float32(source.base[: limit or None], metric, scratch / "base.npy", "base")
    queries = _write_float32(source.queries[: n_queries or None], metric, scratch / "queries.npy", "queries")
    if k > len(base):
        raise ValueError(f"k is {k} but there are only {len(base)} rows; lower --k or raise --limit")
    if source.truth is None or cut:
        truth = exact(base, queries, k, metric)
    else:
        truth = np.ascontiguousarray(source.truth[: len(queries)], dtype=np.int64)
    name = f"{source.name}[:{limit}]" if cut else source.name
    data = DataSet(name, metric, base, queries, truth)
    _check_truth(data, k)
    return data


def _check_shapes(source: Source, k: int) -> None:
    for label, array in (("base", source.base), ("queries", source.queries)):
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"{label} must have the shape (rows, dimensions) but has {array.shape}")
        if array.dtype.name not in KINDS:
            raise TypeError(f"{label} is {array.dtype}; convert it to one of {', '.join(KINDS)}")
    if source.base.shape[1] != source.queries.shape[1]:
        given = f"{source.queries.shape[1]} dimensions but the base has {source.base.shape[1]}"
        raise ValueError(f"queries have {given}; were both made by one model?")
    if source.truth is not None:
        shape = source.truth.shape
        if len(shape) != 2 or shape[0] < len(source.queries) or shape[1] < k:
            needed = f"at least ({len(source.queries)}, {k}) is needed"
            raise ValueError(f"the given answers have the shape {shape}; {needed}, or leave them out")


def _write_float32(rows: npt.NDArray[Any], metric: Metric, path: Path, label: str) -> Floats:
    written: Floats = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=rows.shape)
    start = 0
    for block in row_blocks(rows):
        made: Floats = np.asarray(block, dtype=np.float32)
        if not np.isfinite(made).all():
            row = start + int(np.flatnonzero(~np.isfinite(made).all(axis=1))[0])
            raise ValueError(f"row {row} of {label} holds a value that is not finite; remove such rows first")
        if metric == "cosine":
            lengths = np.linalg.norm(made, axis=1, keepdims=True)
            made = (made / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        written[start : start + len(made)] = made
        start += len(made)
    return written


# --- exact answers and recall ----------------------------------------------------------------------------


def exact(base: Floats, queries: Floats, k: int, metric: Metric) -> Ids:
    """Return the ids of the k nearest rows of every query, best first, by Inlay's exact search."""
    import inlay

    index = inlay.FlatIndex(base.shape[1], metric)
    index.add(base, progress=False)
    found: Ids = index.search(queries, k)[1]
    return found


def _farness(query: npt.NDArray[np.float64], rows: npt.NDArray[np.float64], metric: Metric) -> Any:
    """Distance of rows (..., dim) to their query in float64, smaller is nearer."""
    if metric == "l2":
        return np.square(rows - query).sum(axis=-1)
    return -(rows * query).sum(axis=-1)


def _check_truth(data: DataSet, k: int) -> None:
    """Search a few queries in plain NumPy and refuse answers that another metric or base would give."""
    few = slice(0, CHECKED_QUERIES)
    queries = data.queries[few].astype(np.float64)
    distances = np.concatenate(
        [
            np.stack([_farness(query, block, data.metric) for query in queries])
            for block in (part.astype(np.float64) for part in row_blocks(data.base))
        ],
        axis=1,
    )
    nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
    agreed = recall(data, nearest, k, queries=len(queries))
    reverse = recall(
        DataSet(data.name, data.metric, data.base, data.queries[few], nearest), data.truth[few, :k], k
    )
    if min(agreed, reverse) < SAME_ANSWERS:
        raise ValueError(
            f"the answers to {data.name} are not its nearest rows by {data.metric} (they share "
            f"{min(agreed, reverse):.3f} of the top {k}); check --metric, or leave out --truth"
        )


def recall(data: DataSet, found: Ids, k: int, *, queries: int | None = None) -> float:
    """Return the mean share of the k nearest rows among the ids found, ties counted as right.

    Parameters
    ----------
    data : DataSet
    found : ndarray of int64, shape (q, >= k)
        Ids returned for the first q queries; -1 stands for a missing answer. An id twice counts once.
    k : int
    queries : int, optional
        Expected q; all of them when left out.

    Raises
    ------
    ValueError
        When ``found`` has another shape or holds an id that no row has.
    """
    count = len(data.queries) if queries is None else queries
    if found.ndim != 2 or len(found) != count or found.shape[1] < k:
        raise ValueError(f"expected ids of shape ({count}, {k}) but got {found.shape}")
    if found.min() < -1 or found.max() >= len(data.base):
        span = f"{found.min()} .. {found.max()}"
        raise ValueError(f"ids must lie in -1 .. {len(data.base) - 1} but span {span}")
    right = 0
    step = max(1, BLOCK_BYTES // (2 * k * data.base.shape[1] * 8))
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        right += int(_hits(data, found[part, :k], part, k).sum())
    return right / (count * k)


def _hits(data: DataSet, found: Ids, part: slice, k: int) -> npt.NDArray[np.bool_]:
    """Mark the ids in ``found`` (q, k) that are as near as the k-th exact answer."""
    queries = data.queries[part].astype(np.float64)[:, None, :]
    farthest = data.base[data.truth[part, :k]].astype(np.float64)
    limits = _farness(queries, farthest, data.metric).max(axis=1, keepdims=True)
    if data.metric == "l2":
        terms = limits
    else:
        terms = np.linalg.norm(queries, axis=2) * np.linalg.norm(farthest, axis=2).max(axis=1, keepdims=True)
    near = _farness(queries, data.base[found].astype(np.float64), data.metric) <= limits + ROUNDING * terms
    order = np.argsort(found, axis=1, kind="stable")
    ordered = np.take_along_axis(found, order, axis=1)
    again = np.zeros_like(near)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    marks: npt.NDArray[np.bool_] = near & ~again & (found >= 0)
    return marks
