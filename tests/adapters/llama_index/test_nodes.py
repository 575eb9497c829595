"""What goes in comes out: every kind of node, whole, and nothing shared."""

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)

from inlay.adapters.llama_index import InlayVectorStore
from inlay.adapters.llama_index.translation import NODE

RELATED = RelatedNodeInfo(node_id="z", node_type=ObjectType.TEXT, metadata={"k": [1]}, hash="h")
RELATIONSHIPS: dict[Any, Any] = {
    NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc"),
    NodeRelationship.NEXT: RELATED,
    NodeRelationship.CHILD: [RELATED, RelatedNodeInfo(node_id="y")],
}
NODES = [
    TextNode(text="plain"),
    TextNode(text=""),
    TextNode(
        text="ünï\nçode",
        metadata={"page": 3, "nested": {"a": [1, None]}, "none": None, "empty": {}},
        excluded_embed_metadata_keys=["page"],
        excluded_llm_metadata_keys=["nested"],
        relationships=RELATIONSHIPS,
        start_char_idx=0,
        end_char_idx=9,
        text_template="{content}",
        metadata_template="{key}={value}",
        metadata_separator="; ",
        mimetype="text/markdown",
    ),
    Node(text_resource=MediaResource(text="of a resource", mimetype="text/plain")),
    Node(
        text_resource=MediaResource(text="seen"),
        image_resource=MediaResource(url="http://localhost/a.png", mimetype="image/png"),
        audio_resource=MediaResource(path="b.mp3"),
        relationships=RELATIONSHIPS,
    ),
    Node(image_resource=MediaResource(url="http://localhost/a.png")),
    ImageNode(text="a dog", image="QUJD", image_path="dog.png", text_embedding=[1.0, 2.0]),
    ImageNode(image_url="http://localhost/a.png", relationships=RELATIONSHIPS),
    IndexNode(text="see there", index_id="7", metadata={"a": 1}),
    IndexNode(text="see in", index_id="8", obj=TextNode(text="inner", id_="inner")),
]


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.class_name())
def test_every_kind_of_node_comes_back_whole(store: InlayVectorStore, node: BaseNode) -> None:
    node.embedding = [1.0, 2.0]
    before = node.model_copy(deep=True)
    assert store.add([node]) == [node.node_id]
    assert node == before
    (back,) = store.get_nodes()
    assert type(back) is type(node)
    node.embedding = None
    assert back == node
    assert back.hash == node.hash
    back.metadata["new"] = 1
    assert store.get_nodes()[0].metadata == node.metadata


def test_a_document_is_read_as_a_text_node_as_llama_index_does(store: InlayVectorStore) -> None:
    store.add([Document(id_="a", text="whole", metadata={"b": 1}, embedding=[1.0])])
    (back,) = store.get_nodes()
    assert (type(back), back.get_content(), back.metadata) == (TextNode, "whole", {"b": 1})


def test_metadata_keep_their_types(store: InlayVectorStore) -> None:
    metadata = {
        **{"int": 1, "float": 1.0, "bool": True, "tuple": (1, "a"), "set": {1}, "bytes": b"\0"},
        **{"date": date(2024, 5, 1), "time": datetime(2024, 5, 1, tzinfo=UTC), "uuid": uuid.UUID(int=5)},
        **{"decimal": Decimal("1.50"), "$dollar": 1, "doc_id": "mine", "ref_doc_id": 7},
    }
    store.add([TextNode(text="a", metadata=metadata, embedding=[1.0])])
    back = store.get_nodes()[0].metadata
    assert back == metadata
    assert {key: type(value) for key, value in back.items()} == {
        key: type(value) for key, value in metadata.items()
    }


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(exclude_categories=["Cs"]))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text("ab$._"), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    metadata=st.dictionaries(st.text("abc$._", max_size=4).filter(NODE.__ne__), plain, max_size=3),
)
def test_any_text_and_any_metadata_come_back(text: str, metadata: dict[str, Any]) -> None:
    with InlayVectorStore() as store:
        store.add([TextNode(id_="a", text=text, metadata=metadata, embedding=[1.0])])
        assert store.get_nodes(["a"]) == [TextNode(id_="a", text=text, metadata=metadata)]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"embedding": None}, ValueError, "node 'bad' has no embedding"),
        ({"embedding": [1.0]}, ValueError, "dimension"),
        ({"embedding": [1.0, float("nan"), 0.0]}, ValueError, "finite"),
        ({"metadata": {"a": object()}}, TypeError, "metadata"),
        ({"metadata": {NODE: 1}}, ValueError, "taken by the store"),
    ],
)
def test_what_cannot_be_stored_changes_nothing(
    filled: InlayVectorStore, bad: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = filled.get_nodes()
    good = TextNode(id_="a", text="new", embedding=[1.0, 0.0, 0.0])
    with pytest.raises(error, match=message):
        filled.add([good, TextNode(**{"id_": "bad", "embedding": [1.0, 0.0, 0.0], **bad})])
    assert filled.get_nodes() == before


def test_documents_of_another_adapter_are_text_nodes(filled: InlayVectorStore) -> None:
    filled.client.upsert([[1.0, 0, 0]], ids=["z"], texts=["elsewhere"], metadatas=[{"page": 9}])
    assert filled.get_nodes(["z"]) == [TextNode(id_="z", text="elsewhere", metadata={"page": 9})]
