"""LlamaIndex: `InlayVectorStore`, a vector store that keeps what it is told."""

try:
    import llama_index.core  # noqa: F401
except ImportError as missing:
    raise ImportError("LlamaIndex adapter: pip install 'inlay[llama-index]'") from missing

from .store import InlayVectorStore

__all__ = ["InlayVectorStore"]
