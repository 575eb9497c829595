"""The changing half of `ShardedCollection`: what is given is checked and cut up here, and the keeper is told.

Documents go into the engine's object store, a part for each shard, and only their references to the keeper.
What is to be changed is named by ids or by a filter that is a dict; a function is asked here, before the
change begins.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray

from inlay.collection import AnyCollection, batch, exchange, metadata, selection
from inlay.collection.selection import Given as Filter
from inlay.collection.store import CHUNK, LONG
from inlay.progress import Progress, track

from .keeper import KnownIds
from .reading import Reading, split
from .routing import Map, buckets_of


class Changing(Reading):
    """What changes a sharded collection; each call means what that of `inlay.Collection` does."""

    _change_deadline: float

    def _change(self, method: str, *arguments: Any, again: bool = True) -> Any:
        if self._read_only:
            raise PermissionError(
                "the collection was opened with read_only=True; open it without to change it"
            )
        if self._asking.function:
            raise RuntimeError("this thread holds the lock shared: a filter must not change the collection")
        return self._calls.tell(method, *arguments, deadline=self._change_deadline, again=again)

    def add(
        self,
        vectors: npt.ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress = None,
    ) -> list[str]:
        """Store new documents; see `Collection.add`.

        If the keeper is lost in the middle it is not known what was stored: `upsert` the same then.
        """
        given = batch.check(vectors, ids, texts, metadatas, self.dim)
        twice = given.first_repeated()
        if twice is not None:
            raise ValueError(
                f"row {twice} has the id {given.ids[twice]!r} of an earlier row; upsert would replace it"
            )
        return self._insert(given, progress, new=True)

    def upsert(
        self,
        vectors: npt.ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
        progress: Progress = None,
    ) -> list[str]:
        """Store documents, each in the place of the one with its id; see `Collection.upsert`."""
        return self._insert(batch.check(vectors, ids, texts, metadatas, self.dim), progress, new=False)

    def _insert(self, given: batch.Batch, progress: Progress, *, new: bool) -> list[str]:
        documents = given.last_of_each()
        if not len(documents):
            return []
        n = len(documents)
        with track(progress, n, "storing", long=n > LONG) as step:
            if new:
                self._check_new(documents)
            for start in range(0, n, CHUNK):
                part = documents.part(start, start + CHUNK)
                self._calls.with_map(lambda map, part=part: self._store(map, part, new))  # type: ignore[misc]
                step(len(part))
        return given.ids

    def _check_new(self, documents: batch.Batch) -> None:
        """Refuse ids that are there before anything is written, also where that takes several steps."""
        if len(documents) > CHUNK and (known := self.get(documents.ids)):
            _refuse_known(documents.ids, {record.id for record in known})

    def _store(self, map: Map, documents: batch.Batch, new: bool) -> None:
        buckets = buckets_of(documents.ids)
        owners = map.table[buckets]
        parts = {}
        for shard in np.unique(owners).tolist():
            positions = np.flatnonzero(owners == shard)
            some = positions.tolist()
            part = batch.Batch(
                documents.vectors[positions],
                [documents.ids[i] for i in some],
                [documents.texts[i] for i in some],
                [documents.metas[i] for i in some],
            )
            parts[shard] = ([ray.put(part)], positions, buckets[positions])
        dim = documents.vectors.shape[1]
        try:
            self._change("store", map.version, parts, len(documents), dim, new, again=not new)
        except KnownIds as known:
            _refuse_known(documents.ids, set(known.args[0]))

    def merge_from(self, other: AnyCollection) -> None:
        """Store the documents of another collection, each in the place of the one with its id."""
        if isinstance(other, Changing) and other.path == self.path and other.name == self.name:
            return
        exchange.transfer(other.parts(), self.upsert)

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter = None) -> int:
        """Remove documents; see `Collection.delete`. A function is asked before the change begins."""
        if ids is None and filter is None:
            raise ValueError("give ids or a filter; clear() removes all documents")
        judge, names = self._chosen(filter, ids)
        return int(self._calls.with_map(lambda map: self._meant_by(map, "delete", names, judge)))

    def update_metadata(
        self,
        ids: Sequence[str] | None,
        patch: Mapping[str, Any],
        *,
        filter: Filter = None,
        replace: bool = False,
    ) -> int:
        """Change the metadata of documents; see `Collection.update_metadata`.

        The documents of one shard change together, or none of them.
        """
        if ids is None and filter is None:
            raise ValueError("give ids or a filter; filter={} is all documents")
        judge, names = self._chosen(filter, ids)
        metadata.encode(patch)  # refused before anything is read
        given = dict(patch)
        return int(
            self._calls.with_map(
                lambda map: self._meant_by(map, "update_metadata", names, judge, given, replace)
            )
        )

    def _chosen(self, filter: Filter, ids: Sequence[str] | None) -> tuple[Any, list[str] | None]:
        """Return a filter and ids that the shards can be told: what a function accepts becomes ids."""
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        if not callable(judge):
            return judge, names
        records = self if names is None else self.get(names)
        return None, [record.id for record in records if self._accepts(judge, record)]

    def _meant_by(self, map: Map, method: str, names: list[str] | None, judge: Any, *more: Any) -> Any:
        parts = None if names is None else split(map, names)
        return self._change(method, map.version, parts, judge, *more)

    def clear(self) -> None:
        """Remove all documents; what the collection is, its dimension included, stays."""
        self._change("clear")

    def import_jsonl(self, file: str | os.PathLike[str]) -> int:
        """Store the documents of a file of JSON Lines, each in the place of the one with its id."""
        return exchange.load(Path(file), self.upsert)


def _refuse_known(ids: Sequence[str], known: set[str]) -> None:
    row = next(i for i, name in enumerate(ids) if name in known)
    raise ValueError(f"row {row} has the id {ids[row]!r}, which is there; upsert would replace it")
