"""Nodes whose vectors can be read off their text, an embedder to match, and stores of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core", reason="these tests are about LlamaIndex")

from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from inlay.adapters.llama_index import InlayVectorStore


def vector(text: str) -> list[float]:
    """Return (ones, twos, rest) of the digits in a text; (1, 1, 1) without any."""
    digits = [character for character in text if character.isdigit()]
    counts = [digits.count("1"), digits.count("2"), len(digits) - digits.count("1") - digits.count("2")]
    return [float(count) for count in counts] if digits else [1.0, 1.0, 1.0]


class Counting(BaseEmbedding):
    """Embeds what `vector` says."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return vector(text)

    def _get_query_embedding(self, query: str) -> list[float]:
        return vector(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return vector(query)


@pytest.fixture
def embedder() -> Counting:
    return Counting(model_name="counting")


@pytest.fixture
def node() -> Callable[..., TextNode]:
    """Make a text node with its embedding, of a source document if one is named."""

    def make(name: str, text: str, source: str | None = None, **metadata: Any) -> TextNode:
        relationships = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)} if source else {}
        return TextNode(
            id_=name, text=text, embedding=vector(text), relationships=relationships, metadata=metadata
        )

    return make


@pytest.fixture
def nodes(node: Callable[..., TextNode]) -> list[TextNode]:
    """Five nodes of three documents."""
    return [
        node("a", "11 green tea", "x", page=1, lang="en", tags=["hot", "drink"]),
        node("b", "12 black coffee", "x", page=2, lang="fr", tags=["hot"]),
        node("c", "22 tea and coffee", "y", page=3, lang="EN", tags=[]),
        node("d", "23 orange juice", "y", page=4.0, lang=""),
        node("e", "33 a spoon", page=None, tags=["iron", "drink"]),
    ]


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InlayVectorStore]:
    path = tmp_path / "store" if request.param == "disk" else None
    with InlayVectorStore(path, full_text=True) as opened:
        yield opened


@pytest.fixture
def filled(store: InlayVectorStore, nodes: list[TextNode]) -> InlayVectorStore:
    store.add(nodes)
    return store
