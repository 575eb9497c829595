"""`InlayVectorStore`: the `VectorStore` contract on top of `inlay.Collection`.

The collection does the work; these classes embed texts, a batch at a time, and translate: `reading` what is
asked, `writing` what is changed, and this one how stores come to be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from typing_extensions import override

from inlay.collection import Collection
from inlay.progress import Progress

from ..opening import Closing, Place, opened
from . import faiss_folder, packing
from .translation import Score, Vector
from .writing import Writing, checked_size


class InlayVectorStore(Closing, Writing):
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
        recall : float in [0, 1], optional
            Which part of the nearest a search shall find on average; it takes more effort where it finds
            less. None: 0.98.
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

        Types: similarity, similarity_score_threshold, mmr, and with `full_text=True` hybrid.

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
        recall: float | None = None,
        batch_size: int = 1024,
    ) -> None:
        if not (hasattr(embedding, "embed_documents") and hasattr(embedding, "embed_query")):
            raise TypeError(f"embedding must be a LangChain Embeddings, not {type(embedding).__name__}")
        if score not in ("similarity", "distance"):
            raise ValueError(f"score must be 'similarity' or 'distance', not {score!r}")
        batch_size = checked_size(batch_size)
        place = opened(
            path,
            collection=collection,
            metric=metric,
            index=index,
            full_text=full_text,
            read_only=read_only,
            recall=recall,
        )
        super().__init__(embedding, place, score, relevance_score_fn, batch_size)

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

    async def asave_local(self, folder_path: str | os.PathLike[str], index_name: str = "index") -> None:
        """Do `save_local` in a thread."""
        await run_in_executor(None, self.save_local, folder_path, index_name)

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

    @classmethod
    async def aload_local(
        cls,
        folder_path: str | os.PathLike[str],
        embeddings: Embeddings,
        index_name: str = "index",
        **options: Any,
    ) -> Self:
        """Do `load_local` in a thread."""
        load = partial(cls.load_local, folder_path, embeddings, index_name, **options)
        return await run_in_executor(None, load)

    def serialize_to_bytes(self) -> bytes:
        """Return a consistent copy of all documents and the index, as bytes without a pickle in them."""
        return packing.pack(self._collection)

    @classmethod
    def deserialize_from_bytes(
        cls,
        serialized: bytes,
        embeddings: Embeddings,
        *,
        score: Score = "similarity",
        relevance_score_fn: Callable[[float], float] | None = None,
        batch_size: int = 1024,
        **ignored: Any,
    ) -> Self:
        """Read what `serialize_to_bytes` returned into a store in memory; safe on bytes of any origin.

        The metric and the index are those of the store it came from; `allow_dangerous_deserialization` is
        accepted and needless. Raises FormatError for anything else.
        """
        return cls(
            embeddings,
            packing.unpack(serialized),
            score=score,
            relevance_score_fn=relevance_score_fn,
            batch_size=batch_size,
        )

    async def aserialize_to_bytes(self) -> bytes:
        """Do `serialize_to_bytes` in a thread."""
        return await run_in_executor(None, self.serialize_to_bytes)

    @classmethod
    async def adeserialize_from_bytes(cls, serialized: bytes, embeddings: Embeddings, **options: Any) -> Self:
        """Do `deserialize_from_bytes` in a thread."""
        return await run_in_executor(
            None, partial(cls.deserialize_from_bytes, serialized, embeddings, **options)
        )

    @classmethod
    def from_faiss(
        cls,
        folder_path: str | os.PathLike[str],
        embedding: Embeddings,
        path: Place = None,
        *,
        index_name: str = "index",
        progress: Progress = None,
        **options: Any,
    ) -> Self:
        """Take over a folder that LangChain's `FAISS.save_local` has written; nothing is embedded again.

        Neither faiss nor LangChain's own store is needed, and nothing in the folder is executed: the pickle
        is read as data, see `inlay.adapters.langchain.faiss_folder`.

        Parameters
        ----------
        folder_path : str or path
            The folder.
        embedding : Embeddings
            The embedder that its vectors came from.
        path : str, path or inlay.Collection, optional
            Where the documents go; in memory by default.
        index_name : str
            As given to `save_local`.
        progress : bool or callable, optional
            As for the adding methods.
        **options
            Of the constructor. The metric is that of the faiss index, unless one is given.

        Raises
        ------
        FileNotFoundError
            When there is no such folder.
        FormatError
            When it is damaged, or holds anything but an index of float vectors (flat, HNSW or IVF) and
            documents with plain metadata.
        """
        saved = faiss_folder.read(Path(folder_path), index_name)
        is_place = path is None or isinstance(path, str | os.PathLike)
        options.setdefault("metric", saved.metric if is_place else None)
        pairs = zip(saved.texts, saved.vectors, strict=True)
        return cls.from_embeddings(
            pairs, embedding, saved.metadatas, saved.ids, path=path, progress=progress, **options
        )

    @classmethod
    async def afrom_faiss(
        cls, folder_path: str | os.PathLike[str], embedding: Embeddings, path: Place = None, **options: Any
    ) -> Self:
        """Do `from_faiss` in a thread."""
        return await run_in_executor(None, partial(cls.from_faiss, folder_path, embedding, path, **options))

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


def _copy_path(folder_path: str | os.PathLike[str], index_name: str) -> Path:
    if index_name in ("", "..") or Path(index_name).name != index_name:
        raise ValueError(f"index_name must be a plain file name, not {index_name!r}")
    return Path(folder_path) / index_name
