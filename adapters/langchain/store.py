"""`InlayVectorStore`: the `VectorStore` contract on top of `inlay.Collection`, and its writing half.

The collection does the work; these classes embed texts, a batch at a time, and translate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from typing_extensions import override

from inlay.collection import Collection
from inlay.progress import Progress, track

from ..opening import Place, opened
from .reading import Reading
from .translation import Filter, Rows, Score, Vector, bridged

EMBEDDING = "embed and store"  # what the progress bar is called


class InlayVectorStore(Reading):
    """Documents, their metadata and their vectors in one embedded store, searched through quantised codes.

    Setup:
        .. code-block:: bash

            pip install 'inlay[langchain]'

    Key init args:
        embedding : Embeddings
            Turns texts into vectors. It is not called before the first text arrives.
        path : str, path or inlay.Collection, optional
            Directory of the store, made when missing; what a call returned from is on disk. None: in memory.
            Or a collection that is open already; `close` closes it.
        collection : str
            Its name. A directory holds any number of collections.
        metric : {"cosine", "l2", "ip"}, optional
            None: what is stored, "cosine" for a new collection.
        index : str, optional
            A spec such as "LVQ4x8" or "Flat". None: what is stored, "auto" for a new collection.
        full_text : bool
            Let texts be searched by their words, too; see `hybrid_search`. A store keeps it from then on.
        score : {"similarity", "distance"}
            What the `..._with_score` methods return. "similarity", larger is nearer: the cosine, the inner
            product, or 1 / (1 + squared distance). "distance", smaller is nearer: 1 - cosine, minus the inner
            product, or the squared distance.
        relevance_score_fn : callable, optional
            Turns such a score into a relevance; what it returns is clipped to [0, 1]. None: the cosine,
            1 / (1 + squared distance), or the logistic function of the inner product.
        read_only : bool
            Refuse every change; other processes may write meanwhile.
        batch_size : int
            Texts per call of the embedder and, up to 4096, per commit. A call with no more is all or nothing.

    Instantiate:
        .. code-block:: python

            from inlay.adapters.langchain import InlayVectorStore

            store = InlayVectorStore(embedding, "my_store")

        The same line opens it again. Contradicting the stored metric, dimension or index is a ValueError.

    Add Documents:
        .. code-block:: python

            documents = [Document(id="a", page_content="A tree is a connected graph.", metadata={"page": 3})]
            store.add_documents(documents)

        An id that is already stored has its vector, text and metadata replaced.

    Delete Documents:
        .. code-block:: python

            store.delete(["a"])
            store.delete(filter={"page": {"$lt": 10}})

    Search:
        .. code-block:: python

            store.similarity_search("what is a tree?", k=4)

    Search with filter:
        .. code-block:: python

            store.similarity_search("what is a tree?", filter={"page": {"$gte": 2}, "lang": ["en", "fr"]})
            store.similarity_search("what is a tree?", filter=lambda document: document.metadata["page"] > 2)

        Filters act inside the search: there are k results whenever k documents match. A callable is given a
        document that also reads like its metadata. Operators: $eq $ne $gt $gte $lt $lte $in $nin $between
        $contains $not_contains $exists $and $or $not.

    Search with score:
        .. code-block:: python

            for document, score in store.similarity_search_with_score("what is a tree?"):
                print(f"{score:.3f} {document.page_content}")

    Async:
        .. code-block:: python

            await store.aadd_documents(documents)
            await store.asimilarity_search("what is a tree?")

    Use as Retriever:
        .. code-block:: python

            retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 4, "fetch_k": 50})
            retriever.invoke("what is a tree?")

    Notes
    -----
    Every similarity search takes `filter`; `score_threshold`, which keeps the hits at least this good (in the
    units of `similarity_search_with_score`; a relevance where relevances are asked for); and the index's own
    effort, such as `rerank=200`. `fetch_k` and `lambda_mult` are accepted because retrievers pass them, and
    mean something to the max_marginal_relevance methods only. The adding methods take `batch_size` and
    `progress`: True draws a bar, False is silent, a callable receives (done, total), None draws a bar on a
    terminal when there are several batches.
    """

    def __init__(
        self,
        embedding: Embeddings,
        path: Place = None,
        *,
        collection: str = "default",
        metric: str | None = None,
        index: str | None = None,
        full_text: bool = False,
        score: Score = "similarity",
        relevance_score_fn: Callable[[float], float] | None = None,
        read_only: bool = False,
        batch_size: int = 1024,
    ) -> None:
        if not (hasattr(embedding, "embed_documents") and hasattr(embedding, "embed_query")):
            raise TypeError(f"embedding must be a LangChain Embeddings, not {type(embedding).__name__}")
        if score not in ("similarity", "distance"):
            raise ValueError(f"score must be 'similarity' or 'distance', not {score!r}")
        self._batch_size = _checked_size(batch_size)
        place = opened(
            path,
            collection=collection,
            metric=metric,
            index=index,
            full_text=full_text,
            read_only=read_only,
        )
        super().__init__(embedding, place, score, relevance_score_fn)

    def close(self) -> None:
        """Release the files. A store that was never closed has lost nothing."""
        self._collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

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
        return await self._aembed_and_write(Rows.checked(texts, metadatas, ids), **kwargs)

    @override
    def add_documents(
        self, documents: list[Document], ids: Iterable[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        return self._embed_and_write(Rows.of_documents(documents, ids), **kwargs)

    @override
    async def aadd_documents(
        self, documents: list[Document], ids: Iterable[str | None] | None = None, **kwargs: Any
    ) -> list[str]:
        return await self._aembed_and_write(Rows.of_documents(documents, ids), **kwargs)

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

    def merge_from(self, other: InlayVectorStore) -> None:
        """Add the documents of another store of the same embedder, replacing those of the same id.

        Vectors are copied as they are. The other store does not change. Commits every thousand documents.
        """
        self._collection.merge_from(other.collection)

    @classmethod
    @override
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings,
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        *,
        progress: Progress = None,
        **kwargs: Any,
    ) -> Self:
        store = cls(embedding, **kwargs)
        with store._closed_on_failure():
            store.add_texts(texts, metadatas, ids, progress=progress)
        return store

    @classmethod
    @override
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings,
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        *,
        progress: Progress = None,
        **kwargs: Any,
    ) -> Self:
        store = await run_in_executor(None, partial(cls, embedding, **kwargs))
        with store._closed_on_failure():
            await store.aadd_texts(texts, metadatas, ids, progress=progress)
        return store

    @classmethod
    def from_embeddings(
        cls,
        text_embeddings: Iterable[tuple[str, Vector]],
        embedding: Embeddings,
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        *,
        progress: Progress = None,
        **kwargs: Any,
    ) -> Self:
        """Open a store and `add_embeddings` to it; further keywords are those of the constructor."""
        store = cls(embedding, **kwargs)
        with store._closed_on_failure():
            store.add_embeddings(text_embeddings, metadatas, ids, progress=progress)
        return store

    @classmethod
    async def afrom_embeddings(
        cls,
        text_embeddings: Iterable[tuple[str, Vector]],
        embedding: Embeddings,
        metadatas: Iterable[dict[str, Any]] | None = None,
        ids: Iterable[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Do `from_embeddings` in a thread."""
        build = partial(cls.from_embeddings, text_embeddings, embedding, metadatas, ids, **kwargs)
        return await run_in_executor(None, build)

    def save_local(self, folder_path: str | os.PathLike[str], index_name: str = "index") -> None:
        """Write a consistent copy to the directory `folder_path/index_name`, in place of an older copy.

        A store with a path is on disk already; this is for backups, and for stores in memory. The copy can be
        opened as a store of its own (`InlayVectorStore(embedding, "folder/index")`) or read by `load_local`.
        """
        target = _copy_path(folder_path, index_name)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._collection.copy_to(target)

    @classmethod
    def load_local(
        cls,
        folder_path: str | os.PathLike[str],
        embeddings: Embeddings,
        index_name: str = "index",
        *,
        collection: str = "default",
        score: Score = "similarity",
        relevance_score_fn: Callable[[float], float] | None = None,
        batch_size: int = 1024,
        **ignored: Any,
    ) -> Self:
        """Read a copy made by `save_local` into a store in memory; the files are not needed afterwards.

        The metric and the index are those of the copy. There is no pickle in it, so
        `allow_dangerous_deserialization` is accepted and needless. Raises FileNotFoundError when there is no
        copy, FormatError when it is damaged.
        """
        path = _copy_path(folder_path, index_name)
        if not path.is_dir():
            raise FileNotFoundError(f"no saved store at {path}; save_local writes one")
        return cls(
            embeddings,
            Collection.load(path, collection=collection),
            score=score,
            relevance_score_fn=relevance_score_fn,
            batch_size=batch_size,
        )

    def _embed_and_write(
        self, rows: Rows, *, batch_size: int | None = None, progress: Progress = None, **_: Any
    ) -> list[str]:
        size = self._batch_size if batch_size is None else _checked_size(batch_size)
        with track(progress, len(rows), EMBEDDING, unit="texts", long=len(rows) > size) as step:
            for batch in rows.batches(size):
                self._write(batch, self._embedding.embed_documents(batch.texts))
                step(len(batch))
        return rows.ids

    async def _aembed_and_write(
        self, rows: Rows, *, batch_size: int | None = None, progress: Progress = None, **_: Any
    ) -> list[str]:
        size = self._batch_size if batch_size is None else _checked_size(batch_size)
        with track(progress, len(rows), EMBEDDING, unit="texts", long=len(rows) > size) as step:
            for batch in rows.batches(size):
                vectors = await self._embedding.aembed_documents(batch.texts)
                await run_in_executor(None, self._write, batch, vectors)
                step(len(batch))
        return rows.ids

    def _write(self, rows: Rows, vectors: Any, progress: Progress = False) -> None:
        if len(vectors) != len(rows):
            raise ValueError(f"got {len(vectors)} vectors for {len(rows)} texts; does the embedder skip any?")
        if len(rows) > 0:
            self._collection.upsert(
                vectors, ids=rows.ids, texts=rows.texts, metadatas=rows.metadatas, progress=progress
            )

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def _checked_size(batch_size: int) -> int:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int):
        raise TypeError(f"batch_size must be an int, not {type(batch_size).__name__}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    return batch_size


def _copy_path(folder_path: str | os.PathLike[str], index_name: str) -> Path:
    if index_name in ("", "..") or Path(index_name).name != index_name:
        raise ValueError(f"index_name must be a plain file name, not {index_name!r}")
    return Path(folder_path) / index_name
