"""`InlayRetriever`: the retriever of LangChain with one more type of search, "hybrid"."""

from __future__ import annotations

from typing import Any, ClassVar

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStoreRetriever
from typing_extensions import override

HYBRID = "hybrid"


class InlayRetriever(VectorStoreRetriever):
    """A retriever whose `search_type` may be "hybrid", with the keywords of `hybrid_search`.

    What `InlayVectorStore.as_retriever` makes.
    """

    allowed_search_types: ClassVar[tuple[str, ...]] = (*VectorStoreRetriever.allowed_search_types, HYBRID)

    @override
    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type != HYBRID:
            return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)
        found: list[Document] = self.vectorstore.search(query, HYBRID, **(self.search_kwargs | kwargs))
        return found

    @override
    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type != HYBRID:
            return await super()._aget_relevant_documents(query, run_manager=run_manager, **kwargs)
        return await self.vectorstore.asearch(query, HYBRID, **(self.search_kwargs | kwargs))
