"""One replica of one shard: an ordinary collection, with the questions that the others are merged from.

The first replica writes; the others follow what it commits, in processes of their own, as any reader of the
folder does. A question says by which map it is asked. While documents move, a shard holds some that are not
its own (yet, or any more): these are invisible.

Nothing in here knows Ray: an actor is made of this class elsewhere, and it can be tried without.
"""

import contextlib
import functools
import os
import pickle
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import inlay
from inlay import FormatError
from inlay.collection import Collection, choice, copying, metadata, ranking, searching, selection
from inlay.collection.batch import Batch
from inlay.collection.database import Durability
from inlay.collection.filters import Filter
from inlay.collection.ranking import F64, Ranking
from inlay.collection.records import Reader
from inlay.collection.store import CHUNK, Store
from inlay.collection.vectors import F32
from inlay.collection.view import View
from inlay.collection.watching import TARGET

from . import words
from .order import Order
from .routing import BUCKETS, I64, Map, Overtaken, StaleMap, load, shard_folder

PAGE = 1000  # documents that are read at once by those who walk over all
_PATIENCE = 60.0  # seconds in which a writer that was given up must have let go of the folder


@dataclass
class Found:
    """Documents of one shard, as columns; `values` and `keys` say for each query which ones.

    Parameters
    ----------
    values : float64 array (m, n)
        In the metric's own sense, best first; empty where nothing was ranked.
    keys : int64 array (m, n)
    ids, texts, metadatas : list
        m x n of each, row after row.
    vectors : float32 array (m x n, dim), optional
    """

    values: F64
    keys: I64
    ids: list[str]
    texts: list[str]
    metadatas: list[dict[str, Any]]
    vectors: F32 | None = None


