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
        faiss.HadamardRotation(D, 7),
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
    copied = faiss.LinearTransform(D, 3)
    faiss.copy_array_to_vector(np.eye(3, D), copied.A)
    copied.is_trained = True
    np.testing.assert_array_equal(copied.apply(x), x[:, :3])
    for transform, orthonormal in ((linear, False), (copied, True)):
        transform.set_is_orthonormal()
        assert transform.is_orthonormal == orthonormal


def test_a_hadamard_rotation_has_a_power_of_two_of_dimensions(x):
    transform = faiss.HadamardRotation(11)
    y = transform.apply(x[:, :11])
    assert (transform.d_in, transform.d_out, y.shape) == (11, 16, (N, 16))
    np.testing.assert_allclose(pairwise(y), pairwise(x[:, :11]), atol=1e-3)
    np.testing.assert_allclose(transform.reverse_transform(y), x[:, :11], atol=1e-5)


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


def test_shards_say_what_they_are_when_the_first_one_comes(x):
    for shards, threaded, successive in (
        (faiss.IndexShards(), False, True),
        (faiss.IndexShards(True), True, True),
        (faiss.IndexShards(True, False), True, False),
        (faiss.IndexShards(D, True, False), True, False),
    ):
        assert (shards.threaded, shards.successive_ids) == (threaded, successive)
        if shards.d == 0:
            assert faiss.clone_index(shards).d == 0
        for _ in range(3):
            shards.add_shard(faiss.index_factory(D, "IDMap2,Flat" if not successive else "Flat"))
        # Labels are counted up over all shards, in every call.
        shards.add(x[:100])
        shards.add(x[100:])
        assert shards.d == D
        _, labels = shards.search(x, 1)
        if not successive:
            assert labels[:, 0].tolist() == list(range(N))
        with pytest.raises(ValueError, match="d = 3"):
            shards.add_shard(faiss.IndexFlatL2(3))
    replicas = faiss.IndexReplicas(False)
    replicas.add_replica(faiss.IndexFlatL2(D))
    assert (replicas.d, replicas.threaded) == (D, False)


