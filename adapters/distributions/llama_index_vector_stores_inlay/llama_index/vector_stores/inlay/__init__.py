"""Inlay's LlamaIndex adapter under the name that LlamaIndex's users look for."""

from inlay.adapters.llama_index import InlayVectorStore

__all__ = ["InlayVectorStore"]
