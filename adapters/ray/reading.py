"""The reading half of `ShardedCollection`: every question goes to one replica of each shard, and is merged.

A filter that is a dict is answered by the shards. A function is not sent anywhere: it is asked here, about
the nearest documents first, as far as that takes.
"""

import copy
import functools
import heapq
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from inlay.arrays import as_count
from inlay.collection import Hit, Record, batch, full_text, mmr, ranking, searching, selection
from inlay.collection import fusion as fusing
from inlay.collection.filters import Candidate
from inlay.collection.filters import Filter as Tree
from inlay.collection.selection import Function
from inlay.collection.selection import Given as Filter
from inlay.collection.vectors import F32

from .calls import Calls
from .merging import Merged, in_order, merged
from .routing import I64, Map, StaleMap
from .shard import PAGE, Found
from .words import Counts


class Hits(list[Hit]):
    """What a search found.

    Attributes
    ----------
    missing : tuple of int
        Shards that did not answer; empty unless the collection was opened with `partial=True`.
    """

    missing: tuple[int, ...] = ()


class Reading:
    """What can be asked of a sharded collection; each call means what that of `inlay.Collection` does."""

    _calls: Calls
    _partial: bool

    # What it is

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._calls.map.name

    @property
    def metric(self) -> str:
        """The metric: "cosine", "l2" or "ip"."""
        return self._calls.map.metric

    @property
    def dim(self) -> int | None:
        """Dimensions of the vectors, None while that is open."""
        return self._calls.map.dim if self._calls.map.dim is not None else self._calls.refresh().dim

    @property
    def full_text(self) -> bool:
        """Whether texts can be searched."""
        return self._calls.map.full_text or self._calls.refresh().full_text

    @property
    def index(self) -> str:
        """The spec of the index in use, of each kind that the shards have."""
        return str(self.stats()["index"])

    @property
    def shards(self) -> tuple[int, ...]:
        """The numbers of the shards."""
        return self._calls.map.shards

    @property
    def replicas(self) -> int:
        """Actors for each shard, the writer included."""
        return self._calls.map.replicas

    def __len__(self) -> int:
        return self.count()

    def stats(self) -> dict[str, Any]:
        """Return what there is to know in numbers: `Collection.stats`, summed, and by shard in `shards`."""
        facts = self._calls.with_map(lambda map: self._everywhere(map, "facts"))
        first = facts[min(facts)]
        sums = (
            "documents",
            "removed",
            "index_bytes",
            "index_bytes_hot",
            "vector_bytes",
            "disk_bytes",
            "filter_bytes",
        )
        specs = sorted({fact["index"] for fact in facts.values() if fact["documents"]})
        return {
            **{name: sum(fact[name] for fact in facts.values()) for name in sums},
            "dim": first["dim"],
            "metric": first["metric"],
            "index": ", ".join(specs) or first["index"],
            "generation": max(fact["generation"] for fact in facts.values()),
            "full_text": first["full_text"],
            "filter_keys": sorted({key for fact in facts.values() for key in fact["filter_keys"]}),
            "recall": min((r for fact in facts.values() if (r := fact["recall"]) is not None), default=None),
            "effort_level": max(fact["effort_level"] for fact in facts.values()),
            "shards": facts,
        }

    # Ways to ask

    def _everywhere(self, map: Map, method: str, *arguments: Any) -> dict[int, Any]:
        return self._calls.ask(method, dict.fromkeys(map.shards, (map.version, *arguments)))

    def _searched(
        self,
        method: str,
        asked: Sequence[str] | None,
        arguments: Callable[[list[str] | None], tuple[Any, ...]],
    ) -> tuple[list[Any], tuple[int, ...]]:
        """Ask the shards that have any of the ids; return what they found, and which are missing."""

        def ask(map: Map) -> tuple[list[Any], tuple[int, ...]]:
            parts = dict.fromkeys(map.shards) if asked is None else split(map, asked)
            given = {shard: (map.version, *arguments(names)) for shard, names in parts.items()}
            found = self._calls.ask(method, given, partial=self._partial)
            return list(found.values()), tuple(sorted(set(given) - set(found)))

        return self._calls.with_map(ask)

    def _meant(
        self, filter: Filter, ids: Sequence[str] | None
    ) -> tuple[Tree | Function | None, list[str] | None]:
        """Return what a filter means, and ids; a function with ids is asked about these, now."""
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        if callable(judge) and names is not None:
            function = judge
            names = [record.id for record in self._by_ids(names, None).values() if accepts(function, record)]
            judge = None
        return judge, names

    # Asking for documents

    def get(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Filter = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Record]:
        """Return documents; see `Collection.get`."""
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        first = as_count(offset, "offset", 0)
        stop = None if limit is None else first + as_count(limit, "limit", 0)
        if names is not None:
            function = judge if callable(judge) else None
            known = self._by_ids(names, None if callable(judge) else judge)
            if function is not None:
                known = {name: record for name, record in known.items() if accepts(function, record)}
            again = [copy.deepcopy(known[name]) for name in names if name in known]
            return again[first:stop]
        if callable(judge):
            return list(islice(self._judged(judge), first, stop))
        found = self._calls.with_map(lambda map: self._everywhere(map, "first", judge, stop))
        return [record for _, record in in_order(list(found.values()))[first:stop]]

    def _by_ids(self, names: Sequence[str], tree: Tree | None) -> dict[str, Record]:
        return {record.id: record for _, record in in_order(self._got(names, tree, vectors=False))}

    def _got(self, names: Sequence[str], tree: Tree | None, *, vectors: bool) -> list[Found]:
        """Ask the shards that have any of the ids for these; none may be missing."""

        def ask(map: Map) -> list[Found]:
            parts = split(map, names)
            given = {shard: (map.version, part, tree, vectors) for shard, part in parts.items()}
            return list(self._calls.ask("get", given).values())

        return self._calls.with_map(ask)

    def vectors(self, ids: Sequence[str]) -> F32:
        """Return the vectors of documents as they were given, float32 (n, dim); see `Collection.vectors`."""
        names = batch.check_ids(ids)
        rows = {
            name: part.vectors[i]
            for part in self._got(names, None, vectors=True)
            if part.vectors is not None
            for i, name in enumerate(part.ids)
        }
        for name in names:
            if name not in rows:
                raise KeyError(name)
        if not names:
            return np.empty((0, self.dim or 0), np.float32)
        return np.stack([rows[name] for name in names])

    def parts(self) -> Iterator[tuple[list[Record], F32]]:
        """Yield all documents with their vectors (n, dim), a thousand at a time, in the order of insertion.

        Each part of each shard is of one state. What is stored meanwhile comes at the end, a document that is
        replaced once more.
        """
        walk = self._walk()
        while part := list(islice(walk, PAGE)):
            yield [record for _, record, _ in part], np.stack([vector for _, _, vector in part])

    def __iter__(self) -> Iterator[Record]:
        """Yield all documents in the order of insertion, a page after the other.

        Unlike those of one collection they are not of one state: what is removed or replaced meanwhile may be
        left out. What is stored meanwhile is.
        """
        last = self._calls.tell("last_key")
        for key, record, _ in self._walk():
            if key > last:
                return
            yield record

    def _walk(self) -> Iterator[tuple[int, Record, F32]]:
        """Yield all documents with their keys and vectors; begins anew where it was when the map changes."""
        after = -1
        while True:
            map = self._calls.map
            walks = [self._pages(map, shard, after) for shard in map.shards]
            for key, record, vector in heapq.merge(*walks, key=lambda found: found[0]):
                if record is None:  # the map has changed
                    break
                after = key
                yield key, record, vector
            else:
                return
            self._calls.refresh()

    def _pages(self, map: Map, shard: int, after: int) -> Iterator[tuple[int, Any, Any]]:
        while True:
            try:
                page: Found = self._calls.ask("page", {shard: (map.version, after)})[shard]
            except StaleMap:
                yield after, None, None
                return
            if not page.ids:
                return
            assert page.vectors is not None
            keys = page.keys[0].tolist()
            for i, key in enumerate(keys):
                yield key, Record(page.ids[i], page.texts[i], page.metadatas[i]), page.vectors[i]
            after = keys[-1]

    def _judged(self, function: Function) -> Iterator[Record]:
        return (record for record in self if accepts(function, record))

    def count(self, filter: Filter = None) -> int:
        """Return how many documents match, or how many there are."""
        judge = selection.judge(filter)
        if callable(judge):
            return sum(1 for _ in self._judged(judge))
        return sum(self._calls.with_map(lambda map: self._everywhere(map, "count", judge)).values())

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and bool(self._by_ids([id], None)) if id else False

    # Searching

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
            return (accepts(function, records[key]) for key in keys.tolist())

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
        _check_share(lambda_mult, "lambda_mult")
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
        fetched = (
            max(4 * count, 50) if fetch_k is None else max(count, as_count(fetch_k, "fetch_k", -(2**62)))
        )
        batch.check_text(text, "text")
        _check_share(alpha, "alpha")
        if fusion not in fusing.METHODS:
            raise ValueError(f"fusion must be one of {', '.join(fusing.METHODS)}, not {fusion!r}")
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


def split(map: Map, ids: Sequence[str]) -> dict[int, list[str]]:
    """Return the ids that each shard has, for shards that have any."""
    return {shard: [ids[i] for i in positions.tolist()] for shard, positions in map.split(ids).items()}


def accepts(function: Function, record: Record) -> bool:
    """Tell what a function says of a document, whose metadata it may do with as it likes."""
    return bool(function(Candidate(record.id, record.text, copy.deepcopy(record.metadata))))


def _check_share(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, not {value!r}")
