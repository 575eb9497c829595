"""PQIndex and RVQIndex: what is theirs beyond the contract."""

import numpy as np
import pytest
from core.indexes.forms import values

import inlay
from tests.core.codecs.test_additive import drawn

ROWS, QUERIES = drawn(3_000), drawn(40, seed=1)


def recall(index, metric, **effort):
    true = np.argsort(values(QUERIES, ROWS, metric) * (1 if metric == "l2" else -1), axis=1)[:, :10]
    found = index.search(QUERIES, 10, **effort)[1]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(true.tolist(), found.tolist(), strict=True)])


@pytest.fixture(scope="module", params=["l2", "ip", "cosine"])
def made(request):
    """A PQ and an RVQ of the same rows at equal bytes, norms aside."""
    indexes = [inlay.from_spec(spec, 24, request.param) for spec in ("PQ8x4fs", "RVQ8x4")]
    for index in indexes:
        index.add(ROWS)
    return request.param, *indexes


def test_rvq_finds_more_than_pq_at_equal_bytes(made):
    metric, pq, rvq = made
    assert recall(rvq, metric) >= recall(pq, metric) + (0.05 if metric == "l2" else 0)


def test_bytes_in_tables_lose_no_recall(made):
    metric, *indexes = made
    for index in indexes:
        assert recall(index, metric, rerank=0) >= recall(index, metric, rerank=3_000) - 0.02


def test_kept_rows_give_their_own_distances():
    for vectors, atol in (("float32", 1e-5), ("float16", 0.02), ("lvq8", 0.1)):
        index = inlay.RVQIndex(24, stages=4, bits=4, vectors=vectors)
        index.add(ROWS)
        distances, ids = index.search(QUERIES, 10, rerank=200)
        true = values(QUERIES, ROWS, "l2")
        np.testing.assert_allclose(
            distances, np.take_along_axis(true, ids, axis=1), atol=atol * 10, rtol=1e-2
        )
        back = type(index).from_bytes(index.to_bytes())
        np.testing.assert_array_equal(back.search(QUERIES, 10, rerank=200)[1], ids)
        assert recall(index, "l2", rerank=500) > recall(index, "l2", rerank=10)
        assert index.nbytes_cold >= 24 * len(ROWS)


def test_first_stages_are_a_coarser_code(made):
    metric, _, rvq = made
    whole = [recall(rvq, metric, prefix=prefix, rerank=0) for prefix in (2, 4, 8)]
    assert whole[0] < whole[1] < whole[2]
    assert recall(rvq, metric, prefix=4, rerank=3_000) == recall(rvq, metric, rerank=3_000)
    rvq.prefix = 4
    assert recall(rvq, metric, rerank=0) == whole[1]
    assert recall(rvq, metric, prefix=0, rerank=0) == recall(rvq, metric, prefix=100, rerank=0) == whole[2]
    rvq.prefix = None


def test_distortion_and_bound_are_reported(made):
    _, pq, rvq = made
    for index in (pq, rvq):
        assert index.distortion.shape == index.bound.shape == (8,)
        assert (np.diff(index.bound) < 0).all()
    assert inlay.RVQIndex(24).distortion is None
    assert inlay.PQIndex(24).bound is None


@pytest.mark.parametrize(
    ("spec", "back", "options"),
    [
        ("PQ16", "PQ16", {"subspaces": 16, "bits": 8}),
        ("PQ16x8", "PQ16", {"subspaces": 16, "bits": 8}),
        ("PQ16x4", "PQ16x4fs", {"subspaces": 16, "bits": 4}),
        ("PQ16x4fs", "PQ16x4fs", {"subspaces": 16, "bits": 4}),
        ("RVQ8x8", "RVQ8x8", {"stages": 8, "bits": 8}),
        ("RVQ16x4", "RVQ16x4", {"stages": 16, "bits": 4}),
    ],
)
def test_specs(spec, back, options):
    index = inlay.from_spec(spec, 64)
    assert index.spec == back
    assert {name: getattr(index, name) for name in options} == options


@pytest.mark.parametrize("spec", ["PQ", "PQ0", "PQ16x5", "PQ16fs", "RVQ8", "RVQ0x8", "RVQ8x6", "RVQ8x8fs"])
def test_other_specs_are_unknown(spec):
    with pytest.raises(ValueError, match="unknown index spec"):
        inlay.from_spec(spec, 64)


def test_a_batch_too_small_to_train_says_what_it_takes():
    index = inlay.RVQIndex(24, stages=2)
    with pytest.raises(ValueError, match="at least 256 rows"):
        index.add(ROWS[:255])
    assert not index.is_trained
    assert len(index) == 0
    index.add(ROWS[:256])
    assert len(index) == 256


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="vectors must be"):
        inlay.PQIndex(24, vectors="lvq4")
    with pytest.raises(ValueError, match="rotation must be"):
        inlay.PQIndex(24, rotation="random")
    with pytest.raises(ValueError, match="mode must be"):
        inlay.RVQIndex(24, mode="fast")
    with pytest.raises(ValueError, match="directions must be"):
        inlay.RVQIndex(24, directions=25)


def test_defaults_are_whole():
    assert inlay.PQIndex(384).spec == "PQ48"
    assert inlay.PQIndex(384, bits=4).spec == "PQ96x4fs"
    assert inlay.PQIndex(3).subspaces == 1
    assert inlay.RVQIndex(384).directions == 256
    assert inlay.RVQIndex(100).directions == 100


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_a_graph_of_rvq_codes_finds_what_one_of_pq_codes_does_and_more(metric):
    found = {}
    for code in ("PQ8x4fs", "RVQ8x4"):
        scan, graph = inlay.from_spec(code, 24, metric), inlay.from_spec(f"HNSW16,{code}", 24, metric)
        for index in (scan, graph):
            index.add(ROWS)
        assert graph.check() == []
        assert graph.spec == f"HNSW16,{code}"
        found[code] = recall(graph, metric)
        assert found[code] >= recall(scan, metric) - 0.02
    assert found["RVQ8x4"] >= found["PQ8x4fs"]


def test_a_graph_of_codes_grows_by_little_and_by_much():
    index = inlay.from_spec("HNSW16,PQ24x4fs", 24)
    index.add(ROWS[:2_000])
    index.add(ROWS[2_000:2_100])  # few: their neighbours are decoded one by one
    index.add(ROWS[2_100:])
    assert index.check() == []
    whole = inlay.from_spec("PQ24x4fs", 24)
    whole.train(ROWS[:2_000])
    whole.add(ROWS)
    assert recall(index, "l2", ef=200) >= recall(whole, "l2") - 0.01


def test_a_code_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="unknown code"):
        inlay.GraphIndex(24, code="PQ8x5")
    with pytest.raises(ValueError, match="unknown index spec"):
        inlay.from_spec("HNSW16,PQ8x5", 24)
