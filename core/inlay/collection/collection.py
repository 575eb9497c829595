"""Collection: documents with vectors, text and metadata, and the nearest of them to a query.

    with Collection.open("notes") as notes:                          # or ":memory:"
        notes.upsert(vectors, ids=ids, texts=texts, metadatas=[{"year": 2024}, ...])
        hits = notes.search(query, 5, filter={"year": {"$gte": 2020}})

Every call that changes something is durable when it returns; there is nothing to save. This file checks
arguments and puts the parts together: `batch` for what comes in, `filters` for which documents, `ranking` for
which order, and `store` for keeping and finding them.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..arrays import as_count
from ..progress import Progress, track
from . import batch, choice, copying, mmr, selection
from .database import Durability
from .opening import IN_MEMORY, Wanted, open_store
from .records import Record, State
from .searching import Hit, hits, query_rows, ranked
from .store import CHUNK, Store
from .vectors import F32

LONG = 100_000  # documents from which storing shows a bar by itself: some seconds of work

Filter = selection.Given


class Collection:
    """Documents that are found by their vectors and their metadata; made by `Collection.open`.

    Any thread may call anything. A search sees the collection as it is between two changes, never in the
    middle of one. Filters are dicts, see `inlay.collection.filters`, or functions, which are asked about one
    document after the other, the nearest first; such a function must not change the collection.
    """

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = path

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = IN_MEMORY,
        dim: int | None = None,
        metric: str | None = None,
        index: str | None = None,
        *,
        collection: str = "default",
        read_only: bool = False,
        durability: Durability = "full",
    ) -> Self:
        """Open a collection, made if there is none.

        Parameters
        ----------
        path : str or path-like
            A folder, or ":memory:" for a collection that is gone with the object.
        dim : int, optional
            Dimensions of the vectors; by default those of the first one stored.
        metric : {"cosine", "l2", "ip"}, optional
            "cosine" for a new collection.
        index : str, optional
            "auto" for a new collection: exact search while it is small, codes of 8 bits beyond, and from some
            50,000 vectors of 384 dimensions on a graph, if its vectors let one find nearly all that is near.
            The change that comes to that waits for the graph, some 0.1 ms a document. Or the spec of any
            index, see `inlay.from_spec`.
        collection : str
            Its name.
        read_only : bool
            Open beside a process that writes. Changes show as they are committed.
        durability : {"full", "normal"}
            With "normal" the last changes may be missing after a loss of power, but none of them in part, and
            nothing after the death of the process alone.

        Raises
        ------
        ValueError
            When the collection there has another dim, metric, index or name.
        FormatError
            For a folder that is damaged or not a collection.
        BlockingIOError
            When it is open for writing already; FileNotFoundError for `read_only` when there is none.
        """
        wanted = Wanted(os.fspath(path), dim, metric, index, collection)
        return cls(open_store(wanted, read_only=read_only, durability=durability), wanted.place)

    # What it is

    @property
    def _state(self) -> State:
        with self._store.reading() as (view, _):
            return view.state

    @property
    def path(self) -> str:
        """The folder, or ":memory:"."""
        return self._path

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self._state.name

    @property
    def dim(self) -> int | None:
        """Dimensions of the vectors, None while that is open."""
        return self._state.dim

    @property
    def metric(self) -> str:
        """The metric: "cosine", "l2" or "ip"."""
        return self._state.metric

    @property
    def index(self) -> str:
        """The spec of the index in use; what was asked for while there is none."""
        with self._store.reading() as (view, _):
            return view.state.spec if view.index is None else view.index.spec

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""
        return self._store.read_only

    def __len__(self) -> int:
        return self._state.n_live

    def __repr__(self) -> str:
        state = self._state
        documents = f"{state.n_live:,} documents, {self.index}, {state.metric}"
        return f"<Collection {state.name!r} at {self._path}: {documents}>"

    def stats(self) -> dict[str, Any]:
        """Return what there is to know in numbers.

        Returns
        -------
        dict
            `documents`, `removed` (documents whose vectors still take space), `dim`, `metric`, `index`,
            `generation` (counts compactions), `index_bytes` in memory of which `index_bytes_hot` are touched
            by every search, `vector_bytes`, and `disk_bytes` (None in memory).
        """
        return self._store.stats()

    # Changing

    def add(
        self,
        vectors: npt.ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        progress: Progress = None,
    ) -> list[str]:
        """Store new documents.

        Everything is checked before anything is written. Then 4096 documents at a time become durable
        together.

        Parameters
        ----------
        vectors : array_like, (n, dim)
            Any real dtype; stored as float32.
        ids : sequence of str, optional
            Not empty; by default new UUIDs.
        texts : sequence of str, optional
            Empty by default.
        metadatas : sequence of dict, optional
            See `inlay.collection.metadata` for what they may hold.
        progress : bool, callable or None
            True draws a bar, a callable receives (done, total).

        Returns
        -------
        list of str
            The ids, in the order of the vectors.

        Raises
        ------
        ValueError, TypeError
            Naming the row: for another dimension, a value that is not finite, lengths that differ, an id that
            is there already or twice, metadata that cannot be stored.
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
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        progress: Progress = None,
    ) -> list[str]:
        """Store documents, each in the place of the one with its id.

        As `add`, but a known id replaces vector, text and all metadata, and of several rows with one id the
        last one stays. A document that was replaced counts as stored anew in the order of insertion.
        """
        return self._insert(batch.check(vectors, ids, texts, metadatas, self.dim), progress, new=False)

    def _insert(self, given: batch.Batch, progress: Progress, *, new: bool) -> list[str]:
        documents = given.last_of_each()
        if not len(documents):
            return []
        with (
            self._store.changing() as (view, writer),
            track(progress, len(documents), "storing", long=len(documents) > LONG) as step,
        ):
            if view.state.dim not in (None, given.vectors.shape[1]):  # another thread was the first to store
                raise ValueError(
                    f"vectors have {given.vectors.shape[1]} dimensions, the others {view.state.dim}"
                )
            if new and (known := writer.rows_of(documents.ids)):
                row = next(i for i, name in enumerate(documents.ids) if name in known)
                raise ValueError(
                    f"row {row} has the id {documents.ids[row]!r}, which is there; upsert would replace it"
                )
            for start in range(0, len(documents), CHUNK):
                part = documents.part(start, start + CHUNK)
                self._store.insert(part)
                step(len(part))
        return given.ids

    def delete(self, ids: Sequence[str] | None = None, *, filter: Filter = None) -> int:
        """Remove documents: those with one of these ids, those that match a filter, or those with both.

        Returns
        -------
        int
            How many there were; unknown ids are no error.

        Raises
        ------
        ValueError
            Without ids and filter; `clear` removes all.
        """
        if ids is None and filter is None:
            raise ValueError("give ids or a filter; clear() removes all documents")
        names = None if ids is None else batch.check_ids(ids)
        judge = selection.judge(filter)
        with self._store.changing():
            with self._store.reading() as (_, reader):  # a function that changes the collection is refused
                rows = selection.selected(reader, judge, names)
            if len(rows):
                self._store.remove(rows)
        return len(rows)

    def clear(self) -> None:
        """Remove all documents; what the collection is, its dimension included, stays."""
        self._store.clear()

    # Asking for documents

    def get(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Filter = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Record]:
        """Return documents.

        Parameters
        ----------
        ids : sequence of str, optional
            In this order, missing ones skipped. Without, in the order of insertion.
        filter : dict or callable, optional
            Only those that match.
        limit : int, optional
            At most so many,
        offset : int
            after so many.
        """
        names = None if ids is None else batch.check_ids(ids)
        judge = selection.judge(filter)
        first = as_count(offset, "offset", 0)
        stop = None if limit is None else first + as_count(limit, "limit", 0)
        with self._store.reading() as (_, reader):
            if names is None:
                return reader.records(selection.selected(reader, judge)[first:stop])
            known = reader.rows_of(names)
            rows = np.array([known[name] for name in names if name in known], np.int64)
            if judge is not None:
                rows = rows[np.isin(rows, selection.selected(reader, judge, names))]
            return reader.records(rows[first:stop])

    def vectors(self, ids: Sequence[str]) -> F32:
        """Return the vectors of documents as they were given, float32 (n, dim).

        Raises
        ------
        KeyError
            Naming an id that is not there.
        """
        names = batch.check_ids(ids)
        with self._store.reading() as (view, reader):
            known = reader.rows_of(names)
            for name in names:
                if name not in known:
                    raise KeyError(name)
            if view.vectors is None:
                return np.empty((0, 0), np.float32)
            return view.vectors_of(np.array([known[name] for name in names], np.int64))

    def count(self, filter: Filter = None) -> int:
        """Return how many documents match, or how many there are."""
        judge = selection.judge(filter)
        with self._store.reading() as (view, reader):
            return view.state.n_live if judge is None else len(selection.selected(reader, judge))

    def __contains__(self, id: object) -> bool:
        if not isinstance(id, str):
            return False
        with self._store.reading() as (_, reader):
            return bool(reader.rows_of([id]))

    def __iter__(self) -> Iterator[Record]:
        """Yield all documents in order of insertion, as they were when the first one was asked for."""
        return self._store.walk()

    # Searching

    def search(
        self, vector: npt.ArrayLike, k: int = 10, *, filter: Filter = None, **effort: Any
    ) -> list[Hit]:
        """Find the documents nearest to a vector.

        Parameters
        ----------
        vector : array_like, (dim,)
        k : int
            How many; 0 or less finds none.
        filter : dict or callable, optional
            Only documents that match. It is part of the search: min(k, documents that match) are found.
        **effort
            Of the index in use, such as `rerank` for LVQ and `ef` for a graph, which is searched with 160
            unless told otherwise. In an "auto" collection those of other kinds of index are without effect.

        Returns
        -------
        list of Hit
            Best first, equal ones in order of insertion.
        """
        return self._search(vector, k, filter, effort, one=True)[0]

    def search_batch(
        self, vectors: npt.ArrayLike, k: int = 10, *, filter: Filter = None, **effort: Any
    ) -> list[list[Hit]]:
        """Find the documents nearest to each of several vectors (n, dim), as `search` would."""
        return self._search(vectors, k, filter, effort, one=False)

    def _search(
        self, vectors: npt.ArrayLike, k: int, filter: Filter, effort: Mapping[str, Any], *, one: bool
    ) -> list[list[Hit]]:
        judge = selection.judge(filter)
        count = as_count(k, "k", -(2**62))
        with self._store.reading() as (view, reader):
            queries = query_rows(vectors, view.state.dim, one=one)
            if view.index is None:
                return [[] for _ in queries]
            choice.check_effort(view.state, view.index, effort)
            return hits(reader, ranked(view, reader, queries, count, judge, effort))

    def mmr(
        self,
        vector: npt.ArrayLike,
        k: int = 4,
        *,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
    ) -> list[Hit]:
        """Find documents near to a vector and different from each other: maximal marginal relevance.

        Parameters
        ----------
        vector : array_like, (dim,)
        k : int
            How many to choose,
        fetch_k : int
            from so many of the nearest that match; at least k.
        lambda_mult : float, 0 to 1
            1 chooses by nearness alone, 0 by difference.
        filter : dict or callable, optional
            As for `search`.

        Returns
        -------
        list of Hit
            In the order in which they were chosen; `distance` is that to the vector.
        """
        judge = selection.judge(filter)
        count, fetched = as_count(k, "k", -(2**62)), as_count(fetch_k, "fetch_k", -(2**62))
        if not 0 <= lambda_mult <= 1:
            raise ValueError(f"lambda_mult must be from 0 to 1, not {lambda_mult!r}")
        with self._store.reading() as (view, reader):
            queries = query_rows(vector, view.state.dim, one=True)
            if view.index is None or count <= 0:
                return []
            ((values, rows),) = ranked(view, reader, queries, max(count, fetched), judge, {})
            chosen = mmr.select(queries[0], view.vectors_of(rows), count, lambda_mult)
            return hits(reader, [(values[chosen], rows[chosen])])[0]

    # Files

    def snapshot(self) -> None:
        """Save the index now, so that opening does not have to make it; `close` does where it is worth it."""
        self._store.snapshot()

    def copy_to(self, path: str | os.PathLike[str]) -> None:
        """Write a copy, as of one moment, to a folder; it appears there complete, in place of an earlier one.

        Raises
        ------
        FileExistsError
            When the folder holds something that is not a collection.
        BlockingIOError
            When it holds a collection that is open for writing.
        """
        copying.copy(self._store, Path(path))

    def close(self) -> None:
        """Let go of files and memory; nothing is lost without it. Closing twice is no error."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
