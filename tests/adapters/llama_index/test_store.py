"""Adding, deleting, opening and persisting."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery

import inlay
from inlay.adapters.llama_index import InlayVectorStore

HOT = MetadataFilters(filters=[MetadataFilter(key="tags", value="hot", operator="contains")])


def names(store: InlayVectorStore) -> str:
    return "".join(node.node_id for node in store.get_nodes())


def test_a_node_of_the_same_id_is_replaced_whole(filled: InlayVectorStore, node: Any) -> None:
    new = node("a", "33 new", "y", other=1)
    assert filled.add([new, node("f", "1 old"), node("f", "2 last")]) == ["a", "f", "f"]
    (back,) = filled.get_nodes(["a"])
    assert (back.metadata, back.ref_doc_id, back.get_content()) == ({"other": 1}, "y", "33 new")
    assert filled.get_nodes(["f"])[0].get_content() == "2 last"
    assert names(filled) == "bcdeaf"
    result = filled.query(VectorStoreQuery(query_embedding=new.embedding, similarity_top_k=6))
    assert sorted(result.ids) == list("abcdef")
    assert filled.add([]) == []


def test_nodes_are_read_in_the_order_asked_for(filled: InlayVectorStore) -> None:
    def found(*arguments: Any) -> str:
        return "".join(node.node_id for node in filled.get_nodes(*arguments))

    assert found(["d", "nobody", "a"]) == "da"
    assert found([]) == ""
    assert found(None, HOT) == "ab"
    assert found(["b", "c"], HOT) == "b"
    assert filled.get_nodes([str(i) for i in range(20_000)]) == []


def test_nodes_of_a_document_are_deleted(filled: InlayVectorStore) -> None:
    filled.delete("x")
    filled.delete("nobody")
    assert names(filled) == "cde"


def test_nodes_are_deleted_by_id_by_filter_or_by_both(filled: InlayVectorStore) -> None:
    filled.delete_nodes([])
    filled.delete_nodes(["nobody"])
    filled.delete_nodes(["a", "c"], HOT)
    assert names(filled) == "bcde"
    filled.delete_nodes(["c"])
    filled.delete_nodes(filters=HOT)
    assert names(filled) == "de"
    for nothing in ({}, {"filters": MetadataFilters(filters=[])}):
        with pytest.raises(ValueError, match="clear"):
            filled.delete_nodes(**nothing)
    with pytest.raises(TypeError, match="index_id"):
        filled.delete_nodes(["d"], index_id="7")
    with pytest.raises(TypeError, match="where"):
        filled.delete("y", where=1)
    assert names(filled) == "de"


def test_a_cleared_store_goes_on(filled: InlayVectorStore, nodes: list[TextNode]) -> None:
    filled.clear()
    assert names(filled) == ""
    assert filled.query(VectorStoreQuery(query_embedding=[1.0, 0, 0])).ids == []
    filled.add(nodes[:1])
    assert names(filled) == "a"


async def test_every_async_twin_does_the_same(store: InlayVectorStore, nodes: list[TextNode]) -> None:
    assert await store.async_add(nodes) == list("abcde")
    result = await store.aquery(VectorStoreQuery(query_embedding=[0.0, 1.0, 0.0]))
    assert result.ids == ["c"]
    assert [node.node_id for node in await store.aget_nodes(["b"], HOT)] == ["b"]
    await store.adelete("x")
    await store.adelete_nodes(["c", "d"], MetadataFilters(filters=[MetadataFilter(key="page", value=3)]))
    assert names(store) == "de"
    with pytest.raises(TypeError):
        await store.adelete_nodes(["d"], index_id="7")
    await store.aclear()
    assert names(store) == ""


async def test_async_calls_leave_the_loop_alone(monkeypatch: Any, store: InlayVectorStore) -> None:
    ticked = threading.Event()

    def upsert(*arguments: Any, **options: Any) -> list[str]:
        assert ticked.wait(30), "the loop stood still while the store was at work"
        return ["a"]

    monkeypatch.setattr(type(store.client), "upsert", upsert)
    adding = asyncio.create_task(store.async_add([TextNode(text="", embedding=[1.0])]))
    await asyncio.sleep(0)
    ticked.set()
    assert await adding == ["a"]


def test_threads_add_and_ask_together(store: InlayVectorStore) -> None:
    store.add([TextNode(id_=f"{i}", text="", embedding=[1.0, float(i)]) for i in range(50)])
    short: list[int] = []

    def ask() -> None:
        for _ in range(30):
            ids = store.query(VectorStoreQuery(query_embedding=[1.0, 1.0], similarity_top_k=20)).ids
            short.extend([] if len(ids) == 20 else [len(ids)])

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(20):
        store.add([TextNode(id_=f"{i}", text="new", embedding=[2.0, float(i)])])
        store.delete_nodes([f"{i + 20}"])
    for thread in threads:
        thread.join()
    assert short == []


# Opening


def test_what_a_call_returned_from_is_on_disk(tmp_path: Path, nodes: list[TextNode]) -> None:
    store = InlayVectorStore(tmp_path / "s", metric="ip")
    store.add(nodes)
    reader = InlayVectorStore(tmp_path / "s", read_only=True)
    assert names(reader) == "abcde"
    with pytest.raises(PermissionError):
        reader.add(nodes)
    with pytest.raises(BlockingIOError):
        InlayVectorStore(tmp_path / "s")
    store.close()
    with InlayVectorStore(str(tmp_path / "s")) as again:
        assert again.client.metric == "ip"
    for wrong in ({"metric": "l2"}, {"index": "Flat"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InlayVectorStore(tmp_path / "s", **wrong)


def test_collections_share_a_folder(tmp_path: Path, nodes: list[TextNode]) -> None:
    with InlayVectorStore(tmp_path) as one, InlayVectorStore(tmp_path, collection="two") as two:
        one.add(nodes[:2])
        two.add(nodes[2:])
        assert (names(one), names(two)) == ("ab", "cde")
    assert inlay.Collection.names(tmp_path) == ["default", "two"]


def test_an_open_collection_can_be_given(nodes: list[TextNode]) -> None:
    with inlay.Collection.open(metric="l2") as collection:
        store = InlayVectorStore(collection)
        store.add(nodes)
        assert store.client is collection
        assert (len(collection), store.path) == (5, None)
        for wrong in ({"metric": "ip"}, {"full_text": True}, {"read_only": True}, {"index": "LVQ8"}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                InlayVectorStore(collection, **wrong)


def test_a_store_is_written_down_by_its_options(tmp_path: Path, nodes: list[TextNode]) -> None:
    with InlayVectorStore(tmp_path / "s", metric="l2", full_text=True) as store:
        store.add(nodes)
        written = store.to_dict()
    with InlayVectorStore.from_dict(written) as again:
        assert (again.path, again.metric, names(again)) == (str(tmp_path / "s"), "l2", "abcde")
        assert again.class_name() == "InlayVectorStore"
    with pytest.raises(TypeError, match="dimension"):
        InlayVectorStore(dimension=3)
    with pytest.raises(ValueError, match="stores_text"):
        InlayVectorStore(stores_text=False)


# Persisting


@pytest.mark.parametrize("fs", [None, LocalFileSystem()])
def test_a_copy_is_written_and_read(
    filled: InlayVectorStore, nodes: list[TextNode], tmp_path: Path, fs: Any
) -> None:
    path = str(tmp_path / "deep" / "default__vector_store.json")
    filled.persist(path, fs)
    filled.delete_nodes(["a"])
    filled.persist(path, fs)  # over the earlier one
    filled.clear()
    with InlayVectorStore.from_persist_dir(str(tmp_path / "deep"), fs=fs) as loaded:
        assert names(loaded) == "bcde"
        assert loaded.query(VectorStoreQuery(query_str="spoon", mode="text_search")).ids == ["e"]
        loaded.add(nodes)
    with InlayVectorStore(path) as copy:
        assert names(copy) == "bcde"


def test_a_copy_goes_to_any_file_system(filled: InlayVectorStore) -> None:
    fs = MemoryFileSystem()
    filled.persist("/stores/s", fs)
    filled.delete_nodes(["a"])
    filled.persist("/stores/s", fs)
    assert names(InlayVectorStore.from_persist_path("/stores/s", fs)) == "bcde"
    with pytest.raises(FileNotFoundError, match="persist writes one"):
        InlayVectorStore.from_persist_path("/stores/other", fs)


def test_a_store_is_at_its_own_path_already(tmp_path: Path, nodes: list[TextNode]) -> None:
    with InlayVectorStore(tmp_path / "s", collection="mine") as store:
        store.add(nodes)
        store.persist(str(tmp_path / "s"))
        store.persist(str(tmp_path / "copy"))
        assert names(InlayVectorStore.from_persist_path(str(tmp_path / "copy"))) == "abcde"


def test_what_is_not_there_or_damaged_is_an_error(filled: InlayVectorStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="persist writes one"):
        InlayVectorStore.from_persist_dir(str(tmp_path / "nowhere"))
    filled.persist(str(tmp_path / "s"))
    (tmp_path / "s" / "vectors-0.f32").write_bytes(b"")
    with pytest.raises(inlay.FormatError):
        InlayVectorStore.from_persist_path(str(tmp_path / "s"))
    (tmp_path / "file").write_text("{}")
    with pytest.raises(FileExistsError):
        filled.persist(str(tmp_path / "file"))
