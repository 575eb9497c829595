from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlay import from_spec
from inlay.collection.ranking import nearest, values, walk

METRICS = ("l2", "ip", "cosine")


@dataclass
class View:
    rows: np.ndarray
    vectors: np.ndarray
    metric: str
    index: object
    level: int = 0

    def vectors_of(self, rows):
        return self.vectors[np.searchsorted(self.rows, rows)]


def view(vectors, metric, spec="Flat", first=100):
    index = from_spec(spec, vectors.shape[1], metric)
    rows = np.arange(first, first + len(vectors))
    index.add(vectors, rows)
    return View(rows, vectors, metric, index)


def by_definition(vectors, query, metric):
    rows, query = vectors.astype(float), query.astype(float)
    if metric == "l2":
        return ((rows - query) ** 2).sum(axis=1)
    if metric == "ip":
        return rows @ query
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return np.divide(rows @ query, lengths, out=np.zeros(len(rows)), where=lengths > 0)


def order(scored, metric, k):
    return np.argsort(scored if metric == "l2" else -scored, kind="stable")[:k]


@pytest.mark.parametrize("metric", METRICS)
def test_values_are_those_of_the_definition(metric, rng):
    vectors = rng.normal(size=(50, 33)).astype(np.float32)
    vectors[7] = 0
    query = rng.normal(size=33).astype(np.float32)
    np.testing.assert_allclose(
        values(vectors, query, metric), by_definition(vectors, query, metric), rtol=1e-12
    )


@pytest.mark.parametrize("metric", METRICS)
def test_equal_vectors_have_equal_values_wherever_they_stand(metric, rng):
    vectors = np.repeat(rng.normal(size=(1, 383)), 37, axis=0).astype(np.float32)
    query = rng.normal(size=383).astype(np.float32)
    assert len(np.unique(values(vectors, query, metric))) == 1
    assert values(vectors[:1], query, metric)[0] == values(vectors, query, metric)[0]


def test_no_cosine_is_beyond_one(rng):
    vectors = (rng.normal(size=(200, 7)) * 1e3).astype(np.float32)
    for row in vectors:
        assert np.abs(values(vectors, row, "cosine")).max() <= 1.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spec", ["Flat", "LVQ8", "LVQ4", "LVQ4x8", "HNSW16,LVQ8", "QuIVer16"])
def test_the_order_is_exact_whatever_the_index(metric, spec, rng):
    vectors = rng.normal(size=(3000, 32)).astype(np.float32)
    seen = view(vectors, metric, spec)
    queries = rng.normal(size=(5, 32)).astype(np.float32)
    allowed = np.sort(rng.permutation(seen.rows)[:2500])
    for rows in (None, allowed, allowed[:50]):
        # A walk that keeps all rows in view; the others have no such effort.
        found_by = nearest(seen, queries, 10, rows, {"ef": 3000})
        for query, (scored, found) in zip(queries, found_by, strict=True):
            among = seen.rows if rows is None else rows
            truth = by_definition(seen.vectors_of(among), query, metric)
            best = order(truth, metric, 10)
            assert found.tolist() == among[best].tolist()
            np.testing.assert_allclose(scored, truth[best], rtol=1e-9)


@given(st.lists(st.integers(-1, 1), min_size=1, max_size=60), st.integers(1, 70), st.sampled_from(METRICS))
def test_ties_go_to_the_older_row(entries, k, metric):
    vectors = np.array(entries, np.float32)[:, None] * np.ones(3, np.float32)
    seen = view(vectors, metric)
    query = np.array([1, 1, 0.5], np.float32)
    ((_, found),) = nearest(seen, query[None], k)
    assert found.tolist() == (100 + order(values(vectors, query, metric), metric, k)).tolist()


def test_an_index_that_finds_too_few_does_not_make_the_answer_short(rng):
    vectors = rng.normal(size=(3000, 8)).astype(np.float32)
    seen = view(vectors, "l2", "LVQ8")

    class Forgetful:
        spec, ids = "LVQ8", seen.index.ids

        def __len__(self):
            return 3000

        def search(self, queries, k, allowed=None):
            return np.full((1, k), np.inf), np.full((1, k), -1)

    seen.index = Forgetful()
    ((_, found),) = nearest(seen, vectors[:1], 10)
    assert found.tolist() == (100 + order(by_definition(vectors, vectors[0], "l2"), "l2", 10)).tolist()
    ((_, found),) = nearest(seen, vectors[:1], 10, seen.rows[500:])
    assert len(found) == 10
    assert found.min() >= 600


def test_a_walk_finds_the_nearest_that_are_accepted_and_asks_as_little_as_it_can(rng):
    vectors = rng.normal(size=(3000, 16)).astype(np.float32)
    for spec in ("Flat", "LVQ4x8"):
        seen = view(vectors, "l2", spec)
        query = rng.normal(size=16).astype(np.float32)
        ranked = seen.rows[order(by_definition(vectors, query, "l2"), "l2", 3000)]
        for share, k in ((1, 5), (3, 10), (50, 10), (1000, 10)):
            asked = []

            def accepts(rows, share=share, asked=asked):
                for row in rows.tolist():
                    asked.append(row)
                    yield row % share == 0

            def rank(limit, seen=seen, query=query):
                return nearest(seen, query[None], limit)[0]

            scored, found = walk(rank, k, accepts)
            wanted = [row for row in ranked.tolist() if row % share == 0][:k]
            assert found.tolist() == wanted
            assert len(set(asked)) == len(asked)
            if len(wanted) == k:
                assert len(asked) <= 2 * (ranked.tolist().index(wanted[-1]) + 1) + 4 * k
            np.testing.assert_allclose(
                scored, np.sort(by_definition(vectors, query, "l2"))[np.isin(ranked, wanted)]
            )
