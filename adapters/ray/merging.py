"""Answers of several shards made into one: the best of all, ties in the order of insertion.

A shard's best k contain every document of its own that is among the best k of all, and its values are
exact, so what is merged is what one collection would have found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inlay.collection import Hit, Record
from inlay.collection.ranking import F64, Ranking
from inlay.collection.vectors import F32

from .routing import I64
from .shard import Found


@dataclass(frozen=True)
class Merged:
    """Ranked documents for each of m queries.

    Parameters
    ----------
    values : float64 array (m, n)
    keys : int64 array (m, n)
    places : int64 array (m, n)
        Where a document stands in the columns.
    ids, texts, metadatas, vectors
        Columns, of the documents of all shards.
    """

    values: F64
    keys: I64
    places: I64
    ids: list[str]
    texts: list[str]
    metadatas: list[dict[str, Any]]
    vectors: F32 | None = None

    def ranking(self, i: int) -> Ranking:
        """Return the values and keys of one query."""
        return self.values[i], self.keys[i]

    def record(self, place: int) -> Record:
        """Return the document at a place of the columns."""
        return Record(self.ids[place], self.texts[place], self.metadatas[place])

    def records(self) -> dict[int, Record]:
        """Return the documents by their keys."""
        return {
            key: self.record(place)
            for key, place in zip(self.keys.ravel().tolist(), self.places.ravel().tolist(), strict=True)
        }

    def hits(self, i: int) -> list[Hit]:
        """Return the hits of one query."""
        ids, texts, metadatas = self.ids, self.texts, self.metadatas
        return [
            Hit(ids[place], texts[place], metadatas[place], value)
            for place, value in zip(self.places[i].tolist(), self.values[i].tolist(), strict=True)
        ]

    def vectors_of(self, keys: I64) -> F32:
        """Return the vectors of documents of the first query."""
        assert self.vectors is not None
        order = np.argsort(self.keys[0])
        found: F32 = self.vectors[self.places[0][order[np.searchsorted(self.keys[0], keys, sorter=order)]]]
        return found


def merged(parts: Sequence[Found], k: int, n_queries: int, *, ascending: bool) -> Merged:
    """Return the k best of all shards.

    Parameters
    ----------
    parts : sequence of Found
        One of each shard.
    k : int
    n_queries : int
    ascending : bool
        Whether a smaller value is the better one.
    """
    empty = np.empty((n_queries, 0))
    values = np.concatenate([empty, *(part.values for part in parts)], axis=1)
    keys = np.concatenate([empty.astype(np.int64), *(part.keys for part in parts)], axis=1)
    starts = np.cumsum([0, *(len(part.ids) for part in parts)])
    where = [
        start + np.arange(part.keys.size).reshape(part.keys.shape)
        for start, part in zip(starts, parts, strict=False)
    ]
    places = np.concatenate([empty.astype(np.int64), *where], axis=1)
    order = np.lexsort((keys, values if ascending else -values), axis=-1)[:, : max(k, 0)]
    rows = [part.vectors for part in parts if part.vectors is not None and len(part.vectors)]
    return Merged(
        np.take_along_axis(values, order, 1),
        np.take_along_axis(keys, order, 1),
        np.take_along_axis(places, order, 1),
        *columns(parts),
        np.concatenate(rows) if rows else None,
    )


def columns(parts: Iterable[Found]) -> tuple[list[str], list[str], list[dict[str, Any]]]:
    """Return the ids, texts and metadata of the documents of all shards."""
    ids: list[str] = []
    texts: list[str] = []
    metadatas: list[dict[str, Any]] = []
    for part in parts:
        ids += part.ids
        texts += part.texts
        metadatas += part.metadatas
    return ids, texts, metadatas


def in_order(parts: Sequence[Found]) -> list[tuple[int, Record]]:
    """Return the documents of all shards with their keys, in the order of insertion."""
    ids, texts, metadatas = columns(parts)
    keys = np.concatenate([np.empty(0, np.int64), *(part.keys.ravel() for part in parts)])
    return [
        (int(keys[i]), Record(ids[i], texts[i], metadatas[i]))
        for i in np.argsort(keys, kind="stable").tolist()
    ]
