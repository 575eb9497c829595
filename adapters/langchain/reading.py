"""The reading half of `InlayVectorStore`: get, search, search for variety.

Every search by text comes down to a search by vector. An async method awaits the embedder and then makes one
hop to a thread, where the sync method does the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore
from typing_extensions import override

from inlay.collection import Collection, Hit

from .retriever import HYBRID, InlayRetriever
from .translation import SCORES, Filter, Rows, Score, Vector, bridged, document, worded

WIDTHS = ("fetch_k", "lambda_mult")  # of MMR, and of stores that filter after the search


class Reading(VectorStore):
    """What can be asked of a collection and the embedder of its texts."""

    def __init__(
        self,
        embedding: Embeddings,
        collection: Collection,
        score: Score,
        relevance_score_fn: Callable[[float], float] | None,
    ) -> None:
        self._embedding = embedding
        self._collection = collection
        self._ascending = score == "distance"
        self._score, default_relevance = SCORES[collection.metric, score]
        self._relevance = relevance_score_fn or default_relevance

    @property
    @override
    def embeddings(self) -> Embeddings:
        return self._embedding

    @property
    def collection(self) -> Collection:
        """The collection underneath: to count, iterate, clear, or look at."""
        return self._collection

    @override
    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        return [document(record) for record in self._collection.get(ids)]

    @override
    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        return await run_in_executor(None, self.get_by_ids, ids)

    def get(
        self,
        ids: str | Sequence[str] | None = None,
        where: Filter = None,
        limit: int | None = None,
        offset: int | None = None,
        where_document: Mapping[str, Any] | None = None,
        *,
        filter: Filter = None,
        include: Sequence[str] = ("metadatas", "documents"),
    ) -> dict[str, Any]:
        """Read stored documents without a search, as columns.

        Parameters
        ----------
        ids : str or sequence of str, optional
            Read these, in this order, skipping unknown ones. None: all, in the order of insertion.
        where, filter : dict or callable, optional
            Two names for one thing: matching documents only.
        limit, offset : int, optional
            How many to read at most, and how many matching ones to pass over first.
        where_document : dict, optional
            Only documents whose text is such: `{"$contains": "tea"}`, `$not_contains`, and `$and` or `$or`
            around several.
        include : sequence of {"metadatas", "documents", "embeddings"}
            The columns to read beside the ids.

        Returns
        -------
        dict
            "ids", and under each included name as many values; "embeddings" is a float32 array (n, dim).
        """
        if where is not None and filter is not None:
            raise ValueError("where and filter are two names for one thing; give one of them")
        unknown = sorted(set(include) - {"metadatas", "documents", "embeddings"})
        if unknown:
            raise ValueError(f"include knows metadatas, documents and embeddings, not {', '.join(unknown)}")
        records = self._collection.get(
            [ids] if isinstance(ids, str) else ids,
            filter=worded(where if filter is None else filter, where_document),
            limit=limit,
            offset=offset or 0,
        )
        rows = Rows.of_records(records)
        columns: dict[str, Any] = {"ids": rows.ids}
        if "metadatas" in include:
            columns["metadatas"] = rows.metadatas
        if "documents" in include:
            columns["documents"] = rows.texts
        if "embeddings" in include:
            columns["embeddings"] = self._collection.vectors(rows.ids)
        return columns

    async def aget(
        self,
        ids: str | Sequence[str] | None = None,
        where: Filter = None,
        limit: int | None = None,
        offset: int | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Do `get` in a thread."""
        return await run_in_executor(None, self.get, ids, where, limit, offset, **kwargs)

    @override
    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return self.similarity_search_by_vector(self._embedding.embed_query(query), k, **kwargs)

    @override
    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return await self.asimilarity_search_by_vector(await self._embedding.aembed_query(query), k, **kwargs)

    @override
    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        vector = self._embedding.embed_query(query)
        return self.similarity_search_with_score_by_vector(vector, k, filter, **kwargs)

    @override
    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        vector = await self._embedding.aembed_query(query)
        return await self.asimilarity_search_with_score_by_vector(vector, k, filter, **kwargs)

    @override
    def similarity_search_by_vector(self, embedding: Vector, k: int = 4, **kwargs: Any) -> list[Document]:
        return [found for found, _ in self.similarity_search_with_score_by_vector(embedding, k, **kwargs)]

    @override
    async def asimilarity_search_by_vector(
        self, embedding: Vector, k: int = 4, **kwargs: Any
    ) -> list[Document]:
        return await run_in_executor(None, self.similarity_search_by_vector, embedding, k, **kwargs)

    def similarity_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        filter: Filter = None,
        *,
        score_threshold: float | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """Search for the documents nearest to a vector; best first, each with its score."""
        hits = self._collection.search(embedding, k, filter=bridged(filter), **_effort(kwargs))
        return self._scored(hits, score_threshold)

    async def asimilarity_search_with_score_by_vector(
        self, embedding: Vector, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do `similarity_search_with_score_by_vector` in a thread."""
        search = self.similarity_search_with_score_by_vector
        return await run_in_executor(None, search, embedding, k, filter, **kwargs)

    def similarity_search_by_vector_with_relevance_scores(
        self, embedding: Vector, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Search for the documents nearest to a vector; best first, each with its relevance in [0, 1]."""
        relevance = self._select_relevance_score_fn()
        scored = self.similarity_search_with_score_by_vector(embedding, k, filter, **kwargs)
        return [(found, relevance(score)) for found, score in scored]

    async def asimilarity_search_by_vector_with_relevance_scores(
        self, embedding: Vector, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Do `similarity_search_by_vector_with_relevance_scores` in a thread."""
        search = self.similarity_search_by_vector_with_relevance_scores
        return await run_in_executor(None, search, embedding, k, filter, **kwargs)

    def similarity_search_batch(
        self, queries: Sequence[str], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[list[Document]]:
        """Search for many queries at once, on all threads; the k nearest documents of each."""
        vectors = [self._embedding.embed_query(query) for query in queries]
        return self._search_batch(vectors, k, filter, **kwargs)

    async def asimilarity_search_batch(
        self, queries: Sequence[str], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[list[Document]]:
        """Embed all queries concurrently, then do `similarity_search_batch` in a thread."""
        vectors = await asyncio.gather(*(self._embedding.aembed_query(query) for query in queries))
        return await run_in_executor(None, self._search_batch, vectors, k, filter, **kwargs)

    @override
    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    @override
    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        vector = await self._embedding.aembed_query(query)
        return await self.amax_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    @override
    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        search = self.max_marginal_relevance_search_with_score_by_vector
        return [found for found, _ in search(embedding, k, fetch_k, lambda_mult, **kwargs)]

    @override
    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **kwargs: Any,
    ) -> list[Document]:
        search = self.max_marginal_relevance_search_by_vector
        return await run_in_executor(None, search, embedding, k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
    ) -> list[tuple[Document, float]]:
        """Pick k of the `fetch_k` nearest documents, each near the query and unlike those picked before.

        In the order they were picked, with their scores for the query; see `inlay.Collection.mmr`.
        """
        hits = self._collection.mmr(
            embedding, k, fetch_k=max(fetch_k, k), lambda_mult=lambda_mult, filter=bridged(filter)
        )
        return self._scored(hits)

    async def amax_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
    ) -> list[tuple[Document, float]]:
        """Do `max_marginal_relevance_search_with_score_by_vector` in a thread."""
        search = self.max_marginal_relevance_search_with_score_by_vector
        return await run_in_executor(None, search, embedding, k, fetch_k, lambda_mult, filter)

    def hybrid_search(self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any) -> list[Document]:
        """Search by the vector of a text and by its words, fused; keywords as `hybrid_search_with_score`."""
        return [found for found, _ in self.hybrid_search_with_score(query, k, filter, **kwargs)]

    async def ahybrid_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """Await the embedder, then do `hybrid_search` in a thread."""
        return [found for found, _ in await self.ahybrid_search_with_score(query, k, filter, **kwargs)]

    def hybrid_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, *, alpha: float = 0.5, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Search by the vector of a text and by its words, fused; the store needs `full_text=True`.

        Best first, with the fused value: larger for better ones, whatever `score` the store was given.
        Keywords are those of `inlay.Collection.hybrid`; with `alpha=0` nothing is embedded.
        """
        vector = self._embedding.embed_query(query) if alpha > 0 else None
        return self._fused(vector, query, k, filter, alpha, **kwargs)

    async def ahybrid_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, *, alpha: float = 0.5, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Await the embedder, then do `hybrid_search_with_score` in a thread."""
        vector = await self._embedding.aembed_query(query) if alpha > 0 else None
        return await run_in_executor(None, self._fused, vector, query, k, filter, alpha, **kwargs)

    def _fused(
        self, vector: Vector | None, query: str, k: int, filter: Filter, alpha: float, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        if vector is None:
            hits = self._collection.search_text(query, k, filter=bridged(filter), **kwargs)
        else:
            hits = self._collection.hybrid(vector, query, k, alpha=alpha, filter=bridged(filter), **kwargs)
        return [(document(hit), hit.distance) for hit in hits]

    @override
    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        if search_type == HYBRID:
            return self.hybrid_search(query, **kwargs)
        return super().search(query, search_type, **kwargs)

    @override
    async def asearch(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        if search_type == HYBRID:
            return await self.ahybrid_search(query, **kwargs)
        return await super().asearch(query, search_type, **kwargs)

    @override
    def as_retriever(self, **kwargs: Any) -> InlayRetriever:
        tags = [*(kwargs.pop("tags", None) or []), *self._get_retriever_tags()]
        return InlayRetriever(vectorstore=self, tags=tags, **kwargs)

    @override
    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda score: min(1.0, max(0.0, float(self._relevance(score))))

    def _search_batch(
        self,
        vectors: Sequence[Sequence[float]],
        k: int,
        filter: Filter,
        *,
        score_threshold: float | None = None,
        **kwargs: Any,
    ) -> list[list[Document]]:
        if len(vectors) == 0:
            return []
        answers = self._collection.search_batch(vectors, k, filter=bridged(filter), **_effort(kwargs))
        return [[found for found, _ in self._scored(hits, score_threshold)] for hits in answers]

    def _scored(self, hits: Sequence[Hit], threshold: float | None = None) -> list[tuple[Document, float]]:
        scored = [(document(hit), self._score(hit.distance)) for hit in hits]
        if threshold is None:
            return scored
        if self._ascending:
            return [(found, score) for found, score in scored if score <= threshold]
        return [(found, score) for found, score in scored if score >= threshold]


def _effort(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in WIDTHS}
