"""From a vector to hits: what the filter selects, ranked, and the documents read at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import batch, ranking, selection
from .records import Reader
from .vectors import F32
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
        (larger is nearer).
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
    view: View, reader: Reader, queries: F32, k: int, judge: selection.Judge, effort: Mapping[str, Any]
) -> list[ranking.Ranking]:
    """Rank the documents that a filter selects, for each query."""
    if k <= 0:
        return [ranking.NOTHING for _ in queries]
    if callable(judge):
        function = judge
        return [
            ranking.walk(view, query, k, lambda rows: selection.answers(reader, function, rows), effort)
            for query in queries
        ]
    allowed = None if judge is None else selection.selected(reader, judge)
    return ranking.nearest(view, queries, k, allowed, effort)


def hits(reader: Reader, rankings: list[ranking.Ranking]) -> list[list[Hit]]:
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
