"""The forms of indexes that walk a graph, rows that are hard on a graph, and how much a search finds."""

from collections.abc import Callable

import numpy as np
from core.indexes.forms import FORMS, WIDEST, Form, gaussian, lengths_one

import inlay

GRAPHS = tuple(form for form in FORMS if form.walks)
#: The least that a graph can have.
NARROW = (
    Form("HNSW2", exhaustive=WIDEST, exact=True, walks=True),
    Form("HNSW2,LVQ8", exhaustive=WIDEST, decoded=False, walks=True),
    Form("QuIVer3", exhaustive=WIDEST, decoded=False, walks=True),
)


def low_rank(n: int, dim: int, rank: int = 12, seed: int = 0) -> np.ndarray:
    """Rows near a subspace, as embeddings are; any number of rows of a seed lies in the same one."""
    basis = np.random.default_rng([seed, dim]).standard_normal((rank, dim))
    rng = np.random.default_rng([seed, dim, 1])
    rows = rng.standard_normal((n, rank)) @ basis + 0.2 * rng.standard_normal((n, dim))
    return rows.astype(np.float32)


def clustered(n: int, dim: int, n_clusters: int = 20, seed: int = 0) -> np.ndarray:
    """Rows about some centres, one cluster after the other."""
    rng = np.random.default_rng([seed, dim])
    centres = 4 * rng.standard_normal((n_clusters, dim))
    of = np.sort(rng.integers(0, n_clusters, n))
    return (centres[of] + rng.standard_normal((n, dim))).astype(np.float32)


def histograms(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Rows without a negative number, of which many are zero and few are large."""
    rng = np.random.default_rng([seed, dim])
    shapes = rng.gamma(0.6, 1.0, (40, dim))
    mixed = rng.dirichlet(np.full(40, 0.15), n) @ shapes
    return np.floor(60 * mixed * rng.gamma(4.0, 0.25, (n, dim))).clip(0, 255).astype(np.float32)


def far_apart(n: int, dim: int) -> np.ndarray:
    """Two clusters, with a hundred times their width between them, in turn."""
    rows = gaussian(n, dim)
    rows[1::2] += 1000
    return rows


#: Rows (n, dim) by what is special about them.
HARD: dict[str, Callable[[int, int], np.ndarray]] = {
    "gaussian": gaussian,
    "low rank": low_rank,
    "equal": lambda n, dim: np.full((n, dim), 0.7, np.float32),
    "zeros": lambda n, dim: np.zeros((n, dim), np.float32),
    "copies": lambda n, dim: np.tile(gaussian(-(-n // 20), dim), (20, 1))[:n],
    "far apart": far_apart,
    "clustered": clustered,
    "histograms": histograms,
    "growing": lambda n, dim: (
        gaussian(n, dim) * np.geomspace(1e-3, 1e3, max(n, 1))[:n, None].astype(np.float32)
    ),
}


def nearest(rows: np.ndarray, queries: np.ndarray, k: int, metric: str = "l2") -> np.ndarray:
    """The k nearest rows of each query, (n_queries, k)."""
    queries, rows = np.asarray(queries, np.float64), np.asarray(rows, np.float64)
    if metric == "cosine":
        rows = lengths_one(rows)
    scores = -(queries @ rows.T)
    if metric == "l2":
        scores = 2 * scores + np.square(rows).sum(axis=1)
    found: np.ndarray = np.argsort(scores, axis=1, kind="stable")[:, :k]
    return found


def recall(index: inlay.Index, queries: np.ndarray, truth: np.ndarray, **effort: int) -> float:
    """The share of the truth that a search finds; rows are known by their ids."""
    ids = index.search(queries, truth.shape[1], **effort)[1]
    return (
        float(np.mean([len(np.intersect1d(one, other)) for one, other in zip(ids, truth, strict=True)]))
        / (truth.shape[1])
    )
