"""Every form of every family, on which the contract is tested, and the contract's answers in plain NumPy.

A later family joins by lines of `FORMS`: how its index is made, and with what effort a search looks at every
row with all that the index knows of it. Its answers are then held against the rows that `reconstruct` gives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import inlay

METRICS = ("l2", "ip", "cosine")
SPECS = ("Flat", "LVQ4", "LVQ8", "LVQ4x4", "LVQ4x8", "LVQ8x8")
EVERY_ROW = {"rerank": 1 << 20}
EVERY_LIST = {"nprobe": 1 << 20, "rerank": 1 << 20}
WIDEST = {"ef": 1 << 20, "rerank": 1 << 20}


@dataclass(frozen=True)
class Form:
    """One way of making an index.

    Attributes
    ----------
    spec, options
        What `inlay.from_spec` is given.
    exhaustive
        Effort with which a search gives the nearest of all rows by the best distances that the index knows.
    decoded
        Whether these are the distances to the rows that `reconstruct` gives; if not, they are estimates.
    exact
        Whether the rows that `reconstruct` gives are those that were added.
    walks
        Whether a search with less effort than `exhaustive` may miss rows.
    listed
        Whether `compact` lays the rows out anew, which a file shows.
    largest
        Size of numbers that rows may hold.
    taught
        Whether it takes a number of rows to train.
    covered
        Whether other forms lead through the same code, so that the contract can do without this one.
    """

    spec: str
    options: Mapping[str, Any] = field(default_factory=dict)
    exhaustive: Mapping[str, Any] = field(default_factory=dict)
    decoded: bool = True
    exact: bool = False
    walks: bool = False
    listed: bool = False
    largest: float = 3e38
    taught: bool = False
    covered: bool = False

    def __str__(self) -> str:
        return "-".join([self.spec, *(f"{name}={value}" for name, value in self.options.items())])

    def untrained(self, dim: int, metric: str = "l2") -> inlay.Index:
        return inlay.from_spec(self.spec, dim, metric, **self.options)

    def empty(self, dim: int, metric: str = "l2") -> inlay.Index:
        """An index that takes any number of rows."""
        index = self.untrained(dim, metric)
        index.train(gaussian(64, dim, seed=99))
        return index

    def filled(self, rows: np.ndarray, metric: str = "l2", ids: Any = None) -> inlay.Index:
        index = self.empty(rows.shape[1], metric)
        index.add(rows, ids)
        return index

    def values(self, index: inlay.Index, queries: np.ndarray) -> np.ndarray:
        """The best values (n_queries, n_rows) that an index knows, rows in storage order."""
        queries = np.atleast_2d(queries)
        if self.decoded:
            metric = "l2" if index.metric == "l2" else "ip"
            return values(prepared(queries, index.metric), held(index), metric)
        _, distances, ids = index.range_search(queries, np.inf if index.metric == "l2" else -np.inf)
        by_id = np.argsort(ids.reshape(len(queries), -1), axis=1)
        of_ids = np.take_along_axis(distances.reshape(len(queries), -1), by_id, axis=1)
        return of_ids[:, np.argsort(np.argsort(index.ids))].astype(np.float64)


FORMS = (
    Form("Flat", exact=True),
    Form("LVQ4", exhaustive=EVERY_ROW, decoded=False, covered=True),
    Form("LVQ8", exhaustive=EVERY_ROW, decoded=False),
    Form("LVQ4x4", exhaustive=EVERY_ROW),
    Form("LVQ4x8", exhaustive=EVERY_ROW),
    Form("LVQ8x8", exhaustive=EVERY_ROW, covered=True),
    Form("LVQ4x8", {"rotation": False}, EVERY_ROW, covered=True),
    Form("LVQ4x8", {"n_means": 5}, EVERY_ROW),
    Form("LVQ4", {"n_means": 3, "vectors": "float32"}, EVERY_ROW, exact=True),
    Form("HNSW8", exhaustive=WIDEST, exact=True, walks=True),
    Form("HNSW32,LVQ8", exhaustive=WIDEST, decoded=False, walks=True),
    Form("HNSW8,LVQ4x8", exhaustive=WIDEST, walks=True),
    Form("QuIVer8", exhaustive=WIDEST, decoded=False, walks=True, covered=True),
    Form("QuIVer8", {"vectors": "float16", "transform": "centred"}, WIDEST, walks=True, largest=6e4),
    Form("QuIVer32", {"vectors": "float32"}, WIDEST, exact=True, walks=True),
    Form("SymQG32", exhaustive=WIDEST, walks=True),
    Form("PQ5x4fs", exhaustive=EVERY_ROW, largest=1e14, taught=True),
    Form("RVQ4x4", exhaustive=EVERY_ROW, largest=1e14, taught=True),
    Form("IVF4,LVQ4x8", exhaustive=EVERY_LIST, listed=True),
    Form("LoRANN8", {"vectors": "lvq8x8"}, EVERY_LIST, listed=True),
    Form("HNSW16,RVQ4x4", exhaustive=WIDEST, walks=True, largest=1e14, taught=True),
)


def gaussian(n: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def values(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """The metric's value of every query and row, float64 (n_queries, n_rows), by definition."""
    queries, rows = np.asarray(queries, np.float64), np.asarray(rows, np.float64)
    if metric == "cosine":
        queries, rows = lengths_one(queries), lengths_one(rows)
    if metric == "l2":
        return np.square(queries[:, None] - rows).sum(axis=2)
    return queries @ rows.T


