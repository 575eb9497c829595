"""Rows whose float32 distances are exact, and graphs with the links that a test wants."""

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from inlay.codecs.plain import PlainCodec
from inlay.graph.graph import Graph
from inlay.graph.inner import InnerPairs
from inlay.graph.search import search
from inlay.ids import Bits
from reference_graph import NONE, Apart

KINDS = ("numbers", "bits", "copies", "equal", "zeros", "line", "far apart")


def rows_of(kind: str, n: int, dim: int, seed: int) -> np.ndarray:
    """Rows of small integers: of most kinds there are ties, and rows that are equal."""
    rng = np.random.default_rng(seed)
    made = {
        "numbers": lambda: rng.integers(-9, 10, (n, dim)),
        "bits": lambda: rng.integers(0, 2, (n, dim)),
        "copies": lambda: rng.integers(-9, 10, (n, dim))[rng.integers(0, 1 + n // 4, n)],
        "equal": lambda: np.full((n, dim), 3),
        "zeros": lambda: np.zeros((n, dim)),
        "line": lambda: np.repeat(rng.permutation(n)[:, None], dim, axis=1),
        "far apart": lambda: rng.integers(-2, 3, (n, dim)) + 500 * rng.integers(0, 2, (n, 1)),
    }
    return made[kind]().astype(np.float32)


def apart_in(rows: np.ndarray, inner: bool = False) -> Apart:
    """The distances of a row from others, or the negated inner products."""
    if inner:
        return lambda slot, others: -(rows[list(others)] @ rows[slot])
    return lambda slot, others: np.square(rows[list(others)] - rows[slot]).sum(axis=1, dtype=np.float32)


def codes_of(rows: np.ndarray):
    """A codec of squared L2 distances and the codes of rows."""
    codec = PlainCodec(rows.shape[1], True)
    return codec, codec.encode(rows)


def pairs_of(rows: np.ndarray, threads: int = 1, inner: bool = False):
    codec, codes = codes_of(rows)
    pairs = codec.pairs(codes, threads)
    return InnerPairs(pairs, np.square(rows).sum(axis=1, dtype=np.float32), threads) if inner else pairs


def graph_of(places: np.ndarray, entries: Sequence[int]) -> Graph:
    """A graph with these links."""
    graph = Graph(places.shape[1])
    graph.table.resize(len(places))
    graph.table.rows[:] = places
    graph.entries = np.array(entries, np.uint32)
    return graph


def places_of(graph: Graph) -> np.ndarray:
    return np.array(graph.table.rows)


def any_places(n: int, degree: int, seed: int, whole: float = 0.8) -> np.ndarray:
    """Random links without a promise: to oneself, twice, beyond the vertices, behind free places."""
    rng = np.random.default_rng(seed)
    places = rng.integers(0, n, (n, degree)).astype(np.uint32)
    wrong = rng.choice([NONE, n, n + 1, 2**31, NONE - 1], (n, degree))
    return np.where(rng.random((n, degree)) < whole, places, wrong).astype(np.uint32)


def tidy_places(n: int, degree: int, seed: int, share: float = 0.7) -> np.ndarray:
    """Random links as `check` wants them, ways to every vertex aside."""
    rng = np.random.default_rng(seed)
    places = np.full((n, degree), NONE, np.uint32)
    for slot in range(n):
        others = np.delete(np.arange(n), slot)
        some = rng.permutation(others)[: rng.binomial(degree, share)]
        places[slot, : len(some)] = some
    return places


def found_by(graph, rows, queries, k, ef, allowed=None, threads=1):
    """(distances, slots, expanded, evaluated) of a search by the rows alone."""
    codec, codes = codes_of(rows)
    before = graph.expanded, graph.evaluated
    bits = None if allowed is None else Bits(allowed)
    scorer = codec.scorer(queries, codes, threads)
    distances, slots = search(graph, scorer, None, k, ef, 0, bits, None, 0, len(rows), threads)
    return distances, slots, graph.expanded - before[0], graph.evaluated - before[1]


seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(KINDS)
