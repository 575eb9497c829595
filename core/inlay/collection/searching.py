"""From a vector to hits: what the filter selects, ranked, and the documents read at the end."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import batch, ranking, selection
from .ranking import Ranking
from .records import Reader
from .vectors import F32, I64
from .view import View


@dataclass(frozen=True, slots=True)
class Hit:
    """One document that a search found.

    Attributes
    ----------
    id, text, metadata
        As stored.
    distance : float
        The metric's own value, exact: squared L2 distance (smaller is nearer), inner product or cosine
        (larger is nearer). After a search by words their BM25, after a hybrid search the fused value: the
        larger the better.
    """

    id: str
    text: str
    metadata: dict[str, Any]
    distance: float


def query_rows(vectors: npt.ArrayLike, dim: int | None, *, one: bool) -> F32:
    """Return queries as rows (n, dim); with `one`, of a single vector."""
    queries = batch.check_vectors(vectors, dim, "queries", one=one)
    if one and len(queries) != 1:
        raise ValueError(f"search takes one vector, not {len(queries)}; search_batch takes several")
    return queries


def ranked(
    view: View,
    reader: Reader,
    queries: F32,
    k: int,
    allowed: selection.Allowed,
    effort: Mapping[str, Any],
) -> list[Ranking]:
    """Rank the allowed documents by their vectors, for each query."""
    if k <= 0:
        return [ranking.NOTHING for _ in queries]
    if not callable(allowed):
        return ranking.nearest(view, queries, k, allowed, effort)

    def nearest_to(query: F32) -> Callable[[int], Ranking]:
        return lambda limit: ranking.nearest(view, query[None], limit, None, effort)[0]

    return [ranking.walk(nearest_to(query), k, _accepts(reader, allowed)) for query in queries]


def worded(reader: Reader, text: str, k: int, allowed: selection.Allowed) -> Ranking:
    """Rank the allowed documents that have a word of the text, by BM25.

    Raises
    ------
    ValueError
        When the collection has no full text.
    """
    if not reader.has_words():
        raise ValueError("texts are not searched here; open the collection with full_text=True")
    if k <= 0:
        return ranking.NOTHING
    if not callable(allowed):
        return reader.worded(text, k, allowed)
    return ranking.walk(lambda limit: reader.worded(text, limit), k, _accepts(reader, allowed))


def _accepts(reader: Reader, function: selection.Function) -> Callable[[I64], Iterator[bool]]:
    return lambda rows: selection.answers(reader, function, rows)


def better(values: ranking.F64, metric: str) -> ranking.F64:
    """Return a metric's own values such that the larger one is always the better one."""
    return -values if metric == "l2" else values


def hits(reader: Reader, rankings: list[Ranking]) -> list[list[Hit]]:
    """Read the documents of all rankings."""
    if not rankings:
        return []
    values, rows = (np.concatenate(parts) for parts in zip(*rankings, strict=True))
    found = [
        Hit(record.id, record.text, record.metadata, value)
        for record, value in zip(reader.records(rows), values.tolist(), strict=True)
    ]
    ends = np.cumsum([len(rows) for _, rows in rankings]).tolist()
    return [found[start:end] for start, end in zip([0, *ends], ends, strict=False)]
