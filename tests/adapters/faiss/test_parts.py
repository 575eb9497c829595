"""What indexes are made of: transforms, refinements, shards, k-means, quantisers, graphs."""

import numpy as np
import pytest

import inlay.adapters.faiss as faiss

pytestmark = pytest.mark.filterwarnings("ignore::inlay.adapters.faiss.TrainingWarning")
N, D = 300, 16


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(8)
    return (rng.standard_normal((N, D)) * np.linspace(3, 0.1, D)).astype(np.float32)


def pairwise(rows):
    return np.square(rows[:20, None].astype(np.float64) - rows[None, :20]).sum(2)


@pytest.mark.parametrize(
    "transform",
    [
        faiss.RandomRotationMatrix(D, D),
        faiss.HadamardRotation(D),
        faiss.OPQMatrix(D, 4),
        faiss.PCAMatrix(D, D),
        faiss.CenteringTransform(D),
        faiss.RemapDimensionsTransform(D, 20),
        faiss.RandomRotationMatrix(D, 24),
    ],
    ids=repr,
)
def test_what_only_turns_keeps_distances_and_can_be_undone(transform, x):
    transform.train(x)
    y = transform.apply(x)
    assert y.shape == (N, transform.d_out)
    assert y.dtype == np.float32
    np.testing.assert_allclose(pairwise(y), pairwise(x), atol=1e-3)
    np.testing.assert_allclose(transform.reverse_transform(y), x, atol=1e-4)
    np.testing.assert_array_equal(transform.apply_py(x), y)


def test_principal_components(x):
    pca = faiss.PCAMatrix(D, 4)
    with pytest.raises(RuntimeError, match="trained"):
        pca.apply(x)
    pca.train(x)
    values, vectors = np.linalg.eigh(np.cov(x.T.astype(np.float64), bias=True))
    y = pca.apply_py(x)
    np.testing.assert_allclose(np.abs(y), np.abs((x - x.mean(0)) @ vectors[:, ::-1][:, :4]), atol=1e-3)
    np.testing.assert_allclose(pca.eigenvalues, values[::-1], rtol=1e-3)
    np.testing.assert_allclose(faiss.vector_to_array(pca.A).reshape(4, D) @ pca.mean + pca.b, 0, atol=1e-4)
    white = faiss.PCAMatrix(D, D, -0.5)
    white.train(x)
    np.testing.assert_allclose(np.cov(white.apply(x).T, bias=True), np.eye(D), atol=1e-2)


def test_lengths_and_dimensions(x):
    y = faiss.NormalizationTransform(D).apply(np.concatenate([x, np.zeros((1, D), np.float32)]))
    np.testing.assert_allclose(np.linalg.norm(y[:-1], axis=1), 1, rtol=1e-5)
    assert not y[-1].any()
    fewer = faiss.RemapDimensionsTransform(D, 4, True)
    np.testing.assert_array_equal(fewer.apply(x), x[:, [0, 4, 8, 12]])
    linear = faiss.LinearTransform(D, 2, True)
    linear.A, linear.b = np.ones((2, D)), np.array([1, 2])
    np.testing.assert_allclose(linear.apply(x)[:, 1], x.sum(1) + 2, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="A must be"):
        linear.A = np.ones(3)


def test_transforms_before_an_index(x):
    flat = faiss.IndexFlatL2(D)
    index = faiss.IndexPreTransform(faiss.RandomRotationMatrix(D, D), flat)
    index.prepend_transform(faiss.NormalizationTransform(D))
    assert (index.chain.size(), type(index.chain.at(0))) == (2, faiss.NormalizationTransform)
    index.train(x)
    index.add(x)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_array_equal(index.search(x[:9], 5)[1], faiss.knn(unit[:9], unit, 5)[1])
    assert index.index is flat
    with pytest.raises(ValueError, match="16 dimensions"):
        faiss.IndexPreTransform(faiss.NormalizationTransform(D), faiss.IndexFlatL2(3))


