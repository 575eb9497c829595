"""`InlayVectorStore`: the `BasePydanticVectorStore` contract on top of `inlay.Collection`.

The collection does the work; this class translates. An async method makes one hop to a thread, where the
sync method does the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    DEFAULT_PERSIST_DIR,
    DEFAULT_PERSIST_FNAME,
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from typing_extensions import override

from inlay.collection import AnyCollection, Hit
from inlay.collection.filters import Filter
from inlay.progress import Progress

from ..opening import Closing, Place, opened
from ..scores import SIMILARITIES
from . import remote
from .translation import RECORDED, from_source, is_recorded, to_filter, to_metadata, to_node, to_text

Mode = VectorStoreQueryMode
MMR_KEYWORDS = {"mmr_threshold", "mmr_prefetch_k", "mmr_prefetch_factor"}
MODES = (Mode.DEFAULT, Mode.MMR, Mode.TEXT_SEARCH, Mode.SPARSE, Mode.HYBRID)


class InlayVectorStore(Closing, BasePydanticVectorStore):
    """Nodes, their metadata and their vectors in one embedded store, searched through quantised codes.

    Setup:
        .. code-block:: bash

            pip install 'inlay[llama-index]'

    Parameters
    ----------
    path : str, path or inlay.Collection, optional
        Directory of the store, made when missing; what a call returned from is on disk. None: in memory. Or
        a collection that is open already, perhaps in use by the LangChain adapter; `close` closes it.
    collection : str
        Its name. A directory holds any number of collections.
    metric : {"cosine", "l2", "ip"}, optional
        None: what is stored, "cosine" for a new collection. Similarities are the cosine, 1 / (1 + squared
        distance), or the inner product.
    index : str, optional
        A spec such as "LVQ4x8" or "Flat". None: what is stored, "auto" for a new collection.
    full_text : bool
        Let texts be searched by their words, too: the modes text_search, sparse and hybrid. A store keeps it
        from then on.
    read_only : bool
        Refuse every change; other processes may write meanwhile.
    recall : float, 0 to 1, optional
        Which part of the nearest a search shall find on average; it takes more effort where it finds less.
        None: 0.98.

    Raises
    ------
    ValueError
        For a metric, dimension or index that contradicts what is stored.

    Notes
    -----
    Instantiate:
        .. code-block:: python

            from inlay.adapters.llama_index import InlayVectorStore

            store = InlayVectorStore("my_store", full_text=True)

        The same line opens it again.

    Add nodes:
        .. code-block:: python

            context = StorageContext.from_defaults(vector_store=store)
            index = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=model)

        A node that is already stored is replaced. All nodes of a call are checked before one is stored.
        Opened again, the store is all that an index needs:

        .. code-block:: python

            index = VectorStoreIndex.from_vector_store(store, embed_model=model)

    Delete nodes:
        .. code-block:: python

            store.delete("the id of a document")
            store.delete_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="page", value=9)]))

    Search:
        .. code-block:: python

            query = VectorStoreQuery(query_embedding=model.get_query_embedding("a tree"), similarity_top_k=4)
            store.query(query).nodes

        Modes: default, mmr, text_search, sparse and hybrid; others are a NotImplementedError. The last three
        need `full_text=True`: by BM25, and hybrid by the reciprocal ranks of both. By keyword
        (`vector_store_kwargs` of a retriever): `mmr_threshold`, which goes before the query's own,
        `mmr_prefetch_k` or `mmr_prefetch_factor`, `fusion="score"` for hybrid, and the index's own effort,
        such as `rerank=200`. A query without an embedding reads what the filters select, in order of
        insertion, without similarities.

    Search with filters:
        .. code-block:: python

            pages = MetadataFilter(key="page", value=[1, 2], operator=FilterOperator.IN)
            store.get_nodes(filters=MetadataFilters(filters=[pages]))

        All operators and conditions, nested at will. Filters act inside the search: there are top_k results
        whenever so many nodes match. The source document is called `ref_doc_id`, `doc_id` or `document_id`
        unless a node has metadata of such a name.

        `node_ids` of a query are a restriction, an empty list is none. An index passes the ids of its image
        and index nodes with every query, and means none: all such nodes of a store together are no
        restriction either, where there are other nodes.

    Use as retriever:
        .. code-block:: python

            retriever = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=4)
            retriever.retrieve("what is a tree?")
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    flat_metadata: bool = False

    path: str | None = None
    collection: str = "default"
    metric: str | None = None
    index: str | None = None
    full_text: bool = False
    read_only: bool = False
    recall: float | None = None

    _collection: AnyCollection = PrivateAttr()

    def __init__(
        self,
        path: Place = None,
        *,
        collection: str = "default",
        metric: str | None = None,
        index: str | None = None,
        full_text: bool = False,
        read_only: bool = False,
        recall: float | None = None,
        **constants: Any,
    ) -> None:
        for name, value in constants.items():  # `from_dict` passes all fields
            if name not in ("stores_text", "is_embedding_query", "flat_metadata"):
                raise TypeError(f"InlayVectorStore has no option {name!r}")
            if value is not type(self).model_fields[name].default:
                raise ValueError(f"{name}={value!r}: an InlayVectorStore cannot be otherwise than it is")
        place = opened(
            path,
            collection=collection,
            metric=metric,
            index=index,
            full_text=full_text,
            read_only=read_only,
            recall=recall,
        )
        fields: dict[str, Any] = {
            "path": None if place.path == ":memory:" else place.path,
            "collection": place.name,
            "metric": metric,
            "index": index,
            "full_text": full_text,
            "read_only": read_only,
            "recall": recall,
        }
        super().__init__(**fields)
        self._collection = place

    @classmethod
    @override
    def class_name(cls) -> str:
        return "InlayVectorStore"

    @property
    @override
    def client(self) -> AnyCollection:
        """The collection underneath: to count, iterate, or look at."""
        return self._collection

    # Changing

    @override
    def add(self, nodes: Sequence[BaseNode], *, progress: Progress = None, **kwargs: Any) -> list[str]:
        """Store nodes with their embeddings, each in the place of the one with its id; return the ids.

        Raises
        ------
        ValueError, TypeError
            Naming the node or row, before anything is stored: no embedding, another dimension, a value that
            is not finite, metadata that cannot be stored.
        """
        given = list(nodes)
        for node in given:
            if node.embedding is None:
                raise ValueError(f"node {node.node_id!r} has no embedding; embed it first")
        return self._collection.upsert(
            [node.get_embedding() for node in given],
            ids=[node.node_id for node in given],
            texts=[to_text(node) for node in given],
            metadatas=map(to_metadata, given),
            progress=progress,
        )

    @override
    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    @override
    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Remove all nodes of a source document; an unknown one has none."""
        _refuse(delete_kwargs, "delete")
        self._collection.delete(filter=from_source([ref_doc_id]))

    @override
    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    @override
    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Remove nodes with one of these ids, those that match the filters, or those with both.

        Raises
        ------
        ValueError
            Without either; `clear` removes all.
        """
        _refuse(delete_kwargs, "delete_nodes")
        self._collection.delete(node_ids, filter=to_filter(filters))

    @override
    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    @override
    def clear(self) -> None:
        """Remove all nodes; the store goes on, with the dimension it has."""
        self._collection.clear()

    @override
    async def aclear(self) -> None:
        await asyncio.to_thread(self.clear)

    # Reading

    @override
    def get_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return nodes in the order of the ids, missing ones skipped, or all in order of insertion."""
        return [to_node(record) for record in self._collection.get(node_ids, filter=to_filter(filters))]

    @override
    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    @override
    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find nodes; see the class for modes and keywords.

        Raises
        ------
        NotImplementedError
            Naming the mode: one that there is not, or one that searches words in a store without full text.
        ValueError
            For a query without what its mode needs.
        """
        mode = Mode(query.mode)
        if mode not in MODES:
            known = ", ".join(known.value for known in MODES)
            raise NotImplementedError(f"there is no query mode {mode.value!r} here; there are {known}")
        chosen = to_filter(query.filters, query.doc_ids)
        among = self._among(query.node_ids)
        if mode in (Mode.DEFAULT, Mode.MMR) and query.query_embedding is None:
            return self._listed(query, chosen, among)
        if mode == Mode.DEFAULT:
            return self._nearest(query, chosen, among, kwargs)
        if mode == Mode.MMR:
            return self._diverse(query, chosen, among, kwargs)
        if not self._collection.full_text:
            raise NotImplementedError(
                f"query mode {mode.value!r} searches texts by words; open the store with full_text=True"
            )
        if query.query_str is None:
            raise ValueError(f"query mode {mode.value!r} needs query_str")
        if mode == Mode.HYBRID:
            return self._fused(query, query.query_str, chosen, among, kwargs)
        k = query.similarity_top_k if query.sparse_top_k is None else query.sparse_top_k
        return _result(self._collection.search_text(query.query_str, k, filter=chosen, ids=among))

    @override
    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        return await asyncio.to_thread(self.query, query, **kwargs)

    def _nearest(
        self,
        query: VectorStoreQuery,
        chosen: Filter | None,
        among: list[str] | None,
        effort: dict[str, Any],
    ) -> VectorStoreQueryResult:
        assert query.query_embedding is not None
        hits = self._collection.search(
            query.query_embedding, query.similarity_top_k, filter=chosen, ids=among, **effort
        )
        return _result(hits, self._collection.metric)

    def _diverse(
        self,
        query: VectorStoreQuery,
        chosen: Filter | None,
        among: list[str] | None,
        keywords: dict[str, Any],
    ) -> VectorStoreQueryResult:
        assert query.query_embedding is not None
        _refuse(set(keywords) - MMR_KEYWORDS, "query in mode 'mmr'")
        threshold = keywords.get("mmr_threshold", query.mmr_threshold)
        k = query.similarity_top_k
        hits = self._collection.mmr(
            query.query_embedding,
            k,
            fetch_k=_prefetched(k, keywords.get("mmr_prefetch_k"), keywords.get("mmr_prefetch_factor")),
            lambda_mult=0.5 if threshold is None else threshold,
            filter=chosen,
            ids=among,
        )
        return _result(hits, self._collection.metric)

    def _fused(
        self,
        query: VectorStoreQuery,
        text: str,
        chosen: Filter | None,
        among: list[str] | None,
        keywords: dict[str, Any],
    ) -> VectorStoreQueryResult:
        if query.query_embedding is None:
            raise ValueError("query mode 'hybrid' needs query_embedding; text_search does without")
        k = query.similarity_top_k if query.hybrid_top_k is None else query.hybrid_top_k
        fetched = None if query.sparse_top_k is None else max(query.similarity_top_k, query.sparse_top_k)
        hits = self._collection.hybrid(
            query.query_embedding,
            text,
            k,
            alpha=0.5 if query.alpha is None else query.alpha,
            fetch_k=fetched,
            filter=chosen,
            ids=among,
            **keywords,
        )
        return _result(hits)

    def _listed(
        self, query: VectorStoreQuery, chosen: Filter | None, among: list[str] | None
    ) -> VectorStoreQueryResult:
        """Read what is selected without a search; nothing is similar to anything then."""
        if chosen is None and among is None:
            raise ValueError("the query has neither an embedding nor filters, doc_ids or node_ids")
        records = self._collection.get(among, filter=chosen, limit=max(0, query.similarity_top_k))
        return VectorStoreQueryResult(
            nodes=[to_node(record) for record in records], ids=[record.id for record in records]
        )

    def _among(self, node_ids: list[str] | None) -> list[str] | None:
        """Return the ids that a query is restricted to; None if it is not."""
        if not node_ids:
            return None
        known = self._collection.get(list(dict.fromkeys(node_ids)))
        if (
            known
            and all(is_recorded(record) for record in known)
            and len(known) == self._collection.count(RECORDED) < len(self._collection)
        ):
            return None
        return list(node_ids)

    # Files

    @override
    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Write a consistent copy to a folder at this very path, in place of an older copy.

        A store with a path is on disk already; this is for backups, and for stores in memory. To the store's
        own path there is nothing to write. The copy can be opened as a store of its own, or read by
        `from_persist_path`.

        Raises
        ------
        FileExistsError
            When something else is there.
        """
        if remote.is_local(fs):
            if self.path is None or Path(persist_path).absolute() != Path(self.path):
                self._collection.copy_to(persist_path)
        else:
            remote.put(self._collection, persist_path, fs)

    @classmethod
    def from_persist_path(cls, persist_path: str, fs: Any = None) -> Self:
        """Read a copy made by `persist` into a store in memory; the files are not needed afterwards.

        Raises
        ------
        FileNotFoundError
            When there is none.
        FormatError
            When it is damaged.
        """
        return cls(remote.load(persist_path, fs))

    @classmethod
    def from_persist_dir(
        cls, persist_dir: str = DEFAULT_PERSIST_DIR, namespace: str = "default", fs: Any = None
    ) -> Self:
        """Read what `StorageContext.persist` wrote of a store to a folder."""
        return cls.from_persist_path(f"{persist_dir}/{namespace}__{DEFAULT_PERSIST_FNAME}", fs)


def _prefetched(k: int, count: int | None, factor: float | None) -> int:
    """Return how many of the nearest MMR chooses from: a count, or so many times k."""
    if count is not None and factor is not None:
        raise ValueError("mmr_prefetch_k and mmr_prefetch_factor are two ways to say one thing; give one")
    if factor is not None:
        return int(k * factor)
    return max(20, 4 * k) if count is None else count


def _result(hits: Sequence[Hit], metric: str | None = None) -> VectorStoreQueryResult:
    """Return hits as LlamaIndex has them; without a metric what they hold is a similarity already."""
    similarity = float if metric is None else SIMILARITIES[metric]
    return VectorStoreQueryResult(
        nodes=[to_node(hit) for hit in hits],
        similarities=[similarity(hit.distance) for hit in hits],
        ids=[hit.id for hit in hits],
    )


def _refuse(keywords: Any, name: str) -> None:
    """Refuse what would be ignored: an ignored condition may delete what it was meant to spare."""
    if keywords:
        raise TypeError(f"{name} does not take {', '.join(sorted(keywords))}")
