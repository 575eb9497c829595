"""LangChain: `InlayVectorStore`, a `VectorStore` that keeps what it is told."""

try:
    import langchain_core  # noqa: F401
except ImportError as missing:
    raise ImportError("LangChain adapter: pip install 'inlay[langchain]'") from missing

from .store import InlayVectorStore

__all__ = ["InlayVectorStore"]