@pytest.mark.parametrize("metric", [faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT])
def test_refined_distances_are_exact(metric, x):
    index = faiss.index_factory(D, "SQ4,RFlat", metric)
    index.train(x)
    index.add(x)
    index.k_factor = N
    exact = faiss.IndexFlat(D, metric)
    exact.add(x)
    for change in (lambda i: None, lambda i: i.remove_ids([1, 50])):
        change(index)
        change(exact)
        distances, labels = index.search(x[:20], 6)
        expected = exact.search(x[:20], 6)
        np.testing.assert_array_equal(labels, expected[1])
        np.testing.assert_allclose(distances, expected[0], rtol=1e-4, atol=1e-4)
        lims, _, found = index.range_search(x[:5], 3.0)
        assert lims.tolist() == exact.range_search(x[:5], 3.0)[0].tolist()
        assert len(found) == lims[-1]
    over = faiss.IndexRefineFlat(faiss.clone_index(index.base_index), index.reconstruct_n())
    np.testing.assert_array_equal(
        over.search(x[:20], 6, params=faiss.IndexRefineSearchParameters(k_factor=N))[1], labels
    )
    with pytest.raises(RuntimeError, match="rows"):
        faiss.IndexRefine(index.base_index, faiss.IndexFlat(D, metric))


@pytest.mark.parametrize("threaded", [False, True])
def test_shards_and_replicas_are_one_index(threaded, x):
    whole = faiss.IndexFlatL2(D)
    whole.add(x)
    shards, replicas = faiss.IndexShards(D, threaded), faiss.IndexReplicas(D, threaded)
    for _ in range(3):
        shards.add_shard(faiss.IndexFlatL2(D))
        replicas.add_replica(faiss.IndexFlatL2(D))
    named = faiss.IndexShards(D, threaded, False)
    for part in np.array_split(np.arange(N), 3):
        shard = faiss.IndexIDMap(faiss.IndexFlatL2(D))
        shard.add_with_ids(x[part], part)
        named.add_shard(shard)
    for index in (shards, replicas):
        index.add(x)
    for index in (shards, replicas, named):
        assert index.ntotal == N
        for params in (None, faiss.SearchParameters(sel=faiss.IDSelectorRange(90, 210))):
            for mine, theirs in zip(
                index.search(x[:9], 5, params=params), whole.search(x[:9], 5, params=params), strict=True
            ):
                np.testing.assert_array_equal(mine, theirs)
        lims, _, labels = index.range_search(x[:4], 5.0)
        assert lims.tolist() == whole.range_search(x[:4], 5.0)[0].tolist()
        np.testing.assert_array_equal(index.reconstruct_batch(labels[:5]), x[labels[:5]])
        assert index.remove_ids([3, 200]) == 2
        assert index.ntotal == N - 2


def test_kmeans(x):
    kmeans = faiss.Kmeans(D, 8, niter=7, seed=3, gpu=True, verbose=False)
    last = kmeans.train(x)
    assert kmeans.centroids.shape == (8, D)
    assert kmeans.obj.dtype == np.float64
    assert last == kmeans.obj[-1]
    assert len(kmeans.obj) == 7
    assert (np.diff(kmeans.obj) <= 1e-6 * kmeans.obj[:-1]).all()
    distances, labels = kmeans.assign(x)
    assert distances.shape == labels.shape == (N,)
    np.testing.assert_array_equal(labels, kmeans.index.search(x, 1)[1][:, 0])
    again = faiss.Kmeans(D, 8, niter=7, seed=3)
    again.train(x)
    np.testing.assert_array_equal(again.centroids, kmeans.centroids)
    start = faiss.Kmeans(D, 8, niter=1)
    start.train(x, init_centroids=kmeans.centroids)
    assert start.obj[0] <= last
    weighted = faiss.Kmeans(D, 1, niter=3, max_points_per_centroid=N)
    weights = np.arange(N, dtype=np.float32)
    weighted.train(x, weights)
    np.testing.assert_allclose(weighted.centroids[0], np.average(x, axis=0, weights=weights), atol=1e-3)
    spherical = faiss.Kmeans(D, 4, spherical=True)
    spherical.train(x)
    np.testing.assert_allclose(np.linalg.norm(spherical.centroids, axis=1), 1, rtol=1e-5)
    with pytest.raises(RuntimeError, match="fewer"):
        faiss.Kmeans(D, 301).train(x)
    with pytest.raises(AttributeError):
        faiss.Kmeans(D, 3, nitre=3)
    clustering = faiss.Clustering(D, 5)
    index = faiss.IndexFlatL2(D)
    clustering.train(x, index)
    np.testing.assert_array_equal(
        faiss.vector_float_to_array(clustering.centroids).reshape(5, D), index.reconstruct_n()
    )
    assert len(clustering.iteration_stats) <= 25


