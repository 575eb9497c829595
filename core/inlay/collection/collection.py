"""Collection: documents with vectors, text and metadata, and the nearest of them to a query.

    with Collection.open("notes") as notes:                          # or ":memory:"
        notes.upsert(vectors, ids=ids, texts=texts, metadatas=[{"year": 2024}, ...])
        hits = notes.search(query, 5, filter={"year": {"$gte": 2020}})

Every call that changes something is durable when it returns; there is nothing to save. This file checks
arguments and puts the parts together: `batch` for what comes in, `filters` for which documents, `ranking` for
which order, and `store` for keeping and finding them.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt

from ..progress import Progress, track
from . import batch, copying, exchange, metadata, opening, selection, watching
from .database import Durability
from .interface import AnyCollection
from .reading import Filter, Readable
from .store import CHUNK, LONG


class Collection(Readable):
    """Documents that are found by their vectors and their metadata; made by `Collection.open`.

    Any thread may call anything. A search sees the collection as it is between two changes, never in the
    middle of one. Filters are dicts, see `inlay.collection.filters`, or functions, which are asked about one
    document after the other, the nearest first; such a function must not change the collection.
    """

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] = opening.IN_MEMORY,
        dim: int | None = None,
        metric: str | None = None,
        index: str | None = None,
        *,
        collection: str = "default",
        full_text: bool = False,
        read_only: bool = False,
        durability: Durability = "full",
        recall: float = watching.TARGET,
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
            100,000 vectors of 384 dimensions on a graph, if its vectors let one find nearly all that is near.
            The change that comes to that waits for the graph, some 0.1 ms a document. Or the spec of any
            index, see `inlay.from_spec`.
        collection : str
            Its name. A folder holds any number of collections; each has a writer of its own.
        full_text : bool
            Let texts be searched, too. A collection made without gets it now, and keeps it from then on,
            opened with it or without.
        read_only : bool
            Open beside a process that writes. Changes show as they are committed.
        durability : {"full", "normal"}
            With "normal" the last changes may be missing after a loss of power, but none of them in part, and
            nothing after the death of the process alone.
        recall : float, 0 to 1
            Which part of the nearest a search shall find on average. A writer measures it on a sample of the
            documents whenever half of them are new, and where it is less, all searches take more effort
            from then on; `stats` has the figures.

        Raises
        ------
        ValueError
            When the collection there has another dim, metric or index, or no full text and is opened with
            `read_only`.
        FormatError
            For a folder that is damaged or not a collection.
        BlockingIOError
            When it is open for writing already; FileNotFoundError for `read_only` when there is none.
        """
        wanted = opening.Wanted(os.fspath(path), dim, metric, index, collection, full_text)
        store = opening.open_store(wanted, read_only=read_only, durability=durability, recall=recall)
        return cls(store, wanted.place)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, collection: str = "default") -> Self:
        """Return a collection in memory with the documents of one in a folder, which is not needed any more.

        Raises
        ------
        FileNotFoundError, FormatError
            When there is none, or it is damaged.
        """
        with cls.open(path, collection=collection, read_only=True) as saved:
            state = saved._state
            loaded = cls.open(
                dim=state.dim,
                metric=state.metric,
                index=state.spec,
                collection=collection,
                full_text=saved.full_text,
            )
            loaded.merge_from(saved)
        return loaded

    @staticmethod
    def names(path: str | os.PathLike[str]) -> list[str]:
        """Return the names of the collections in a folder, sorted; none if there is no such folder."""
        return opening.names(Path(path))

    # Changing

    def add(
        self,
        vectors: npt.ArrayLike,
        *,
        ids: Sequence[str] | None = None,
        texts: Sequence[str] | None = None,
        metadatas: Iterable[Mapping[str, Any]] | None = None,
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
        metadatas : iterable of dict, optional
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
        metadatas: Iterable[Mapping[str, Any]] | None = None,
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

    def merge_from(self, other: AnyCollection) -> None:
        """Store the documents of another collection, each in the place of the one with its id.

        Vectors are copied as they are, and the other collection stays as it is. A thousand documents at a
        time become durable together.
        """
        if other is self:
            return
        exchange.transfer(other.parts(), self.upsert)

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
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        with self._store.changing():
            with self._store.reading() as (view, reader):  # a function that changes the collection is refused
                rows = selection.selected(view, reader, judge, names)
            if len(rows):
                self._store.remove(rows)
        return len(rows)

    def update_metadata(
        self,
        ids: Sequence[str] | None,
        patch: Mapping[str, Any],
        *,
        filter: Filter = None,
        replace: bool = False,
    ) -> int:
        """Change the metadata of documents; their vectors, texts and order of insertion stay.

        All of them change together, or none.

        Parameters
        ----------
        ids : sequence of str or None
            Of these documents, unknown ids are no error; None for all that match the filter.
        patch : mapping
            What is set. Other keys stay as they are.
        filter : dict or callable, optional
            Only documents that match.
        replace : bool
            The patch is all that there will be: other keys go.

        Returns
        -------
        int
            How many documents there were.

        Raises
        ------
        ValueError
            Without ids and filter.
        TypeError, ValueError
            For what metadata cannot hold.
        """
        if ids is None and filter is None:
            raise ValueError("give ids or a filter; filter={} is all documents")
        judge, names = selection.judge(filter), batch.check_known_ids(ids)
        metadata.encode(patch)  # refused before anything is read
        with self._store.changing():
            with self._store.reading() as (view, reader):
                rows = selection.selected(view, reader, judge, names)
                metas = [
                    metadata.encode(patch if replace else {**record.metadata, **patch})
                    for record in selection.read(reader, rows)
                ]
            if len(rows):
                self._store.set_metas(rows, metas)
        return len(rows)

    def clear(self) -> None:
        """Remove all documents; what the collection is, its dimension included, stays."""
        self._store.clear()

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

    def export_jsonl(self, file: str | os.PathLike[str], *, progress: Progress = None) -> int:
        """Write all documents to a file of JSON Lines for other programs; return how many.

        The file appears complete, in place of an earlier one. `copy_to` is faster, and keeps the index.
        """
        return exchange.export(self.parts(), len(self), Path(file), progress)

    def import_jsonl(self, file: str | os.PathLike[str]) -> int:
        """Store the documents of a file of JSON Lines, each in the place of the one with its id.

        A thousand at a time become durable together. A document has an id and a vector, and may have a text
        and metadata; see `inlay.collection.exchange`.

        Returns
        -------
        int
            How many there were.

        Raises
        ------
        FormatError
            Naming the line that is no document.
        ValueError, TypeError
            As `upsert`.
        """
        return exchange.load(Path(file), self.upsert)

    def drop(self) -> None:
        """Remove the collection, its files included, and close it; others of the same folder stay.

        Raises
        ------
        PermissionError
            When it was opened for reading only.
        """
        self._store.destroy()

    def close(self) -> None:
        """Let go of files and memory; nothing is lost without it. Closing twice is no error."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