class Shard:
    """A replica of a shard.

    Parameters
    ----------
    home : str
        The folder of the sharded collection.
    number : int
        Of the shard.
    writes : bool
        Whether this is the replica that writes.
    durability : {"full", "normal"}
    threads : int or None
        As many threads as one call may use.
    recall : float
        Of its searches.
    """

    def __init__(
        self,
        home: str,
        number: int,
        writes: bool,
        durability: Durability = "full",
        threads: int | None = None,
        recall: float = TARGET,
    ) -> None:
        if threads is not None:
            inlay.set_num_threads(threads)
        self._home = Path(home)
        self._number = number
        self._folder = shard_folder(self._home, number)
        self._order = Order(self._folder)
        self._map = load(self._home)
        self._turn = (self._map.keeper, 0)  # of the latest change
        self._sight: tuple[object, I64] | None = None
        self._retired = False
        self._opening = threading.Lock()
        self._open = functools.partial(self._opened, writes, durability, recall)
        self._held: Collection | None = None
        with contextlib.suppress(FormatError, OSError):  # whoever asks is told
            self._held = self._open()

    @property
    def _collection(self) -> Collection:
        """The collection; where it could not be opened that is tried again, and what is wrong is raised."""
        if self._held is None:
            with self._opening:
                if self._held is None:
                    self._held = self._open()
        return self._held

    @property
    def _store(self) -> Store:
        return self._collection._store

    def _opened(self, writes: bool, durability: Durability, recall: float) -> Collection:
        until = time.monotonic() + _PATIENCE
        held = self._map
        while True:
            try:
                if not writes:
                    return Collection.open(self._folder, read_only=True)
                return Collection.open(
                    self._folder,
                    held.dim,
                    held.metric,
                    held.spec,
                    full_text=held.full_text,
                    durability=durability,
                    recall=recall,
                )
            except (BlockingIOError, FileNotFoundError):
                # The writer before has not gone yet, or the first one not come.
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    # By which map

    def adopt(self) -> int:
        """Read the map anew, and return its version."""
        self._map = load(self._home)
        return self._map.version

    @contextmanager
    def _asked(self, version: int) -> Iterator[tuple[View, Reader, I64 | None]]:
        """Give one state of everything to a question by a map, and the visible rows if these are not all."""
        while True:
            if version > self._map.version:
                self.adopt()
            map = self._map
            if version != map.version:
                raise StaleMap
            try:
                with self._store.reading() as (view, reader):
                    # A state from before a map was adopted may still have what has gone by that map.
                    if self._map.version == map.version:
                        yield (
                            view,
                            reader,
                            self._visible(view, map) if self._number in map.unsettled else None,
                        )
                        return
            except RuntimeError:
                if self._retired:  # by the map that came after the one of this question
                    raise StaleMap from None
                raise

    def _visible(self, view: View, map: Map) -> I64:
        state = (view.state.version, map.version)
        known = self._sight
        if known is not None and known[0] == state:
            return known[1]
        rows = np.empty(0, np.int64) if view.index is None else np.sort(view.index.ids)
        keys = self._order.up_to(view.state.next_row)[rows]
        seen: I64 = rows[map.table[keys & (BUCKETS - 1)] == self._number]
        self._sight = (state, seen)
        return seen

    def _selected(
        self, view: View, reader: Reader, tree: Filter | None, ids: Sequence[str] | None, visible: I64 | None
    ) -> I64 | None:
        """Return the rows that a filter, ids and the map leave; None if that is all."""
        rows = selection.allowed(view, reader, tree, ids)
        assert not callable(rows)
        if visible is None:
            return rows
        return visible if rows is None else np.intersect1d(rows, visible, assume_unique=True)

    def _keys(self, view: View, rows: I64) -> I64:
        keys: I64 = self._order.up_to(view.state.next_row)[rows]
        return keys

    # What it is

    def answer(self, method: str, arguments: bytes) -> bytes:
        """Return what a method returns, pickled as its arguments are, or that a map was old; see `calls`."""
        try:
            result = getattr(self, method)(*pickle.loads(arguments))
        except StaleMap as stale:
            # Of several shards that refuse one is heard, and the engine would print the error of the others.
            result = stale
        return pickle.dumps(result, -1)

    def pid(self) -> int:
        """Return the process, which says that it is there."""
        return os.getpid()

    def facts(self, version: int) -> dict[str, Any]:
        """Return `Collection.stats`, and how many documents are visible."""
        with self._asked(version) as (_, _, visible):
            stats = self._collection.stats()
            stats["documents"] = stats["documents"] if visible is None else len(visible)
        return stats

    def count(self, version: int, tree: Filter | None) -> int:
        """Count documents."""
        with self._asked(version) as (view, reader, visible):
            rows = self._selected(view, reader, tree, None, visible)
            return view.state.n_live if rows is None else len(rows)

    # Documents

    def first(self, version: int, tree: Filter | None, stop: int | None) -> Found:
        """Return the first documents that match, in the order of insertion, or all."""
        with self._asked(version) as (view, reader, visible):
            rows = self._selected(view, reader, tree, None, visible)
            rows = reader.rows() if rows is None else rows
            rows = rows[np.argsort(self._keys(view, rows))[:stop]]
            return self._found(view, reader, [(np.empty(0), rows)])

    def get(self, version: int, ids: Sequence[str], tree: Filter | None, vectors: bool) -> Found:
        """Return documents by their ids, those that are there and match."""
        with self._asked(version) as (view, reader, visible):
            rows = self._selected(view, reader, tree, ids, visible)
            assert rows is not None
            return self._found(view, reader, [(np.empty(0), rows)], vectors)

    def page(self, version: int, after: int) -> Found:
        """Return the next thousand documents beyond a key, in the order of insertion, with their vectors."""
        with self._asked(version) as (view, reader, visible):
            if view.index is None:
                return self._found(view, reader, [ranking.NOTHING])
            if visible is None and self._order.is_ascending(view.state.next_row):
                keys = self._order.up_to(view.state.next_row)
                _, records = reader.page(int(np.searchsorted(keys, after, "right")) - 1)
                rows = np.fromiter(reader.rows_of([record.id for record in records]).values(), np.int64)
                rows.sort()
            else:
                rows = view.index.ids if visible is None else visible
                keys = self._keys(view, rows)
                rows, keys = rows[keys > after], keys[keys > after]
                rows = rows[np.argsort(keys)[:PAGE]]
            return self._found(view, reader, [(np.empty(0), rows)], True)

    def _found(self, view: View, reader: Reader, rankings: Sequence[Ranking], vectors: bool = False) -> Found:
        """Read the documents of rankings of one length."""
        if not rankings:
            return Found(np.empty((0, 0)), np.empty((0, 0), np.int64), [], [], [])
        rows = np.stack([found for _, found in rankings])
        records = reader.records(rows.ravel())
        return Found(
            np.stack([values for values, _ in rankings]),
            self._keys(view, rows),
            [record.id for record in records],
            [record.text for record in records],
            [record.metadata for record in records],
            view.vectors_of(rows.ravel()) if vectors and view.vectors is not None else None,
        )

    # Searching

    def search(
        self,
        version: int,
        queries: F32,
        k: int,
        tree: Filter | None,
        ids: Sequence[str] | None,
        effort: Mapping[str, Any],
        vectors: bool,
    ) -> Found:
        """Return the nearest documents of each query (m, dim)."""
        with self._asked(version) as (view, reader, visible):
            if view.index is None:
                return self._found(view, reader, [ranking.NOTHING] * len(queries))
            choice.check_effort(view.state, view.index, effort)
            rows = self._selected(view, reader, tree, ids, visible)
            ascending = self._order.is_ascending(view.state.next_row)
            wanted = k if ascending else k + 1
            while True:
                rankings = searching.ranked(view, reader, queries, wanted, rows, effort)
                if ascending or not any(_is_cut(values, k, wanted) for values, _ in rankings):
                    break
                wanted *= 2
            if not ascending:
                rankings = [self._in_order(view, ranked, k) for ranked in rankings]
            return self._found(view, reader, rankings, vectors)

    def _in_order(self, view: View, ranked: Ranking, k: int) -> Ranking:
        """Return the k best, equal ones in the order of insertion into the whole collection."""
        values, rows = ranked
        order = np.lexsort((self._keys(view, rows), values if view.metric == "l2" else -values))[:k]
        return values[order], rows[order]

    def counts(self, version: int, asked: list[str]) -> words.Counts | None:
        """Return what BM25 must know of this shard; None if it has no full text."""
        with self._asked(version) as (_, reader, visible):
            return words.counts(reader, asked, visible) if reader.has_words() else None

    def search_words(
        self,
        version: int,
        asked: list[str],
        everywhere: words.Counts,
        k: int,
        tree: Filter | None,
        ids: Sequence[str] | None,
        vectors: bool,
    ) -> Found:
        """Return the best documents by BM25."""
        with self._asked(version) as (view, reader, visible):
            allowed = self._selected(view, reader, tree, ids, visible)
            values, rows = words.scored(reader, asked, everywhere)
            if allowed is not None:
                among = np.isin(rows, allowed)
                values, rows = values[among], rows[among]
            order = np.lexsort((self._keys(view, rows), -values))[: max(k, 0)]
            return self._found(view, reader, [(values[order], rows[order])], vectors)

    # Changing: every one may be done twice without harm, but not after a later one

    def change(self, turn: tuple[int, int], method: str, *arguments: Any) -> None:
        """Make a change, unless one with a later turn has been made.

        A change may arrive twice, and the second time late: whoever sent it was lost, or could not hear the
        answer, and it was sent again.
        """
        with self._store.changing():
            if turn < self._turn:
                raise Overtaken
            self._turn = turn
            getattr(self, method)(*arguments)

    def known(self, documents: Batch) -> list[str]:
        """Return the ids of documents that are there."""
        with self._store.reading() as (_, reader):
            return list(reader.rows_of(documents.ids))

    def names(self, version: int, tree: Filter | None, ids: Sequence[str] | None) -> list[str]:
        """Return the ids of the documents that match, of all or of some."""
        with self._asked(version) as (view, reader, visible):
            rows = self._selected(view, reader, tree, ids, visible)
            return [record.id for record in reader.records(reader.rows() if rows is None else rows)]

    def store(self, documents: Batch, keys: I64) -> None:
        """Store documents, each in the place of the one with its id."""
        with self._store.changing() as (view, _):
            self._order.write(view.state.next_row, keys)
            for start in range(0, len(documents), CHUNK):
                self._store.insert(documents.part(start, start + CHUNK))

    def remove(self, ids: Sequence[str]) -> None:
        """Remove documents."""
        self._collection.delete(ids)

    def patch(self, ids: Sequence[str], patch: Mapping[str, Any], replace: bool) -> None:
        """Change metadata."""
        self._collection.update_metadata(ids, patch, replace=replace)

    def clear(self) -> None:
        """Remove all documents."""
        self._collection.clear()

    def fix_dim(self, dim: int) -> None:
        """Set the number of dimensions, unless it is."""
        if self._collection.dim is None:
            self._store.set_dim(dim)

    def index_texts(self) -> None:
        """Let texts be searched."""
        self._store.index_texts()

    def snapshot(self) -> None:
        """Save the index."""
        self._collection.snapshot()

    def copy_to(self, folder: str) -> None:
        """Write a copy of the collection, and of the order of its documents, to a folder."""
        with self._store.reading() as (view, _):
            pass
        copying.copy(self._store, Path(folder))
        self._order.copy_to(Path(folder), view.state.next_row)

    def close(self) -> None:
        """Let go of the files."""
        self._retired = True
        if self._held is not None:
            self._held.close()

    # Moving

    def histogram(self) -> I64:
        """Return how many documents each bucket has here."""
        with self._store.reading() as (view, _):
            rows = np.empty(0, np.int64) if view.index is None else view.index.ids
            return np.bincount(self._keys(view, rows) & (BUCKETS - 1), minlength=BUCKETS)

    def take(self, buckets: I64) -> tuple[Batch, I64]:
        """Return the documents of some buckets, in the order of insertion, with their keys."""
        with self._store.reading() as (view, reader):
            rows = self._rows_in(view, buckets)
            keys = self._keys(view, rows)
            rows, keys = rows[np.argsort(keys)], np.sort(keys)
            records = reader.records(rows)
            vectors = view.vectors_of(rows) if len(rows) else np.empty((0, 1), np.float32)
            metas = [metadata.encode(record.metadata) for record in records]
            names, texts = [record.id for record in records], [record.text for record in records]
            return Batch(vectors, names, texts, metas), keys

    def receive(self, taken: tuple[Batch, I64]) -> None:
        """Store what another shard has given."""
        documents, keys = taken
        if len(documents):
            self.store(documents, keys)

    def drop(self, buckets: I64) -> None:
        """Remove the documents of some buckets."""
        with self._store.changing() as (view, _):
            rows = self._rows_in(view, buckets)
            if len(rows):
                self._store.remove(rows)

    def drop_foreign(self) -> None:
        """Remove what is not this shard's by its map: what a move that was broken off has left here."""
        self.drop(np.flatnonzero(self._map.table != self._number))

    def _rows_in(self, view: View, buckets: I64) -> I64:
        if view.index is None:
            return np.empty(0, np.int64)
        rows = np.sort(view.index.ids)
        chosen = np.zeros(BUCKETS, np.bool_)
        chosen[buckets] = True
        found: I64 = rows[chosen[self._keys(view, rows) & (BUCKETS - 1)]]
        return found


def _is_cut(values: F64, k: int, wanted: int) -> bool:
    """Tell whether more documents may be as good as the k-th."""
    return len(values) == wanted and k > 0 and values[k - 1] == values[-1]
