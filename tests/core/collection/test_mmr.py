import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inlay.collection.mmr import select
from inlay.collection.records import METRICS


def ids(hits):
    return [hit.id for hit in hits]


shapes = st.tuples(st.integers(1, 12), st.integers(1, 5))
# Small integers: their products are exact, so that ties are ties for both.
matrices = shapes.flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.integers(-3, 3).map(float)),
        hnp.arrays(np.float32, shape[1], elements=st.integers(-3, 3).map(float)),
    )
)


@given(matrices, st.integers(0, 14), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_the_order_is_that_of_langchain(given_rows, k, lambda_mult):
    reference = pytest.importorskip("langchain_core.vectorstores.utils").maximal_marginal_relevance
    rows, query = given_rows
    if not query.any() or not rows.any(axis=1).all():
        return  # the reference has no answer for vectors without a direction
    wanted = reference(query.astype(float), rows.astype(float).tolist(), lambda_mult, k)
    assert select(query, rows, k, lambda_mult) == wanted


def test_the_order_is_that_of_langchain_for_long_vectors(rng):
    reference = pytest.importorskip("langchain_core.vectorstores.utils").maximal_marginal_relevance
    rows = rng.normal(size=(60, 384)).astype(np.float32)
    query = rng.normal(size=384).astype(np.float32)
    for lambda_mult in (0.0, 0.3, 0.5, 0.9, 1.0):
        wanted = reference(query.astype(float), rows.astype(float), lambda_mult, 30)
        assert select(query, rows, 30, lambda_mult) == wanted


def test_one_is_the_plain_order_and_zero_avoids_what_was_chosen():
    rows = np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1]], np.float32)
    query = np.array([1, 0], np.float32)
    assert select(query, rows, 4, 1.0) == [0, 1, 2, 3]
    assert select(query, rows, 2, 0.0) == [0, 3]


def test_vectors_of_zeros_are_chosen_too():
    rows = np.zeros((3, 2), np.float32)
    assert select(np.ones(2, np.float32), rows, 3, 0.5) == [0, 1, 2]
    assert select(np.zeros(2, np.float32), np.eye(2, dtype=np.float32), 5, 0.5) == [0, 1]


def test_mmr_chooses_near_and_different_documents(opened, place):
    collection = opened(place)
    rows = [[1, 0, 0], [1, 0.01, 0], [1, 0.02, 0], [0.7, 0.7, 0], [0, 0, 1]]
    collection.add(rows, ids=list("abcde"), metadatas=[{"keep": name != "d"} for name in "abcde"])
    query = [1, 0, 0]
    assert ids(collection.mmr(query, 3, lambda_mult=0.3)) == ["a", "e", "d"]
    assert ids(collection.mmr(query, 4, lambda_mult=1)) == ["a", "b", "c", "d"]
    assert ids(collection.mmr(query, 2, lambda_mult=0)) == ["a", "e"]
    assert ids(collection.mmr(query, 2, fetch_k=3, lambda_mult=0)) == ["a", "c"]
    assert ids(collection.mmr(query, 9, fetch_k=1)) == ids(collection.mmr(query, 5))
    assert "d" not in ids(collection.mmr(query, 5, filter={"keep": True}))
    assert "d" not in ids(collection.mmr(query, 5, filter=lambda m: m["keep"]))
    values = {hit.id: hit.distance for hit in collection.search(query, 5)}
    assert all(hit.distance == values[hit.id] for hit in collection.mmr(query, 5))


def test_mmr_is_langchains_over_the_nearest(opened, documents):
    reference = pytest.importorskip("langchain_core.vectorstores.utils").maximal_marginal_relevance
    everything = documents(500, dim=32)
    for metric in METRICS:
        collection = opened(metric=metric)
        collection.add(**everything)
        query = documents(1, dim=32, seed=8)["vectors"][0]
        near = collection.search(query, 40)
        order = reference(query.astype(float), collection.vectors(ids(near)).astype(float), 0.4, 10)
        assert collection.mmr(query, 10, fetch_k=40, lambda_mult=0.4) == [near[i] for i in order]
