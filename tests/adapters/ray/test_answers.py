"""A sharded collection answers what one collection does. All of the collection's own tests: --sharded 2x2."""

import asyncio

import numpy as np
import pytest

pytest.importorskip("ray", reason="the Ray adapter needs Ray: pip install 'inlay[ray]'")

from inlay import Collection
from tests.adapters.ray.conftest import documents


@pytest.fixture
def twin():
    """One collection with what `doubled` is."""
    with Collection.open(metric="l2", index="Flat", full_text=True) as collection:
        yield collection


def fill(collection):
    collection.add(**documents(150))
    collection.upsert(**documents(60, first=120, seed=5))  # some in the place of others
    assert collection.delete(["id3", "id77", "nobody"]) == 2
    assert collection.delete(filter={"n": {"$gt": 170}}) == 9
    assert collection.delete(filter=lambda m: m["n"] == 50) == 1
    assert collection.update_metadata(["id5", "id6", "nobody"], {"even": "odd", "x": [1]}) == 2
    assert collection.update_metadata(None, {"y": 1}, filter={"n": {"$lt": 9}}, replace=False) == 8


FILTERS = (None, {}, {"even": True}, {"n": {"$lt": 0}}, {"y": {"$exists": True}}, lambda m: m["n"] % 3 == 0)


def test_every_question_has_the_answer_of_one_collection(doubled, twin):
    for collection in (doubled, twin):
        fill(collection)
    assert list(doubled) == list(twin)
    assert len(doubled) == len(twin)
    queries = documents(6, seed=9)["vectors"]
    names = ["id9", "nobody", "id120", "id1", "id9", "id8"]
    np.testing.assert_array_equal(doubled.vectors(["id9", "id1"]), twin.vectors(["id9", "id1"]))
    for filter in FILTERS:
        assert doubled.count(filter) == twin.count(filter)
        assert doubled.search_batch(queries, 7, filter=filter) == twin.search_batch(queries, 7, filter=filter)
        for ask in (
            lambda c, **more: c.search(queries[0], 12, **more),
            lambda c, **more: c.mmr(queries[1], 5, fetch_k=30, **more),
            lambda c, **more: c.search_text("cat the fast-food", 20, **more),
            lambda c, **more: c.hybrid(queries[2], "dog eel ant", 9, **more),
            lambda c, **more: c.hybrid(queries[2], "the bee", 9, fusion="score", alpha=0.3, **more),
            lambda c, **more: c.get(limit=7, offset=3, **more),
            lambda c, **more: c.get(**more),
        ):
            assert ask(doubled, filter=filter) == ask(twin, filter=filter)
        assert doubled.get(names, filter=filter) == twin.get(names, filter=filter)
        for ids in (names, []):
            assert doubled.search(queries[3], 3, ids=ids, filter=filter) == twin.search(
                queries[3], 3, ids=ids, filter=filter
            )
            assert doubled.search_text("cat", ids=ids, filter=filter) == twin.search_text(
                "cat", ids=ids, filter=filter
            )


def test_errors_are_those_of_one_collection(doubled):
    doubled.add(**documents(5))
    with pytest.raises(ValueError, match=r"row 1 has the id 'id3'.*upsert"):
        doubled.add(np.ones((2, 4)), ids=["new", "id3"])
    with pytest.raises(ValueError, match="dimension"):
        doubled.upsert([[1.0]])
    with pytest.raises(TypeError, match="no effort nonsense"):
        doubled.search(np.ones(4), nonsense=1)
    with pytest.raises(KeyError, match="nobody"):
        doubled.vectors(["id1", "nobody"])
    assert len(doubled) == 5


async def test_an_event_loop_can_ask(doubled):
    assert await doubled.aupsert(**documents(20)) == [f"id{i}" for i in range(20)]
    hits = await asyncio.gather(*(doubled.asearch(np.full(4, i), 2) for i in range(4)))
    assert hits == [doubled.search(np.full(4, i), 2) for i in range(4)]
    assert await doubled.acount() == 20
    assert await doubled.adelete(["id1"]) == 1


def test_langchain_takes_either(doubled):
    pytest.importorskip("langchain_core", reason="needs LangChain")
    from langchain_core.embeddings import DeterministicFakeEmbedding

    from inlay.adapters.langchain import InlayVectorStore

    store = InlayVectorStore(DeterministicFakeEmbedding(size=4), doubled)
    store.add_texts(["green tea", "black coffee"], [{"shop": 1}, {"shop": 2}], ids=["a", "b"])
    assert [found.id for found in store.similarity_search("tea", k=5, filter={"shop": {"$in": [1, 3]}})] == [
        "a"
    ]
    assert [found.id for found in store.hybrid_search("coffee", k=1, alpha=0.1)] == ["b"]
    store.delete(["a"])
    assert len(doubled) == 1


def test_llama_index_takes_either(doubled):
    pytest.importorskip("llama_index.core", reason="needs LlamaIndex")
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores import VectorStoreQuery

    from inlay.adapters.llama_index import InlayVectorStore

    store = InlayVectorStore(doubled)
    store.add([TextNode(id_=name, text=name, embedding=[i, 1, 1, 1]) for i, name in enumerate("abc")])
    asked = VectorStoreQuery(query_embedding=[2.0, 1, 1, 1], similarity_top_k=2)
    assert store.query(asked).ids == ["c", "b"]


def test_the_readme_runs(local_ray, monkeypatch, tmp_path):
    from inlay.adapters.langchain import InlayVectorStore
    from tests.test_readme import python_blocks

    (block,) = [block for block in python_blocks() if "ray.init" in block]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ray.init", lambda address: None)
    fake = pytest.importorskip("langchain_core.embeddings").DeterministicFakeEmbedding
    names = {
        "vectors": np.random.default_rng(0).normal(size=(1000, 384)),
        "InlayVectorStore": InlayVectorStore,
    }
    exec(block, {**names, "DeterministicFakeEmbedding": fake})
    assert (tmp_path / "papers-in-shards" / "shards.json").exists()
