"""The reading half of `ShardedCollection`: what it is, its documents, and the ways in which shards are asked.

Every question goes to one replica of each shard, and the answers are merged; the searches are in `searching`.
"""

import copy
import heapq
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from inlay.arrays import as_count
from inlay.collection import Record, batch, selection
from inlay.collection.filters import Candidate
from inlay.collection.filters import Filter as Tree
from inlay.collection.selection import Function
from inlay.collection.selection import Given as Filter
from inlay.collection.vectors import F32

from .calls import Calls
from .merging import in_order
from .routing import Map, StaleMap
from .shard import PAGE, Found


class Asking(threading.local):
    """Whether this thread is inside a function that is a filter, which must not change the collection."""

    function = False


class Reading:
    """What can be asked of a sharded collection; each call means what that of `inlay.Collection` does."""

    _asking: Asking
    _calls: Calls
    _path: str
    _partial: bool
    _read_only: bool

    # What it is

    @property
    def path(self) -> str:
        """The folder."""
        return self._path

    @property
    def recall(self) -> float:
        """Which part of the nearest a search shall find on average, as the first who opened it said."""
        found: float = self._calls.tell("recall")
        return found

    @property
    def read_only(self) -> bool:
        """Whether changes are refused here."""
        return self._read_only

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
            names = [
                record.id for record in self._by_ids(names, None).values() if self._accepts(function, record)
            ]
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
                known = {name: record for name, record in known.items() if self._accepts(function, record)}
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

    def _accepts(self, function: Function, record: Record) -> bool:
        """Tell what a function says of a document, whose metadata it may do with as it likes."""
        before, self._asking.function = self._asking.function, True
        try:
            return bool(function(Candidate(record.id, record.text, copy.deepcopy(record.metadata))))
        finally:
            self._asking.function = before

    def _judged(self, function: Function) -> Iterator[Record]:
        return (record for record in self if self._accepts(function, record))

    def count(self, filter: Filter = None) -> int:
        """Return how many documents match, or how many there are."""
        judge = selection.judge(filter)
        if callable(judge):
            return sum(1 for _ in self._judged(judge))
        return sum(self._calls.with_map(lambda map: self._everywhere(map, "count", judge)).values())

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and bool(self._by_ids([id], None)) if id else False


def split(map: Map, ids: Sequence[str]) -> dict[int, list[str]]:
    """Return the ids that each shard has, for shards that have any."""
    return {shard: [ids[i] for i in positions.tolist()] for shard, positions in map.split(ids).items()}
