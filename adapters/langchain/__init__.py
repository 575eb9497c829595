"""LangChain: `InlayVectorStore`, a `VectorStore` that keeps what it is told."""

try:
    import langchain_core  # noqa: F401
except ImportError as missing:
    raise ImportError("LangChain adapter: pip install 'inlay[langchain]'") from missing

from .retriever import InlayRetriever
from .self_query import InlayTranslator
from .store import InlayVectorStore

__all__ = ["InlayRetriever", "InlayTranslator", "InlayVectorStore"]