def test_rows_are_changed_and_copied_by_their_labels(x):
    index = faiss.index_factory(D, "IVF4,Flat")
    index.train(x)
    index.add(x)
    index.set_direct_map_type(faiss.DirectMap.Hashtable)
    index.update_vectors([3, 250], x[[250, 3]])
    np.testing.assert_array_equal(index.reconstruct_batch([3, 250]), x[[250, 3]])
    with pytest.raises(faiss.UnknownIdError, match="300"):
        index.update_vectors([3, 300], x[:2])
    np.testing.assert_array_equal(index.reconstruct(3), x[250])
    index.update_vectors([3, 250], x[[3, 250]])
    for kind, parts in (
        (0, [(0, 100), (100, N)]),
        (1, [(2, 0), (2, 1)]),
        (2, [(0, 7), (7, N)]),
    ):
        shards = faiss.IndexShards(False, False)
        for first, second in parts:
            other = faiss.clone_index(index)
            other.reset()
            index.copy_subset_to(other, kind, first, second)
            shards.add_shard(other)
        assert shards.ntotal == N
        for mine, theirs in zip(shards.search(x[:9], 4), index.search(x[:9], 4), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(RuntimeError, match="subset_type"):
        index.copy_subset_to(other, 4, 0, 1)


def test_a_graph_shows_its_rows_as_an_index_of_their_own(x):
    for graph, kind in (
        (faiss.IndexHNSWFlat(D, 4), faiss.IndexFlat),
        (faiss.IndexHNSWSQ(D, faiss.ScalarQuantizer.QT_8bit, 4), faiss.IndexScalarQuantizer),
        (faiss.index_factory(D, "HNSW4,LVQ4x8"), faiss.IndexLVQ),
    ):
        assert graph.storage.ntotal == 0
        graph.train(x)
        graph.add(x)
        storage = faiss.downcast_index(graph.storage)
        assert isinstance(storage, kind)
        assert storage.sa_code_size() == kind_size(storage)
        np.testing.assert_allclose(storage.reconstruct_n(), graph.reconstruct_n(), atol=0.05)
        with pytest.raises(RuntimeError, match="READ_ONLY"):
            storage.add(x)


def kind_size(index):
    return 4 * D if isinstance(index, faiss.IndexFlat) else index.core.code_size


def test_kmeans(x):
    kmeans = faiss.Kmeans(D, 8, niter=7, seed=3, gpu=True, verbose=False)
    last = kmeans.train(x)
    assert kmeans.centroids.shape == (8, D)
    assert kmeans.obj.dtype == np.float64
    assert last == kmeans.obj[-1]
    assert 1 < len(kmeans.obj) <= 7
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
    assert (np.diff(spherical.obj) >= -1e-6 * spherical.obj[1:]).all()
    assert spherical.obj[-1] == pytest.approx(spherical.index.search(x, 1)[0].sum(), rel=1e-5)
    redone = faiss.Kmeans(D, 4, spherical=True, nredo=4)
    assert redone.train(x) >= spherical.obj[-1]
    whole = faiss.Kmeans(D, 8, niter=7, seed=3, int_centroids=True)
    assert whole.train(x) > last
    np.testing.assert_array_equal(whole.centroids, np.round(whole.centroids))
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
    again = faiss.IndexIVFFlat(quantizer, D, 6)
    assert again.is_trained
    assert faiss.clone_index(again).is_trained
    again.add(x)
    again.nprobe = 6
    np.testing.assert_array_equal(again.search(x[:9], 4)[1], index.search(x[:9], 4)[1])
    assert not faiss.IndexIVFFlat(quantizer, D, 5).is_trained
    assert not faiss.IndexIVFPQ(quantizer, D, 6, 4, 4).is_trained
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
        faiss.IndexScalarQuantizer(D, 99)


@pytest.mark.parametrize("name", [name for name in vars(faiss.ScalarQuantizer) if name.startswith("QT_")])
def test_every_kind_of_scalar_quantiser(name, x):
    qtype = getattr(faiss.ScalarQuantizer, name)
    whole = np.round(np.clip(x * 20, -128, 127)).astype(np.float32)  # what "direct" ones are made for
    for index in (faiss.IndexScalarQuantizer(D, qtype), faiss.IndexHNSWSQ(D, qtype, 8)):
        assert index.is_trained == (name in ("QT_fp16", "QT_bf16", "QT_8bit_direct", "QT_8bit_direct_signed"))
        if not index.is_trained:
            index.train(whole)
        index.add(whole)
        error = np.abs(index.reconstruct_n() - whole).max()
        assert error < (12 if "4bit" in name else 0.8 if index.sq.learns else 0.01)
        assert (faiss.clone_index(index).search(whole, 1)[1] == index.search(whole, 1)[1]).all()
        if not index.sq.learns:
            index.train(whole)  # nothing to learn once there are rows
    string = faiss.IndexScalarQuantizer(D, qtype).factory_string
    assert faiss.index_factory(D, string).factory_string == string
    with pytest.raises(RuntimeError, match="4 and 8"):
        faiss.IndexPQ(D, 4, 6)


@pytest.mark.parametrize(
    "string",
    ["Flat", "SQ8", "LVQ4x8", "PQ4x4", "RQ3x4", "IVF4,SQ8", "IVF4,PQ4x4", "HNSW4,SQ8", "PCA4,SQ4,RFlat"],
)
def test_codes_have_their_size_before_and_after_training(string, x):
    index = faiss.index_factory(D, string)
    size = index.sa_code_size()
    index.train(x)
    codes = index.sa_encode(x)
    assert (size, index.sa_code_size()) == (codes.shape[1], codes.shape[1])
    assert index.sa_encode(x[:0]).shape == (0, size)
    assert index.sa_decode(codes[:0]).shape == (0, D)
    error = np.square(index.sa_decode(codes) - x).sum()
    assert error < 0.5 * np.square(x).sum()


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
