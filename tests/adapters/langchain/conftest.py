"""An embedder whose vectors can be read off the text, and stores that use it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings

from inlay.adapters.langchain import InlayVectorStore


class Spoken(Embeddings):
    """Takes a text at its word: "1 0 2" has the vector (1, 0, 2). Notes how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(("embed_documents", len(texts)))
        return [[float(number) for number in text.split()] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.calls.append(("embed_query", 1))
        return [float(number) for number in text.split()]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(("aembed_documents", len(texts)))
        return [[float(number) for number in text.split()] for text in texts]

    async def aembed_query(self, text: str) -> list[float]:
        self.calls.append(("aembed_query", 1))
        return [float(number) for number in text.split()]


@pytest.fixture
def spoken() -> Spoken:
    return Spoken()


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, spoken: Spoken, tmp_path: Path) -> Iterator[InlayVectorStore]:
    path = tmp_path / "store" if request.param == "disk" else None
    with InlayVectorStore(spoken, path) as opened:
        yield opened


@pytest.fixture
def contents() -> Callable[[InlayVectorStore], dict[str, tuple[str, dict[str, Any], list[float]]]]:
    """Give the function that reads everything a store holds: text, metadata and vector by id."""

    def read(store: InlayVectorStore) -> dict[str, tuple[str, dict[str, Any], list[float]]]:
        got = store.get(include=["documents", "metadatas", "embeddings"])
        vectors = [vector.tolist() for vector in got["embeddings"]]
        return dict(
            zip(got["ids"], zip(got["documents"], got["metadatas"], vectors, strict=True), strict=True)
        )

    return read