def test_few_rows_are_said_once_and_by_python(x):
    with pytest.warns(faiss.TrainingWarning, match="39 at least|at least") as caught:
        faiss.Kmeans(D, 10).train(x)
    assert len(caught) == 1
    index = faiss.index_factory(D, "PQ4x8")
    with pytest.warns(faiss.TrainingWarning, match="5 rows"):
        index.train(x[:5])
    index.add(x[:5])
    assert index.search(x[:5], 1)[1][:, 0].tolist() == list(range(5))


def test_a_quantizer_with_centroids_is_taken_as_it_is(x):
    quantizer = faiss.IndexFlatL2(D)
    quantizer.add(x[:6])
    index = faiss.IndexIVFFlat(quantizer, D, 6)
    index.train(x)
    index.add(x)
    index.nprobe = 6
    np.testing.assert_array_equal(quantizer.reconstruct_n(), x[:6])
    np.testing.assert_array_equal(index.search(x[:9], 4)[1], faiss.knn(x[:9], x, 4)[1])
    other = faiss.IndexIVFFlat(faiss.IndexFlatL2(D), D, 6)
    other.train(x)
    assert other.quantizer.ntotal == 6
    with pytest.raises(ValueError, match="d = 16"):
        faiss.IndexIVFFlat(quantizer, 3, 6)
    with pytest.raises(RuntimeError, match="holds 6 rows"):
        faiss.IndexIVFFlat(quantizer, D, 9).train(x)


def test_quantisers_show_what_they_learned(x):
    index = faiss.IndexPQ(D, 4, 4)
    index.train(x)
    assert (index.pq.M, index.pq.nbits, index.pq.ksub, index.pq.dsub, index.pq.code_size) == (4, 4, 16, 4, 2)
    index.add(x)
    words = faiss.vector_to_array(index.pq.centroids).reshape(4, 16, 4)
    row = index.reconstruct(0).reshape(4, 4)
    mean = index.core.codecs[0].basis.centre.reshape(4, 4)
    assert all(np.isclose(words[m], row[m] - mean[m], atol=1e-5).all(1).any() for m in range(4))
    stages = faiss.IndexResidualQuantizer(D, 3, 4)
    stages.train(x)
    assert stages.rq.codebooks.shape == (48, D)
    assert faiss.IndexScalarQuantizer(D, faiss.ScalarQuantizer.QT_fp16).sq.qtype == 4
    with pytest.raises(RuntimeError, match="QT_8bit_direct"):
        faiss.IndexScalarQuantizer(D, faiss.ScalarQuantizer.QT_8bit_direct)
    with pytest.raises(RuntimeError, match="4 and 8"):
        faiss.IndexPQ(D, 4, 6)


def test_counters_and_views(x):
    graph = faiss.IndexHNSWFlat(D, 8)
    graph.hnsw.efConstruction = 60
    graph.add(x)
    graph.hnsw.efSearch = 5
    faiss.cvar.hnsw_stats.reset()
    assert (graph.search(x, 9)[1] >= 0).all()
    assert faiss.cvar.hnsw_stats.n1 == N
    assert faiss.cvar.hnsw_stats.ndis > N
    lists = faiss.index_factory(D, "IVF5,Flat")
    lists.train(x)
    lists.add(x)
    lists.nprobe = 2
    faiss.cvar.indexIVF_stats.reset()
    lists.search(x[:10], 3)
    assert (faiss.cvar.indexIVF_stats.nq, faiss.cvar.indexIVF_stats.nlist) == (10, 20)
    lists.make_direct_map()
    assert "AVX" in faiss.get_compile_options() or faiss.get_compile_options()
