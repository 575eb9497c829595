"""The writing half of `InlayVectorStore`: add, replace, delete.

Texts are embedded a batch at a time, and a batch is stored as soon as it is embedded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from typing_extensions import override

from inlay.collection import AnyCollection
from inlay.progress import Progress, track

from .reading import Reading
from .translation import Filter, Rows, Score, Vector, bridged

EMBEDDING = "embed and store"  # what the progress bar is called


class Writing(Reading):
    """What can be done to a collection, with an embedder for its texts."""

    def __init__(
        self,
        embedding: Embeddings,
        collection: AnyCollection,
        score: Score,
        relevance_score_fn: Callable[[float], float] | None,
        batch_size: int,
    ) -> None:
        super().__init__(embedding, collection, score, relevance_score_fn)
        self._batch_size = batch_size

    @override
    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        return self._embed_and_write(Rows.checked(texts, metadatas, ids), **kwargs)

    @override
    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        # Many thousands of ids are made here, which would hold the loop.
        rows = await run_in_executor(None, Rows.checked, texts, metadatas, ids)
        return await self._aembed_and_write(rows, **kwargs)

    @override
    def add_documents(
        self, documents: list[Document], ids: Iterable[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        return self._embed_and_write(Rows.of_documents(documents, ids), **kwargs)

    @override
    async def aadd_documents(
        self, documents: list[Document], ids: Iterable[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        rows = await run_in_executor(None, Rows.of_documents, documents, ids)
        return await self._aembed_and_write(rows, **kwargs)

    def add_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Vector]],
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        *,
        progress: Progress = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add or replace texts whose vectors are known; the embedder is not called.

        All are checked before any is stored. Commits every 4096 documents.

        Parameters
        ----------
        text_embeddings : iterable of (str, vector)
            Pairs of a text and its vector of `dim` finite numbers.
        metadatas, ids : iterable, optional
            One per pair. A `None` among the ids asks for a new one.
        progress : bool or callable, optional
            As for the other adding methods.

        Returns
        -------
        list of str
            One id per pair, in order.
        """
        pairs = list(text_embeddings)
        rows = Rows.checked([text for text, _ in pairs], metadatas, ids)
        self._write(rows, [vector for _, vector in pairs], progress)
        return rows.ids

    async def aadd_embeddings(
        self,
        text_embeddings: Iterable[tuple[str, Vector]],
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Do `add_embeddings` in a thread."""
        return await run_in_executor(None, self.add_embeddings, text_embeddings, metadatas, ids, **kwargs)

    @override
    def delete(self, ids: list[str] | None = None, *, filter: Filter = None, **kwargs: Any) -> bool:
        if kwargs:  # an ignored condition would delete what it was meant to spare
            raise TypeError(f"delete() takes ids and filter, not {', '.join(sorted(kwargs))}")
        self._collection.delete(ids, filter=bridged(filter))
        return True

    @override
    async def adelete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        return await run_in_executor(None, self.delete, ids, **kwargs)

    def update_documents(self, ids: list[str], documents: list[Document]) -> None:
        """Replace documents: what `add_documents` does for ids that are there."""
        self.add_documents(documents, ids=ids)

    async def aupdate_documents(self, ids: list[str], documents: list[Document]) -> None:
        """Replace documents; the embedder is awaited."""
        await self.aadd_documents(documents, ids=ids)

    def update_document(self, document_id: str, document: Document) -> None:
        """Replace one document."""
        self.add_documents([document], ids=[document_id])

    async def aupdate_document(self, document_id: str, document: Document) -> None:
        """Replace one document; the embedder is awaited."""
        await self.aadd_documents([document], ids=[document_id])

    def reset_collection(self) -> None:
        """Remove all documents."""
        self._collection.clear()

    async def areset_collection(self) -> None:
        """Do `reset_collection` in a thread."""
        await run_in_executor(None, self.reset_collection)

    def delete_collection(self) -> None:
        """Remove the collection, its files included; the store is closed then."""
        self._collection.drop()

    async def adelete_collection(self) -> None:
        """Do `delete_collection` in a thread."""
        await run_in_executor(None, self.delete_collection)

    def merge_from(self, other: Reading) -> None:
        """Add the documents of another store of the same embedder, replacing those of the same id.

        Vectors are copied as they are. The other store does not change. Commits every thousand documents.
        """
        self._collection.merge_from(other.collection)

    async def amerge_from(self, other: Reading) -> None:
        """Do `merge_from` in a thread."""
        await run_in_executor(None, self.merge_from, other)

    def _embed_and_write(
        self, rows: Rows, *, batch_size: int | None = None, progress: Progress = None, **_: Any
    ) -> list[str]:
        size = self._batch_size if batch_size is None else checked_size(batch_size)
        with track(progress, len(rows), EMBEDDING, unit="texts", long=len(rows) > size) as step:
            for batch in rows.batches(size):
                self._write(batch, self._embedding.embed_documents(batch.texts))
                step(len(batch))
        return rows.ids

    async def _aembed_and_write(
        self, rows: Rows, *, batch_size: int | None = None, progress: Progress = None, **_: Any
    ) -> list[str]:
        size = self._batch_size if batch_size is None else checked_size(batch_size)
        with track(progress, len(rows), EMBEDDING, unit="texts", long=len(rows) > size) as step:
            for batch in rows.batches(size):
                # Without a name the vectors are gone when the next ones are made.
                await run_in_executor(
                    None, self._write, batch, await self._embedding.aembed_documents(batch.texts)
                )
                step(len(batch))
        return rows.ids

    def _write(self, rows: Rows, vectors: Any, progress: Progress = False) -> None:
        if len(vectors) != len(rows):
            raise ValueError(f"got {len(vectors)} vectors for {len(rows)} texts; does the embedder skip any?")
        if len(rows) > 0:
            self._collection.upsert(
                vectors, ids=rows.ids, texts=rows.texts, metadatas=rows.metadatas, progress=progress
            )


def checked_size(batch_size: int) -> int:
    """Return a number of texts per batch."""
    if isinstance(batch_size, bool) or not isinstance(batch_size, int):
        raise TypeError(f"batch_size must be an int, not {type(batch_size).__name__}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    return batch_size