def lengths_one(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def held(index: inlay.Index) -> np.ndarray:
    """The rows in storage order as the index knows them."""
    return index.reconstruct(index.ids)


def prepared(queries: np.ndarray, metric: str) -> np.ndarray:
    """Queries as they are compared with the rows of an index, which may have lost their length 1."""
    return lengths_one(np.asarray(queries, np.float64)) if metric == "cosine" else queries


def rounding(queries: np.ndarray, rows: np.ndarray) -> float:
    """How far a float32 value may be from the true one."""
    lengths = (np.square(part, dtype=np.float64).sum(axis=1).max(initial=0) for part in (queries, rows))
    return 1e-5 * float(max(lengths)) + 1e-30


def assert_in_order(distances: np.ndarray, ids: np.ndarray, metric: str, n_expected: int) -> None:
    """Results have the promised types, the best first, ties by lower id, and missing ones at the end."""
    assert distances.dtype == np.float32
    assert ids.dtype == np.int64
    assert distances.shape == ids.shape
    there = min(n_expected, ids.shape[1])
    assert (ids[:, there:] == -1).all()
    assert (distances[:, there:] == (np.inf if metric == "l2" else -np.inf)).all()
    assert (ids[:, :there] != -1).all()
    assert not np.isnan(distances).any()
    worse = np.diff(distances[:, :there].astype(np.float64)) * (1 if metric == "l2" else -1)
    assert (worse >= 0).all()
    assert (np.diff(ids[:, :there])[worse == 0] > 0).all()
    assert all(len(set(row)) == there for row in ids[:, :there].tolist())


def assert_nearest(
    form: Form,
    index: inlay.Index,
    queries: np.ndarray,
    found: tuple[np.ndarray, np.ndarray],
    allowed: np.ndarray | None = None,
) -> None:
    """The results of an exhaustive search are the nearest rows, rounding aside, with their values."""
    distances, ids = found
    mask = np.ones(len(index), bool) if allowed is None else allowed
    assert_in_order(distances, ids, index.metric, int(mask.sum()))
    sign = 1 if index.metric == "l2" else -1
    true = sign * form.values(index, queries)
    near = rounding(prepared(np.atleast_2d(queries), index.metric), held(index))
    place = {number: slot for slot, number in enumerate(index.ids.tolist())}
    for query, (line, numbers) in enumerate(zip(distances, ids, strict=True)):
        slots = [place[number] for number in numbers.tolist() if number != -1]
        assert mask[slots].all()
        np.testing.assert_allclose(sign * line[: len(slots)], true[query, slots], atol=near, rtol=1e-5)
        best = np.sort(true[query, mask])[: len(slots)]
        np.testing.assert_allclose(true[query, slots], best, atol=2 * near, rtol=1e-5)
