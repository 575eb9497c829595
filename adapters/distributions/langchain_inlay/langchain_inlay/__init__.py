"""Inlay's LangChain adapter under the name that LangChain's users look for."""

from inlay.adapters.langchain import InlayRetriever, InlayTranslator, InlayVectorStore

__all__ = ["InlayRetriever", "InlayTranslator", "InlayVectorStore"]
