"""Searches of a sharded collection: each is one call a shard, or two by words, and the merged answers.

A filter that is a dict is answered by the shards; a function is asked here, about the nearest documents
first, as far as that takes.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from inlay.arrays import as_count
from inlay.collection import Hit, batch, full_text, mmr, ranking, searching
from inlay.collection import fusion as fusing
from inlay.collection.filters import Filter as Tree
from inlay.collection.selection import Function
from inlay.collection.selection import Given as Filter
from inlay.collection.vectors import F32

from .merging import Merged, merged
from .reading import Reading
from .routing import I64
from .words import Counts


class Hits(list[Hit]):
    """What a search found.

    Attributes
    ----------
    missing : tuple of int
        Shards that did not answer; empty unless the collection was opened with `partial=True`.
    """

    missing: tuple[int, ...] = ()


class Searching(Reading):
    """The searches of a sharded collection; each call means what that of `inlay.Collection` does."""

    def search(
        self,
        vector: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
        **effort: Any,
    ) -> list[Hit]:
        """Find the documents nearest to a vector; see `Collection.search`."""
        return self._search(vector, k, filter, ids, effort, one=True)[0]

    def search_batch(
        self,
        vectors: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
        **effort: Any,
    ) -> list[list[Hit]]:
        """Find the documents nearest to each of several vectors (n, dim), with one call a shard."""
        return self._search(vectors, k, filter, ids, effort, one=False)

    def _search(
        self,
        vectors: npt.ArrayLike,
        k: int,
        filter: Filter,
        ids: Sequence[str] | None,
        effort: Mapping[str, Any],
        *,
        one: bool,
    ) -> list[list[Hit]]:
        judge, names = self._meant(filter, ids)
        count = max(0, as_count(k, "k", -(2**62)))
        dim = self.dim
        queries = searching.query_rows(vectors, dim, one=one)
        if dim is None:
            return [[] for _ in queries]
        if callable(judge):
            function = judge
            walked = [
                self._walked(self._nearest_to(query[None], effort), count, function) for query in queries
            ]
            return [_told(found, 0, missing) for found, missing in walked]
        found, missing = self._nearest(queries, count, judge, names, effort)
        return [_told(found, i, missing) for i in range(len(queries))]

    def _nearest(
        self,
        queries: F32,
        k: int,
        tree: Tree | None,
        names: list[str] | None,
        effort: Mapping[str, Any],
        vectors: bool = False,
    ) -> tuple[Merged, tuple[int, ...]]:
        """Return the documents nearest to each query."""
        given = dict(effort)
        parts, missing = self._searched(
            "search", names, lambda part: (queries, k, tree, part, given, vectors)
        )
        return merged(parts, k, len(queries), ascending=self.metric == "l2"), missing

    def _nearest_to(
        self, query: F32, effort: Mapping[str, Any], vectors: bool = False
    ) -> Callable[[int], tuple[Merged, tuple[int, ...]]]:
        return lambda limit: self._nearest(query, limit, None, None, effort, vectors)

    def _walked(
        self, rank: Callable[[int], tuple[Merged, tuple[int, ...]]], k: int, function: Function
    ) -> tuple[Merged, tuple[int, ...]]:
        """Return the k best documents that a function accepts, asking it about the best first."""
        latest: list[tuple[Merged, tuple[int, ...]]] = [rank(0)]

        def ranked(limit: int) -> ranking.Ranking:
            latest[0] = rank(limit)
            return latest[0][0].ranking(0)

        def answers(keys: I64) -> Iterator[bool]:
            records = latest[0][0].records()
            return (self._accepts(function, records[key]) for key in keys.tolist())

        if k > 0:
            values, keys = ranking.walk(ranked, k, answers)
        else:
            values, keys = ranking.NOTHING
        found, missing = latest[0]
        chosen = np.isin(found.keys[0], keys)
        return (
            Merged(
                values[None],
                keys[None],
                found.places[:, chosen],
                found.ids,
                found.texts,
                found.metadatas,
                found.vectors,
            ),
            missing,
        )

    def mmr(
        self,
        vector: npt.ArrayLike,
        k: int = 4,
        *,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
    ) -> list[Hit]:
        """Find documents near to a vector and different from each other; see `Collection.mmr`."""
        judge, names = self._meant(filter, ids)
        count, fetched = as_count(k, "k", -(2**62)), as_count(fetch_k, "fetch_k", -(2**62))
        batch.check_share(lambda_mult, "lambda_mult")
        dim = self.dim
        queries = searching.query_rows(vector, dim, one=True)
        if dim is None or count <= 0:
            return []
        wanted = max(count, fetched)
        if callable(judge):
            found, missing = self._walked(self._nearest_to(queries, {}, True), wanted, judge)
        else:
            found, missing = self._nearest(queries, wanted, judge, names, {}, True)
        if not found.keys.size:
            return _told(found, 0, missing)
        chosen = mmr.select(queries[0], found.vectors_of(found.keys[0]), count, lambda_mult)
        hits = _told(found, 0, missing)
        picked = Hits(hits[i] for i in chosen)
        picked.missing = missing
        return picked

    def search_text(
        self, text: str, k: int = 10, *, filter: Filter = None, ids: Sequence[str] | None = None
    ) -> list[Hit]:
        """Find the documents whose texts have the words of a text, by BM25; see `Collection.search_text`."""
        judge, names = self._meant(filter, ids)
        count = max(0, as_count(k, "k", -(2**62)))
        batch.check_text(text, "text")
        found, missing = self._worded(text, count, judge, names)
        return _told(found, 0, missing)

    def _worded(
        self, text: str, k: int, judge: Tree | Function | None, names: list[str] | None
    ) -> tuple[Merged, tuple[int, ...]]:
        words = full_text.words_of(text)
        parts, absent = self._searched("counts", None, lambda _: (words,))
        if any(part is None for part in parts):
            raise ValueError("texts are not searched here; open the collection with full_text=True")
        if not parts or k <= 0:
            return merged([], 0, 1, ascending=False), absent
        everywhere = functools.reduce(operator.add, parts)
        # As one collection does it: words that half of the documents have only where others do not suffice.
        telling = [i for i, n in enumerate(everywhere.having) if n <= everywhere.documents / 2]

        def rank(limit: int, tree: Tree | None = None) -> tuple[Merged, tuple[int, ...]]:
            found, missing = self._by_words(words, everywhere, telling, limit, tree, names)
            if found.keys.shape[1] < limit and len(telling) < len(words):
                found, missing = self._by_words(words, everywhere, range(len(words)), limit, tree, names)
            return found, tuple(sorted({*absent, *missing}))

        return self._walked(rank, k, judge) if callable(judge) else rank(k, judge)

    def _by_words(
        self,
        words: list[str],
        everywhere: Counts,
        which: Sequence[int],
        k: int,
        tree: Tree | None,
        names: list[str] | None,
    ) -> tuple[Merged, tuple[int, ...]]:
        some = [words[i] for i in which]
        counts = Counts(everywhere.documents, everywhere.tokens, tuple(everywhere.having[i] for i in which))
        parts, missing = self._searched(
            "search_words", names, lambda part: (some, counts, k, tree, part, False)
        )
        return merged(parts, k, 1, ascending=False), missing

    def hybrid(
        self,
        vector: npt.ArrayLike,
        text: str,
        k: int = 10,
        *,
        alpha: float = 0.5,
        fusion: str = "rank",
        fetch_k: int | None = None,
        filter: Filter = None,
        ids: Sequence[str] | None = None,
        **effort: Any,
    ) -> list[Hit]:
        """Find documents by a vector and by words together; see `Collection.hybrid`.

        Both rankings are merged from all shards before they are fused, so that ranks and values are those of
        one collection.
        """
        judge, names = self._meant(filter, ids)
        count = as_count(k, "k", -(2**62))
        fetched = fusing.depth(count, fetch_k)
        batch.check_text(text, "text")
        batch.check_share(alpha, "alpha")
        fusing.check(fusion)
        dim = self.dim
        queries = searching.query_rows(vector, dim, one=True)
        found, rankings, weights = [], [], []
        absent: set[int] = set()
        if alpha < 1:
            worded, missing = self._worded(text, max(0, fetched), judge, names)
            found.append(worded)
            rankings.append(worded.ranking(0))
            weights.append(1 - alpha)
            absent |= set(missing)
        if alpha > 0 and dim is not None:
            wanted = max(0, fetched)
            near, missing = (
                self._walked(self._nearest_to(queries, effort), wanted, judge)
                if callable(judge)
                else self._nearest(queries, wanted, judge, names, effort)
            )
            found.append(near)
            rankings.append((searching.better(near.values[0], self.metric), near.keys[0]))
            weights.append(alpha)
            absent |= set(missing)
        hits = Hits()
        hits.missing = tuple(sorted(absent))
        if count <= 0 or not rankings:
            return hits
        records = {key: record for part in found for key, record in part.records().items()}
        values, keys = fusing.fuse(rankings, weights, count, fusion)
        for value, key in zip(values.tolist(), keys.tolist(), strict=True):
            record = records[key]
            hits.append(Hit(record.id, record.text, record.metadata, value))
        return hits


def _told(found: Merged, i: int, missing: tuple[int, ...]) -> Hits:
    hits = Hits(found.hits(i))
    hits.missing = missing
    return hits
